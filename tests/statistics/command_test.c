/* parchmill stats, end to end with real broker and workers: what it makes, what it is good for, and
 * that an interruption changes no bit. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/image/image.h"
#include "lib/store/gathered.h"
#include "parchgrad.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"

enum { IMAGES = 120, CHANNELS = 688, CONVS = 19, LINE_BYTES = 2048 };

static pm_fixture fixture;
static char *whole; /* dump of an uninterrupted one */

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

static void stats_line(char out[LINE_BYTES], const char *db, const char *more) {
    int n = snprintf(out, LINE_BYTES,
                     "stats --model cifar_resnet20 --weights %s --images %s --db %s %s",
                     fixture.weights, fixture.images, db, more);
    assert_true(n > 0 && n < LINE_BYTES);
}

static void expect(const pm_program *program, int code, const char *words) {
    if (program->code != code || (!strstr(program->out, words) && !strstr(program->err, words)))
        fail_msg("exit code %d, not %d, or no '%s'; it said:\n%s%s", program->code, code, words,
                 program->out, program->err);
}

static void check(int code, const char *words, const char *line) {
    pm_program program;
    pm_program_run(&program, line);
    expect(&program, code, words);
}

/* The command's line with the place of `db` and of the fixture filled in. */
__attribute__((format(printf, 3, 4))) static void check_line(int code, const char *words,
                                                             const char *format, ...) {
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert_true(n > 0 && n < LINE_BYTES);
    check(code, words, line);
}

static void db_path(const char *name, char out[PM_FIXTURE_PATH]) {
    pm_fixture_path(&fixture, name, out);
}

/* ---- what it makes ---- */

static void statistics_are_made_and_kept(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    db_path("whole.db", db);
    stats_line(line, db, "--name tiny --workers 1 --threads 1");
    check(0, "statistics 'tiny': 688 channels of 19 convolutions, 10 classes", line);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM activation"), IMAGES);
    assert_int_equal(pm_ask_number(db, "SELECT images FROM statistics_named"), IMAGES);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM channel_statistics"), CHANNELS);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM class_statistics"
                                       " WHERE images = 12 AND welch_p NOT NULL"),
                     CONVS * 10);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM layer_gradient"), 0);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result WHERE box_reason = 'no-map'"
                                       " AND p_target BETWEEN 0 AND p_predicted"),
                     IMAGES);
    whole = pm_dump(db);
    /* Again: nothing is computed, and they are the same. */
    check(0, "were there, the same to the bit", line);
    char *again = pm_dump(db);
    assert_string_equal(whole, again);
    free(again);
}

/* Through wire and database as the engine gives them here, to the bit. */
static void activations_are_the_engines(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH];
    pm_weights *weights = NULL;
    pm_model *model = NULL;
    pm_context *context = NULL;
    pm_gathered *gathered = NULL;
    db_path("whole.db", db);
    assert_int_equal(pm_weights_open(fixture.weights, &weights), PM_OK);
    assert_int_equal(pm_model_new("cifar_resnet20", weights, &model), PM_OK);
    pm_weights_free(&weights);
    assert_int_equal(pm_context_new(model, 32, 32, 1, &context), PM_OK);
    if (pm_gathered_open(db, 1, &gathered)) fail_msg("%s", pm_error_text());
    assert_int_equal(pm_gathered_channels(gathered), CHANNELS);
    const pm_arch_info *arch = pm_model_arch(model);
    pm_preprocessing how = {.resize = arch->resize, .crop = arch->crop, .filter = arch->filter};
    memcpy(how.mean, arch->mean, sizeof how.mean);
    memcpy(how.std, arch->std, sizeof how.std);
    for (size_t i = 0; i < IMAGES; i += 17) {
        char path[PM_FIXTURE_PATH + 16];
        uint8_t *bytes = NULL;
        size_t size;
        static float input[3 * 32 * 32], values[CHANNELS];
        float density[CONVS];
        pm_image image = {0};
        pm_geometry geometry;
        pm_activations activations;
        snprintf(path, sizeof path, "%s/p%04zu.png", fixture.images, i);
        assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
        assert_int_equal(pm_image_decode(path, bytes, size, &pm_image_default_limits, &image), 0);
        free(bytes);
        assert_int_equal(pm_image_tensor(&image, &how, input, &geometry), PM_OK);
        pm_image_fini(&image);
        assert_int_equal(pm_context_activations(context, input, &activations), PM_OK);
        assert_int_equal(pm_gathered_items(gathered)[i].label, i % 10);
        assert_int_equal(pm_gathered_read(gathered, i, 0, CHANNELS, values), PM_OK);
        assert_memory_equal(values, activations.mean, sizeof values);
        assert_int_equal(pm_gathered_density(gathered, i, density), PM_OK);
        assert_memory_equal(density, activations.density, sizeof density);
    }
    pm_gathered_close(&gathered);
    pm_context_free(&context);
    pm_model_free(&model);
}

static int64_t results(const char *db) { return pm_ask_number(db, "SELECT count(*) FROM result"); }

static void wait_for_results(const char *db, int64_t count) {
    int64_t until_ms = pm_clock_ms() + PM_PATIENCE_MS;
    while (results(db) < count) {
        if (pm_clock_ms() > until_ms) fail_msg("%s: no progress", db);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* kill -9 of the command, then Ctrl-C, then to the end, each time with other workers. */
static void interrupted_statistics_are_the_same_to_the_bit(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    assert_non_null(whole);
    db_path("interrupted.db", db);
    stats_line(line, db, "--name tiny --workers 2 --threads 1");
    pm_program_start(&program, line);
    wait_for_results(db, IMAGES / 4);
    kill(program.pid, SIGKILL);
    pm_program_wait(&program);
    stats_line(line, db, "--name tiny --workers 1 --threads 2");
    pm_program_start(&program, line);
    wait_for_results(db, IMAGES / 2);
    kill(program.pid, SIGINT);
    pm_program_wait(&program);
    /* The signal may also come when all is done, or before the command catches any. */
    if (program.code != 0) {
        expect(&program, 130, program.err[0] ? "the same command goes on from there" : "");
        stats_line(line, db, "--name tiny --workers 3 --threads 1");
        check(0, "statistics 'tiny'", line);
    }
    char *dump = pm_dump(db);
    assert_string_equal(whole, dump);
    free(dump);
}

static void images_that_fail_are_left_out_and_said(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], path[PM_FIXTURE_PATH + 16], line[LINE_BYTES];
    uint8_t *bytes = NULL;
    size_t size;
    db_path("failed.db", db);
    snprintf(path, sizeof path, "%s/p0007.png", fixture.images);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    assert_int_equal(pm_file_write(path, bytes, size / 2), PM_OK);
    stats_line(line, db, "--name tiny --workers 1 --limit 30");
    check(0, "1 image failed and is left out", line);
    assert_int_equal(pm_ask_number(db, "SELECT images FROM statistics_named"), 29);
    assert_int_equal(pm_file_write(path, bytes, size), PM_OK);
    free(bytes);
}

/* ---- what it is good for ---- */

static void a_name_is_as_good_as_the_file(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], out[PM_FIXTURE_PATH];
    db_path("whole.db", db);
    db_path("out.safetensors", out);
    const char *run = "run --model cifar_resnet20 --weights %s --images %s --mask cls --layers "
                      "ratio:0.4 --limit 20 --db %s --threads 1 --stats %s";
    check_line(0, "20 results", run, fixture.weights, fixture.images, db, "tiny");
    int64_t before = results(db);
    check_line(0, "wrote ", "stats export tiny --db %s --out %s", db, out);
    check_line(0, "nothing was left to compute", run, fixture.weights, fixture.images, db, out);
    assert_int_equal(results(db), before);
    assert_int_equal(pm_ask_number(db,
                                   "SELECT count(*) FROM configuration AS c JOIN statistics"
                                   " USING (statistics_id) WHERE name = 'tiny' AND mask = 'cls'"),
                     1);
    check_line(0, "cls q0.1",
               "attribute %s/p0003.png --model cifar_resnet20 --weights %s --mask cls --stats tiny"
               " --layers ratio:0.4 --db %s --test student",
               fixture.images, fixture.weights, db);
}

static void list_shows_what_there_is(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH];
    db_path("whole.db", db);
    check_line(0, "120 images of photos", "stats list --db %s", db);
    check_line(0, "\"name\": \"tiny\"", "stats list --db %s --json", db);
}

static void a_name_in_use_is_refused_before_any_work(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    db_path("whole.db", db);
    stats_line(line, db, "--name tiny --limit 40");
    check(2, "has statistics by that name already", line);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM run WHERE name = 'statistics'"), 1);
    stats_line(line, db, "--name tiny --limit 40 --force --json");
    check(0, "\"images\": 40", line);
    assert_int_equal(pm_ask_number(db, "SELECT images FROM statistics_named"), 40);
    /* The configuration above still has the numbers that it was made with. */
    assert_int_equal(
        pm_ask_number(db, "SELECT count(*) FROM configuration AS c JOIN statistics AS s"
                          " USING (statistics_id) WHERE s.name IS NULL AND s.images = 120"),
        1);
}

static void pickles_are_imported(void **state) {
    (void)state;
    const char *set = getenv("PARCHMILL_SOURCE_DIR"), *root = set ? set : ".";
    char db[PM_FIXTURE_PATH];
    db_path("imported.db", db);
    /* Without weights nothing says whose they are; with them once, the database knows. */
    char line[LINE_BYTES];
    snprintf(line, sizeof line,
             "stats import %s/tests/data/pickles --model cifar_resnet20 --db %s"
             " --name research",
             root, db);
    check(2, "--weights FILE is missing", line);
    snprintf(line, sizeof line,
             "stats import %s/tests/data/pickles --model cifar_resnet20 --db %s"
             " --name research --weights %s",
             root, db, fixture.weights);
    check(0, "use --test student", line);
    snprintf(line, sizeof line,
             "stats import %s/tests/data/pickles --model cifar_resnet20 --db %s"
             " --name research",
             root, db);
    check(0, "were there, the same to the bit", line);
    const char *run = "run --model cifar_resnet20 --weights %s --images %s --mask cls --layers "
                      "ratio:0.4 --limit 8 --db %s --threads 1 --stats research --test %s";
    check_line(2, "welch", run, fixture.weights, fixture.images, db, "welch");
    check_line(0, "8 results", run, fixture.weights, fixture.images, db, "student");
}

static void mistakes_are_one_line(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], none[PM_FIXTURE_PATH], line[LINE_BYTES];
    db_path("whole.db", db);
    db_path("none.db", none);
    stats_line(line, db, "");
    check(2, "--name TEXT is missing", line);
    stats_line(line, db, "--name a/b");
    check(2, "cannot name statistics", line);
    stats_line(line, none, "--name x --broker ipc:///nowhere");
    check(2, "--name and --broker", line);
    check(2, "behind stats there is list, export NAME, import DIR", "stats lst");
    check_line(2, "--out FILE is missing", "stats export tiny --db %s", db);
    check_line(2, "must end in .safetensors", "stats export tiny --db %s --out x.npy", db);
    check_line(1, "no statistics called 'tony'; there are: tiny",
               "stats export tony --db %s --out x.safetensors", db);
    const char *run = "run --model cifar_resnet20 --weights %s --images %s --mask cls --db %s"
                      " --stats %s";
    check_line(1, "--stats tony is no file: ", run, fixture.weights, fixture.images, db, "tony");
    check_line(1, "there are: tiny", run, fixture.weights, fixture.images, db, "tony");
    check_line(1, "there is no such file", run, fixture.weights, fixture.images, db, "./tony");
    check_line(1, "none.db", run, fixture.weights, fixture.images, none, "tiny");
    check_line(2, "a broker is not asked for statistics by name",
               "submit --model cifar_resnet20 --weights %s --images %s --mask cls --stats tiny"
               " --broker ipc:///nowhere",
               fixture.weights, fixture.images);
    check_line(2, "it is how statistics are made",
               "run --model cifar_resnet20 --weights %s --images %s --db %s --method gather",
               fixture.weights, fixture.images, none);
    assert_int_not_equal(access(none, F_OK), 0);
}

/* ---- at a standing broker ---- */

static pid_t spawn(const char *name, const char *const arguments[]) {
    char path[1024];
    const char *folder = getenv("PARCHMILL_BIN_DIR");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "build/dev/bin", name);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0) dup2(null, STDERR_FILENO);
        execv(path, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    return pid;
}

static void stop(pid_t pid) {
    int state;
    kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, &state, 0), pid);
}

static void a_standing_broker_gathers_and_nothing_is_done_twice(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], socket[PM_FIXTURE_PATH], url[PM_FIXTURE_PATH + 8], line[LINE_BYTES];
    db_path("standing.db", db);
    db_path("s", socket);
    snprintf(url, sizeof url, "ipc://%s", socket);
    pid_t broker = spawn("parchmill-broker", (const char *const[]){"parchmill-broker", "--db", db,
                                                                   "--listen", url, NULL});
    pid_t worker = spawn("parchmill-worker", (const char *const[]){"parchmill-worker", "--broker",
                                                                   url, "--threads", "1", NULL});
    int n = snprintf(line, sizeof line,
                     "stats --model cifar_resnet20 --weights %s --images %s --broker %s",
                     fixture.weights, fixture.images, url);
    assert_true(n > 0 && n < LINE_BYTES - 16);
    check(0, "once the broker is stopped", line);
    strcat(line, " --json");
    check(0, "{\"run\": 1, \"images\": 120, \"images_failed\": 0}", line);
    stop(worker);
    stop(broker);
    assert_int_equal(results(db), IMAGES);
    int64_t last = pm_ask_number(db, "SELECT max(recorded_ms) FROM result");
    stats_line(line, db, "--name tiny");
    check(0, "going on: 120 of 120 images are done already", line);
    assert_int_equal(pm_ask_number(db, "SELECT max(recorded_ms) FROM result"), last);
    char *dump = pm_dump(db);
    assert_string_equal(whole, dump);
    free(dump);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_are_made_and_kept),
        cmocka_unit_test(activations_are_the_engines),
        cmocka_unit_test(interrupted_statistics_are_the_same_to_the_bit),
        cmocka_unit_test(images_that_fail_are_left_out_and_said),
        cmocka_unit_test(a_standing_broker_gathers_and_nothing_is_done_twice),
        cmocka_unit_test(mistakes_are_one_line),
        cmocka_unit_test(list_shows_what_there_is),
        cmocka_unit_test(a_name_is_as_good_as_the_file),
        cmocka_unit_test(a_name_in_use_is_refused_before_any_work),
        cmocka_unit_test(pickles_are_imported),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
