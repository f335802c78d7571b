/* Owns the broker's process and strace's; see sweep_broker.h. */
#include "tests/campaign/sweep_broker.h"

#include <dirent.h>
#include <errno.h>
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

enum { PATIENCE_MS = 30000, ARGUMENTS = 24, LINE_BYTES = 512 };

static const char all_calls[] = "trace=pwrite64,write,fdatasync,fsync,ftruncate,rename,unlink";

const char *const sweep_threads[SWEEP_THREADS] = {"main", "reaper", "io", "writer"};
static const char *const thread_names[SWEEP_THREADS] = {"parchmill-broke", "ZMQbg/Reaper",
                                                        "ZMQbg/IO/0", "store-writer"};

static void tick(void) { nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL); }

static pid_t spawn(char *const argv[], const char *log) {
    fflush(NULL);
    pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) dup2(fd, STDERR_FILENO);
    execvp(argv[0], argv);
    _exit(127);
}

static size_t broker_words(const scene *s, char program[LINE_BYTES], char *argv[ARGUMENTS]) {
    const char *folder = getenv("PARCHMILL_BIN_DIR");
    size_t n = 0;
    snprintf(program, LINE_BYTES, "%s/parchmill-broker", folder ? folder : "build/dev/bin");
    const char *words[] = {program, "--db", s->db, "--listen", s->url, "--task-items", "4"};
    for (; n < sizeof words / sizeof *words; n++) argv[n] = (char *)words[n];
    return n;
}

/* strace's words in front of the program's or of -p TID. */
static size_t strace_words(const sweep_broker *b, const sweep_point *p, char inject[LINE_BYTES],
                           char trace[LINE_BYTES], char *argv[ARGUMENTS]) {
    size_t n = 0;
    argv[n++] = (char *)"strace";
    argv[n++] = (char *)"-q";
    argv[n++] = (char *)"-o";
    argv[n++] = (char *)b->trace;
    argv[n++] = (char *)"-e";
    argv[n++] = trace;
    snprintf(trace, LINE_BYTES, "%s", all_calls);
    if (!p->call) return n;
    snprintf(trace, LINE_BYTES, "trace=%s", p->call);
    bool dies = strcmp(p->fault, "kill") == 0;
    snprintf(inject, LINE_BYTES, "inject=%s:%s%s:when=%llu", p->call,
             dies ? "signal=" : "error=", dies ? "SIGKILL" : p->fault, (unsigned long long)p->n);
    argv[n++] = (char *)"-e";
    argv[n++] = inject;
    return n;
}

static bool read_line(const char *path, char out[LINE_BYTES]) {
    FILE *file = fopen(path, "re");
    bool got = file && fgets(out, LINE_BYTES, file);
    if (file) fclose(file);
    if (got) out[strcspn(out, "\n")] = 0;
    return got;
}

/* Which of them a thread is; zmq's are born with the program's name and then take their own. */
static int which_thread(pid_t pid, pid_t tid) {
    char path[64], name[LINE_BYTES];
    if (tid == pid) return 0;
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/comm", (long)pid, (long)tid);
    for (int i = 1; read_line(path, name) && i < SWEEP_THREADS; i++)
        if (strcmp(name, thread_names[i]) == 0) return i;
    return -1;
}

/* 0: not there yet, or not yet to be told from the others. */
static pid_t find_thread(pid_t pid, int which) {
    char path[64];
    pid_t found[SWEEP_THREADS] = {0};
    bool plain = true;
    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        int i = tid ? which_thread(pid, tid) : -1;
        if (i < 0) continue;
        plain &= !found[i];
        found[i] = tid;
    }
    if (folder) closedir(folder);
    for (int i = 0; i < SWEEP_THREADS; i++) plain &= found[i] != 0;
    return plain ? found[which] : 0;
}

static bool is_traced(pid_t pid, pid_t tid) {
    char path[64], line[LINE_BYTES];
    long tracer = 0;
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/status", (long)pid, (long)tid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "TracerPid: %ld", &tracer) == 1) break;
    if (file) fclose(file);
    return tracer != 0;
}

static pm_status attach(sweep_broker *b, const scene *s, const sweep_point *p) {
    char inject[LINE_BYTES], trace[LINE_BYTES], number[16], *argv[ARGUMENTS];
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    pid_t tid = 0;
    while (!tid && pm_clock_ms() < until_ms && !sweep_broker_ended(b)) {
        tick();
        tid = find_thread(b->pid, p->thread);
    }
    if (!tid) return pm_fail(PM_E_TIMEOUT, "no thread %s", sweep_threads[p->thread]);
    size_t n = strace_words(b, p, inject, trace, argv);
    snprintf(number, sizeof number, "%ld", (long)tid);
    argv[n++] = (char *)"-p";
    argv[n++] = number;
    argv[n] = NULL;
    b->strace = spawn(argv, s->log);
    while (!is_traced(b->pid, tid)) {
        if (pm_clock_ms() > until_ms) return pm_fail(PM_E_TIMEOUT, "strace does not attach");
        if (waitpid(b->strace, NULL, WNOHANG) == b->strace) {
            b->strace = 0;
            return pm_fail(PM_E_DENIED, "strace does not attach");
        }
        tick();
    }
    return PM_OK;
}

pm_status sweep_broker_start(sweep_broker *b, const scene *s, const sweep_point *p) {
    char program[LINE_BYTES], inject[LINE_BYTES], trace[LINE_BYTES], *argv[2 * ARGUMENTS];
    *b = (sweep_broker){.pid = 0};
    snprintf(b->trace, sizeof b->trace, "%s/trace", s->folder);
    unlink(b->trace);
    size_t n = 0;
    if (p && p->thread == 0) {
        n = strace_words(b, p, inject, trace, argv);
        argv[n++] = (char *)"-D"; /* the broker stays our child */
        b->detached = true;
    }
    n += broker_words(s, program, argv + n);
    argv[n] = NULL;
    b->pid = spawn(argv, s->log);
    return p && p->thread != 0 ? attach(b, s, p) : PM_OK;
}

bool sweep_broker_ended(sweep_broker *b) {
    if (!b->ended) b->ended = waitpid(b->pid, &b->how, WNOHANG) == b->pid;
    return b->ended;
}

/* Strace's line of the injection, or the death that it caused before it could write one. */
static bool was_met(const sweep_broker *b) {
    char line[LINE_BYTES];
    bool met = b->ended && WIFSIGNALED(b->how) && WTERMSIG(b->how) == SIGKILL;
    FILE *file = fopen(b->trace, "re");
    while (file && !met && fgets(line, sizeof line, file)) met = strstr(line, "INJECTED") != NULL;
    if (file) fclose(file);
    return met;
}

/* Its last line: a detached strace outlives what it traced by a moment. */
static bool is_written(const sweep_broker *b) {
    char line[LINE_BYTES];
    bool last = false;
    FILE *file = fopen(b->trace, "re");
    while (file && fgets(line, sizeof line, file)) last = strncmp(line, "+++", 3) == 0;
    if (file) fclose(file);
    return last;
}

pm_status sweep_broker_stop(sweep_broker *b, int *code) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    bool late = false;
    if (!sweep_broker_ended(b)) kill(b->pid, SIGTERM);
    while (!sweep_broker_ended(b) && !late) {
        late = pm_clock_ms() > until_ms;
        tick();
    }
    if (late) {
        kill(b->pid, SIGKILL);
        waitpid(b->pid, &b->how, 0);
        b->ended = true;
    }
    if (b->strace) waitpid(b->strace, NULL, 0);
    while (b->detached && !is_written(b) && pm_clock_ms() < until_ms) tick();
    b->met = !late && was_met(b);
    *code = WIFEXITED(b->how) ? WEXITSTATUS(b->how) : -1;
    return late ? pm_fail(PM_E_TIMEOUT, "the broker does not end") : PM_OK;
}

uint64_t sweep_broker_calls(const sweep_broker *b, const char *call) {
    char line[LINE_BYTES];
    uint64_t count = 0;
    size_t size = strlen(call);
    FILE *file = fopen(b->trace, "re");
    while (file && fgets(line, sizeof line, file))
        count += strncmp(line, call, size) == 0 && line[size] == '(';
    if (file) fclose(file);
    return count;
}

bool sweep_can_trace(void) {
    char *const argv[] = {(char *)"strace",     (char *)"-q", (char *)"-e",
                          (char *)"trace=none", (char *)"-o", (char *)"/dev/null",
                          (char *)"true",       NULL};
    int how = 0;
    pid_t child = spawn(argv, "/dev/null");
    if (child > 0) waitpid(child, &how, 0);
    if (child > 0 && WIFEXITED(how) && WEXITSTATUS(how) == 0) return true;
    bool missing = WIFEXITED(how) && WEXITSTATUS(how) == 127;
    (void)pm_fail(PM_E_DENIED, missing ? "no strace here" : "strace may not trace here");
    return false;
}
