/* Who works on what: the broker's queue, leases and blame, as a pure function
 * (state, event, now) -> actions.
 *
 *     pm_scheduler_new(&options, &scheduler);
 *     pm_event event = {.kind = PM_EVENT_TICK};
 *     status = pm_scheduler_step(scheduler, &event, now_ms, &actions, &count);
 *     ... carry out actions[0 .. count) in order, then feed what the store says about them ...
 *
 * No clock, socket, thread, database or randomness inside: the same seed, epoch and events give
 * the same actions. `now_ms` may be any monotonic clock; a step back is taken as no step.
 *
 * Failure: PM_E_MEMORY from an event of a worker is as if the message had been lost (or taken in
 * part, where sending it again does no harm); from an event of the store it is fatal to the caller,
 * who restarts from the store. PM_E_INTERNAL: the store reported what was not asked. Malformed
 * wishes of peers are no failures, they give REFUSE, REVOKE or LOG_REFUSED actions. */
#ifndef PM_BROKER_SCHEDULER_H
#define PM_BROKER_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/base/terms.h"

typedef struct pm_scheduler pm_scheduler;

enum {
    PM_LEASE_TOKEN_BYTES = 16,
    PM_WORKER_INSTANCE_BYTES = 16,
    PM_CRASHES_ALONE_MAX = 3,  /* crashes alone that make an item an error row */
    PM_CREDIT_MAX = 1024,      /* of one worker; more is cut */
    PM_WORKERS_MAX = 16384,    /* connections; more are refused */
    PM_SCHEDULER_GHOSTS = 256, /* lost workers whose last items are remembered */
    PM_GHOST_MS = 10 * 60 * 1000
};

typedef struct pm_token {
    uint8_t bytes[PM_LEASE_TOKEN_BYTES];
} pm_token;

typedef struct pm_instance {
    uint8_t bytes[PM_WORKER_INSTANCE_BYTES];
} pm_instance;

/* A connection, named by the transport; never taken from a message. */
typedef uint64_t pm_worker_id;

typedef struct pm_scheduler_options {
    uint8_t seed[32]; /* secret: tokens are SHA-256(seed, epoch, counter) */
    uint64_t epoch;   /* of this life of the broker */
    int64_t silence_ms, lease_ms, heartbeat_ms;
} pm_scheduler_options;

/* A contiguous part [next, end) of a run's items. */
typedef struct pm_task_state {
    uint64_t task, next, end;
    bool alone;       /* set aside: one item, retried last and alone */
    uint32_t crashes; /* how often it was in hand, the first time included */
} pm_task_state;

typedef struct pm_held_lease {
    uint64_t task, next;
    pm_token token;
} pm_held_lease;

typedef struct pm_beat {
    uint64_t task, progress;
    pm_token token;
} pm_beat;

typedef enum pm_event_kind {
    /* from the store, after COMMIT, or at recovery */
    PM_EVENT_RUN_ADDED, /* tasks that are known already are skipped; also for a retry */
    PM_EVENT_RUN_CANCELLED,
    PM_EVENT_RUN_TERMS, /* other terms; a run that is not known is left */
    PM_EVENT_RECORDED,  /* every RECORD is answered by one, in order */
    PM_EVENT_BLAMED,    /* every BLAME is answered by one */
    PM_EVENT_PAUSED,    /* no room: no task goes out, no lease ends */
    PM_EVENT_RESUMED,
    /* from workers */
    PM_EVENT_HELLO,
    PM_EVENT_CREDIT,
    PM_EVENT_HEARTBEAT,
    PM_EVENT_ITEM_STARTED,
    PM_EVENT_ITEM_RESULT,
    PM_EVENT_TASK_RETURNED,
    PM_EVENT_GOODBYE,
    /* from the loop */
    PM_EVENT_DRAIN, /* worker 0: all of them, and no task goes out any more */
    PM_EVENT_TICK
} pm_event_kind;

typedef struct pm_event {
    pm_event_kind kind;
    pm_worker_id worker;
    uint64_t run, task;
    uint64_t ordinal;     /* ITEM_STARTED, ITEM_RESULT, RECORDED */
    pm_token token;       /* ITEM_STARTED, ITEM_RESULT, TASK_RETURNED */
    bool committed;       /* RECORDED, BLAMED; false: refused, nothing was written */
    bool unfit;           /* RECORDED, refused: its rows do not hold, and would not another time */
    uint32_t credit;      /* CREDIT: this many more */
    pm_instance instance; /* HELLO */
    uint64_t identity;    /* HELLO: whose key the transport has seen; 0: there are no keys */
    uint32_t threads;     /* HELLO; 0 counts as 1 */
    bool crashed;         /* HELLO: crashed_instance died by its own fault */
    pm_instance crashed_instance;
    const char *crash_reason; /* HELLO; NULL: unknown */
    size_t lease_count;
    const pm_held_lease *leases; /* HELLO [lease_count] */
    size_t in_hand_count;
    const pm_held_lease *in_hand; /* HELLO [in_hand_count], `next`: items of the crashed instance
                                     that its parent knows to be in hand */
    size_t beat_count;
    const pm_beat *beats; /* HEARTBEAT [beat_count] */
    size_t task_count;
    /* RUN_ADDED; BLAMED: the new task of an item set aside, but for the only item of a task, which
     * becomes alone itself */
    const pm_task_state *tasks;
    pm_run_terms terms; /* RUN_ADDED, RUN_TERMS */
} pm_event;

typedef enum pm_blame {
    PM_BLAME_SET_ASIDE, /* item `first`, the front of the task, to a task of its own */
    PM_BLAME_CRASH,     /* count a crash of an alone task */
    PM_BLAME_POISON     /* the alone task's item becomes error rows; the task is done */
} pm_blame;

typedef enum pm_action_kind {
    /* to a worker */
    PM_ACTION_VERDICT, /* on a lease held from before: `adopted` with `token`, or refused */
    PM_ACTION_WELCOME, /* with the verdicts in front of it */
    PM_ACTION_REFUSE,  /* `reason`: "hello" (say it first), "full" */
    PM_ACTION_RUN_INFO,
    PM_ACTION_TASK, /* items [first, end) of `run` */
    PM_ACTION_REVOKE,
    PM_ACTION_ACKNOWLEDGE, /* item `first` is recorded */
    PM_ACTION_HEARTBEAT,
    PM_ACTION_DRAIN,
    /* to the store */
    PM_ACTION_RECORD, /* the result at hand, item `first` of `task` */
    PM_ACTION_BLAME,
    PM_ACTION_RUN_DONE,
    /* to the loop */
    PM_ACTION_LOST,       /* the worker is gone or replaced; forget it */
    PM_ACTION_LOG_REFUSED /* a result that was not taken, with the reason */
} pm_action_kind;

typedef struct pm_action {
    pm_action_kind kind;
    pm_worker_id worker;
    uint64_t run, task;
    uint64_t first, end;
    pm_token token;
    bool alone, adopted;
    pm_blame blame;
    uint32_t crashes;   /* BLAME: of the item, this one included */
    const char *reason; /* a stable word, static */
} pm_action;

/* PM_E_USAGE (times that make no sense), PM_E_MEMORY. */
pm_status pm_scheduler_new(const pm_scheduler_options *options, pm_scheduler **out);
void pm_scheduler_free(pm_scheduler **scheduler);

/* *actions [*count] belong to the scheduler and live until the next step. They must be carried out
 * also where the step failed. */
pm_status pm_scheduler_step(pm_scheduler *scheduler, const pm_event *event, int64_t now_ms,
                            const pm_action **actions, size_t *count);

/* For status answers. */
typedef struct pm_scheduler_counts {
    size_t runs, tasks, ready, leased, workers, ghosts;
} pm_scheduler_counts;

void pm_scheduler_count(const pm_scheduler *scheduler, pm_scheduler_counts *out);
/* Leases of a run, and the workers that hold them; 0 where unknown. */
size_t pm_scheduler_run_leases(const pm_scheduler *scheduler, uint64_t run);
size_t pm_scheduler_run_workers(const pm_scheduler *scheduler, uint64_t run);

typedef struct pm_worker_look {
    size_t leases;
    bool stopped;      /* drained or hung: it gets nothing more */
    int64_t silent_ms; /* since its last word */
} pm_worker_look;

/* All zero where unknown. */
pm_worker_look pm_scheduler_worker(const pm_scheduler *scheduler, pm_worker_id worker);
/* True while the run has unfinished tasks. */
bool pm_scheduler_has_run(const pm_scheduler *scheduler, uint64_t run);

#endif
