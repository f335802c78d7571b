/* The supervisor with small scripts in place of broker and worker: deaths are mended, refusals and
 * repeated deaths at once are given up on, and nothing outlives it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "tools/private_dir.h"
#include "tools/supervisor.h"

enum { PATIENCE_MS = 20000 };

static char folder[64], db[128];

static void script(const char *name, const char *body) {
    char path[160], text[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(text, sizeof text, "#!/bin/sh\n%s\n", body);
    assert_int_equal(pm_file_write(path, text, strlen(text)), PM_OK);
    assert_int_equal(chmod(path, 0755), 0);
}

static int set_up(void **state) {
    (void)state;
    char search[256];
    strcpy(folder, "/tmp/parchmill-supervisor-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(search, sizeof search, "%s:/usr/bin:/bin", folder);
    setenv("PATH", search, 1);
    snprintf(db, sizeof db, "%s/x.db", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pm_private_dir_remove(folder);
    return 0;
}

/* Writes its pid where the test finds it, then lives until its lifeline ends. */
static const char lives[] = "echo $$ >> \"$(dirname \"$0\")/$(basename \"$0\").pids\"\n"
                            "exec cat <&3 > /dev/null";

static size_t read_pids(const char *name, pid_t *pids, size_t most) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s.pids", folder, name);
    FILE *file = fopen(path, "r");
    size_t count = 0;
    for (long pid; file && count < most && fscanf(file, "%ld", &pid) == 1;)
        pids[count++] = (pid_t)pid;
    if (file) fclose(file);
    return count;
}

static void tick(void) { nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); }

static size_t tend_until_pids(pm_supervisor *s, const char *name, size_t count, pid_t *pids) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    size_t seen = 0;
    while ((seen = read_pids(name, pids, 16)) < count) {
        assert_int_equal(pm_supervisor_tend(s), PM_OK);
        assert_true(pm_clock_ms() < until_ms);
        tick();
    }
    return seen;
}

static pm_status tend_until_failure(pm_supervisor *s) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    for (;;) {
        pm_status status = pm_supervisor_tend(s);
        if (status) return status;
        assert_true(pm_clock_ms() < until_ms);
        tick();
    }
}

static bool is_gone(pid_t pid) { return kill(pid, 0) != 0; }

static void killed_children_are_started_again(void **state) {
    (void)state;
    pm_supervisor *s = NULL;
    pid_t brokers[16], workers[16];
    script("parchmill-broker", lives);
    script("parchmill-worker", lives);
    assert_int_equal(pm_supervisor_new(db, 2, 3, &s), PM_OK);
    tend_until_pids(s, "parchmill-broker", 1, brokers);
    tend_until_pids(s, "parchmill-worker", 2, workers);
    pm_supervisor_broker_ready(s);
    kill(workers[0], SIGKILL);
    kill(brokers[0], SIGKILL);
    tend_until_pids(s, "parchmill-worker", 3, workers);
    tend_until_pids(s, "parchmill-broker", 2, brokers);
    assert_int_equal(pm_supervisor_restarts(s), 2);
    pm_supervisor_stop(s, NULL);
    assert_true(is_gone(brokers[1]));
    assert_true(is_gone(workers[1]));
    assert_true(is_gone(workers[2]));
    pm_supervisor_free(&s);
    assert_null(s);
}

static void a_refusal_is_given_up_on_with_its_own_words(void **state) {
    (void)state;
    pm_supervisor *s = NULL;
    script("parchmill-broker", "echo 'parchmill-broker: x.db is read-only' >&2; exit 1");
    script("parchmill-worker", lives);
    assert_int_equal(pm_supervisor_new(db, 1, 1, &s), PM_OK);
    assert_int_not_equal(tend_until_failure(s), PM_OK);
    assert_string_equal(pm_error_text(), "x.db is read-only");
    pm_supervisor_free(&s);
}

static void a_held_database_is_waited_for_a_little(void **state) {
    (void)state;
    pm_supervisor *s = NULL;
    pid_t pids[16];
    /* Held twice, then free. */
    script("parchmill-broker", "here=$(dirname \"$0\"); echo x >> \"$here/tries\"\n"
                               "if [ $(wc -l < \"$here/tries\") -lt 3 ]; then exit 3; fi\n"
                               "echo $$ >> \"$here/held.pids\"; exec cat <&3 > /dev/null");
    script("parchmill-worker", lives);
    assert_int_equal(pm_supervisor_new(db, 0, 1, &s), PM_OK);
    tend_until_pids(s, "held", 1, pids);
    pm_supervisor_free(&s);
    script("parchmill-broker", "echo 'parchmill-broker: x.db is held by 7' >&2; exit 3");
    assert_int_equal(pm_supervisor_new(db, 0, 1, &s), PM_OK);
    assert_int_not_equal(tend_until_failure(s), PM_OK);
    assert_string_equal(pm_error_text(), "x.db is held by 7");
    pm_supervisor_free(&s);
}

static void deaths_at_once_again_and_again_are_given_up_on(void **state) {
    (void)state;
    pm_supervisor *s = NULL;
    script("parchmill-broker", lives);
    script("parchmill-worker", "echo 'parchmill-worker: no OpenBLAS here' >&2; exit 1");
    assert_int_equal(pm_supervisor_new(db, 1, 1, &s), PM_OK);
    assert_int_not_equal(tend_until_failure(s), PM_OK);
    assert_string_equal(pm_error_text(), "no OpenBLAS here");
    pm_supervisor_free(&s);
}

static void programs_that_are_not_there_are_named(void **state) {
    (void)state;
    pm_supervisor *s = NULL;
    char path[160];
    snprintf(path, sizeof path, "%s/parchmill-worker", folder);
    unlink(path);
    assert_int_equal(pm_supervisor_new(db, 1, 1, &s), PM_E_NOT_FOUND);
    assert_null(s);
    assert_non_null(strstr(pm_error_text(), "parchmill-worker"));
    script("parchmill-worker", lives);
    assert_int_not_equal(pm_supervisor_new("/nonexistent/x.db", 1, 1, &s), PM_OK);
    assert_non_null(strstr(pm_error_text(), "/nonexistent/x.db.log"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_children_are_started_again),
        cmocka_unit_test(a_refusal_is_given_up_on_with_its_own_words),
        cmocka_unit_test(a_held_database_is_waited_for_a_little),
        cmocka_unit_test(deaths_at_once_again_and_again_are_given_up_on),
        cmocka_unit_test(programs_that_are_not_there_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
