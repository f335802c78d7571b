/* The life of a database file: one owner, ours and not newer, one file after a clean end. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "tests/store/fixture.h"

static const plan small = {.items = 3, .configs = 2, .channels = PM_CHANNELS_SUMMARY};

static bool beside(const scratch *s, const char *suffix) {
    char path[128];
    snprintf(path, sizeof path, "%s%s", s->path, suffix);
    return access(path, F_OK) == 0;
}

static void refused(const char *path, pm_status want, const char *text) {
    pm_store *store = NULL;
    pm_status status = pm_store_open(path, &store);
    if (status != want) fail_msg("%s: %s", pm_status_name(status), pm_error_text());
    assert_null(store);
    if (!strstr(pm_error_text(), text)) fail_msg("'%s' lacks '%s'", pm_error_text(), text);
    assert_null(strchr(pm_error_text(), '\n'));
}

static void clean_end_leaves_one_file(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    whole_run(store, &small);
    assert_true(beside(s, "-wal"));
    assert_true(beside(s, ".lock"));
    close_store(&store);
    assert_false(beside(s, "-wal"));
    assert_false(beside(s, "-shm"));
    assert_false(beside(s, ".lock"));
    uint8_t *bytes;
    size_t size;
    assert_int_equal(pm_file_read(s->path, (size_t)1 << 24, &bytes, &size), PM_OK);
    assert_int_equal(bytes[18], 1); /* file format: 1 is a rollback journal, 2 WAL */
    assert_memory_equal(bytes + 68, "PMIL", 4);
    free(bytes);
}

static void reader_at_the_end_costs_nothing(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    whole_run(store, &small);
    sqlite3 *reader;
    sqlite3_stmt *rows;
    assert_int_equal(sqlite3_open_v2(s->path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(reader, "SELECT * FROM result", -1, &rows, NULL), 0);
    assert_int_equal(sqlite3_step(rows), SQLITE_ROW);
    assert_int_equal(pm_store_close(&store), PM_E_BUSY);
    assert_null(store);
    sqlite3_finalize(rows);
    sqlite3_close(reader);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 6);
    store = open_store(s);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 6);
}

static void second_owner_is_told_who_is_first(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    char pid[32], alias[128];
    snprintf(pid, sizeof pid, "pid %ld on ", (long)getpid());
    refused(s->path, PM_E_BUSY, pid);
    snprintf(alias, sizeof alias, "%s/alias.db", s->folder);
    assert_int_equal(symlink(s->path, alias), 0);
    refused(alias, PM_E_BUSY, pid); /* another name for the same file */
    whole_run(store, &small);       /* the attempts took no lock away */
    close_store(&store);
    store = open_store(s);
    close_store(&store);
}

static void lock_ends_with_its_process(void **state) {
    scratch *s = *state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        pm_store *store;
        char word = pm_store_open(s->path, &store) ? 'n' : 'y';
        if (write(ready[1], &word, 1) != 1) _exit(1);
        for (;;) pause();
    }
    char word = 0;
    assert_int_equal(read(ready[0], &word, 1), 1);
    assert_int_equal(word, 'y');
    char text[32];
    snprintf(text, sizeof text, "pid %ld on ", (long)child);
    refused(s->path, PM_E_BUSY, text);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    pm_store *store = open_store(s); /* the lock file is still there, the lock is not */
    close_store(&store);
}

static void epochs_differ_and_count(void **state) {
    scratch *s = *state;
    uint8_t first[8], second[8];
    pm_store *store = open_store(s);
    assert_int_equal(pm_store_epoch(store, first), PM_OK);
    close_store(&store);
    store = open_store(s);
    assert_int_equal(pm_store_epoch(store, second), PM_OK);
    close_store(&store);
    assert_memory_not_equal(first, second, 8);
    assert_int_equal(ask(s, "SELECT max(epoch) FROM broker"), 2);
}

static void exec(const char *path, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL)) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void foreign_file_is_refused_untouched(void **state) {
    scratch *s = *state;
    exec(s->path, "CREATE TABLE holiday (day TEXT)");
    refused(s->path, PM_E_MISMATCH, "another program's database");
    assert_false(beside(s, ".lock"));
    uint8_t *bytes;
    size_t size;
    assert_int_equal(pm_file_read(s->path, (size_t)1 << 20, &bytes, &size), PM_OK);
    assert_int_equal(bytes[18], 1);
    free(bytes);
    char text[128];
    snprintf(text, sizeof text, "%s/text.db", s->folder);
    assert_int_equal(pm_file_write(text, "not a database, but long enough to be one", 41), PM_OK);
    refused(text, PM_E_FORMAT, "is not a database");
    refused("/nonexistent/folder/r.db", PM_E_NOT_FOUND, "/nonexistent/folder/r.db");
    refused(s->folder, PM_E_IO, s->folder);
}

static void newer_file_is_refused(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    close_store(&store);
    exec(s->path, "PRAGMA user_version = 999");
    refused(s->path, PM_E_MISMATCH, "newer parchmill");
    pm_query *query = NULL;
    assert_int_equal(pm_query_open(s->path, &pm_query_default_limits, &query), PM_E_MISMATCH);
}

static pm_status take_line(void *user, size_t count, const pm_value *values) {
    (void)count;
    fprintf(user, "%s|%s\n", values[0].text, values[1].kind == PM_VALUE_TEXT ? values[1].text : "");
    return PM_OK;
}

static char *schema_of(const char *path) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    const pm_query_sink sink = {.user = out, .row = take_line};
    pm_query *query = NULL;
    if (pm_query_open(path, &pm_query_default_limits, &query) ||
        pm_query_run(query, "SELECT name, sql FROM sqlite_schema ORDER BY name", NULL, 0, &sink,
                     NULL))
        fail_msg("%s", pm_error_text());
    pm_query_close(&query);
    fclose(out);
    return text;
}

/* As the first release left it: brought up to date, its rows kept. */
static void older_file_is_brought_up_to_date(void **state) {
    scratch *s = *state;
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    char path[4200], fresh[128];
    uint8_t *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/schema/sql/0001_initial.sql", root ? root : ".");
    assert_int_equal(pm_file_read(path, (size_t)1 << 20, &bytes, &size), PM_OK);
    char *sql = strndup((const char *)bytes, size);
    free(bytes);
    exec(s->path, sql);
    free(sql);
    exec(s->path, "INSERT INTO statistics (sha256, size_bytes, path) VALUES ('ab', 7, '/s');"
                  "PRAGMA application_id = 0x504D494C; PRAGMA user_version = 1");
    pm_store *store = open_store(s);
    whole_run(store, &small);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics WHERE path = '/s' AND name IS NULL"),
                     1);
    snprintf(fresh, sizeof fresh, "%s/fresh.db", s->folder);
    assert_int_equal(pm_store_open(fresh, &store), PM_OK);
    close_store(&store);
    char *old = schema_of(s->path), *new = schema_of(fresh);
    assert_string_equal(old, new);
    free(old);
    free(new);
}

/* Root may write everything, so a child becomes nobody. */
static void read_only_file_is_one_clear_line(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    close_store(&store);
    assert_int_equal(chmod(s->path, 0444), 0);
    assert_int_equal(chmod(s->folder, 0755), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setuid(65534) != 0) _exit(2);
        pm_status status = pm_store_open(s->path, &store);
        bool says = strstr(pm_error_text(), "read-only") && !strchr(pm_error_text(), '\n');
        if (status != PM_E_DENIED || !says) _exit(3);
        pm_query *query = NULL; /* reading is another matter */
        if (pm_query_open(s->path, &pm_query_default_limits, &query)) _exit(4);
        pm_query_close(&query);
        char other[128]; /* a new database in a folder that may not be written */
        snprintf(other, sizeof other, "%s/new.db", s->folder);
        _exit(pm_store_open(other, &store) == PM_E_DENIED ? 0 : 5);
    }
    int how = 0;
    waitpid(child, &how, 0);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(clean_end_leaves_one_file),
        STORE_TEST(reader_at_the_end_costs_nothing),
        STORE_TEST(second_owner_is_told_who_is_first),
        STORE_TEST(lock_ends_with_its_process),
        STORE_TEST(epochs_differ_and_count),
        STORE_TEST(foreign_file_is_refused_untouched),
        STORE_TEST(newer_file_is_refused),
        STORE_TEST(older_file_is_brought_up_to_date),
        STORE_TEST(read_only_file_is_one_clear_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
