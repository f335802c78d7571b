/* parchmill run, end to end with real broker and workers: every row once, whatever is killed. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"

enum { IMAGES = 200, CONFIGURATIONS = 5, LINE_BYTES = 2048, INTERRUPTIONS = 10 };

static pm_fixture fixture;
static char *whole; /* dump of an uninterrupted run */

static void run_line(char out[LINE_BYTES], const char *db, const char *more) {
    int n = snprintf(out, LINE_BYTES,
                     "run --model cifar_resnet20 --weights %s --images %s --mask off,cls --stats %s"
                     " --quantile 0.1,0.3 --gamma inf,2 --layers ratio:0.4 --channels full"
                     " --heatmaps f16 --db %s --threads 1 %s",
                     fixture.weights, fixture.images, fixture.stats, db, more);
    assert_true(n > 0 && n < LINE_BYTES);
}

static int64_t results(const char *db) { return pm_ask_number(db, "SELECT count(*) FROM result"); }

static bool is_done(const char *db) {
    return pm_ask_number(db, "SELECT count(*) FROM run WHERE state = 'done'") == 1;
}

static void tick(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

/* Until so many results are there; false: the run is done before that. */
static bool wait_for_results(const char *db, int64_t count) {
    int64_t until_ms = pm_clock_ms() + PM_PATIENCE_MS;
    while (results(db) < count) {
        if (is_done(db)) return false;
        if (pm_clock_ms() > until_ms) fail_msg("%s: no progress", db);
        tick();
    }
    return true;
}

static void assert_ended_with(const pm_program *program, int code) {
    if (program->code != code)
        fail_msg("exit code %d, not %d; it said:\n%s%s", program->code, code, program->out,
                 program->err);
}

/* Each result is there, none twice, and the views agree. */
static void assert_complete(const char *db) {
    const int64_t rows = (int64_t)IMAGES * CONFIGURATIONS;
    assert_true(is_done(db));
    assert_int_equal(results(db), rows);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result_wide"), rows);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result_wide WHERE error IS NOT NULL"),
                     0);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM heat_map"), rows);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM task"), 0);
    assert_int_equal(pm_ask_number(db, "SELECT items_done FROM run_progress"), IMAGES);
}

/* Texts of some hundred kB: say where they part, not all of them. */
static void assert_same_dump(const char *a, const char *b) {
    size_t at = 0, line = 1;
    while (a[at] && a[at] == b[at]) line += a[at++] == '\n';
    if (!a[at] && !b[at]) return;
    while (at > 0 && a[at - 1] != '\n') at--;
    fail_msg("dumps part at line %zu:\n%.200s\n--\n%.200s", line, a + at, b + at);
}

static int make_all(void **state) {
    (void)state;
    pm_fixture_make(&fixture, IMAGES);
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    free(whole);
    pm_fixture_remove(&fixture);
    return 0;
}

static void run_gives_every_row_once(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    pm_fixture_path(&fixture, "whole.db", db);
    run_line(line, db, "--workers 1 --json");
    assert_ended_with((pm_program_run(&program, line), &program), 0);
    assert_complete(db);
    assert_non_null(strstr(program.out, "\"results\": 1000"));
    assert_non_null(strstr(program.out, "\"images_failed\": 0"));
    whole = pm_dump(db);
    /* The same command again has nothing to do and changes nothing. */
    assert_ended_with((pm_program_run(&program, line), &program), 0);
    char *again = pm_dump(db);
    assert_same_dump(whole, again);
    free(again);
    /* A clean stop leaves one file. */
    char wal[PM_FIXTURE_PATH + 8];
    snprintf(wal, sizeof wal, "%s-wal", db);
    assert_int_not_equal(access(wal, F_OK), 0);
}

static void start(pm_program *program, const char *db, const char *workers) {
    char line[LINE_BYTES], more[64];
    snprintf(more, sizeof more, "--workers %s", workers);
    run_line(line, db, more);
    pm_program_start(program, line);
}

/* Ctrl-C or kill -9 of the command alone, at a random number of results; then the same command. */
static void interrupt_and_go_on(const char *workers, const char *name) {
    char db[PM_FIXTURE_PATH];
    pm_program program;
    uint8_t random[INTERRUPTIONS];
    const int64_t rows = (int64_t)IMAGES * CONFIGURATIONS;
    assert_non_null(whole);
    pm_fixture_path(&fixture, name, db);
    pm_random_bytes(random, sizeof random);
    for (int i = 0; i < INTERRUPTIONS; i++) {
        int64_t before = results(db) < 0 ? 0 : results(db);
        int64_t room = rows * (i + 1) / INTERRUPTIONS - before;
        int64_t at = before + (room > 0 ? room * random[i] / 256 : 0);
        start(&program, db, workers);
        bool open = wait_for_results(db, at);
        bool politely = random[i] & 1;
        if (open) kill(program.pid, politely ? SIGINT : SIGKILL);
        pm_program_wait(&program);
        if (open && !politely) assert_int_equal(program.code, 128 + SIGKILL);
        if (open && politely && program.code != 0) {
            assert_ended_with(&program, 130);
            /* Results of a killed one may still be coming in while the next has not begun. */
            if (strstr(program.err, " images x "))
                assert_non_null(strstr(program.err, "the same command goes on"));
        }
    }
    start(&program, db, workers);
    assert_ended_with((pm_program_wait(&program), &program), 0);
    assert_complete(db);
    char *dump = pm_dump(db);
    assert_same_dump(whole, dump);
    free(dump);
}

static void interrupted_run_goes_on_to_the_same_bytes_with_one_worker(void **state) {
    (void)state;
    interrupt_and_go_on("1", "one.db");
}

static void interrupted_run_goes_on_to_the_same_bytes_with_three_workers(void **state) {
    (void)state;
    interrupt_and_go_on("3", "three.db");
}

/* Kill -9 of children by name while the command runs, each time another hundred rows are in. */
static void killed_workers_and_broker_lose_nothing(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH];
    pm_program program;
    pid_t pids[8];
    size_t killed = 0;
    assert_non_null(whole);
    pm_fixture_path(&fixture, "killed.db", db);
    start(&program, db, "2");
    for (int64_t at = 50; wait_for_results(db, at); at += 100) {
        const char *name = at % 300 == 150 ? "parchmill-broke" : "parchmill-worke";
        if (pm_children(program.pid, name, pids, 8) && kill(pids[0], SIGKILL) == 0) killed++;
    }
    pm_program_wait(&program);
    assert_ended_with(&program, 0);
    assert_true(killed >= 3);
    assert_complete(db);
    char *dump = pm_dump(db);
    assert_same_dump(whole, dump);
    free(dump);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM failure"), 0);
}

static void second_run_on_one_database_is_refused_in_one_line(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH];
    pm_program first, second;
    pm_fixture_path(&fixture, "held.db", db);
    start(&first, db, "1");
    assert_true(wait_for_results(db, 1));
    /* The first one stands still, so that it cannot end before the second one gives up. */
    kill(first.pid, SIGSTOP);
    start(&second, db, "1");
    pm_program_wait(&second);
    kill(first.pid, SIGCONT);
    assert_ended_with(&second, 1);
    assert_non_null(strstr(second.err, "held.db"));
    assert_ptr_equal(strchr(second.err, '\n'), second.err + strlen(second.err) - 1);
    pm_program_wait(&first);
    assert_ended_with(&first, 0);
    assert_complete(db);
}

static void adding_configurations_computes_only_what_is_missing(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    pm_fixture_path(&fixture, "whole.db", db);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --mask off,cls --stats %s"
             " --quantile 0.1,0.3,0.5 --gamma inf,2 --layers ratio:0.4 --channels full --heatmaps"
             " f16 --db %s --threads 1 --json",
             fixture.weights, fixture.images, fixture.stats, db);
    assert_ended_with((pm_program_run(&program, line), &program), 0);
    assert_non_null(strstr(program.out, "\"results_reused\": 1000"));
    assert_int_equal(results(db), IMAGES * 7);
}

static void a_run_that_was_all_computed_before_ends_at_once(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    pm_fixture_path(&fixture, "whole.db", db);
    run_line(line, db, "--workers 1 --json --name again --limit 20");
    assert_ended_with((pm_program_run(&program, line), &program), 0);
    assert_non_null(strstr(program.out, "\"results_reused\": 100"));
    assert_non_null(strstr(program.out, "\"images\": 20"));
}

/* The same numbers without a broker: one photograph in process against its row. */
static void attribute_and_run_agree(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program one, row;
    double p_alone, p_row;
    pm_fixture_path(&fixture, "whole.db", db);
    snprintf(line, sizeof line,
             "attribute --model cifar_resnet20 --weights %s %s/p0007.png --target 7 --json",
             fixture.weights, fixture.images);
    assert_ended_with((pm_program_run(&one, line), &one), 0);
    snprintf(line, sizeof line,
             "sql 'SELECT p_target FROM result_wide WHERE image = \"p0007.png\" AND mask = \"off\" "
             "AND run = 1' --format json --db %s",
             db);
    assert_ended_with((pm_program_run(&row, line), &row), 0);
    const char *a = strstr(one.out, "\"p_target\": "), *b = strstr(row.out, "\"p_target\": ");
    assert_true(a && b);
    p_alone = strtod(a + 12, NULL);
    p_row = strtod(b + 12, NULL);
    assert_true(p_alone > 0 && p_alone - p_row < 1e-8 && p_row - p_alone < 1e-8);
}

static double number_behind(const char *text, const char *key) {
    const char *at = strstr(text, key);
    if (!at) fail_msg("no %s in: %s", key, text);
    return strtod(at + strlen(key), NULL);
}

/* Configurations that hook different layers each find the p-values of theirs. */
static void layers_are_a_grid(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program run;
    pm_fixture_path(&fixture, "layers.db", db);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --mask off,cls --stats %s"
             " --layers layer1.0.conv2,conv1,default --limit 2 --db %s --quiet",
             fixture.weights, fixture.images, fixture.stats, db);
    assert_ended_with((pm_program_run(&run, line), &run), 0);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result_wide WHERE mask = 'cls'"), 6);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM failure"), 0);
}

/* A run over inputs: none gives what a run without gives, and each row is what attribute says of
 * the photograph with that input. */
static void inputs_are_a_grid_and_attribute_agrees(void **state) {
    (void)state;
    static const char *const inputs[] = {"none", "jigsaw:grid=4,swaps=8", "blur:radius=2",
                                         "noise:sigma=0.1"};
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program run, one, row;
    double p[4];
    pm_fixture_path(&fixture, "inputs.db", db);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db %s --threads 1 --limit 8 "
             "--target 7 --seed 3 --input none,jigsaw:grid=4,swaps=8,blur:radius=2 --input "
             "noise:sigma=0.1",
             fixture.weights, fixture.images, db);
    assert_ended_with((pm_program_run(&run, line), &run), 0);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result WHERE stage IS NULL"), 32);
    for (size_t i = 0; i < 4; i++) {
        snprintf(line, sizeof line,
                 "attribute --model cifar_resnet20 --weights %s %s/p0007.png --target 7 --json "
                 "--input %s%s",
                 fixture.weights, fixture.images, inputs[i], i % 2 ? " --seed 3" : "");
        assert_ended_with((pm_program_run(&one, line), &one), 0);
        snprintf(line, sizeof line,
                 "sql 'SELECT p_target FROM result_wide WHERE image = \"p0007.png\" AND"
                 " configuration = %zu' --format json --db %s",
                 i + 1, db);
        assert_ended_with((pm_program_run(&row, line), &row), 0);
        p[i] = number_behind(row.out, "\"p_target\": ");
        assert_true(fabs(p[i] - number_behind(one.out, "\"p_target\": ")) < 1e-8);
        for (size_t k = 0; k < i; k++) assert_true(fabs(p[i] - p[k]) > 1e-6);
    }
}

static void link_photograph(const char *name, const char *folder) {
    char from[PM_FIXTURE_PATH + 32], to[PM_FIXTURE_PATH + 32];
    snprintf(from, sizeof from, "%s/%s", fixture.images, name);
    snprintf(to, sizeof to, "%s/%s", folder, name);
    assert_int_equal(link(from, to), 0);
}

/* Two photographs in a folder, with boxes in labels.csv. */
static void make_boxed(const char *labels, const char *name, char folder[PM_FIXTURE_PATH]) {
    char path[PM_FIXTURE_PATH + 32];
    pm_fixture_path(&fixture, name, folder);
    assert_int_equal(pm_dir_make(folder), PM_OK);
    link_photograph("p0000.png", folder);
    link_photograph("p0001.png", folder);
    snprintf(path, sizeof path, "%s/labels.csv", folder);
    assert_int_equal(pm_file_write(path, labels, strlen(labels)), PM_OK);
}

/* Share of the upper left quarter of a heat map of 32 x 32 that attribute wrote. */
static double quarter_of_npy(const char *path) {
    enum { SIDE = 32 };
    uint8_t *bytes = NULL;
    size_t size = 0;
    float map[SIDE * SIDE];
    double inside = 0, total = 0;
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    assert_true(size > sizeof map);
    memcpy(map, bytes + size - sizeof map, sizeof map);
    free(bytes);
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        total += (double)map[i];
        if (i % SIDE < SIDE / 2 && i / SIDE < SIDE / 2) inside += (double)map[i];
    }
    return inside / total;
}

/* Each method's row is what attribute says of the photograph, by the heat map's share in a box;
 * and each method has a map of its own. */
static void methods_are_a_grid_and_attribute_agrees(void **state) {
    (void)state;
    static const char *const methods[] = {
        "grad",
        "ig --steps 5",
        "ig --steps 5 --baseline blur",
        "ig --steps 5 --baseline %s/p0003.png",
        "smoothgrad --samples 4 --seed 3",
        "vargrad --samples 4 --seed 3",
        "gradcam --cam-layer layer2.2.conv2",
    };
    enum { METHODS = sizeof methods / sizeof *methods };
    char db[PM_FIXTURE_PATH], folder[PM_FIXTURE_PATH], npy[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    double share[METHODS];
    pm_fixture_path(&fixture, "methods.db", db);
    pm_fixture_path(&fixture, "methods.npy", npy);
    make_boxed("path,label,xmin,ymin,xmax,ymax\np0000.png,1,0,0,16,16\np0001.png,2,0,0,16,16\n",
               "methods", folder);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db %s --threads 1 --target top"
             " --method grad,ig,smoothgrad,vargrad,gradcam --steps 5 --samples 4 --seed 3"
             " --baseline zero,blur,%s/p0003.png --cam-layer layer2.2.conv2",
             fixture.weights, folder, db, fixture.images);
    assert_ended_with((pm_program_run(&program, line), &program), 0);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result WHERE mu_in IS NOT NULL"),
                     2 * METHODS);
    for (size_t i = 0; i < METHODS; i++) {
        char method[PM_FIXTURE_PATH + 64];
        snprintf(method, sizeof method, methods[i], fixture.images);
        snprintf(line, sizeof line,
                 "attribute --model cifar_resnet20 --weights %s %s/p0001.png --out %s --quiet "
                 "--method %s",
                 fixture.weights, fixture.images, npy, method);
        assert_ended_with((pm_program_run(&program, line), &program), 0);
        share[i] = quarter_of_npy(npy);
        snprintf(line, sizeof line,
                 "sql 'SELECT mu_in FROM result_wide WHERE image = \"p0001.png\" AND"
                 " configuration = %zu' --format json --db %s",
                 i + 1, db);
        assert_ended_with((pm_program_run(&program, line), &program), 0);
        assert_true(fabs(share[i] - number_behind(program.out, "\"mu_in\": ")) < 1e-9);
        for (size_t k = 0; k < i; k++) assert_true(fabs(share[i] - share[k]) > 1e-6);
    }
}

/* Whatever draws random numbers: one worker gives the bytes that three give. */
static void randomness_does_not_know_the_worker(void **state) {
    (void)state;
    static const char *const how[] = {"--workers 1 --threads 1", "--workers 3 --threads 1"};
    char *dumps[2];
    for (size_t i = 0; i < 2; i++) {
        char db[PM_FIXTURE_PATH], line[LINE_BYTES];
        pm_program program;
        pm_fixture_path(&fixture, i ? "random3.db" : "random1.db", db);
        snprintf(line, sizeof line,
                 "run --model cifar_resnet20 --weights %s --images %s --db %s --limit 40 %s"
                 " --method grad,smoothgrad,vargrad --samples 3 --seed 1,2 --input "
                 "none,noise:sigma=0.05,jigsaw --heatmaps f32 --channels none",
                 fixture.weights, fixture.images, db, how[i]);
        assert_ended_with((pm_program_run(&program, line), &program), 0);
        assert_int_equal(results(db), 40 * 17);
        dumps[i] = pm_dump(db);
    }
    assert_same_dump(dumps[0], dumps[1]);
    free(dumps[0]);
    free(dumps[1]);
}

/* One box and two boxes: the rule matters to the second photograph only. */
static void box_rules_are_a_grid(void **state) {
    (void)state;
    static const char labels[] = "path,label,xmin,ymin,xmax,ymax\n"
                                 "p0000.png,1,0,0,16,16\n"
                                 "p0001.png,2,0,0,16,16\n"
                                 "p0001.png,2,8,8,32,32\n";
    char db[PM_FIXTURE_PATH], folder[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    pm_fixture_path(&fixture, "boxes.db", db);
    make_boxed(labels, "boxed", folder);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db %s --threads 1 "
             "--box-rule first,all",
             fixture.weights, folder, db);
    assert_ended_with((pm_program_run(&program, line), &program), 0);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result WHERE mu_in IS NOT NULL"), 4);
    assert_int_equal(
        pm_ask_number(db, "SELECT count(*) FROM result_wide AS a JOIN result_wide AS b ON"
                          " a.image = b.image AND a.configuration = 1 AND b.configuration = 2"
                          " WHERE (a.image = 'p0000.png' AND a.mu_in = b.mu_in)"
                          " OR (a.image = 'p0001.png' AND a.mu_in < b.mu_in)"),
        2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_gives_every_row_once),
        cmocka_unit_test(interrupted_run_goes_on_to_the_same_bytes_with_one_worker),
        cmocka_unit_test(interrupted_run_goes_on_to_the_same_bytes_with_three_workers),
        cmocka_unit_test(killed_workers_and_broker_lose_nothing),
        cmocka_unit_test(second_run_on_one_database_is_refused_in_one_line),
        cmocka_unit_test(adding_configurations_computes_only_what_is_missing),
        cmocka_unit_test(a_run_that_was_all_computed_before_ends_at_once),
        cmocka_unit_test(attribute_and_run_agree),
        cmocka_unit_test(layers_are_a_grid),
        cmocka_unit_test(inputs_are_a_grid_and_attribute_agrees),
        cmocka_unit_test(methods_are_a_grid_and_attribute_agrees),
        cmocka_unit_test(randomness_does_not_know_the_worker),
        cmocka_unit_test(box_rules_are_a_grid),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
