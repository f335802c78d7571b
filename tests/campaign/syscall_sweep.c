/* The real broker killed, by strace, at each system call of each of its threads that touches the
 * disk or wakes another thread: `syscall-sweep`. At every point: the story of sweep_script.c until
 * the broker dies, a restart, what had been answered is there, the story's end, and the same
 * results as undisturbed. With --fault EIO or ENOSPC the call fails instead, and the broker must
 * end by itself or go on, but lose nothing.
 *
 * strace 6.1 counts the calls of each tracee on its own (`when=N`) and kills in front of the call.
 * A thread is singled out by attaching to it alone; the main thread by starting the program under
 * strace without -f. Points behind the last call of a thread are found by the broker's clean end.
 */
#include <argp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "tests/campaign/campaign.h"
#include "tests/campaign/sweep_broker.h"
#include "tests/campaign/sweep_script.h"

enum {
    FACTS_MAX = 64,
    FACT_BYTES = 420,
    STORY_MS = 60000,
    OPT_POINTS = 256,
    OPT_FAULT,
    OPT_ONLY,
    OPT_KEEP
};

static const char *const calls[] = {"pwrite64",  "write",  "fdatasync", "fsync",
                                    "ftruncate", "rename", "unlink"};
enum { CALLS = sizeof calls / sizeof *calls };

typedef struct options {
    uint64_t points;
    const char *fault, *only;
    bool keep;
} options;

typedef struct figures {
    uint64_t points, missed, lived, failed, restarts;
    int64_t restart_ms[1 << 16];
} figures;

/* ---- what was answered ---- */

typedef struct answers {
    size_t count;
    char facts[FACTS_MAX][FACT_BYTES]; /* "NAME SQL" */
    bool end;
    size_t partial_size;
    char partial[FACT_BYTES];
} answers;

static void hear_line(answers *a, const char *line) {
    size_t name = strcspn(line + 1, " ");
    if (strcmp(line, "end") == 0) a->end = true;
    for (size_t i = 0; i < a->count && line[0] != 'e'; i++)
        if (strncmp(a->facts[i], line + 1, name) == 0 && a->facts[i][name] == ' ') {
            memmove(a->facts[i], a->facts[--a->count], FACT_BYTES);
            break;
        }
    if (line[0] == '+' && a->count < FACTS_MAX)
        snprintf(a->facts[a->count++], FACT_BYTES, "%s", line + 1);
}

/* Whatever there is to be read; false: the story-teller is gone. */
static bool hear(answers *a, int fd) {
    char byte;
    ssize_t got;
    while ((got = read(fd, &byte, 1)) == 1) {
        if (byte != '\n') {
            if (a->partial_size + 1 < sizeof a->partial) a->partial[a->partial_size++] = byte;
            continue;
        }
        a->partial[a->partial_size] = 0;
        a->partial_size = 0;
        hear_line(a, a->partial);
    }
    return got != 0;
}

static pm_status all_there(const scene *s, const answers *a) {
    for (size_t i = 0; i < a->count; i++) {
        const char *sql = strchr(a->facts[i], ' ') + 1;
        int64_t value = 0;
        pm_status status = campaign_ask(s->db, sql, &value);
        if (status) return status;
        if (value != 1) return pm_fail(PM_E_NOT_FOUND, "lost: %s", a->facts[i]);
    }
    return PM_OK;
}

/* ---- a story in a process of its own ---- */

static void tick(void) { nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL); }

/* `a` NULL: the finishing one. */
static pid_t start_story(scene *s, bool whole, int *out) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(log, STDERR_FILENO); /* asserts of a story whose broker is gone */
        dup2(log, STDOUT_FILENO);
        if (whole)
            sweep_script(s, ends[1]);
        else
            sweep_finish(s);
        _exit(0);
    }
    close(ends[1]);
    *out = ends[0];
    return child;
}

/* Until the story or the broker ends. *code of the story, -1 where the broker was first. */
static pm_status watch_story(sweep_broker *b, pid_t story, int fd, answers *a, int *code) {
    int how = 0;
    bool broker_died = false, ended = false;
    int64_t until_ms = pm_clock_ms() + STORY_MS;
    while (!ended && !broker_died && pm_clock_ms() < until_ms) {
        hear(a, fd);
        ended = waitpid(story, &how, WNOHANG) == story;
        broker_died = sweep_broker_ended(b);
        if (!ended && !broker_died) tick();
    }
    if (!ended) {
        kill(story, SIGKILL);
        waitpid(story, NULL, 0);
    }
    hear(a, fd);
    close(fd);
    *code = !ended ? -1 : WIFEXITED(how) ? WEXITSTATUS(how) : 128;
    return ended || broker_died ? PM_OK : pm_fail(PM_E_TIMEOUT, "the story stands still");
}

/* ---- a point ---- */

static pm_status go_on(scene *s, const answers *a, const picture *want, figures *sum) {
    sweep_broker b = {0};
    answers none = {.count = 0};
    picture got = {0};
    int fd, code, stopped = 0;
    int64_t begin_ms = pm_clock_ms();
    sweep_broker_start(&b, s, NULL);
    pm_client *client = NULL;
    pm_status status = pm_client_open(s->url, false, STORY_MS, &client);
    pm_client_free(&client);
    if (sum && sum->restarts < sizeof sum->restart_ms / sizeof *sum->restart_ms)
        sum->restart_ms[sum->restarts++] = pm_clock_ms() - begin_ms;
    if (!status) status = all_there(s, a);
    if (!status) {
        pid_t story = start_story(s, false, &fd);
        status = watch_story(&b, story, fd, &none, &code);
        if (!status && code != 0) status = pm_fail(PM_E_INTERNAL, "it did not come to its end");
    }
    pm_status end = sweep_broker_stop(&b, &stopped);
    if (!status) status = end;
    if (!status && stopped != 0) status = pm_fail(PM_E_INTERNAL, "it ended with %d", stopped);
    if (!status) status = campaign_sound(s->db);
    if (!status) status = picture_take(s->db, &got);
    if (!status && want) status = picture_same(want, &got);
    picture_fini(&got);
    return status;
}

static void make_scene(scene *s, const char *folder) {
    *s = (scene){.lifeline = -1};
    snprintf(s->folder, sizeof s->folder, "%s", folder);
    snprintf(s->db, sizeof s->db, "%s/a.db", folder);
    snprintf(s->url, sizeof s->url, "ipc://%s/s", folder);
    snprintf(s->log, sizeof s->log, "%s/log", folder);
    campaign_empty(folder);
}

/* All that the writer writes and syncs is the database. */
static bool must_end(const sweep_point *p) {
    return p->thread == SWEEP_WRITER && strcmp(p->fault, "EIO") == 0 &&
           (strcmp(p->call, "pwrite64") == 0 || strcmp(p->call, "fdatasync") == 0);
}

/* *reached: the broker met its point. */
static pm_status visit(const sweep_point *p, const char *folder, const picture *want, figures *sum,
                       bool *reached) {
    static answers a;
    scene s;
    sweep_broker b = {0};
    int fd, code = 0, ended = 0;
    make_scene(&s, folder);
    a = (answers){.count = 0};
    *reached = true;
    pm_status status = sweep_broker_start(&b, &s, p);
    if (!status) {
        pid_t story = start_story(&s, true, &fd);
        status = watch_story(&b, story, fd, &a, &code);
    }
    pm_status stopped = sweep_broker_stop(&b, &ended);
    if (status || stopped) return status ? status : stopped;
    *reached = b.met;
    sum->lived += b.met && ended == 0;
    if (b.met && ended == 0 && must_end(p))
        return pm_fail(PM_E_INTERNAL, "the broker went on after an I/O error");
    if (!b.met && code != 0)
        return pm_fail(PM_E_INTERNAL, "undisturbed, the story ended with %d", code);
    return go_on(&s, &a, want, sum);
}

static void report(const options *o, const sweep_point *p, figures *sum) {
    sum->failed++;
    printf("%s:%s:%llu: %s\nreplay: syscall-sweep --fault %s --only %s:%s:%llu\n",
           sweep_threads[p->thread], p->call, (unsigned long long)p->n, pm_error_text(), o->fault,
           sweep_threads[p->thread], p->call, (unsigned long long)p->n);
    fflush(stdout);
}

/* One call of one thread: n = 1, 2, ... until it is not met. */
static void sweep(const options *o, sweep_point p, uint64_t counted, const char *folder,
                  const picture *want, figures *sum) {
    uint64_t step = o->points && counted > o->points ? counted / o->points : 1;
    uint64_t points = 0;
    bool reached = true;
    for (p.n = (step + 1) / 2; reached || p.n <= counted; p.n += step) {
        if (o->points && (p.n > counted || points >= o->points)) break;
        pm_status status = visit(&p, folder, want, sum, &reached);
        if (status) report(o, &p, sum);
        points += reached;
        sum->missed += !reached && p.n <= counted;
    }
    sum->points += points;
    printf("%s %s: calls=%llu points=%llu\n", sweep_threads[p.thread], p.call,
           (unsigned long long)counted, (unsigned long long)points);
}

/* ---- counting ---- */

static pm_status count(const char *folder, uint64_t counts[SWEEP_THREADS][CALLS], picture *want) {
    scene s;
    for (int t = 0; t < SWEEP_THREADS; t++) {
        answers a = {.count = 0};
        sweep_broker b = {0};
        int fd, code = 0, ended = 0;
        const sweep_point none = {.thread = t};
        make_scene(&s, folder);
        pm_status status = sweep_broker_start(&b, &s, &none);
        if (status) return status;
        pid_t story = start_story(&s, true, &fd);
        status = watch_story(&b, story, fd, &a, &code);
        pm_status stopped = sweep_broker_stop(&b, &ended);
        if (status || stopped) return status ? status : stopped;
        if (code || ended || !a.end)
            return pm_fail(PM_E_INTERNAL,
                           "undisturbed: the story ended with %d, the broker with %d", code, ended);
        for (size_t c = 0; c < CALLS; c++) counts[t][c] = sweep_broker_calls(&b, calls[c]);
    }
    if (!counts[SWEEP_WRITER][0] || !counts[0][0])
        return pm_fail(PM_E_INTERNAL, "two of the threads were seen to write nothing");
    return picture_take(s.db, want);
}

static pm_status only(const options *o, const char *folder, const picture *want, figures *sum) {
    char thread[16], call[16];
    unsigned long long n;
    if (sscanf(o->only, "%15[^:]:%15[^:]:%llu", thread, call, &n) != 3)
        return pm_fail(PM_E_USAGE, "--only THREAD:CALL:N");
    sweep_point p = {.n = n, .call = call, .fault = o->fault};
    while (p.thread < SWEEP_THREADS && strcmp(sweep_threads[p.thread], thread) != 0) p.thread++;
    if (p.thread == SWEEP_THREADS) return pm_fail(PM_E_USAGE, "no thread '%s'", thread);
    bool reached;
    pm_status status = visit(&p, folder, want, sum, &reached);
    if (status) report(o, &p, sum);
    sum->points += reached;
    return PM_OK;
}

/* zmq has no way out of a failed write to an eventfd but abort(): that is a death like another. */
static pm_status run(const options *o, const char *folder, figures *sum) {
    uint64_t counts[SWEEP_THREADS][CALLS] = {{0}};
    picture want = {0};
    pm_status status = count(folder, counts, &want);
    if (!status && o->only) status = only(o, folder, &want, sum);
    for (int t = 0; t < SWEEP_THREADS && !status && !o->only; t++)
        for (size_t c = 0; c < CALLS; c++) {
            sweep_point p = {.thread = t, .call = calls[c], .fault = o->fault};
            if (counts[t][c]) sweep(o, p, counts[t][c], folder, &want, sum);
        }
    picture_fini(&want);
    return status;
}

static error_t parse(int key, char *text, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case OPT_POINTS: o->points = strtoull(text, NULL, 10); return 0;
    case OPT_FAULT: o->fault = text; return 0;
    case OPT_KEEP: o->keep = true; return 0;
    case OPT_ONLY: o->only = text; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv) {
    const struct argp_option table[] = {
        {"points", OPT_POINTS, "N", 0, "Of each call of each thread only so many (all)", 0},
        {"fault", OPT_FAULT, "WHAT", 0,
         "kill, or the error that the call gives: EIO, ENOSPC (kill)", 0},
        {"keep", OPT_KEEP, NULL, 0, "Leave the files of the last point", 0},
        {"only", OPT_ONLY, "THREAD:CALL:N", 0, "One point", 0},
        {0}};
    const struct argp argp = {.options = table,
                              .parser = parse,
                              .doc = "The broker killed at each system call of each thread."};
    static figures sum;
    options o = {.fault = "kill"};
    char folder[CAMPAIGN_PATH] = "";
    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!sweep_can_trace()) {
        printf("syscall-sweep: skipped: %s\n", pm_error_text());
        return CAMPAIGN_SKIP;
    }
    int64_t begin_ms = pm_clock_ms();
    pm_status status = campaign_folder(true, folder);
    if (!status) status = run(&o, folder, &sum);
    if (status) printf("syscall-sweep: %s\n", pm_error_text());
    if (o.keep)
        printf("its files: %s\n", folder);
    else
        campaign_remove(folder);
    int64_t *ms = sum.restart_ms;
    printf("syscall-sweep: fault=%s points=%llu missed=%llu went_on=%llu failed=%llu"
           " restart_ms_p50=%lld p99=%lld max=%lld s=%.1f\n",
           o.fault, (unsigned long long)sum.points, (unsigned long long)sum.missed,
           (unsigned long long)sum.lived, (unsigned long long)sum.failed,
           (long long)campaign_percentile(ms, sum.restarts, 0.5),
           (long long)campaign_percentile(ms, sum.restarts, 0.99),
           (long long)campaign_percentile(ms, sum.restarts, 1),
           (double)(pm_clock_ms() - begin_ms) / 1000);
    return status || sum.failed || !sum.points ? 1 : 0;
}
