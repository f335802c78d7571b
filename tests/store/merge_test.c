/* Databases put together: as if all had been computed in one; conflicts; what is left to do. */
#include <sqlite3.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "tests/store/keep_support.h"

static const plan left = {.items = 10,
                          .configs = 3,
                          .channels = PM_CHANNELS_FULL,
                          .heat_maps = PM_HEAT_MAPS_F16,
                          .task_items = 4,
                          .evaluation = "zero:0,0.5"};
static const plan right = {.items = 12,
                           .configs = 3,
                           .channels = PM_CHANNELS_FULL,
                           .heat_maps = PM_HEAT_MAPS_F16,
                           .task_items = 4,
                           .first_image = 8, /* two images are in both */
                           .evaluation = "zero:0,0.5"};
static const plan both = {.items = 20,
                          .configs = 3,
                          .channels = PM_CHANNELS_FULL,
                          .heat_maps = PM_HEAT_MAPS_F16,
                          .evaluation = "zero:0,0.5"};
static const plan gathering = {.items = 5, .configs = 1, .gather = true, .name = "gather"};

static pm_merge_counts merge_as(const pm_merge_plan *p, pm_status want, const char *words) {
    pm_merge_counts counts = {0};
    pm_status status = pm_store_merge(p, &counts);
    if (status != want || (words && !strstr(pm_error_text(), words)))
        fail_msg("%s (%s), not %s with '%s'", pm_status_name(status), status ? pm_error_text() : "",
                 pm_status_name(want), words ? words : "");
    return counts;
}

static pm_merge_counts merge_out(const scratch *const *sources, size_t count, const scratch *out) {
    const char *paths[4];
    for (size_t i = 0; i < count; i++) paths[i] = sources[i]->path;
    return merge_as(&(pm_merge_plan){.sources = paths, .source_count = count, .out = out->path},
                    PM_OK, NULL);
}

static pm_merge_counts merge_into(const scratch *source, const scratch *into) {
    const char *paths[] = {source->path};
    return merge_as(&(pm_merge_plan){.sources = paths, .source_count = 1, .into = into->path},
                    PM_OK, NULL);
}

static void refused(const scratch *source, const scratch *into, pm_status want, const char *words) {
    const char *paths[] = {source->path};
    char *before = dump_of(into->path);
    merge_as(&(pm_merge_plan){.sources = paths, .source_count = 1, .into = into->path}, want,
             words);
    char *after = dump_of(into->path);
    assert_string_equal(before, after);
    free(before);
    free(after);
    assert_whole(into);
}

/* ---- the schema ---- */

static bool names(const char *sql, const char *column) {
    const size_t length = strlen(column);
    for (const char *at = sql; (at = strstr(at, column)); at += length) {
        const char before = at == sql ? ' ' : at[-1], behind = at[length];
        if ((before == ' ' || before == '(') && (behind == ',' || behind == ')')) return true;
    }
    return false;
}

static const pm_table *find_table(const char *name) {
    for (const pm_table *t = pm_store_tables; t->name; t++)
        if (strcmp(t->name, name) == 0) return t;
    return NULL;
}

/* A column is carried by an INSERT, or put in by an UPDATE. */
static bool is_carried(const char *table, const char *column) {
    char insert[80], update[80], set[80];
    snprintf(insert, sizeof insert, "INTO main.%s (", table);
    snprintf(update, sizeof update, "UPDATE main.%s ", table);
    snprintf(set, sizeof set, " %s = ", column);
    const char *sql;
    for (size_t i = 0; (sql = pm_merge_statement(i)); i++) {
        const char *at = strstr(sql, insert);
        const char *end = at ? strchr(at, ')') : NULL;
        char list[700];
        if (at && end) {
            snprintf(list, sizeof list, "%.*s)", (int)(end - at), at);
            if (names(list, column)) return true;
        }
        if (strstr(sql, update) && strstr(sql, set)) return true;
    }
    return false;
}

static int check_column(void *user, int count, char **values, char **columns) {
    (void)user;
    (void)count;
    (void)columns;
    const pm_table *table = find_table(values[0]);
    if (!table) fail_msg("table %s is not in lib/store/tables.c", values[0]);
    if (table->kind != PM_TABLE_MERGED) return 0;
    if (table->id && strcmp(table->id, values[1]) == 0) return 0;
    if (!is_carried(values[0], values[1]))
        fail_msg("a merge leaves out %s.%s (lib/store/merge_rows.c)", values[0], values[1]);
    return 0;
}

static void every_table_and_column_is_taken_along_or_named(void **state) {
    scratch *s = *state;
    sqlite3 *db = NULL;
    pm_store *store = open_store(s);
    close_store(&store);
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    const char *sql = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name)"
                      " AS c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    assert_int_equal(sqlite3_exec(db, sql, check_column, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* ---- as one ---- */

static void shards_are_as_one_database(void **state) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db"), c = beside(*state, "c.db");
    scratch out = beside(*state, "out.db"), one = beside(*state, "one.db");
    make_db(&a, (const plan *const[]){&left}, 1);
    make_db(&b, (const plan *const[]){&right}, 1);
    make_db(&c, (const plan *const[]){&gathering}, 1);
    make_db(&one, (const plan *const[]){&left, &right, &gathering}, 3);
    const pm_sha256 before = hash_of_file(b.path);
    pm_merge_counts n = merge_out((const scratch *const[]){&a, &b, &c}, 3, &out);
    assert_int_equal(n.runs, 3);
    assert_int_equal(n.images, 20);
    assert_int_equal(n.results, 65);
    assert_int_equal(n.same, 6);
    assert_int_equal(n.items_open, 0);
    assert_whole(&out);
    assert_same_dump(&out, &one);
    /* What is kept of the runs is of all that is there now. */
    assert_int_equal(ask(&out, "SELECT count(*) FROM run WHERE summarised <> 1"), 0);
    assert_int_equal(ask(&out, "SELECT sum(n) FROM score WHERE measure = 'p_target'"),
                     ask(&one, "SELECT sum(n) FROM score WHERE measure = 'p_target'"));
    const pm_sha256 after = hash_of_file(b.path);
    assert_true(pm_sha256_equal(&before, &after));
    for (size_t i = 0; i < 3; i++) assert_sums(&out, i, 0, 20);
    /* The other way round, and into one of them. */
    scratch turned = beside(*state, "turned.db");
    merge_out((const scratch *const[]){&c, &b, &a}, 3, &turned);
    assert_same_dump(&turned, &one);
    merge_into(&b, &a);
    merge_into(&c, &a);
    assert_same_dump(&a, &one);
    n = merge_into(&c, &a); /* again: nothing */
    assert_int_equal(n.runs + n.images + n.results + n.completed, 0);
    assert_same_dump(&a, &one);
    /* Nothing is computed again. */
    assert_int_equal(complete(&out, &left), 0);
    assert_int_equal(complete(&out, &right), 0);
    assert_int_equal(complete(&out, &gathering), 0);
    pm_store *store = open_store(&out);
    pm_op *op = submit_op(&both);
    apply(store, op, PM_OK);
    assert_false(op->submit.existed);
    assert_int_equal(op->submit.items_open, 0);
    assert_int_equal(op->submit.results_reused, 60);
    pm_op_free(&op);
    close_store(&store);
}

static void unfinished_shard_goes_on(void **state) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db");
    scratch out = beside(*state, "out.db"), one = beside(*state, "one.db");
    make_db(&a, (const plan *const[]){&left}, 1);
    record_range(&b, &right, 0, 3); /* images 8 to 10; 8 and 9 are in the other */
    make_db(&one, (const plan *const[]){&left, &right}, 2);
    pm_merge_counts n = merge_out((const scratch *const[]){&a, &b}, 2, &out);
    assert_int_equal(n.items_open, 9);
    assert_int_equal(complete(&out, &right), 9);
    assert_same_dump(&out, &one);
    assert_sums(&out, 1, 0, 20);
}

/* What the other has already is not computed again. */
static void open_run_shrinks_by_what_is_imported(void **state) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db"), one = beside(*state, "one.db");
    record_range(&a, &both, 0, 1);
    make_db(&b, (const plan *const[]){&right}, 1);
    pm_merge_counts n = merge_into(&b, &a);
    assert_int_equal(n.items_open, 7);
    assert_int_equal(complete(&a, &both), 7);
    make_db(&one, (const plan *const[]){&both, &right}, 2);
    assert_same_dump(&a, &one);
    assert_sums(&a, 2, 0, 20);
}

static void same_run_in_both_has_open_what_neither_did(void **state) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db"), one = beside(*state, "one.db");
    scratch out = beside(*state, "out.db");
    record_range(&a, &left, 0, 2);
    copy_db(&a, &b);
    record_range(&a, &left, 2, 4);
    record_range(&b, &left, 4, 7);
    pm_merge_counts n = merge_out((const scratch *const[]){&a, &b}, 2, &out);
    assert_int_equal(n.runs, 1);
    assert_int_equal(n.runs_both, 1);
    assert_int_equal(n.items_open, 3);
    assert_int_equal(complete(&out, &left), 3);
    make_db(&one, (const plan *const[]){&left}, 1);
    assert_same_dump(&out, &one);
    assert_sums(&out, 1, 0, 10);
    /* One of the two did it to the end. */
    complete(&b, &left);
    n = merge_into(&b, &a);
    assert_int_equal(n.items_open, 0);
    assert_same_dump(&a, &one);
}

static void two_halves_of_a_run_are_a_run_that_is_done(void **state) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db"), one = beside(*state, "one.db");
    const plan thin = {.items = 8, .configs = 2, .channels = PM_CHANNELS_SUMMARY, .task_items = 4};
    record_range(&a, &thin, 0, 4);
    record_range(&b, &thin, 4, 8);
    pm_merge_counts n = merge_into(&b, &a);
    assert_int_equal(n.items_open, 0);
    make_db(&one, (const plan *const[]){&thin}, 1);
    assert_same_dump(&a, &one);
    assert_sums(&a, 1, 0, 8);
}

static void item_set_aside_stays_alone(void **state) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db");
    make_db(&a, (const plan *const[]){&gathering}, 1);
    record_range(&b, &left, 0, 1);
    pm_store *store = open_store(&b);
    pm_op *op =
        crash_op(PM_OP_SET_ASIDE, (uint64_t)ask(&b, "SELECT min(task_id) FROM task"), 2, "SIGSEGV");
    apply(store, op, PM_OK);
    pm_op_free(&op);
    close_store(&store);
    merge_into(&b, &a);
    assert_int_equal(ask(&a, "SELECT count(*) FROM task WHERE alone AND crashes = 1"
                             " AND next_item = 2 AND end_item = 3"),
                     1);
    assert_int_equal(ask(&a, "SELECT count(*) FROM failure"), 1);
    assert_int_equal(complete(&a, &left), 9);
    merge_into(&b, &a); /* the diary is not doubled */
    assert_int_equal(ask(&a, "SELECT count(*) FROM failure"), 1);
    assert_int_equal(ask(&a, "SELECT count(*) FROM run WHERE state = 'done'"), 2);
}

static void cancelled_run_stays_cancelled_unless_the_other_did_it(void **state) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db");
    record_range(&a, &left, 0, 2);
    record_range(&b, &left, 0, 5);
    pm_store *store = open_store(&a);
    pm_op *op = run_op(PM_OP_CANCEL, 1);
    apply(store, op, PM_OK);
    pm_op_free(&op);
    close_store(&store);
    merge_into(&b, &a);
    assert_int_equal(ask(&a, "SELECT items_dropped FROM run WHERE state = 'cancelled'"), 5);
    assert_int_equal(ask(&a, "SELECT count(*) FROM task"), 0);
    complete(&b, &left);
    merge_into(&b, &a);
    assert_int_equal(ask(&a, "SELECT items_dropped FROM run WHERE state = 'done'"), 0);
    assert_same_dump(&a, &b);
}

/* If one statement set each result against each, this would not end within ctest's patience. */
static void many_results_take_their_time_once(void **state) {
    static const plan few = {.items = 2, .configs = 3, .channels = PM_CHANNELS_NONE};
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db");
    make_db(&a, (const plan *const[]){&few}, 1);
    execute(&a,
            "INSERT INTO image WITH RECURSIVE n (i) AS (VALUES (10) UNION ALL SELECT i + 1"
            " FROM n WHERE i < 12000) SELECT i, i, 1, 1, '', 1, 1 FROM n;"
            "INSERT INTO data_set_item SELECT 1, image_id, image_id, image_id FROM image"
            " WHERE image_id >= 10;"
            "INSERT INTO result (configuration_id, image_id, run_id, target, predicted,"
            " p_target, p_predicted, recorded_ms, channels_kept, heat_map_kept)"
            " SELECT configuration_id, image_id, 1, 1, 1, 0.5, 0.5, 1, 0, 0"
            " FROM configuration, image WHERE image_id >= 10;"
            "INSERT INTO layer_gradient SELECT r.configuration_id, r.image_id, l.layer_id, 1,"
            " NULL, NULL, NULL, 1, 1, 1, 1 FROM result AS r, layer AS l WHERE r.image_id >= 10");
    copy_db(&a, &b);
    execute(&b, "INSERT INTO heat_map SELECT configuration_id, image_id, 1, 'f16', x'00', 1"
                " FROM result; UPDATE result SET heat_map_kept = 1");
    pm_merge_counts n = merge_into(&b, &a);
    assert_int_equal(n.completed, 3 * 11993);
    assert_same_dump(&a, &b);
    pm_prune_counts gone;
    assert_int_equal(pm_store_prune(a.path, &(pm_prune_plan){.heat_maps = true}, &gone), PM_OK);
    assert_int_equal(gone.heat_maps.rows, 3 * 11993);
    if (pm_store_prune(a.path, &(pm_prune_plan){.run = 1, .orphans = true}, &gone))
        fail_msg("%s", pm_error_text());
    assert_whole(&a);
}

/* ---- what one kept and the other did not ---- */

static void what_one_kept_in_addition_is_added(void **state) {
    static const plan bare = {.items = 6, .configs = 2, .channels = PM_CHANNELS_NONE},
                      rich = {.items = 6,
                              .configs = 2,
                              .channels = PM_CHANNELS_FULL,
                              .heat_maps = PM_HEAT_MAPS_F32,
                              .evaluation = "zero:0,0.5"},
                      small = {.items = 6,
                               .configs = 2,
                               .channels = PM_CHANNELS_SUMMARY,
                               .heat_maps = PM_HEAT_MAPS_F16};
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db"), c = beside(*state, "c.db");
    scratch one = beside(*state, "one.db"), out = beside(*state, "out.db");
    scratch turned = beside(*state, "turned.db");
    make_db(&a, (const plan *const[]){&bare}, 1);
    make_db(&b, (const plan *const[]){&small}, 1);
    make_db(&c, (const plan *const[]){&rich}, 1);
    make_db(&one, (const plan *const[]){&bare, &small, &rich}, 3);
    pm_merge_counts n = merge_out((const scratch *const[]){&a, &b, &c}, 3, &out);
    assert_int_equal(n.results, 12);
    assert_int_equal(n.completed, 24);
    assert_same_dump(&out, &one);
    assert_sums(&out, 1, 0, 6);
    merge_out((const scratch *const[]){&c, &a, &b}, 3, &turned);
    assert_same_dump(&turned, &one);
    assert_sums(&turned, 1, 0, 6);
}

static void errors_give_way_to_numbers(void **state) {
    static const plan p = {.items = 3, .configs = 2, .channels = PM_CHANNELS_SUMMARY};
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db"), c = beside(*state, "c.db");
    make_db(&b, (const plan *const[]){&p}, 1);
    pm_store *store = open_store(&a);
    pm_op *op = submit_op(&p);
    apply(store, op, PM_OK);
    pm_op *bad = record_error_op(&p, &op->submit.made.rows[0], 0);
    apply(store, bad, PM_OK);
    pm_op_free(&bad);
    pm_op_free(&op);
    close_store(&store);
    complete(&a, &p);
    copy_db(&a, &c);
    pm_merge_counts n = merge_into(&b, &a);
    assert_int_equal(n.replaced, 2);
    assert_int_equal(ask(&a, "SELECT count(*) FROM result WHERE error IS NOT NULL"), 0);
    assert_int_equal(ask(&a, "SELECT count(*) FROM result"), 6);
    assert_same_dump(&a, &b);
    assert_sums(&a, 1, 0, 3);
    n = merge_into(&c, &b); /* and do not take the place of any */
    assert_int_equal(n.replaced + n.results, 0);
    assert_same_dump(&a, &b);
    assert_sums(&b, 1, 0, 3);
}

/* ---- refused ---- */

static void other_numbers_are_a_conflict(void **state) {
    static const struct {
        const char *sql, *column;
    } ills[] = {
        {"UPDATE result SET mu_in = mu_in + 1e-15 WHERE mu_in IS NOT NULL", "result.mu_in "},
        {"UPDATE result SET target = 7, p_predicted = 0.1", "result.target, p_predicted "},
        {"UPDATE result SET deletion_auc = 0", "result.deletion_auc "},
        {"UPDATE layer_gradient SET variance_after = 3", "layer_gradient.variance_after "},
        {"UPDATE perturbation SET lodds = NULL", "perturbation.lodds "},
        {"UPDATE channel_gradient_item SET in_h = zeroblob(length(in_h))",
         "channel_gradient_item.in_h "},
    };
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db"), c = beside(*state, "c.db");
    scratch out = beside(*state, "out.db");
    make_db(&a, (const plan *const[]){&left}, 1);
    for (size_t i = 0; i < sizeof ills / sizeof *ills; i++) {
        copy_db(&a, &b);
        execute(&b, ills[i].sql);
        refused(&b, &a, PM_E_MISMATCH, ills[i].column);
        assert_non_null(strstr(pm_error_text(), a.path));
        assert_non_null(strstr(pm_error_text(), b.path));
        assert_non_null(strstr(pm_error_text(), ".jpg"));
    }
    /* Of three files, the two that do not agree. */
    make_db(&c, (const plan *const[]){&gathering}, 1);
    const char *paths[] = {c.path, a.path, b.path};
    merge_as(&(pm_merge_plan){.sources = paths, .source_count = 3, .out = out.path}, PM_E_MISMATCH,
             "a.db and ");
    assert_int_not_equal(access(out.path, F_OK), 0);
    char left_over[128];
    snprintf(left_over, sizeof left_over, "%s.merging", out.path);
    assert_int_not_equal(access(left_over, F_OK), 0);
}

static void files_that_do_not_fit_are_refused(void **state) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b 100%?#.db");
    make_db(&a, (const plan *const[]){&left}, 1);
    make_db(&b, (const plan *const[]){&right}, 1);
    refused(&a, &a, PM_E_USAGE, "itself");
    execute(&b, "PRAGMA user_version = 3");
    refused(&b, &a, PM_E_MISMATCH, "has schema 3");
    execute(&b, "PRAGMA user_version = 999");
    refused(&b, &a, PM_E_MISMATCH, "newer parchmill");
    execute(&b, "PRAGMA application_id = 1");
    refused(&b, &a, PM_E_MISMATCH, "not a parchmill database");
    const char *paths[] = {a.path};
    merge_as(&(pm_merge_plan){.sources = paths, .source_count = 1, .out = b.path}, PM_E_USAGE,
             "is there already");
    pm_store *held = open_store(&a);
    merge_as(
        &(pm_merge_plan){.sources = (const char *[]){b.path}, .source_count = 1, .into = a.path},
        PM_E_BUSY, "another broker");
    /* A source may be at work. */
    scratch out = beside(*state, "out.db"), one = beside(*state, "one.db");
    merge_out((const scratch *const[]){&a}, 1, &out);
    close_store(&held);
    make_db(&one, (const plan *const[]){&left}, 1);
    assert_same_dump(&out, &one);
}

/* What a merge that was killed left goes, anything else stays and is named. */
static void file_in_the_way_is_let_be(void **state) {
    static const char *const foreign[] = {"x\n", "a note that is somewhat longer\n"};
    scratch a = beside(*state, "a.db"), out = beside(*state, "out.db"), other = beside(*state, "x");
    char way[sizeof out.path + 16];
    const pm_merge_plan p = {
        .sources = (const char *[]){a.path}, .source_count = 1, .out = out.path};
    make_db(&a, (const plan *const[]){&left}, 1);
    make_db(&other, (const plan *const[]){&right}, 1);
    snprintf(way, sizeof way, "%s.merging", out.path);
    for (size_t i = 0; i < 2; i++) {
        uint8_t *bytes = NULL;
        size_t size = 0;
        assert_int_equal(pm_file_write(way, foreign[i], strlen(foreign[i])), PM_OK);
        merge_as(&p, PM_E_MISMATCH, "out.db.merging is in the way");
        assert_int_equal(pm_file_read(way, 1000, &bytes, &size), PM_OK);
        assert_int_equal(size, strlen(foreign[i]));
        assert_memory_equal(bytes, foreign[i], size);
        free(bytes);
    }
    assert_int_equal(unlink(way), 0);
    assert_int_equal(symlink(other.path, way), 0);
    merge_as(&p, PM_E_MISMATCH, "out.db.merging is in the way");
    assert_int_equal(unlink(way), 0);
    assert_int_equal(rename(other.path, way), 0);
    merge_out((const scratch *const[]){&a}, 1, &out);
    assert_same_dump(&out, &a);
    assert_int_not_equal(access(way, F_OK), 0);
}

/* ---- statistics ---- */

static pm_status two_channels(void *user, size_t conv, pm_statistics_layer *out) {
    static const double mean[] = {1, 2}, p[] = {0.5, 0.25};
    static const float welch[] = {0.5f, 0.125f};
    (void)user;
    (void)conv;
    *out = (pm_statistics_layer){
        .name = "conv1", .channels = 2, .density = 0.5, .mean = mean, .p = p, .welch_p = welch};
    return PM_OK;
}

static void keep_statistics(const scratch *s, const char *name, const char *numbers,
                            uint64_t run_id) {
    static const uint32_t class = 1;
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&gathering), *op = pm_op_new(PM_OP_STATISTICS);
    snprintf(op->statistics.name, sizeof op->statistics.name, "%s", name);
    snprintf(op->statistics.note, sizeof op->statistics.note, "a note");
    op->statistics.sha256 = pm_sha256_of(numbers, strlen(numbers));
    op->statistics.size_bytes = 99;
    op->statistics.spec = submit->submit.spec;
    op->statistics.run_id = run_id;
    op->statistics.class_count = 1;
    op->statistics.classes = &class;
    op->statistics.layer_count = 1;
    op->statistics.layer = two_channels;
    apply(store, op, PM_OK);
    pm_op_free(&op);
    pm_op_free(&submit);
    close_store(&store);
}

static void statistics_come_along_with_their_origin(void **state) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db"), one = beside(*state, "one.db");
    make_db(&a, (const plan *const[]){&left}, 1);
    make_db(&b, (const plan *const[]){&gathering}, 1);
    keep_statistics(&b, "tiny", "statistics", 1); /* which configurations 1 and 2 of `left` use */
    make_db(&one, (const plan *const[]){&left, &gathering}, 2);
    keep_statistics(&one, "tiny", "statistics", 2);
    merge_into(&b, &a);
    assert_whole(&a);
    assert_same_dump(&a, &one);
    assert_int_equal(ask(&a, "SELECT count(*) FROM statistics AS s JOIN configuration AS c"
                             " USING (configuration_id) JOIN data_set USING (data_set_id)"
                             " WHERE c.method = 'gather' AND s.name = 'tiny'"),
                     1);
    scratch c = beside(*state, "c.db");
    make_db(&c, (const plan *const[]){&gathering}, 1);
    keep_statistics(&c, "tiny", "others", 1);
    refused(&c, &a, PM_E_MISMATCH, "the statistics 'tiny' of ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_table_and_column_is_taken_along_or_named,
                                        scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(shards_are_as_one_database, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(unfinished_shard_goes_on, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(open_run_shrinks_by_what_is_imported, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(same_run_in_both_has_open_what_neither_did, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(two_halves_of_a_run_are_a_run_that_is_done, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(item_set_aside_stays_alone, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(cancelled_run_stays_cancelled_unless_the_other_did_it,
                                        scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(many_results_take_their_time_once, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(what_one_kept_in_addition_is_added, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(errors_give_way_to_numbers, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(other_numbers_are_a_conflict, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(file_in_the_way_is_let_be, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(files_that_do_not_fit_are_refused, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(statistics_come_along_with_their_origin, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
