/* Owns kill9's processes; see kill9_town.h. */
#include "tests/campaign/kill9_town.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "tests/integration/command.h"

enum { ARGUMENTS = 48, PATIENCE_MS = 60000, START_MS = 5000, OPEN_RUNS = 2, LINE_BYTES = 2048 };

void town_tick(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

/* `out` -1: stdout goes to the log as well. */
static pid_t spawn(const town *t, const char *program, char *const argv[], int out) {
    char path[LINE_BYTES];
    const char *folder = getenv("PARCHMILL_BIN_DIR");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "build/dev/bin", program);
    fflush(NULL);
    pid_t self = getpid(), child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self) _exit(1);
    int log = open(t->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log >= 0) {
        dup2(log, STDERR_FILENO);
        dup2(out < 0 ? log : out, STDOUT_FILENO);
    }
    execv(path, argv);
    _exit(127);
}

/* ---- broker and workers ---- */

void town_start_broker(town *t) {
    const char *const words[] = {"parchmill-broker", "--db", t->db, "--listen", t->url, NULL};
    t->broker = spawn(t, words[0], (char *const *)(uintptr_t)words, -1);
}

pm_status town_await_broker(town *t, int64_t *ms) {
    int64_t begin_ms = pm_clock_ms();
    pm_client *client = NULL;
    pm_status status = pm_client_open(t->url, false, PATIENCE_MS, &client);
    pm_client_free(&client);
    *ms = pm_clock_ms() - begin_ms;
    return status ? pm_fail_in(status, "a broker that was started again") : PM_OK;
}

void town_start_worker(town *t, size_t i) {
    char cache[CAMPAIGN_PATH + 16];
    snprintf(cache, sizeof cache, "%s/cache", t->folder);
    const char *const words[] = {"parchmill-worker", "--broker", t->url, "--threads", "1",
                                 "--cache",          cache,      NULL};
    t->workers[i] = spawn(t, words[0], (char *const *)(uintptr_t)words, -1);
}

size_t town_family(const town *t, size_t i, pid_t *out, size_t most) {
    size_t count = pm_children(t->workers[i], "", out, most);
    for (size_t known = 0; known < count && count < most; known++)
        count += pm_children(out[known], "", out + count, most - count);
    return count;
}

static void bury(pid_t *pid) {
    if (*pid <= 0) return;
    kill(*pid, SIGKILL);
    waitpid(*pid, NULL, 0);
    *pid = 0;
}

void town_kill_broker(town *t) { bury(&t->broker); }
void town_kill_worker(town *t, size_t i) { bury(&t->workers[i]); }

void town_stop(town *t, pid_t pid, int64_t for_ms) {
    for (size_t i = 0; i < TOWN_STOPPED_MAX; i++) {
        if (t->stopped[i].pid) continue;
        if (kill(pid, SIGSTOP) != 0) return;
        t->stopped[i].pid = pid;
        t->stopped[i].until_ms = pm_clock_ms() + for_ms;
        return;
    }
}

void town_wake(town *t, bool all) {
    for (size_t i = 0; i < TOWN_STOPPED_MAX; i++) {
        if (!t->stopped[i].pid || (!all && pm_clock_ms() < t->stopped[i].until_ms)) continue;
        kill(t->stopped[i].pid, SIGCONT);
        t->stopped[i].pid = 0;
    }
}

/* ---- submissions ---- */

static void start_submit(town *t, size_t number) {
    char name[32], seed[32], samples[32], out[CAMPAIGN_PATH + 16];
    snprintf(name, sizeof name, "run%zu", number);
    snprintf(seed, sizeof seed, "%zu", number);
    snprintf(samples, sizeof samples, "%zu", t->samples);
    snprintf(out, sizeof out, "%s/submitted", t->folder);
    const char *const words[] = {"parchmill",      "submit",        "--model",
                                 "cifar_resnet20", "--weights",     t->data->weights,
                                 "--images",       t->data->images, "--stats",
                                 t->data->stats,   "--mask",        "off,cls",
                                 "--method",       "smoothgrad",    "--samples",
                                 samples,          "--seed",        seed,
                                 "--heatmaps",     "f16",           "--channels",
                                 "full",           "--name",        name,
                                 "--broker",       t->url,          NULL};
    t->submit_out = open(out, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    t->submit = spawn(t, words[0], (char *const *)(uintptr_t)words, t->submit_out);
}

/* Its number on stdout is the answer; anything else is asked again. */
static void end_submit(town *t, int how) {
    char text[32] = "";
    if (pread(t->submit_out, text, sizeof text - 1, 0) < 0) text[0] = 0;
    close(t->submit_out);
    t->submit = 0;
    uint64_t run = strtoull(text, NULL, 10);
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0 && run)
        t->run_ids[t->runs_asked++] = run;
    else
        t->submits_again++;
}

static int64_t open_runs(const town *t) {
    int64_t count = -1;
    if (campaign_ask(t->db, "SELECT count(*) FROM run WHERE state IN ('queued', 'running')",
                     &count))
        return -1;
    return count;
}

pm_status town_look_at_submissions(town *t) {
    int how;
    if (t->submit && waitpid(t->submit, &how, WNOHANG) == t->submit) end_submit(t, how);
    if (t->submits_again > 50 * t->runs_wanted)
        return pm_fail(PM_E_TIMEOUT, "submissions go unanswered");
    if (t->submit || t->runs_asked == t->runs_wanted) return PM_OK;
    int64_t open = open_runs(t);
    if (open < OPEN_RUNS) start_submit(t, t->runs_asked);
    return PM_OK;
}

pm_status town_look_at_workers(town *t) {
    for (size_t i = 0; i < t->worker_count; i++) {
        int how = 0;
        if (t->workers[i] <= 0 || waitpid(t->workers[i], &how, WNOHANG) != t->workers[i]) continue;
        t->workers[i] = 0;
        return pm_fail(PM_E_INTERNAL, "a worker ended by itself (%s %d)",
                       WIFEXITED(how) ? "exit" : "signal",
                       WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how));
    }
    int how = 0;
    if (t->broker > 0 && waitpid(t->broker, &how, WNOHANG) == t->broker) {
        t->broker = 0;
        return pm_fail(PM_E_INTERNAL, "the broker ended by itself (%s %d)",
                       WIFEXITED(how) ? "exit" : "signal",
                       WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how));
    }
    return PM_OK;
}

bool town_is_done(const town *t) {
    return t->runs_asked == t->runs_wanted && !t->submit && open_runs(t) == 0;
}

int64_t town_results(const town *t) {
    int64_t count = -1;
    return campaign_ask(t->db, "SELECT count(*) FROM result", &count) ? -1 : count;
}

/* ---- the end ---- */

static pm_status end(pid_t *pid, const char *what) {
    int how = 0;
    if (*pid <= 0) return PM_OK;
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    kill(*pid, SIGTERM);
    while (waitpid(*pid, &how, WNOHANG) == 0) {
        if (pm_clock_ms() > until_ms) return pm_fail(PM_E_TIMEOUT, "%s does not end", what);
        town_tick();
    }
    *pid = 0;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return PM_OK;
    return pm_fail(PM_E_INTERNAL, "%s did not end cleanly (%s %d)", what,
                   WIFEXITED(how) ? "exit" : "signal",
                   WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how));
}

/* One that was started a moment ago does not know yet what SIGTERM is; once it has a child it does.
 */
static void await_child(const town *t, size_t i) {
    pid_t family[16];
    const int64_t until_ms = pm_clock_ms() + START_MS;
    while (!town_family(t, i, family, 16) && pm_clock_ms() < until_ms) town_tick();
}

pm_status town_end(town *t) {
    pm_status status = PM_OK;
    town_wake(t, true);
    for (size_t i = 0; i < t->worker_count && !status; i++) {
        await_child(t, i);
        status = end(&t->workers[i], "a worker");
    }
    return status ? status : end(&t->broker, "the broker");
}

void town_raze(town *t) {
    town_wake(t, true);
    for (size_t i = 0; i < t->worker_count; i++) bury(&t->workers[i]);
    bury(&t->broker);
    bury(&t->submit);
}
