/* Leases with a standing broker and real workers: who hangs loses its work and is replaced, who is
 * asked to go finishes what it has in hand, who is stopped goes on without doing anything twice. */
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
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"

enum {
    IMAGES = 40,
    LINE_BYTES = 2048,
    SILENCE_MS = 5000, /* broker/broker.h: who says nothing for so long is gone */
    DRAIN_MS = 10000,
    LEASE_MS = 30000 /* so that silence comes first */
};

static pm_fixture fixture;

typedef struct site {
    char db[PM_FIXTURE_PATH], url[PM_FIXTURE_PATH + 8];
    pm_program broker, workers[2];
    size_t worker_count;
} site;

static void tick(void) { nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); }

/* The query gives at least so much. */
static void wait_for(const char *db, const char *sql, int64_t least) {
    int64_t until_ms = pm_clock_ms() + PM_PATIENCE_MS;
    while (pm_ask_number(db, sql) < least) {
        if (pm_clock_ms() > until_ms) fail_msg("%s: no %s", db, sql);
        tick();
    }
}

static void wait_until(int64_t ms) {
    while (pm_clock_ms() < ms) tick();
}

static int64_t results(const site *s) {
    return pm_ask_number(s->db, "SELECT count(*) FROM result");
}

static void start_worker(site *s) {
    char line[LINE_BYTES];
    snprintf(line, sizeof line, "--broker %s --threads 1 --log-level warn", s->url);
    pm_program_start_named(&s->workers[s->worker_count++], "parchmill-worker", line);
}

/* A broker and a run of about 0.1 s an image. */
static void open_site(site *s, const char *name, int lease_ms) {
    char line[LINE_BYTES], file[64];
    pm_program program;
    *s = (site){.worker_count = 0};
    snprintf(file, sizeof file, "%s.db", name);
    pm_fixture_path(&fixture, file, s->db);
    snprintf(s->url, sizeof s->url, "ipc://%s/%s.s", fixture.folder, name);
    snprintf(line, sizeof line, "--db %s --listen %s --lease-ms %d --task-items 2", s->db, s->url,
             lease_ms);
    pm_program_start_named(&s->broker, "parchmill-broker", line);
    snprintf(line, sizeof line,
             "submit --broker %s --model cifar_resnet20 --weights %s --images %s"
             " --method smoothgrad --samples 50 --seed 1",
             s->url, fixture.weights, fixture.images);
    if (pm_program_run(&program, line) != 0) fail_msg("submit: %s", program.err);
}

static void end(pm_program *program, int signal_number) {
    if (!program->pid) return;
    kill(program->pid, SIGCONT);
    kill(program->pid, signal_number);
    pm_program_wait(program);
}

static void close_site(site *s) {
    for (size_t i = 0; i < s->worker_count; i++) end(&s->workers[i], SIGTERM);
    end(&s->broker, SIGTERM);
    assert_int_equal(s->broker.code, 0);
}

/* Every image has its row, and so many were blamed for something on the way. */
static void expect_all_done(const site *s, int64_t blamed) {
    wait_for(s->db, "SELECT count(*) FROM run WHERE state = 'done'", 1);
    assert_int_equal(results(s), IMAGES);
    assert_int_equal(pm_ask_number(s->db, "SELECT count(DISTINCT image_id) FROM result"), IMAGES);
    assert_int_equal(pm_ask_number(s->db, "SELECT count(*) FROM failure"), blamed);
}

static pid_t child_of(const pm_program *worker) {
    pid_t child = 0;
    int64_t until_ms = pm_clock_ms() + PM_PATIENCE_MS;
    while (pm_children(worker->pid, "", &child, 1) != 1) {
        if (pm_clock_ms() > until_ms) fail_msg("the worker has no child");
        tick();
    }
    return child;
}

#ifdef PARCHMILL_FAULTS
/* As long as a file is there an image hangs: its lease ends, the worker ends itself and is
 * replaced, and the image is retried alone behind all others. */
static void a_hung_worker_is_replaced_and_the_image_retried_alone(void **state) {
    (void)state;
    char flag[PM_FIXTURE_PATH];
    site s;
    pm_fixture_path(&fixture, "hangs", flag);
    assert_int_equal(pm_file_write(flag, "", 0), PM_OK);
    setenv("PARCHMILL_FAULT", "hang:p0005.png", 1);
    setenv("PARCHMILL_FAULT_WHILE", flag, 1);
    open_site(&s, "hang", 2000);
    start_worker(&s);
    pid_t first = child_of(&s.workers[0]);
    wait_for(s.db, "SELECT count(*) FROM task WHERE alone = 1 AND next_item = 5 AND crashes = 1",
             1);
    assert_int_equal(unlink(flag), 0);
    expect_all_done(&s, 1); /* its hang is written down */
    assert_int_equal(pm_ask_number(s.db, "SELECT count(*) FROM failure WHERE reason = 'hang'"), 1);
    assert_true(child_of(&s.workers[0]) != first);
    /* Nothing of what it had done was done again; the image was the last. */
    assert_int_equal(pm_ask_number(s.db, "SELECT count(DISTINCT worker_id) FROM result"), 2);
    close_site(&s);
    unsetenv("PARCHMILL_FAULT");
    unsetenv("PARCHMILL_FAULT_WHILE");
}
#endif

/* SIGTERM in the middle of a run: the image at hand is recorded, the rest goes back at once, not
 * after silence. */
static void sigterm_drains(void **state) {
    (void)state;
    site s;
    pm_program program;
    char line[LINE_BYTES];
    open_site(&s, "drain", LEASE_MS);
    start_worker(&s);
    wait_for(s.db, "SELECT count(*) FROM result", 3);
    const int64_t begin_ms = pm_clock_ms();
    kill(s.workers[0].pid, SIGTERM);
    pm_program_wait(&s.workers[0]);
    const int64_t end_ms = pm_clock_ms();
    assert_int_equal(s.workers[0].code, 0);
    assert_true(end_ms - begin_ms < DRAIN_MS);
    const int64_t had = results(&s);
    assert_true(had < IMAGES);
    snprintf(line, sizeof line, "workers --json --broker %s", s.url);
    do assert_int_equal(pm_program_run(&program, line), 0);
    while (strstr(program.out, "\"name\"") && pm_clock_ms() < end_ms + PM_PATIENCE_MS);
    assert_true(pm_clock_ms() - end_ms < SILENCE_MS);
    start_worker(&s);
    expect_all_done(&s, 0);
    /* The second one did what the first had not. */
    assert_int_equal(pm_ask_number(s.db, "SELECT count(*) FROM result WHERE worker_id ="
                                         " (SELECT min(worker_id) FROM result)"),
                     had);
    close_site(&s);
}

/* A worker and, elsewhere, a broker are stopped for longer than silence, at the same time. */
static void who_is_stopped_goes_on_and_nobody_is_blamed(void **state) {
    (void)state;
    site worker, broker;
    open_site(&worker, "stop-worker", LEASE_MS);
    open_site(&broker, "stop-broker", LEASE_MS);
    start_worker(&worker);
    start_worker(&broker);
    wait_for(worker.db, "SELECT count(*) FROM result", 2);
    wait_for(broker.db, "SELECT count(*) FROM result", 2);
    pid_t child = child_of(&worker.workers[0]);
    kill(child, SIGSTOP);
    kill(broker.broker.pid, SIGSTOP);
    const int64_t stopped_ms = pm_clock_ms();
    /* Who is there takes over what the stopped one had, all of it. */
    start_worker(&worker);
    wait_for(worker.db, "SELECT count(*) FROM run WHERE state = 'done'", 1);
    expect_all_done(&worker, 0);
    wait_until(stopped_ms + SILENCE_MS + 500);
    kill(child, SIGCONT);
    kill(broker.broker.pid, SIGCONT);
    expect_all_done(&broker, 0);
    /* The worker that was stopped is there still, and may work on. */
    assert_int_equal(child_of(&worker.workers[0]), child);
    end(&worker.workers[1], SIGTERM);
    char line[LINE_BYTES];
    pm_program program;
    snprintf(line, sizeof line,
             "submit --broker %s --model cifar_resnet20 --weights %s --images %s --method grad",
             worker.url, fixture.weights, fixture.images);
    assert_int_equal(pm_program_run(&program, line), 0);
    wait_for(worker.db, "SELECT count(*) FROM run WHERE state = 'done'", 2);
    assert_int_equal(results(&worker), 2 * IMAGES);
    assert_int_equal(pm_ask_number(worker.db, "SELECT count(*) FROM failure"), 0);
    close_site(&worker);
    close_site(&broker);
}

static int make_all(void **state) {
    (void)state;
    pm_fixture_make(&fixture, IMAGES);
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    pm_fixture_remove(&fixture);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
#ifdef PARCHMILL_FAULTS
        cmocka_unit_test(a_hung_worker_is_replaced_and_the_image_retried_alone),
#endif
        cmocka_unit_test(sigterm_drains),
        cmocka_unit_test(who_is_stopped_goes_on_and_nobody_is_blamed),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
