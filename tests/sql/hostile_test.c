/* `parchmill sql --db`: whatever is asked ends with one line and leaves the file's bytes alone. */
#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "tests/store/fixture.h"

static const plan small = {.items = 4, .configs = 2, .channels = PM_CHANNELS_SUMMARY};

/* What it says, all streams, and its exit code. */
static int say(const scratch *s, const char *sql, const char *options, char out[4096]) {
    char command[4096];
    setenv("QUESTION", sql, 1);
    snprintf(command, sizeof command, "%s/parchmill sql \"$QUESTION\" --db %s %s 2>&1",
             getenv("PARCHMILL_BIN_DIR"), s->path, options);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    out[fread(out, 1, 4095, pipe)] = '\0';
    const int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static pm_sha256 hash_of(const char *path) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_int_equal(pm_file_read(path, 1u << 28, &bytes, &size), PM_OK);
    pm_sha256 hash = pm_sha256_of(bytes, size);
    free(bytes);
    return hash;
}

static size_t files_in(const char *folder) {
    size_t count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while (readdir(dir)) count++;
    closedir(dir);
    return count;
}

#define NUMBERS(question)                                                                          \
    ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) " question)

static void hostile_questions_end_in_one_line(void **state) {
    scratch *s = *state;
    static const char *const bad[] = {
        "ATTACH '/tmp/parchmill-never' AS other",
        "PRAGMA writable_schema = 1",
        "PRAGMA writable_schema = RESET",
        "PRAGMA trusted_schema = 1",
        "VACUUM INTO '/tmp/parchmill-never'",
        "SELECT load_extension('/tmp/x')",
        "SELECT fts3_tokenizer('simple', x'4141414141414141')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('/tmp/parchmill-never', 'x')",
        "SELECT edit('x')",
        "CREATE VIRTUAL TABLE t USING values_f32(1)",
        "CREATE TEMP TABLE t AS SELECT * FROM values_f32(x'00000000')",
        "UPDATE sqlite_master SET sql = ''",
        "INSERT INTO values_f32 VALUES (1, 2)",
        "DELETE FROM values_bits(x'00')",
        "SELECT 1; DROP TABLE result",
        NUMBERS("SELECT sum(i) FROM n"),
        NUMBERS("SELECT group_concat(i, zeroblob(1000)) FROM n"),
        NUMBERS("SELECT i FROM n ORDER BY randomblob(1000)"),
        NUMBERS("SELECT median(i) FROM n"),
        NUMBERS("SELECT length(hex(randomblob(20000000))) FROM n GROUP BY 1"),
        "SELECT zeroblob(1 << 30)",
        "SELECT hex(zeroblob(1 << 30))",
        "SELECT hex(zeroblob(60000000))",
        "SELECT replace(hex(zeroblob(10000000)), '0', 'parchmill')",
        "SELECT count(*) FROM values_f32(zeroblob(60000000)) a, values_f32(zeroblob(60000000)) b",
        "SELECT count(*) FROM values_f32(x'010203')",
        "SELECT count(*) FROM values_f32",
        "SELECT count_bits(zeroblob(60000000))",
        "SELECT heat_png(zeroblob(60000000))",
    };
    pm_store *store = open_store(s);
    whole_run(store, &small);
    close_store(&store);
    const pm_sha256 before = hash_of(s->path);
    const size_t files = files_in(s->folder);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char out[4096];
        const int64_t start_ms = pm_clock_ms();
        const int code = say(s, bad[i], "--timeout 1", out);
        if (code != 1 && code != 2) fail_msg("%s: exit %d, %s", bad[i], code, out);
        if (strchr(out, '\n') != out + strlen(out) - 1 || strncmp(out, "parchmill sql: ", 15) != 0)
            fail_msg("%s: not one line: %s", bad[i], out);
        if (pm_clock_ms() - start_ms > 20000) fail_msg("%s: it took too long", bad[i]);
    }
    pm_sha256 after = hash_of(s->path);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(files_in(s->folder), files);
    assert_int_equal(access("/tmp/parchmill-never", F_OK), -1);
}

static void limits_say_what_they_cut(void **state) {
    scratch *s = *state;
    char out[4096];
    close_store(&(pm_store *){open_store(s)});
    assert_int_equal(say(s, "VALUES (1), (2), (3)", "--max-rows 2 --format csv", out), 0);
    assert_string_equal(out, "column1\n1\n2\nparchmill sql: there are more than 2 rows; --max-rows "
                             "N shows more, 0 all\n");
    assert_int_equal(say(s, "VALUES (1), (2)", "--max-rows 2 --format csv", out), 0);
    assert_string_equal(out, "column1\n1\n2\n");
    assert_int_equal(say(s, NUMBERS("SELECT median(i) FROM n"), "--max-memory 8 --timeout 0", out),
                     1);
    assert_string_equal(out, "parchmill sql: SQL: it needs more than 8 MiB of memory\n");
    assert_int_equal(say(s, NUMBERS("SELECT sum(i) FROM n"), "--timeout 0.05", out), 1);
    assert_string_equal(out, "parchmill sql: SQL: stopped after 50 ms\n");
    assert_int_equal(say(s, "SELECT 1", "--timeout -1", out), 2);
    assert_int_equal(say(s, "SELECT 1", "--file x.sql", out), 2);
}

static void questions_come_from_files_and_pipes(void **state) {
    scratch *s = *state;
    static const char text[] = "-- a comment\nSELECT 'a|b' AS t,\n 2.5 AS n;\n";
    char out[4096], command[1024], path[128];
    close_store(&(pm_store *){open_store(s)});
    snprintf(path, sizeof path, "%s/question.sql", s->folder);
    assert_int_equal(pm_file_write(path, text, sizeof text - 1), PM_OK);
    static const char *const ways[] = {"--file $QUESTION", "--file - <$QUESTION", "<$QUESTION"};
    setenv("QUESTION", path, 1);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        snprintf(command, sizeof command, "%s/parchmill sql --format markdown --db %s %s",
                 getenv("PARCHMILL_BIN_DIR"), s->path, ways[i]);
        FILE *pipe = popen(command, "r");
        assert_non_null(pipe);
        out[fread(out, 1, sizeof out - 1, pipe)] = '\0';
        assert_int_equal(pclose(pipe), 0);
        assert_string_equal(out, "| t | n |\n| --- | ---: |\n| a\\|b | 2.5 |\n");
    }
    snprintf(command, sizeof command, "%s/parchmill sql --db %s 2>&1 < /dev/null",
             getenv("PARCHMILL_BIN_DIR"), s->path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    out[fread(out, 1, sizeof out - 1, pipe)] = '\0';
    assert_int_equal(WEXITSTATUS(pclose(pipe)), 2);
    assert_string_equal(out, "parchmill sql: standard input is empty; usage: parchmill sql 'SELECT "
                             "...', or --file FILE, or at a terminal with neither\n");
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(hostile_questions_end_in_one_line),
        STORE_TEST(limits_say_what_they_cut),
        STORE_TEST(questions_come_from_files_and_pipes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
