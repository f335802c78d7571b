/* The scheduler's state, for its own files and for the tests that check it. */
#ifndef PM_BROKER_SCHEDULER_STATE_H
#define PM_BROKER_SCHEDULER_STATE_H

#include "broker/list.h"
#include "broker/map.h"
#include "broker/scheduler.h"

enum { PM_RUNS_SENT = 16, PM_GHOST_ITEMS = 8 };

struct pm_sched_run;

/* Runs in the order in which they get a turn: by priority, then by the work that they were given,
 * then by turn. A heap; its room is made with the runs, so that entering never fails. */
typedef struct pm_turns {
    struct pm_sched_run **runs; /* [count] */
    size_t count, capacity;
} pm_turns;

typedef struct pm_sched_run {
    pm_map_node by_id;
    uint64_t id;
    pm_run_terms terms;
    pm_turns *where;  /* scheduler->turn or ->alone_turn; NULL: no worker can be given a task that
                         does not hold one of this run already */
    size_t index;     /* there */
    uint64_t turn;    /* when it last had one */
    int64_t given_us; /* thread time given to it, as it counts among runs of its priority */
    int64_t out_us;   /* of it, charged for tasks that are out */
    int64_t item_us;  /* that an item takes a thread, moving average; 0: not known yet */
    pm_list tasks;    /* all unfinished */
    pm_list ready, ready_alone;
    size_t task_count, ready_count, leased;
    pm_list holders;       /* workers that hold leases of it */
    pm_list hungry;        /* those of them that may get a task, where max_workers is set */
    pm_link_node full_run; /* scheduler->full_runs */
    size_t holder_count;
} pm_sched_run;

struct pm_sched_worker;

/* What a worker holds of a run. */
typedef struct pm_sched_hold {
    pm_sched_run *run;
    struct pm_sched_worker *worker;
    pm_link_node in_run;    /* run->holders */
    pm_link_node in_worker; /* worker->holds or, where the run has max_workers, ->limited */
    pm_link_node hungry;    /* run->hungry */
    size_t leases;
} pm_sched_hold;

typedef enum pm_task_phase {
    PM_TASK_READY,
    PM_TASK_LEASED,
    PM_TASK_SETTLING, /* no lease; waits for the store to decide on its records */
    PM_TASK_BLAMING   /* waits for the store to set items aside or count a crash */
} pm_task_phase;

struct pm_sched_lease;

typedef struct pm_sched_task {
    pm_map_node by_id;
    uint64_t id, next, end;
    pm_sched_run *run;   /* NULL: cancelled, lives only until it has settled */
    pm_link_node in_run; /* run->tasks */
    pm_link_node queue;  /* run->ready or run->ready_alone */
    struct pm_sched_lease *lease;
    uint64_t blame_first; /* items [blame_first, blame_first + blame_count) are suspect */
    const char *blame_reason;
    uint32_t blame_count;
    uint32_t pending; /* records that the store has not decided on */
    uint32_t crashes;
    bool alone, poisoned;
    bool was_leased;    /* in this life of the broker */
    uint64_t leased_by; /* identity of the last who held it, where was_leased */
    pm_task_phase phase;
} pm_sched_task;

typedef struct pm_sched_worker {
    pm_map_node by_id, by_instance;
    pm_worker_id id;
    pm_instance instance;
    uint64_t identity;
    pm_link_node word;   /* scheduler->words, oldest first */
    pm_link_node hunger; /* scheduler->idle, ->busy or ->served, where it may get a task */
    pm_list *waits;      /* which of them, or NULL */
    pm_list leases, holds, limited;
    int64_t last_word_ms;
    uint64_t runs_sent[PM_RUNS_SENT];
    size_t lease_count, runs_sent_next;
    uint32_t credit, threads;
    uint32_t beats; /* heartbeats so far */
    bool alone;     /* holds an alone task */
    bool stopped;   /* drained or hung: gets nothing more */
    bool drained;   /* asked to go; told again if it says Hello again */
} pm_sched_worker;

typedef struct pm_sched_lease {
    pm_sched_task *task;
    pm_sched_worker *worker;
    pm_sched_hold *hold;
    pm_link_node in_worker, deadline;
    pm_token token;
    int64_t deadline_ms;
    uint64_t received;    /* the item whose result comes next; [next, received) is with the store */
    uint64_t started_end; /* items [received, started_end) are in hand */
    uint64_t progress;
    int64_t mark_ms;      /* what is in hand was started then; has_mark */
    int64_t charged_us;   /* to the run when it went out */
    int64_t spent_us;     /* seen since */
    uint32_t still_beats; /* since the counter last changed; half a heartbeat apart at least */
    int64_t still_ms;     /* when one was counted, or the lease extended */
    uint32_t last_beat;   /* number of the last heartbeat that named this lease */
    bool has_progress, listed, has_mark;
} pm_sched_lease;

/* What a lost worker had in hand, in case its parent says that it crashed. A lease that ends for
 * want of progress is remembered too, its worker lost or not: who crashes before it could say what
 * it started may be silent for longer than a lease lasts. */
typedef struct pm_ghost_item {
    uint64_t task, first;
    uint32_t count; /* in hand; 0: only what the parent says was */
    bool expired;   /* while its worker was there */
    pm_token token;
} pm_ghost_item;

typedef struct pm_ghost {
    pm_instance instance;
    uint64_t identity;
    int64_t lost_ms;
    size_t item_count; /* leases held; 0: unused */
    pm_ghost_item items[PM_GHOST_ITEMS];
} pm_ghost;

struct pm_scheduler {
    pm_scheduler_options options;
    uint64_t token_counter;
    int64_t now_ms, clock_ms; /* time that never steps back, and what the caller said last */
    pm_map runs, tasks, workers, instances;
    pm_turns turn;       /* runs with ready tasks that any worker may get */
    pm_turns alone_turn; /* the same with nothing ready but alone tasks */
    pm_list full_runs;   /* runs with as many workers as they may have and ready tasks, which the
                            hungry among those may get */
    uint64_t turns;      /* counts them */
    int64_t item_us;     /* of the runs so far: what a new one is taken to need */
    int64_t level_us[2 * PM_PRIORITY_MOST + 1]; /* by priority: of given_us, what was settled of
                                                   the run that had a turn last */
    pm_list words, deadlines;
    pm_list idle;              /* workers with credit that hold nothing */
    pm_list busy;              /* workers with credit that hold something, but nothing alone */
    pm_list served;            /* those of them that had their share when last looked at */
    uint64_t threads;          /* of all workers */
    pm_sched_worker *reserved; /* gets nothing until it is idle, then an alone task */
    size_t ready_count, leased_count, alone_ready_count, alone_leased_count;
    size_t paused_count; /* ready tasks of paused runs */
    uint32_t hang_beats;
    bool paused, draining, alone_next;
    pm_ghost ghosts[PM_SCHEDULER_GHOSTS];
    size_t ghost_next;
    pm_action *actions;
    size_t action_count, action_capacity;
};

/* Seeded mistakes, for the test that shows that the simulator finds them. */
#ifdef PM_SCHEDULER_PLANTS
extern int pm_scheduler_plant;
#define PM_PLANTED(n) (pm_scheduler_plant == (n))
#else
#define PM_PLANTED(n) false
#endif

/* Room for `count` more actions; asked for before anything changes. */
pm_status pm_sched_reserve(pm_scheduler *s, size_t count);
/* The next action, zeroed; room must be reserved. */
pm_action *pm_sched_act(pm_scheduler *s, pm_action_kind kind);

pm_sched_run *pm_sched_run_find(const pm_scheduler *s, uint64_t id);
pm_sched_task *pm_sched_task_find(const pm_scheduler *s, uint64_t id);
pm_sched_worker *pm_sched_worker_find(const pm_scheduler *s, pm_worker_id id);

/* scheduler_tasks.c: runs, tasks, records, blame */
pm_status pm_sched_run_added(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_run_cancelled(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_recorded(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_blamed(pm_scheduler *s, const pm_event *event);
/* Put a task that has no lease where it belongs now: wait, blame, ready, or done. At most two
 * actions. */
void pm_sched_settle(pm_scheduler *s, pm_sched_task *task);
/* Suspect items [first, first + count), once the task has settled. */
void pm_sched_suspect(pm_sched_task *task, uint64_t first, uint64_t count, const char *reason);
/* Out of the ready tasks, if it is among them. */
void pm_sched_unqueue(pm_scheduler *s, pm_sched_task *task);
void pm_sched_task_free(pm_scheduler *s, pm_sched_task *task);

/* scheduler_leases.c: leases and what workers say of them */
/* NULL: out of memory. */
pm_sched_lease *pm_sched_lease_new(pm_scheduler *s, pm_sched_task *task, pm_sched_worker *worker);
/* `tell`: reason of a REVOKE, or NULL; `blame`: items in hand are suspect, or NULL. At most three
 * actions. */
void pm_sched_lease_end(pm_scheduler *s, pm_sched_lease *lease, const char *tell,
                        const char *blame);
void pm_sched_lease_extend(pm_scheduler *s, pm_sched_lease *lease);
pm_status pm_sched_item_started(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_item_result(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_task_returned(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_heartbeat(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_expire_leases(pm_scheduler *s);

/* scheduler_workers.c: who is there */
pm_status pm_sched_hello(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_goodbye(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_drain(pm_scheduler *s, const pm_event *event);
pm_status pm_sched_expire_workers(pm_scheduler *s);
/* Of a lease that is about to end for want of progress. */
void pm_sched_remember_expired(pm_scheduler *s, const pm_sched_lease *lease);
void pm_sched_worker_free(pm_scheduler *s, pm_sched_worker *worker);

/* scheduler_turns.c: whose turn it is among runs */
/* Room for one more run in turn. */
pm_status pm_sched_turns_reserve(pm_scheduler *s);
/* Put a run where its state asks for. `had_turn`: behind those that were given as much. */
void pm_sched_place_run(pm_scheduler *s, pm_sched_run *run, bool had_turn);
/* Out of all turns, for good. */
void pm_sched_unplace_run(pm_scheduler *s, pm_sched_run *run);
void pm_sched_terms_set(pm_scheduler *s, pm_sched_run *run, const pm_run_terms *terms);
pm_status pm_sched_run_terms(pm_scheduler *s, const pm_event *event);
/* NULL: nobody. */
pm_sched_run *pm_sched_first_run(const pm_turns *turns);
/* Whose task the worker gets: one of those open to all, or of those it holds already. */
pm_sched_run *pm_sched_run_for(const pm_scheduler *s, const pm_sched_worker *worker);
/* A worker that may get one of a run that is open to its holders only, or NULL. */
pm_sched_worker *pm_sched_full_run_worker(const pm_scheduler *s);
/* max_workers lets this worker hold a lease of the run. */
bool pm_sched_may_hold(const pm_sched_run *run, const pm_sched_worker *worker);
/* One lease more, or one less. NULL: out of memory. */
pm_sched_hold *pm_sched_hold_add(pm_scheduler *s, pm_sched_run *run, pm_sched_worker *worker);
void pm_sched_hold_drop(pm_scheduler *s, pm_sched_hold *hold);
/* Tell the runs that it holds whether it may get a task. */
void pm_sched_hunger_changed(pm_scheduler *s, pm_sched_worker *worker);
/* Work as it is given (by what it is likely to take), seen to be done, and put right at the end. */
void pm_sched_charge(pm_scheduler *s, pm_sched_lease *lease);
void pm_sched_work_begins(const pm_scheduler *s, pm_sched_lease *lease);
void pm_sched_work_seen(pm_scheduler *s, pm_sched_lease *lease, bool item_done);
void pm_sched_settle_charge(pm_scheduler *s, pm_sched_lease *lease);

/* scheduler_dispatch.c: who gets what */
/* Put a worker into the list that its state asks for. */
void pm_sched_place_worker(pm_scheduler *s, pm_sched_worker *worker);
/* It holds a task in reserve, and half of its threads' share of all that is open. */
bool pm_sched_has_share(const pm_scheduler *s, const pm_sched_worker *worker);
/* Hand out tasks while there are both tasks and credit. */
void pm_sched_dispatch(pm_scheduler *s);

#endif
