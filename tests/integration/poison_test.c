/* One photograph that its worker does not survive, among others, with the real programs: it ends as
 * one error row after three deaths of its own, alone, and every other has its numbers once. What is
 * killed from outside meanwhile counts against nothing. */
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
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"

enum { IMAGES = 10, POISON = 5, LINE_BYTES = 2048 };

static pm_fixture fixture;
static char weights[PM_FIXTURE_PATH];
static char fault[64];

static void tick(void) { nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); }

/* A network of which four photographs go together. */
static void grid(char out[LINE_BYTES], const char *command, const char *where) {
    snprintf(out, LINE_BYTES,
             "%s --model resnet18 --weights %s --images %s --resize 64 --crop 64 --layers "
             "layer4.1.conv2 %s",
             command, weights, fixture.images, where);
}

static void assert_ended_with(const pm_program *program, int code) {
    if (program->code != code)
        fail_msg("exit code %d, not %d; it said:\n%s%s", program->code, code, program->out,
                 program->err);
}

/* One error row, of the poison; numbers of every other. */
static void assert_only_the_poison_failed(const char *db, const char *reason) {
    char sql[256];
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result"), IMAGES);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result WHERE error IS NOT NULL"), 1);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM result_wide WHERE image = 'p%04d.png' AND stage = 'crash' AND "
             "reason = '%s' AND hint LIKE '%%alone%%'",
             POISON, reason);
    assert_int_equal(pm_ask_number(db, sql), 1);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM failure WHERE item = %d AND stage = 'crash' AND hint IS NOT NULL"
             " AND configuration_id IS NULL",
             POISON);
    assert_true(pm_ask_number(db, sql) >= 3);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM task"), 0);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM run WHERE state = 'done'"), 1);
}

/* ---- a broker with short leases and one task ---- */

static pid_t start_program(const char *name, const char *const *arguments) {
    char path[4096];
    const char *argv[16] = {name};
    snprintf(path, sizeof path, "%s/%s", getenv("PARCHMILL_BIN_DIR"), name);
    for (size_t i = 0; arguments[i]; i++) argv[i + 1] = arguments[i];
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    char log[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, name, log);
    if (!freopen(log, "a", stderr)) _exit(126);
    execv(path, (char **)(uintptr_t)argv);
    _exit(127);
}

static void end_program(pid_t pid) {
    int how;
    kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, &how, 0), pid);
}

static void wait_until_done(const char *db) {
    int64_t until_ms = pm_clock_ms() + PM_PATIENCE_MS;
    while (pm_ask_number(db, "SELECT count(*) FROM run WHERE state = 'done'") != 1) {
        if (pm_clock_ms() > until_ms) fail_msg("%s: the run does not end", db);
        tick();
    }
}

static void wait_until_bound(const char *socket) {
    int64_t until_ms = pm_clock_ms() + PM_PATIENCE_MS;
    while (access(socket, F_OK) != 0) {
        if (pm_clock_ms() > until_ms) fail_msg("%s: no broker", socket);
        tick();
    }
}

/* All photographs are one task, so that four of them are in hand with the poison. */
static void run_with_fault(const char *name, const char *what, char db[PM_FIXTURE_PATH]) {
    char file[64], socket[PM_FIXTURE_PATH], line[LINE_BYTES], url[PM_FIXTURE_PATH + 8], where[512];
    pm_program program;
    snprintf(file, sizeof file, "%s.db", name);
    pm_fixture_path(&fixture, file, db);
    pm_fixture_path(&fixture, name, socket);
    snprintf(url, sizeof url, "ipc://%s", socket);
    const char *broker[] = {"--db",         db,   "--listen", url, "--lease-ms", "2000",
                            "--task-items", "10", NULL};
    const char *worker[] = {"--broker", url, "--threads", "1", NULL};
    pid_t broker_pid = start_program("parchmill-broker", broker);
    wait_until_bound(socket);
    snprintf(fault, sizeof fault, "%s:p%04d.png", what, POISON);
    setenv("PARCHMILL_FAULT", fault, 1);
    pid_t worker_pid = start_program("parchmill-worker", worker);
    unsetenv("PARCHMILL_FAULT");
    snprintf(where, sizeof where, "--broker %s", url);
    grid(line, "submit", where);
    pm_program_run(&program, line);
    assert_ended_with(&program, 0);
    wait_until_done(db);
    end_program(worker_pid);
    end_program(broker_pid);
}

static void a_crash_among_four_in_hand_costs_the_one_that_does_it(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], sql[200];
    run_with_fault("crash", "crash", db);
    assert_only_the_poison_failed(db, "SIGSEGV");
    /* Those that were in hand with it were tried alone, and blamed once, not three times. */
    snprintf(
        sql, sizeof sql,
        "SELECT max(n) FROM (SELECT count(*) AS n FROM failure WHERE item <> %d GROUP BY item)",
        POISON);
    assert_int_equal(pm_ask_number(db, sql), 1);
}

static void a_hang_among_four_in_hand_costs_the_one_that_does_it(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH];
    run_with_fault("hang", "hang", db);
    assert_only_the_poison_failed(db, "hang");
}

/* ---- kills from outside ---- */

/* The decoder of a run's worker, the worker, the worker's parent: one after the other. */
static pid_t victim(pid_t command, size_t turn) {
    pid_t parent, child, decoder;
    if (!pm_children(command, "parchmill-worke", &parent, 1)) return 0;
    if (turn % 3 == 2) return parent;
    /* Started by its parent as /proc/self/exe, and called so. */
    if (!pm_children(parent, "exe", &child, 1)) return 0;
    if (turn % 3 == 1) return child;
    return pm_children(child, "parchmill-decod", &decoder, 1) ? decoder : 0;
}

static void kills_from_outside_count_against_no_photograph(void **state) {
    (void)state;
    enum { KILLS = 9, KILLS_LEAST = 3, WAYS = 2 };
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    size_t kills = 0;
    int64_t seen = 0, until_ms = pm_clock_ms() + PM_PATIENCE_MS;
    pm_fixture_path(&fixture, "killed.db", db);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --method ig,smoothgrad --db %s "
             "--workers 1 --threads 1",
             fixture.weights, fixture.images, db);
    pm_program_start(&program, line);
    while (kills < KILLS && seen < IMAGES * WAYS && pm_clock_ms() < until_ms) {
        int64_t now = pm_ask_number(db, "SELECT count(*) FROM result");
        pid_t pid = now >= seen ? victim(program.pid, kills) : 0;
        if (!pid || kill(pid, SIGKILL) != 0) {
            tick();
            continue;
        }
        kills++;
        seen = now + 1; /* the next one after something was computed */
    }
    pm_program_wait(&program);
    assert_ended_with(&program, 0);
    assert_true(kills >= KILLS_LEAST);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result"), IMAGES * WAYS);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result WHERE error IS NOT NULL"), 0);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM failure"), 0);
}

int main(int argc, char **argv) {
    (void)argv;
    const struct CMUnitTest quick[] = {
        cmocka_unit_test(a_crash_among_four_in_hand_costs_the_one_that_does_it),
        cmocka_unit_test(kills_from_outside_count_against_no_photograph),
    };
    /* Four leases have to end. */
    const struct CMUnitTest slow[] = {
        cmocka_unit_test(a_hang_among_four_in_hand_costs_the_one_that_does_it),
    };
    pm_fixture_make(&fixture, IMAGES);
    pm_fixture_weights(&fixture, "resnet18", weights);
    int failed = argc > 1 ? cmocka_run_group_tests(slow, NULL, NULL)
                          : cmocka_run_group_tests(quick, NULL, NULL);
    pm_fixture_remove(&fixture);
    return failed;
}
