/* Owns child processes: starting, watching, stopping. Must not know what they say to each other. */
#include "tools/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "tools/log_tail.h"
#include "tools/private_dir.h"

extern char **environ;

enum {
    WORKERS_MAX = 256,
    LIFELINE_FD = 3,       /* in the child */
    QUICK_DEATH_MS = 1000, /* a shorter life counts towards giving up */
    QUICK_DEATHS_MAX = 6,  /* in a row */
    PAUSE_LEAST_MS = 50,   /* before a restart; doubles with each quick death */
    PAUSE_MOST_MS = 2000,
    HELD_PATIENCE_MS = 4000, /* an earlier broker whose command was killed needs a moment */
    STOP_WORKERS_MS = 15000,
    STOP_BROKER_MS = 15000,
    POLL_MS = 10
};

typedef struct child {
    const char *program; /* absolute path, owned by the supervisor */
    const char *name;    /* "parchmill-worker" */
    pid_t pid;           /* 0: not running */
    int64_t started_ms, start_at_ms;
    unsigned quick_deaths;
    long log_start; /* size of the log when it started, bytes */
} child;

struct pm_supervisor {
    char *db, *broker_path, *worker_path, *log_path;
    char folder[PM_PRIVATE_DIR_BYTES], url[PM_PRIVATE_DIR_BYTES + 16], threads[16];
    int lifeline[2];
    int log_fd, folder_lock;
    size_t worker_count, restarts;
    child *children; /* [1 + worker_count], the broker first */
    bool broker_ready;
    int64_t born_ms;
};

/* ---- programs ---- */

/* The program beside our own executable, else the first in PATH. */
static pm_status find_program(const char *name, char **out) {
    char self[4096], path[4200];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (slash) {
            *slash = '\0';
            snprintf(path, sizeof path, "%s/%s", self, name);
            if (access(path, X_OK) == 0) {
                *out = strdup(path);
                return *out ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for a path");
            }
        }
    }
    const char *search = getenv("PATH");
    for (const char *p = search ? search : ""; *p;) {
        size_t length = strcspn(p, ":");
        snprintf(path, sizeof path, "%.*s/%s", (int)length, p, name);
        if (length && length < 4000 && access(path, X_OK) == 0) {
            *out = strdup(path);
            return *out ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for a path");
        }
        p += length + (p[length] == ':');
    }
    return pm_fail(PM_E_NOT_FOUND,
                   "%s is neither beside the parchmill command nor in PATH; install it there",
                   name);
}

/* ---- starting ---- */

static pm_status spawn(pm_supervisor *s, child *c, char *const *argv) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGTERM);
    sigaddset(&defaults, SIGHUP);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, s->log_fd, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, s->log_fd, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&actions, s->lifeline[0], LIFELINE_FD);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    c->log_start = pm_log_tail_size(s->log_path);
    int error = posix_spawn(&c->pid, c->program, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (error) {
        c->pid = 0;
        return pm_fail(PM_E_IO, "cannot start %s: %s", c->program, strerror(error));
    }
    c->started_ms = pm_clock_ms();
    return PM_OK;
}

static bool is_broker(const pm_supervisor *s, const child *c) { return c == s->children; }

static pm_status start(pm_supervisor *s, child *c) {
    char lifeline[8];
    snprintf(lifeline, sizeof lifeline, "%d", LIFELINE_FD);
    char *broker[] = {(char *)c->name, "--db",       s->db,    "--listen",
                      s->url,          "--lifeline", lifeline, NULL};
    char *worker[] = {(char *)c->name, "--broker",   s->url,   "--threads",
                      s->threads,      "--lifeline", lifeline, NULL};
    return spawn(s, c, is_broker(s, c) ? broker : worker);
}

static pm_status open_log(pm_supervisor *s) {
    size_t length = strlen(s->db) + 8;
    s->log_path = malloc(length);
    if (!s->log_path) return pm_fail(PM_E_MEMORY, "no memory for a path");
    snprintf(s->log_path, length, "%s.log", s->db);
    pm_log_tail_rotate(s->log_path);
    s->log_fd = open(s->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (s->log_fd < 0)
        return pm_fail(pm_status_of_errno(errno),
                       "%s: %s; the log of broker and workers goes beside the database",
                       s->log_path, strerror(errno));
    return PM_OK;
}

static pm_status prepare(pm_supervisor *s, const char *db, size_t threads) {
    s->db = strdup(db);
    s->children = calloc(s->worker_count + 1, sizeof *s->children);
    if (!s->db || !s->children) return pm_fail(PM_E_MEMORY, "no memory for the children");
    snprintf(s->threads, sizeof s->threads, "%zu", threads);
    pm_status status = find_program("parchmill-broker", &s->broker_path);
    if (!status) status = find_program("parchmill-worker", &s->worker_path);
    if (!status) status = open_log(s);
    if (!status) status = pm_private_dir_make(s->folder, &s->folder_lock);
    if (status) return status;
    snprintf(s->url, sizeof s->url, "ipc://%s/broker", s->folder);
    if (pipe2(s->lifeline, O_CLOEXEC) != 0)
        return pm_fail(PM_E_IO, "cannot make a pipe: %s", strerror(errno));
    for (size_t i = 0; i <= s->worker_count; i++) {
        s->children[i].program = i ? s->worker_path : s->broker_path;
        s->children[i].name = i ? "parchmill-worker" : "parchmill-broker";
    }
    return PM_OK;
}

pm_status pm_supervisor_new(const char *db, size_t workers, size_t threads, pm_supervisor **out) {
    if (workers > WORKERS_MAX)
        return pm_fail(PM_E_USAGE, "%zu workers; at most %d", workers, WORKERS_MAX);
    pm_supervisor *s = calloc(1, sizeof *s);
    if (!s) return pm_fail(PM_E_MEMORY, "no memory for the children");
    s->lifeline[0] = s->lifeline[1] = s->log_fd = s->folder_lock = -1;
    s->worker_count = workers;
    s->born_ms = pm_clock_ms();
    pm_status status = prepare(s, db, threads);
    for (size_t i = 0; i <= workers && !status; i++) status = start(s, &s->children[i]);
    if (status) {
        pm_supervisor_free(&s);
        return status;
    }
    *out = s;
    return PM_OK;
}

/* ---- watching ---- */

const char *pm_supervisor_url(const pm_supervisor *s) { return s->url; }
const char *pm_supervisor_log_path(const pm_supervisor *s) { return s->log_path; }
size_t pm_supervisor_restarts(const pm_supervisor *s) { return s->restarts; }
void pm_supervisor_broker_ready(pm_supervisor *s) { s->broker_ready = true; }

static pm_status give_up(const pm_supervisor *s, const child *c, int wait_status) {
    char line[600], how[64];
    if (WIFSIGNALED(wait_status))
        snprintf(how, sizeof how, "died of signal %d", WTERMSIG(wait_status));
    else
        snprintf(how, sizeof how, "exited with %d", WEXITSTATUS(wait_status));
    pm_log_tail_last(s->log_path, c->log_start, c->name, line, sizeof line);
    if (line[0]) return pm_fail(PM_E_IO, "%s", line);
    return pm_fail(PM_E_IO, "%s %s without a word; see %s", c->name, how, s->log_path);
}

/* Whether a broker that ended so would do so again. */
static bool broker_refuses(const pm_supervisor *s, int wait_status, int64_t now_ms) {
    if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) == 0) return false;
    int code = WEXITSTATUS(wait_status);
    if (code == PM_BROKER_EXIT_HELD) return now_ms - s->born_ms > HELD_PATIENCE_MS;
    return code == 2 || !s->broker_ready;
}

static pm_status died(pm_supervisor *s, child *c, int wait_status, int64_t now_ms) {
    bool held = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == PM_BROKER_EXIT_HELD;
    c->pid = 0;
    if (is_broker(s, c) && broker_refuses(s, wait_status, now_ms))
        return give_up(s, c, wait_status);
    if (now_ms - c->started_ms >= QUICK_DEATH_MS)
        c->quick_deaths = 0;
    else if (!held && ++c->quick_deaths > QUICK_DEATHS_MAX)
        return give_up(s, c, wait_status);
    int64_t pause_ms = c->quick_deaths ? (int64_t)PAUSE_LEAST_MS << (c->quick_deaths - 1) : 0;
    if (held) pause_ms = 4 * PAUSE_LEAST_MS;
    if (pause_ms > PAUSE_MOST_MS) pause_ms = PAUSE_MOST_MS;
    c->start_at_ms = now_ms + pause_ms;
    if (!held) s->restarts++;
    return PM_OK;
}

pm_status pm_supervisor_tend(pm_supervisor *s) {
    for (size_t i = 0; i <= s->worker_count; i++) {
        child *c = &s->children[i];
        int wait_status;
        int64_t now_ms = pm_clock_ms();
        pm_status status = PM_OK;
        if (c->pid && waitpid(c->pid, &wait_status, WNOHANG) == c->pid)
            status = died(s, c, wait_status, now_ms);
        if (!status && !c->pid && now_ms >= c->start_at_ms) status = start(s, c);
        if (status) return status;
    }
    return PM_OK;
}

/* ---- stopping ---- */

static bool reap(child *c) {
    if (c->pid && waitpid(c->pid, NULL, WNOHANG) == c->pid) c->pid = 0;
    return !c->pid;
}

static void signal_child(const child *c, int number) {
    if (c->pid) kill(c->pid, number);
}

/* Ask children [first, end) to stop and wait for them; what does not is killed. */
static void stop(pm_supervisor *s, size_t first, size_t end, int64_t patience_ms,
                 const volatile int *hurry) {
    int64_t until_ms = pm_clock_ms() + patience_ms;
    bool killed = false;
    for (size_t i = first; i < end; i++) signal_child(&s->children[i], SIGTERM);
    for (;;) {
        bool gone = true;
        for (size_t i = first; i < end; i++) gone &= reap(&s->children[i]);
        if (gone) return;
        if (!killed && (pm_clock_ms() > until_ms || (hurry && *hurry))) {
            killed = true;
            for (size_t i = first; i < end; i++) signal_child(&s->children[i], SIGKILL);
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
}

void pm_supervisor_stop(pm_supervisor *s, const volatile int *hurry) {
    stop(s, 1, s->worker_count + 1, STOP_WORKERS_MS, hurry);
    stop(s, 0, 1, STOP_BROKER_MS, hurry);
}

void pm_supervisor_free(pm_supervisor **supervisor) {
    pm_supervisor *s = *supervisor;
    if (!s) return;
    if (s->children) {
        const int now = 1;
        pm_supervisor_stop(s, &now);
    }
    for (size_t i = 0; i < 2; i++)
        if (s->lifeline[i] >= 0) close(s->lifeline[i]);
    if (s->log_fd >= 0) close(s->log_fd);
    pm_private_dir_remove(s->folder);
    if (s->folder_lock >= 0) close(s->folder_lock);
    free(s->children);
    free(s->db);
    free(s->broker_path);
    free(s->worker_path);
    free(s->log_path);
    free(s);
    *supervisor = NULL;
}
