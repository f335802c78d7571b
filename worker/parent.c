/* Owns the worker's process: starts, watches, restarts, stops. See parent.h.
 *
 * A death by SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT is the worker's own: the next one reports
 * it, with the items that were in hand. Any other signal came from outside and says nothing about
 * an image. The worker gets SIGKILL when this process dies. */
#include "worker/parent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "worker/slots.h"

enum {
    STOP_MS = 12000,    /* after SIGTERM; the worker itself is done within 10 s */
    LIFELINE_MS = 3000, /* whoever started us is gone: no time for an image */
    CALM_MS = 30000,    /* a worker that lived this long starts the back-off anew */
    BACK_OFF_MS = 100,
    BACK_OFF_MAX_MS = 10000
};

typedef struct parent {
    int argc;
    char **argv;
    int lifeline, signals;
    pm_slots *slots;
    int slots_fd;
    pid_t child; /* 0: none */
    int64_t started_ms;
    unsigned failures;
    bool stopping;
    int64_t kill_ms; /* when stopping */
} parent;

static void exec_worker(const parent *p, pid_t parent_pid) {
    sigset_t none;
    char fd[16];
    char **argv = calloc((size_t)p->argc + 3, sizeof *argv);
    if (!argv) _exit(1);
    memcpy(argv, p->argv, (size_t)p->argc * sizeof *argv);
    snprintf(fd, sizeof fd, "%d", p->slots_fd);
    argv[p->argc] = (char *)"--child";
    argv[p->argc + 1] = fd;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent_pid) _exit(1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv("/proc/self/exe", argv);
    _exit(127);
}

static pm_status start(parent *p) {
    pid_t self = getpid();
    pid_t child = fork();
    if (child < 0) return pm_fail(PM_E_IO, "cannot start the worker: %s", strerror(errno));
    if (child == 0) exec_worker(p, self);
    p->child = child;
    p->started_ms = pm_clock_ms();
    return PM_OK;
}

/* Signals that a process gets for what it did; NULL for those that others send. */
static const char *own_death(int signal_number) {
    switch (signal_number) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGILL: return "SIGILL";
    case SIGFPE: return "SIGFPE";
    case SIGABRT: return "SIGABRT";
    default: return NULL;
    }
}

static void stop(parent *p, int64_t within_ms) {
    int64_t kill_ms = pm_clock_ms() + within_ms;
    if (!p->stopping || kill_ms < p->kill_ms) p->kill_ms = kill_ms;
    p->stopping = true;
    if (p->child) kill(p->child, SIGTERM);
}

static int back_off_ms(parent *p) {
    uint32_t dice;
    if (pm_clock_ms() - p->started_ms > CALM_MS) p->failures = 0;
    int wait_ms = p->failures < 7 ? BACK_OFF_MS << p->failures : BACK_OFF_MAX_MS;
    p->failures++;
    pm_random_bytes(&dice, sizeof dice);
    return wait_ms / 2 + (int)(dice % (uint32_t)wait_ms);
}

/* A signal to this process or the end of the lifeline, waiting at most timeout_ms. */
static void attend(parent *p, int timeout_ms) {
    struct pollfd fds[] = {{.fd = p->signals, .events = POLLIN},
                           {.fd = p->lifeline, .events = POLLIN}};
    if (poll(fds, 2, timeout_ms) <= 0) return;
    if (fds[0].revents) {
        struct signalfd_siginfo info;
        if (read(p->signals, &info, sizeof info) == (ssize_t)sizeof info &&
            info.ssi_signo != SIGCHLD)
            stop(p, STOP_MS);
    }
    if (fds[1].revents) {
        char byte;
        ssize_t n = read(p->lifeline, &byte, 1);
        if (n > 0 || (n < 0 && errno == EINTR)) return;
        p->lifeline = -1;
        stop(p, LIFELINE_MS);
    }
}

/* True: the worker ended for good, with *exit_code. Else it has to be started again. */
static bool bury(parent *p, int how, int *exit_code) {
    p->child = 0;
    bool hung = WIFEXITED(how) && WEXITSTATUS(how) == PM_EXIT_HUNG;
    if (WIFEXITED(how) && !hung) {
        *exit_code = WEXITSTATUS(how);
        return true;
    }
    int signal_number = hung ? 0 : WTERMSIG(how);
    const char *reason = own_death(signal_number);
    *exit_code = 0;
    if (p->stopping) return true;
    pm_slots_turn(p->slots, reason);
    pm_log(reason ? PM_LOG_ERROR : PM_LOG_WARN, "worker.died", "signal=%d hung=%s own=%s items=%zu",
           signal_number, hung ? "yes" : "no", reason ? "yes" : "no", p->slots->crash.count);
    int64_t until_ms = pm_clock_ms() + back_off_ms(p);
    for (int64_t now_ms; (now_ms = pm_clock_ms()) < until_ms && !p->stopping;)
        attend(p, (int)(until_ms - now_ms));
    return p->stopping;
}

static int next_timeout_ms(const parent *p) {
    if (!p->stopping) return -1;
    int64_t left_ms = p->kill_ms - pm_clock_ms();
    return left_ms > 0 ? (int)left_ms : 0;
}

/* Watch until there is nothing more to watch. */
static pm_status watch(parent *p, int *exit_code) {
    for (;;) {
        int how;
        pid_t dead = p->child ? waitpid(p->child, &how, WNOHANG) : 0;
        if (dead == p->child && dead > 0) {
            if (bury(p, how, exit_code)) return PM_OK;
            pm_status status = start(p);
            if (status) return status;
            continue;
        }
        if (p->stopping && pm_clock_ms() >= p->kill_ms) {
            kill(p->child, SIGKILL);
            p->kill_ms = INT64_MAX / 2;
            continue;
        }
        attend(p, next_timeout_ms(p) > 60000 ? 60000 : next_timeout_ms(p));
    }
}

static pm_status block_signals(int *fd) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    *fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *fd < 0 ? pm_fail(PM_E_IO, "signalfd: %s", strerror(errno)) : PM_OK;
}

pm_status pm_parent_run(int argc, char **argv, int lifeline, int *exit_code) {
    parent p = {.argc = argc, .argv = argv, .lifeline = lifeline, .signals = -1, .slots_fd = -1};
    pm_status status = block_signals(&p.signals);
    if (lifeline >= 0) fcntl(lifeline, F_SETFD, FD_CLOEXEC);
    if (!status) status = pm_slots_new(&p.slots, &p.slots_fd);
    if (!status) {
        pm_slots_turn(p.slots, NULL);
        /* The engine gives each compute thread a core; OpenBLAS must not add threads of its own. */
        setenv("OPENBLAS_NUM_THREADS", "1", 1);
        status = start(&p);
    }
    if (!status) status = watch(&p, exit_code);
    if (p.signals >= 0) close(p.signals);
    if (p.slots_fd >= 0) close(p.slots_fd);
    pm_slots_free(&p.slots);
    return status;
}
