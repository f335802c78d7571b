/* A broker process, one thread of which strace watches, kills or gives errors to. */
#ifndef TESTS_CAMPAIGN_SWEEP_BROKER_H
#define TESTS_CAMPAIGN_SWEEP_BROKER_H

#include "tests/broker/fixture.h"

enum { SWEEP_WRITER = 3, SWEEP_THREADS = 4 };
extern const char *const sweep_threads[SWEEP_THREADS]; /* main, reaper, io, writer */

typedef struct sweep_point {
    int thread;
    const char *call; /* NULL: only count */
    uint64_t n;
    const char *fault; /* "kill" or an errno's name */
} sweep_point;

typedef struct sweep_broker {
    pid_t pid, strace;
    bool detached; /* strace: it is nobody's child */
    bool ended;
    int how; /* of waitpid */
    char trace[160];
    /* after sweep_broker_stop */
    bool met; /* the point was reached */
} sweep_broker;

/* False where strace is not there or may not trace, with the reason as error text. */
bool sweep_can_trace(void);

/* Start; with a point of another thread than main the thread is waited for and attached to.
 * `p` NULL: nobody watches. */
pm_status sweep_broker_start(sweep_broker *b, const scene *s, const sweep_point *p);
bool sweep_broker_ended(sweep_broker *b); /* no waiting */
/* SIGTERM, unless it has ended; *code: of its exit, -1 for a signal. PM_E_TIMEOUT. */
pm_status sweep_broker_stop(sweep_broker *b, int *code);
/* Calls that were seen of the thread watched. */
uint64_t sweep_broker_calls(const sweep_broker *b, const char *call);

#endif
