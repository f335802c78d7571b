/* schema/sql: every table says what it is, every column what it holds; every table is STRICT. */
#include <glob.h>
#include <sqlite3.h>

#include "lib/base/file.h"
#include "tests/store/fixture.h"

/* Text of all migrations, in order. */
static char *migrations(void) {
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    if (!root) root = ".";
    char pattern[4200];
    glob_t files;
    size_t used = 0;
    snprintf(pattern, sizeof pattern, "%s/schema/sql/[0-9]*.sql", root);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    char *text = calloc(1, 1);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        uint8_t *bytes = NULL;
        size_t size = 0;
        if (pm_file_read(files.gl_pathv[i], (size_t)1 << 20, &bytes, &size))
            fail_msg("%s", pm_error_text());
        text = realloc(text, used + size + 1);
        assert_non_null(text);
        memcpy(text + used, bytes, size);
        text[used += size] = 0;
        free(bytes);
    }
    globfree(&files);
    return text;
}

/* The last place: a later migration may make a table anew. */
static const char *last_of(const char *text, const char *words) {
    const char *found = NULL;
    for (const char *at = text; (at = strstr(at, words)); at++) found = at;
    return found;
}

/* A comment of some length behind `--` on this line. */
static bool line_has_comment(const char *line) {
    const char *line_end = strchr(line, '\n'), *comment = strstr(line, "-- ");
    return line_end && comment && comment < line_end && line_end - comment > 8;
}

/* The comment behind `--` on the line that begins with the column's name, inside its table, or on
 * the line that adds it to the table. */
static bool has_comment(const char *text, const char *table, const char *column) {
    char head[128];
    snprintf(head, sizeof head, "ALTER TABLE %s ADD COLUMN %s ", table, column);
    const char *at = last_of(text, head);
    if (at) return line_has_comment(at);
    snprintf(head, sizeof head, "CREATE TABLE %s (\n", table);
    if (!(at = last_of(text, head))) return false;
    const char *end = strstr(at, "\n)");
    size_t length = strlen(column);
    for (at = strchr(at, '\n'); at && at < end; at = strchr(at, '\n')) {
        at++;
        const char *word = at + strspn(at, " ");
        if (strncmp(word, column, length) != 0 || word[length] != ' ') continue;
        return line_has_comment(word);
    }
    return false;
}

static bool table_has_comment(const char *text, const char *kind, const char *table) {
    char head[128];
    snprintf(head, sizeof head, "\nCREATE %s %s ", kind, table);
    const char *at = last_of(text, head);
    if (!at || at == text) return false;
    const char *line = at;
    while (line > text && line[-1] != '\n') line--;
    return strncmp(line, "-- ", 3) == 0;
}

static void every_table_view_and_column_has_its_comment(void **state) {
    scratch *s = *state;
    char *text = migrations();
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
            if (!table_has_comment(text, "VIEW", table)) fail_msg("view %s: no comment", table);
            continue;
        }
        columns++;
        if (!sqlite3_column_int(rows, 2)) fail_msg("table %s is not STRICT", table);
        if (!table_has_comment(text, "TABLE", table)) fail_msg("table %s: no comment", table);
        if (!has_comment(text, table, column)) fail_msg("%s.%s: no comment", table, column);
    }
    sqlite3_finalize(rows);
    sqlite3_close(db);
    assert_true(columns > 150 && views > 5);
    free(text);
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
