/* schema/sql: every table says what it is, every column what it holds; every table is STRICT. */
#include <sqlite3.h>

#include "lib/store/describe.h"
#include "tests/store/fixture.h"

static void every_table_view_and_column_has_its_comment(void **state) {
    scratch *s = *state;
    char comment[1024];
    pm_store *store = open_store(s);
    close_store(&store);
    sqlite3 *db;
    sqlite3_stmt *rows;
    size_t columns = 0, views = 0;
    assert_int_equal(sqlite3_open_v2(s->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    const char *sql = "SELECT l.name, l.type, l.strict, c.name FROM pragma_table_list AS l"
                      " JOIN pragma_table_info(l.name) AS c"
                      " WHERE l.schema = 'main' AND l.name NOT LIKE 'sqlite_%'";
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &rows, NULL), SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW) {
        const char *table = (const char *)sqlite3_column_text(rows, 0);
        const char *column = (const char *)sqlite3_column_text(rows, 3);
        if (strcmp((const char *)sqlite3_column_text(rows, 1), "view") == 0) {
            views++;
            pm_schema_comment(table, NULL, comment, sizeof comment);
            if (strlen(comment) < 8) fail_msg("view %s: no comment", table);
            continue;
        }
        columns++;
        if (!sqlite3_column_int(rows, 2)) fail_msg("table %s is not STRICT", table);
        pm_schema_comment(table, NULL, comment, sizeof comment);
        if (strlen(comment) < 8) fail_msg("table %s: no comment", table);
        pm_schema_comment(table, column, comment, sizeof comment);
        if (strlen(comment) < 5) fail_msg("%s.%s: no comment", table, column);
    }
    sqlite3_finalize(rows);
    sqlite3_close(db);
    assert_true(columns > 150 && views > 5);
}

static void the_agreed_tables_and_views_are_there(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    whole_run(store, &(plan){.items = 2, .configs = 2, .channels = PM_CHANNELS_FULL});
    close_store(&store);
    static const char *const names[] = {"model",
                                        "layer",
                                        "data_set",
                                        "image",
                                        "box",
                                        "statistics",
                                        "channel_statistics",
                                        "class_statistics",
                                        "layer_statistics",
                                        "statistics_named",
                                        "channel_statistics_named",
                                        "run",
                                        "configuration",
                                        "task",
                                        "result",
                                        "perturbation",
                                        "layer_gradient",
                                        "channel_gradient",
                                        "channel_gradient_item",
                                        "activation",
                                        "heat_map",
                                        "worker",
                                        "failure",
                                        "run_progress",
                                        "result_wide",
                                        "curve",
                                        "layer_gradient_wide",
                                        "channel_gradient_summary"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char sql[128];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", names[i]);
        ask(s, sql);
    }
    assert_int_equal(ask(s, "SELECT count(*) FROM pragma_foreign_key_list('result')"), 4);
}

static void whole_file_is_sound(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    whole_run(store, &(plan){.items = 20,
                             .configs = 3,
                             .channels = PM_CHANNELS_FULL,
                             .heat_maps = PM_HEAT_MAPS_F16});
    close_store(&store);
    sqlite3 *db;
    sqlite3_stmt *rows;
    assert_int_equal(sqlite3_open_v2(s->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &rows, NULL), 0);
    assert_int_equal(sqlite3_step(rows), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(rows, 0), "ok");
    sqlite3_finalize(rows);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA foreign_key_check", -1, &rows, NULL), 0);
    assert_int_equal(sqlite3_step(rows), SQLITE_DONE);
    sqlite3_finalize(rows);
    sqlite3_close(db);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(every_table_view_and_column_has_its_comment),
        STORE_TEST(the_agreed_tables_and_views_are_there),
        STORE_TEST(whole_file_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
