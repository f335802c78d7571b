/* The copy of one run: it is what a database would be that had only ever had that run. */
#include <sqlite3.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/store/describe.h"
#include "lib/store/extract.h"
#include "tests/store/fixture.h"

static const plan first = {.items = 6,
                           .configs = 2,
                           .channels = PM_CHANNELS_FULL,
                           .heat_maps = PM_HEAT_MAPS_F16,
                           .evaluation = "zero:0,0.25,0.5",
                           .name = "first"};
/* Four images of its own and two of the first's. */
static const plan second = {.items = 6, .configs = 1, .first_image = 4, .name = "second"};

static void target_of(const scratch *s, const char *name, char out[200]) {
    snprintf(out, 200, "%s/%s", s->folder, name);
}

static pm_sha256 hash_of(const char *path) {
    pm_sha256 hash;
    if (pm_sha256_file(path, &hash)) fail_msg("%s", pm_error_text());
    return hash;
}

/* The numbers that a statement gives, through SQLite itself. */
static int64_t number_in(const char *path, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *row;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &row, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    int64_t value = sqlite3_step(row) == SQLITE_ROW ? sqlite3_column_int64(row, 0) : -1;
    sqlite3_finalize(row);
    sqlite3_close(db);
    return value;
}

static void extract(const scratch *s, uint64_t run, unsigned without, const char *target) {
    if (pm_store_extract(s->path, run, without, NULL, target)) fail_msg("%s", pm_error_text());
}

static void a_copy_is_what_a_database_of_that_run_alone_would_be(void **state) {
    scratch *s = *state;
    scratch alone = *s;
    char target[200];
    target_of(s, "copy.db", target);
    snprintf(alone.path, sizeof alone.path, "%.60s/alone.db", s->folder);
    pm_store *store = open_store(&alone);
    whole_run(store, &first);
    close_store(&store);
    store = open_store(s);
    assert_int_equal(whole_run(store, &first), 1);
    assert_int_equal(whole_run(store, &(plan){.items = 3, .configs = 1, .first_image = 50}), 2);
    close_store(&store);
    extract(s, 1, 0, target);
    char *want = dump_of(alone.path), *got = dump_of(target);
    /* The other run's images count in the sums of the configuration that they share; those are no
     * part of the dump. */
    assert_string_equal(got, want);
    assert_true(strlen(want) > 5000);
    free(want);
    free(got);
}

static void a_result_that_another_run_computed_says_this_run(void **state) {
    scratch *s = *state;
    char target[200];
    target_of(s, "copy.db", target);
    pm_store *store = open_store(s);
    whole_run(store, &first);
    uint64_t run = whole_run(store, &second);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT results_reused FROM run WHERE run_id = 2"), 2);
    extract(s, run, 0, target);
    assert_int_equal(number_in(target, "SELECT count(*) FROM run"), 1);
    assert_int_equal(number_in(target, "SELECT count(*) FROM result_wide"), 6);
    assert_int_equal(number_in(target, "SELECT count(*) FROM result WHERE run_id <> 2"), 0);
    assert_int_equal(number_in(target, "SELECT count(*) FROM image"), 6);
    assert_int_equal(number_in(target, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_int_equal(number_in(target, "SELECT count(*) FROM pragma_integrity_check"
                                       " WHERE integrity_check <> 'ok'"),
                     0);
}

static void the_copy_is_one_plain_file_that_a_broker_opens(void **state) {
    scratch *s = *state;
    scratch copy = *s;
    char beside[300];
    snprintf(copy.path, sizeof copy.path, "%.60s/copy.db", s->folder);
    pm_store *store = open_store(s);
    whole_run(store, &first);
    close_store(&store);
    extract(s, 1, 0, copy.path);
    snprintf(beside, sizeof beside, "%s-wal", copy.path);
    assert_int_not_equal(access(beside, F_OK), 0);
    /* Bytes 18 and 19 of a database file are 1 in rollback mode and 2 in WAL mode
     * (https://www.sqlite.org/fileformat.html). */
    uint8_t *bytes;
    size_t size;
    assert_int_equal(pm_file_read(copy.path, (size_t)1 << 30, &bytes, &size), PM_OK);
    assert_int_equal(bytes[18], 1);
    assert_int_equal(bytes[19], 1);
    free(bytes);
    store = open_store(&copy);
    assert_int_equal(whole_run(store, &first), 1); /* the same request is the same run */
    whole_run(store, &second);
    close_store(&store);
}

static void the_source_stays_as_it_is_also_beside_its_writer(void **state) {
    scratch *s = *state;
    char target[200], log[200];
    target_of(s, "copy.db", target);
    snprintf(log, sizeof log, "%s-wal", s->path);
    pm_store *store = open_store(s);
    whole_run(store, &first);
    pm_sha256 file = hash_of(s->path), wal = hash_of(log);
    extract(s, 1, 0, target); /* the store is open, its commits are in the log */
    pm_sha256 file_after = hash_of(s->path), wal_after = hash_of(log);
    assert_true(pm_sha256_equal(&file, &file_after) && pm_sha256_equal(&wal, &wal_after));
    assert_int_equal(number_in(target, "SELECT count(*) FROM result"), 12);
    whole_run(store, &second);
    close_store(&store);
    file = hash_of(s->path);
    unlink(target);
    extract(s, 1, 0, target);
    file_after = hash_of(s->path);
    assert_true(pm_sha256_equal(&file, &file_after));
}

static void what_stays_behind_is_not_claimed(void **state) {
    scratch *s = *state;
    char target[200];
    unsigned without = 0, bit;
    static const char *const names[] = {"heat_map", "channel_gradient_item", "perturbation",
                                        "layer_gradient"};
    target_of(s, "copy.db", target);
    pm_store *store = open_store(s);
    whole_run(store, &first);
    close_store(&store);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pm_extract_part_parse(names[i], &bit), PM_OK);
        without |= bit;
    }
    extract(s, 1, without, target);
    assert_int_equal(number_in(target, "SELECT (SELECT count(*) FROM heat_map)"
                                       " + (SELECT count(*) FROM channel_gradient_item)"
                                       " + (SELECT count(*) FROM perturbation)"
                                       " + (SELECT count(*) FROM layer_gradient)"),
                     0);
    assert_int_equal(number_in(target, "SELECT count(*) FROM result WHERE heat_map_kept <> 0"
                                       " OR channels_kept <> 1 OR evaluation <> ''"),
                     0);
    assert_int_equal(number_in(target, "SELECT count(*) FROM result"), 12);
    assert_int_equal(pm_extract_part_parse("result", &bit), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "heat_map"));
}

static void open_tasks_go_along(void **state) {
    scratch *s = *state;
    char target[200];
    target_of(s, "copy.db", target);
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&first);
    apply(store, submit, PM_OK);
    pm_op *record = record_op(&first, &submit->submit.made.rows[0], 0);
    apply(store, record, PM_OK);
    pm_op_free(&record);
    pm_op_free(&submit);
    extract(s, 1, 0, target);
    close_store(&store);
    assert_int_equal(number_in(target, "SELECT items_done FROM run_progress"), 1);
    assert_int_equal(number_in(target, "SELECT count(*) FROM result"), 2);
}

static void a_run_that_is_not_there_leaves_no_file(void **state) {
    scratch *s = *state;
    char target[200];
    target_of(s, "copy.db", target);
    pm_store *store = open_store(s);
    whole_run(store, &first);
    close_store(&store);
    assert_int_equal(pm_store_extract(s->path, 7, 0, NULL, target), PM_E_NOT_FOUND);
    assert_int_not_equal(access(target, F_OK), 0);
    assert_int_equal(pm_store_extract(s->path, 1, 0, NULL, s->path),
                     PM_E_IO); /* never over a file */
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 12);
}

static void an_older_schema_is_told_and_not_guessed(void **state) {
    scratch *s = *state;
    char target[200];
    sqlite3 *db;
    target_of(s, "copy.db", target);
    pm_store *store = open_store(s);
    close_store(&store);
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 3", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(pm_store_extract(s->path, 1, 0, NULL, target), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "schema 3"));
}

static pm_status take_number(void *user, size_t count, const pm_value *values) {
    (void)count;
    *(int64_t *)user = values[0].integer;
    return PM_OK;
}

static void a_held_query_does_not_see_what_comes_after(void **state) {
    scratch *s = *state;
    pm_query *query = NULL;
    int64_t rows = -1;
    const pm_query_sink sink = {.user = &rows, .row = take_number};
    pm_store *store = open_store(s);
    whole_run(store, &second);
    assert_int_equal(pm_query_open(s->path, &pm_query_default_limits, &query), PM_OK);
    assert_int_equal(pm_query_hold(query), PM_OK);
    whole_run(store, &first);
    assert_int_equal(ask(s, "SELECT count(*) FROM run"), 2);
    assert_int_equal(pm_query_run(query, "SELECT count(*) FROM run", NULL, 0, &sink, NULL), PM_OK);
    assert_int_equal(rows, 1);
    /* And it still only reads. */
    assert_int_equal(pm_query_run(query, "DELETE FROM run", NULL, 0, &sink, NULL), PM_E_DENIED);
    assert_int_equal(pm_query_run(query, "COMMIT", NULL, 0, &sink, NULL), PM_E_DENIED);
    pm_query_close(&query);
    close_store(&store);
}

static void comments_are_those_of_the_schema_s_last_word(void **state) {
    (void)state;
    char text[512];
    pm_schema_comment("result", "mu_in", text, sizeof text);
    assert_string_equal(text, "share of the heat map inside the first box");
    pm_schema_comment("result", "pointing", text, sizeof text); /* by ALTER TABLE */
    assert_non_null(strstr(text, "less than 15 px off"));
    pm_schema_comment("channel_statistics", "shapiro_p", text, sizeof text); /* made anew */
    assert_string_equal(text, "its p; 1 where W is undefined");
    pm_schema_comment("layer_gradient", NULL, text, sizeof text); /* of two lines */
    assert_string_equal(text, "The gradient at one hooked convolution's output. Spread: variance "
                              "over space of a sum over channels (absolute value for 1x1 maps).");
    pm_schema_comment("result", "nothing", text, sizeof text);
    assert_string_equal(text, "");
    pm_schema_comment("result", "nothing", text, 1);
    assert_string_equal(text, "");
}

#define SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH(a_copy_is_what_a_database_of_that_run_alone_would_be),
        SCRATCH(a_result_that_another_run_computed_says_this_run),
        SCRATCH(the_copy_is_one_plain_file_that_a_broker_opens),
        SCRATCH(the_source_stays_as_it_is_also_beside_its_writer),
        SCRATCH(what_stays_behind_is_not_claimed),
        SCRATCH(open_tasks_go_along),
        SCRATCH(a_run_that_is_not_there_leaves_no_file),
        SCRATCH(an_older_schema_is_told_and_not_guessed),
        SCRATCH(a_held_query_does_not_see_what_comes_after),
        cmocka_unit_test(comments_are_those_of_the_schema_s_last_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
