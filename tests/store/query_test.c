/* The reader: reads live and closed files, changes nothing, ends what does not end. */
#include "lib/base/clock.h"
#include "tests/store/fixture.h"

static const plan small = {.items = 4, .configs = 2, .channels = PM_CHANNELS_SUMMARY};

typedef struct seen {
    size_t columns, rows;
    char names[64][32];
    pm_value last;
} seen;

static pm_status see_columns(void *user, size_t count, const char *const *names,
                             const char *const *types) {
    seen *s = user;
    assert_non_null(types[0]);
    s->columns = count;
    for (size_t i = 0; i < count && i < 64; i++)
        snprintf(s->names[i], sizeof s->names[i], "%s", names[i]);
    return PM_OK;
}

static pm_status see_row(void *user, size_t count, const pm_value *values) {
    seen *s = user;
    s->rows++;
    s->last = values[count - 1];
    return PM_OK;
}

static pm_status run(pm_query *query, const char *sql, seen *out) {
    *out = (seen){0};
    const pm_query_sink sink = {.user = out, .columns = see_columns, .row = see_row};
    return pm_query_run(query, sql, NULL, 0, &sink, NULL);
}

static pm_query *open_query(const scratch *s, const pm_query_limits *limits) {
    pm_query *query = NULL;
    if (pm_query_open(s->path, limits, &query)) fail_msg("open: %s", pm_error_text());
    return query;
}

static void reads_live_and_closed_files(void **state) {
    scratch *s = *state;
    seen out;
    pm_store *store = open_store(s);
    pm_query *query = open_query(s, &pm_query_default_limits);
    assert_int_equal(run(query, "SELECT * FROM result", &out), PM_OK);
    assert_int_equal(out.rows, 0);
    assert_true(out.columns > 10); /* names come without rows, too */
    whole_run(store, &small);
    assert_int_equal(run(query, "SELECT * FROM result", &out), PM_OK);
    assert_int_equal(out.rows, 8);
    pm_query_close(&query);
    close_store(&store);
    query = open_query(s, &pm_query_default_limits);
    assert_int_equal(run(query, "SELECT * FROM result; -- and a comment", &out), PM_OK);
    assert_int_equal(out.rows, 8);
    pm_query_close(&query);
}

static void result_wide_has_the_agreed_columns(void **state) {
    scratch *s = *state;
    static const char *const want[] = {"run",
                                       "model",
                                       "data_set",
                                       "image",
                                       "label",
                                       "configuration",
                                       "method",
                                       "mask",
                                       "quantile",
                                       "alpha",
                                       "layers",
                                       "gamma",
                                       "variance_conservation",
                                       "target",
                                       "predicted",
                                       "p_target",
                                       "p_predicted",
                                       "mu_in",
                                       "mu_in_w",
                                       "mu_out",
                                       "mu_out_w",
                                       "ms",
                                       "worker",
                                       "error",
                                       "energy_in",
                                       "pointing",
                                       "box_reason",
                                       "evaluation",
                                       "deletion_auc",
                                       "insertion_auc",
                                       "completeness_gap",
                                       "steps",
                                       "baseline",
                                       "samples",
                                       "sigma",
                                       "seed",
                                       "guided",
                                       "cam_layer",
                                       "boxes",
                                       "input",
                                       "transform_input",
                                       "stage",
                                       "reason",
                                       "hint"};
    seen out;
    pm_store *store = open_store(s);
    whole_run(store, &small);
    pm_query *query = open_query(s, &pm_query_default_limits);
    assert_int_equal(run(query, "SELECT * FROM result_wide", &out), PM_OK);
    assert_int_equal(out.rows, 8);
    assert_int_equal(out.columns, sizeof want / sizeof *want);
    for (size_t i = 0; i < out.columns; i++) assert_string_equal(out.names[i], want[i]);
    assert_int_equal(run(query, "SELECT * FROM layer_gradient_wide", &out), PM_OK);
    assert_int_equal(out.rows, 8 * LAYERS);
    assert_int_equal(run(query, "SELECT count(label_name) FROM result_named", &out), PM_OK);
    assert_int_equal(out.last.integer, 2); /* image 1 is a tench, twice attributed */
    pm_query_close(&query);
    close_store(&store);
}

static void nothing_but_reading_is_let_through(void **state) {
    scratch *s = *state;
    seen out;
    pm_store *store = open_store(s);
    whole_run(store, &small);
    close_store(&store);
    char *before = dump_of(s->path);
    pm_query *query = open_query(s, &pm_query_default_limits);
    static const char *const denied[] = {
        "DELETE FROM result",
        "UPDATE run SET name = 'x'",
        "UPDATE sqlite_schema SET sql = ''",
        "UPDATE sqlite_master SET rootpage = 2",
        "INSERT INTO broker VALUES (1, x'00', 'h', 1, 1)",
        "DROP TABLE result",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x AS SELECT * FROM result",
        "CREATE TEMP VIEW x AS SELECT 1",
        "ATTACH '/tmp/other.db' AS other",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO '/tmp/copy.db'",
        "REINDEX",
        "ANALYZE",
        "BEGIN",
        "SAVEPOINT x",
        "PRAGMA writable_schema = 1",
        "PRAGMA user_version = 7",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA wal_checkpoint",
        "PRAGMA query_only = 0",
        "PRAGMA hard_heap_limit = 1",
        "PRAGMA temp_store_directory = '/tmp'",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT fts3_tokenizer('simple', x'4141414141414141')",
        "WITH x AS (SELECT 1) DELETE FROM result",
    };
    for (size_t i = 0; i < sizeof denied / sizeof *denied; i++) {
        pm_status status = run(query, denied[i], &out);
        if (status != PM_E_DENIED && status != PM_E_USAGE)
            fail_msg("%s: %s", denied[i], pm_status_name(status));
    }
    static const char *const wrong[] = {"SELEC 1", "SELECT 1; SELECT 2", "", "-- nothing",
                                        "SELECT 1; DELETE FROM result"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(run(query, wrong[i], &out), PM_E_USAGE);
    static const char *const fine[] = {"PRAGMA table_info(result)",
                                       "PRAGMA user_version",
                                       "SELECT * FROM pragma_table_info('result')",
                                       "EXPLAIN QUERY PLAN SELECT * FROM result_wide",
                                       "SELECT sql FROM sqlite_schema",
                                       "VALUES (1), (2)"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (run(query, fine[i], &out)) fail_msg("%s: %s", fine[i], pm_error_text());
    pm_query_close(&query);
    char *after = dump_of(s->path);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void endless_query_is_stopped(void **state) {
    scratch *s = *state;
    seen out;
    pm_store *store = open_store(s);
    close_store(&store);
    const pm_query_limits limits = {.time_ms = 100, .rows_max = 5, .length_bytes = 100000};
    pm_query *query = open_query(s, &limits);
    int64_t start_ms = pm_clock_ms();
    assert_int_equal(run(query,
                         "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                         " SELECT sum(i) FROM n",
                         &out),
                     PM_E_TIMEOUT);
    assert_true(pm_clock_ms() - start_ms < 10000);
    assert_int_equal(run(query, "SELECT length(zeroblob(1000000))", &out), PM_E_LIMIT);
    bool cut = false;
    const pm_query_sink sink = {.user = &out, .row = see_row};
    out = (seen){0};
    const char *numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                          " SELECT i FROM n LIMIT ?1";
    const pm_value six = {.kind = PM_VALUE_INTEGER, .integer = 6},
                   five = {.kind = PM_VALUE_INTEGER, .integer = 5};
    assert_int_equal(pm_query_run(query, numbers, &six, 1, &sink, &cut), PM_OK);
    assert_true(cut && out.rows == 5);
    assert_int_equal(pm_query_run(query, numbers, &five, 1, &sink, &cut), PM_OK);
    assert_true(!cut && out.rows == 10);
    pm_query_close(&query);
}

static pm_status refuse_row(void *user, size_t count, const pm_value *values) {
    (void)user;
    (void)count;
    (void)values;
    return pm_fail(PM_E_CANCELLED, "enough");
}

/* One sort takes less than 10 MiB, in three files; two take more than 18. */
static void temporary_files_are_bounded_in_all(void **state) {
    scratch *s = *state;
    seen out;
    static const char one[] =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40000),"
        " a AS MATERIALIZED (SELECT i, randomblob(90) b FROM n ORDER BY b)"
        " SELECT max(i) FROM a";
    static const char two[] =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40000),"
        " a AS MATERIALIZED (SELECT i, randomblob(90) b FROM n ORDER BY b),"
        " c AS MATERIALIZED (SELECT i, randomblob(90) b FROM n ORDER BY b)"
        " SELECT (SELECT max(i) FROM a) + (SELECT max(i) FROM c) + (SELECT min(i) FROM a)";
    close_store(&(pm_store *){open_store(s)});
    pm_query_limits limits = pm_query_default_limits;
    pm_query *query = open_query(s, &limits);
    assert_int_equal(run(query, two, &out), PM_OK);
    pm_query_close(&query);
    limits.temporary_bytes = (size_t)14 << 20;
    query = open_query(s, &limits);
    assert_int_equal(run(query, one, &out), PM_OK);
    assert_int_equal(run(query, two, &out), PM_E_LIMIT);
    assert_string_equal(pm_error_text(), "SQL: it needs more than 14 MiB of temporary files");
    assert_int_equal(run(query, one, &out), PM_OK);
    pm_query_close(&query);
}

static void callback_ends_the_query(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    close_store(&store);
    pm_query *query = open_query(s, &pm_query_default_limits);
    const pm_query_sink sink = {.row = refuse_row};
    assert_int_equal(pm_query_run(query, "VALUES (1), (2)", NULL, 0, &sink, NULL), PM_E_CANCELLED);
    pm_query_close(&query);
    assert_int_equal(pm_query_open("/nonexistent.db", &pm_query_default_limits, &query),
                     PM_E_NOT_FOUND);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(reads_live_and_closed_files),
        STORE_TEST(result_wide_has_the_agreed_columns),
        STORE_TEST(nothing_but_reading_is_let_through),
        STORE_TEST(endless_query_is_stopped),
        STORE_TEST(temporary_files_are_bounded_in_all),
        STORE_TEST(callback_ends_the_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
