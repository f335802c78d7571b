/* merge, prune, compact and refresh as people type them, on databases of real runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sqlite3.h>
#include <time.h>

#include "lib/base/file.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"

enum { IMAGES = 8, PART = 5, LINE_BYTES = 2048 };

static pm_fixture fixture;
/* A part of the images, all of them, and both in one database. */
static char part[PM_FIXTURE_PATH], all[PM_FIXTURE_PATH], one[PM_FIXTURE_PATH];

static void expect(int code, const char *words, const char *line) {
    pm_program p;
    pm_program_run(&p, line);
    if (p.code != code || (words && !strstr(p.out, words) && !strstr(p.err, words)))
        fail_msg("parchmill %s\nwanted exit %d and '%s', got exit %d and:\n%s%s", line, code,
                 words ? words : "", p.code, p.out, p.err);
}

/* A command on a database, which stands behind `before`. */
static void expect_on(int code, const char *words, const char *before, const char *db,
                      const char *after) {
    char line[LINE_BYTES];
    snprintf(line, sizeof line, "%s %s %s", before, db, after);
    expect(code, words, line);
}

static void run(const char *db, int limit, const char *words) {
    char line[LINE_BYTES];
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --mask off,cls --stats %s"
             " --channels full --heatmaps f16 --evaluate --threads 1 --limit %d --db %s",
             fixture.weights, fixture.images, fixture.stats, limit, db);
    expect(0, words, line);
}

static int make_all(void **state) {
    (void)state;
    pm_fixture_make(&fixture, IMAGES);
    pm_fixture_path(&fixture, "part.db", part);
    pm_fixture_path(&fixture, "all.db", all);
    pm_fixture_path(&fixture, "one.db", one);
    run(part, PART, "is done");
    run(all, IMAGES, "is done");
    run(one, PART, "is done");
    run(one, IMAGES, "is done");
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    pm_fixture_remove(&fixture);
    return 0;
}

static void assert_same(const char *a, const char *b) {
    char *first = pm_dump(a), *second = pm_dump(b);
    if (strcmp(first, second) != 0) fail_msg("%s and %s differ", a, b);
    free(first);
    free(second);
}

static void copy(const char *from, const char *to) {
    uint8_t *bytes = NULL;
    size_t size;
    assert_int_equal(pm_file_read(from, 1 << 28, &bytes, &size), PM_OK);
    assert_int_equal(pm_file_write(to, bytes, size), PM_OK);
    free(bytes);
}

static void execute(const char *db, const char *sql) {
    sqlite3 *handle = NULL;
    assert_int_equal(sqlite3_open(db, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

static void merged_shards_are_one_study_and_nothing_is_computed_again(void **state) {
    (void)state;
    char line[LINE_BYTES], study[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "study.db", study);
    snprintf(line, sizeof line, "merge %s %s --out %s", part, all, study);
    expect(0, "2 runs, 8 images, 16 results new", line);
    expect(2, "is there already", line);
    assert_same(study, one);
    const int64_t workers = pm_ask_number(study, "SELECT count(*) FROM worker");
    run(study, PART, "is done");
    run(study, IMAGES, "is done");
    assert_same(study, one);
    /* Recorded by nobody else than before. */
    assert_int_equal(pm_ask_number(study, "SELECT count(DISTINCT worker_id) FROM result"), workers);
    assert_int_equal(pm_ask_number(study, "SELECT count(*) FROM channel_gradient"
                                          " WHERE count <> 8 OR class <> -1"),
                     0);
    assert_int_equal(pm_ask_number(study, "SELECT count(*) FROM channel_gradient"),
                     pm_ask_number(all, "SELECT count(*) FROM channel_gradient"));
    expect_on(0, " 0 FAIL", "doctor --db", study, "");
    /* A run of its own over images that are there takes all from there. */
    run(study, IMAGES - 1, "is done");
    assert_int_equal(pm_ask_number(study, "SELECT results_reused FROM run WHERE run_id = 3"),
                     2 * (IMAGES - 1));
}

static void imported_results_are_not_computed_again(void **state) {
    (void)state;
    char line[LINE_BYTES], study[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "import.db", study);
    copy(part, study);
    snprintf(line, sizeof line, "merge %s --into %s --json", all, study);
    expect(0, "\"results\": 6, \"same\": 10", line);
    assert_same(study, one);
    expect(0, "\"results\": 0, \"same\": 16", line);
    execute(study, "UPDATE result SET p_target = p_target / 2 WHERE image_id = 3");
    expect(1, "result.p_target differ between", line);
    snprintf(line, sizeof line, "merge %s %s", all, study);
    expect(2, "give one of the two", line);
    snprintf(line, sizeof line, "merge %s %s --into %s", all, part, study);
    expect(2, "one argument too many", line);
    snprintf(line, sizeof line, "merge %s.none --into %s", all, study);
    expect(1, "No such file", line);
}

static void what_is_pruned_can_be_had_again(void **state) {
    (void)state;
    char study[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "pruned.db", study);
    copy(one, study);
    expect_on(0, "--heat-maps", "prune --db", study, "");
    expect_on(0, "--run 2", "prune --db", study, "");
    expect_on(0, "\"heat_maps\"", "prune --json --db", study, "");
    expect_on(0, "would go:\n  16 heat maps", "prune --heat-maps --dry-run --db", study, "");
    assert_same(study, one);
    expect_on(0, "gone:\n  16 heat maps", "prune --heat-maps --channel-items --db", study, "");
    expect_on(0, "nothing of that is there", "prune --heat-maps --db", study, "");
    expect_on(2, "--run 1", "prune 1 --db", study, "");
    expect_on(1, "there is no run 9", "prune 9 --heat-maps --db", study, "");
    expect_on(0, "MB before, ", "compact --db", study, "");
    expect_on(0, " 0 FAIL", "doctor --db", study, "");
    run(study, PART, "is done");
    run(study, IMAGES, "is done");
    assert_same(study, one);
    expect_on(0, "  1 run\n", "prune --run 1 --orphans --db", study, "");
    assert_same(study, all);
    expect_on(0, "\"after_bytes\"", "compact --json --db", study, "");
    assert_same(study, all);
    expect_on(0, " 0 FAIL", "doctor --db", study, "");
}

static void broker_refreshes_its_file_and_the_others_stay_away(void **state) {
    (void)state;
    char line[LINE_BYTES], study[PM_FIXTURE_PATH], url[PM_FIXTURE_PATH + 8], path[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "held.db", study);
    pm_fixture_path(&fixture, "b", path);
    copy(one, study);
    const int64_t rows = pm_ask_number(study, "SELECT count(*) FROM channel_gradient");
    assert_true(rows > 0);
    execute(study, "DELETE FROM channel_gradient");
    pm_program broker, p;
    snprintf(url, sizeof url, "ipc://%s", path);
    snprintf(line, sizeof line, "--db %s --listen %s", study, url);
    pm_program_start_named(&broker, "parchmill-broker", line);
    snprintf(line, sizeof line, "doctor --broker %s", url);
    time_t start = time(NULL);
    do {
        pm_program_run(&p, line);
        assert_true(time(NULL) - start < PM_PATIENCE_MS / 1000);
    } while (!strstr(p.out, "answers at"));
    expect_on(1, "another broker", "compact --db", study, "");
    expect_on(1, "another broker", "prune --heat-maps --db", study, "");
    expect_on(1, "another broker", "refresh --db", study, "");
    expect_on(0, "--heat-maps", "prune --db", study, ""); /* to list is to read */
    snprintf(line, sizeof line, "merge %s --into %s", part, study);
    expect(1, "another broker", line);
    snprintf(line, sizeof line, "refresh 2 --broker %s", url);
    expect(0, "1 run refreshed", line);
    assert_int_equal(pm_ask_number(study, "SELECT count(*) FROM channel_gradient"), rows);
    snprintf(line, sizeof line, "refresh --broker %s", url);
    expect(0, "2 runs refreshed", line);
    snprintf(line, sizeof line, "refresh 7 --broker %s", url);
    expect(1, "there is no run 7", line);
    /* As a source it may be at work. */
    char merged[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "merged.db", merged);
    snprintf(line, sizeof line, "merge %s %s --out %s", study, part, merged);
    expect(0, "16 results new", line);
    assert_same(merged, one);
    kill(broker.pid, SIGTERM);
    pm_program_wait(&broker);
    assert_int_equal(broker.code, 0);
}

static void run_0_is_no_run(void **state) {
    (void)state;
    static const char *const lines[] = {
        "queries scores 0 --db",
        "report 0 --out /nonexistent --db",
        "refresh 0 --db",
        "export 0 --format csv --out /nonexistent --db",
        "prune 0 --heat-maps --db",
        "prune --run 0 --db",
        "status 0 --db",
        "failures 0 --db",
        "cancel 0 --broker",
        "retry 0 --broker",
        "pause 0 --broker",
        "priority 0 1 --broker",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_on(2, "runs are numbered from 1, not 0", lines[i], one, "");
}

int main(void) {
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1); /* no keys of whoever runs the tests */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merged_shards_are_one_study_and_nothing_is_computed_again),
        cmocka_unit_test(imported_results_are_not_computed_again),
        cmocka_unit_test(what_is_pruned_can_be_had_again),
        cmocka_unit_test(run_0_is_no_run),
        cmocka_unit_test(broker_refreshes_its_file_and_the_others_stay_away),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
