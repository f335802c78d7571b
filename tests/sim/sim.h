/* The seeded simulator of the scheduler: a fake network, workers, clients and store around the
 * real scheduler, on a clock of its own. The same seed gives the same history to the last byte.
 *
 * One history: runs are submitted, workers come; for a while everything goes wrong (messages are
 * dropped, doubled, late, out of order, partitioned away; workers are killed, stall, hang and
 * crash on poison items; the broker is killed between any two actions and comes back with what was
 * committed; memory runs out; the clock jumps; the store refuses or has no room). Then faults are
 * switched off and everything must drain. Each step is checked against the numbered invariants at
 * the head of broker/scheduler.c. */
#ifndef PM_TESTS_SIM_H
#define PM_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "broker/scheduler.h"

enum {
    SIM_WORKERS = 5,
    SIM_THREADS = 3,
    SIM_HELD = 16,
    SIM_RUNS = 4,
    SIM_ITEMS = 48,
    SIM_TASKS = 1024,
    SIM_TOKENS = 1 << 14,
    SIM_FAILURE_BYTES = 256
};

typedef enum sim_kind {
    /* worker to broker */
    SIM_HELLO,
    SIM_CREDIT,
    SIM_HEARTBEAT,
    SIM_STARTED,
    SIM_RESULT,
    SIM_RETURNED,
    SIM_GOODBYE,
    /* broker to worker */
    SIM_WELCOME,
    SIM_REFUSED,
    SIM_RUN_INFO,
    SIM_TASK,
    SIM_REVOKED,
    SIM_ACKNOWLEDGED,
    SIM_HEARTBEAT_BACK,
    SIM_DRAIN,
    /* client to broker and back */
    SIM_SUBMIT,
    SIM_CANCEL,
    SIM_RETRY,
    SIM_TERMS,
    SIM_ANSWER,
    /* timers */
    SIM_TICK,
    SIM_WAKE,
    SIM_CLIENT,
    SIM_COMMIT,
    SIM_TAKE,
    SIM_FAULT,
    SIM_RESTART
} sim_kind;

/* A message on its way, or a timer. */
typedef struct sim_event {
    sim_kind kind;
    int64_t at_ms;
    uint64_t order;
    pm_worker_id conn;
    size_t worker;
    uint64_t run, task, ordinal, first, end, value, life;
    pm_token token;
    uint32_t credit, threads;
    pm_instance instance, crashed_instance;
    bool crashed;
    const char *reason;
    pm_run_terms terms; /* SIM_TERMS; `value`: the number of this change */
    size_t count, in_hand_count;
    pm_held_lease leases[SIM_HELD]; /* HELLO; WELCOME: verdicts, next 1 = adopted */
    pm_held_lease in_hand[SIM_HELD];
    pm_beat beats[SIM_HELD];
} sim_event;

/* ---- the store: what is committed, and a queue that a kill forgets ---- */

typedef struct sim_task {
    bool there, alone;
    uint64_t run, next, end;
    uint32_t crashes;
} sim_task;

typedef enum sim_op_kind {
    SIM_OP_SUBMIT,
    SIM_OP_RECORD,
    SIM_OP_BLAME,
    SIM_OP_CANCEL,
    SIM_OP_RETRY,
    SIM_OP_TERMS,
    SIM_OP_FINISH
} sim_op_kind;

typedef struct sim_op {
    sim_op_kind kind;
    uint64_t run, task, item, value;
    pm_blame blame;
    pm_run_terms terms;
    /* answer */
    bool committed, opened; /* the run is open by this op */
    uint64_t made[SIM_ITEMS];
    size_t made_count;
} sim_op;

typedef enum sim_run_state {
    SIM_RUN_NONE,
    SIM_RUN_OPEN,
    SIM_RUN_DONE,
    SIM_RUN_CANCELLED
} sim_run_state;

typedef struct sim_run {
    sim_run_state state;
    uint64_t items;
    uint32_t results[SIM_ITEMS], errors[SIM_ITEMS]; /* rows */
    uint64_t values[SIM_ITEMS];
    /* the truth, which the store does not know */
    bool poison_crash[SIM_ITEMS], poison_hang[SIM_ITEMS];
    uint32_t suspect[SIM_ITEMS]; /* times in hand at a crash or hang */
    uint32_t blamed[SIM_ITEMS];  /* committed */
    bool acknowledged, cancel_asked, retry_asked, answered;
    int64_t submit_ms, cancel_ms;
    pm_run_terms terms;              /* committed */
    pm_run_terms wanted;             /* by the client, who asks until it is answered */
    uint64_t terms_number;           /* of the newest change committed */
    uint64_t terms_asked, terms_had; /* numbers of changes */
    int64_t terms_ms;                /* of the next one */
} sim_run;

enum { SIM_OPS = 4096 };

typedef struct sim_store {
    sim_task tasks[SIM_TASKS]; /* by id; 0 is unused */
    size_t task_count;
    sim_op queue[SIM_OPS], finished[SIM_OPS];
    size_t queued, finished_count;
    bool commit_due, take_due;
    int64_t full_until_ms;
} sim_store;

/* ---- workers ---- */

typedef struct sim_held {
    bool used, queued; /* queued: no thread works on it yet */
    uint64_t task, run, end;
    pm_token token;
    uint64_t unacknowledged; /* first item whose result is not known to be recorded */
    uint64_t todo;           /* first item that is not computed */
    uint64_t started_end, progress;
    int64_t sent_ms;
} sim_held;

typedef struct sim_thread {
    sim_held *held;
    int64_t ready_ms;
    bool computing, hung;
} sim_thread;

typedef struct sim_worker {
    bool alive, welcome, crashed;
    uint64_t incarnation;
    pm_instance instance, crashed_instance;
    const char *crash_reason;
    pm_worker_id conn;
    size_t thread_count, in_hand_count;
    sim_held held[SIM_HELD];
    pm_held_lease in_hand[SIM_HELD];
    sim_thread threads[SIM_THREADS];
    int64_t restart_ms, stalled_until_ms, cut_until_ms, beat_ms, heard_ms, hello_ms, busy_ms;
    bool knows_run[SIM_RUNS + 1];
} sim_worker;

/* ---- what the checks remember of the broker's deeds ---- */

typedef struct sim_shadow_worker {
    pm_worker_id conn;
    int64_t credit;
    bool runs[SIM_RUNS + 1];
} sim_shadow_worker;

enum { SIM_SHADOW_WORKERS = 256 };

typedef struct sim {
    uint64_t seed, random;
    int64_t now_ms, broker_skew_ms;
    bool faults;
    FILE *trace;
    char failure[SIM_FAILURE_BYTES];
    sim_event **heap;
    size_t heap_count, heap_capacity;
    uint64_t order, steps;
    sim_store store;
    sim_run runs[SIM_RUNS + 1]; /* 1 .. run_count */
    size_t run_count;
    sim_worker workers[SIM_WORKERS];
    size_t worker_count;
    uint64_t next_conn, next_instance;
    /* the broker */
    pm_scheduler *scheduler;
    uint64_t epoch, life;
    bool paused, killed;
    uint64_t message_value; /* of the result at hand */
    sim_event welcome;      /* verdicts collected */
    uint32_t drop_per_mille, double_per_mille, late_per_mille;
    /* checks */
    pm_token last_token[SIM_TASKS];
    pm_worker_id last_holder[SIM_TASKS];
    uint32_t pending[SIM_TASKS];
    pm_token tokens[SIM_TOKENS]; /* all ever given; open addressing */
    size_t token_count;
    sim_shadow_worker shadow[SIM_SHADOW_WORKERS];
    size_t passed_over[SIM_RUNS + 1];
    bool done_told[SIM_RUNS + 1];
    pm_run_terms told[SIM_RUNS + 1]; /* what the scheduler was told last */
} sim;

/* Run the history of a seed. True: all held. False: `failure` says what did not, and when. */
bool sim_history(uint64_t seed, FILE *trace, char failure[SIM_FAILURE_BYTES], uint64_t *steps);

/* ---- shared by the files of the simulator ---- */

uint64_t sim_random(sim *w);
uint64_t sim_below(sim *w, uint64_t bound);
bool sim_chance(sim *w, uint32_t per_mille);
uint64_t sim_value(uint64_t run, uint64_t item);
pm_instance sim_instance(uint64_t number);
__attribute__((format(printf, 2, 3))) void sim_trace(sim *w, const char *format, ...);
/* The first failure of a history is kept. */
__attribute__((format(printf, 2, 3))) void sim_fail(sim *w, const char *format, ...);
void sim_timer(sim *w, sim_kind kind, size_t worker, int64_t delay_ms);
/* Over the fake network, with its faults. */
void sim_send(sim *w, const sim_event *message);

/* store */
void sim_store_put(sim *w, const sim_op *op);
void sim_store_commit(sim *w);
void sim_store_forget(sim *w);
size_t sim_store_load(sim *w, uint64_t run, pm_task_state states[SIM_TASKS]);

/* workers */
void sim_worker_start(sim *w, size_t index);
void sim_worker_wake(sim *w, size_t index);
void sim_worker_hear(sim *w, const sim_event *message);
void sim_worker_die(sim *w, size_t index, int64_t restart_after_ms);
void sim_worker_crash(sim *w, size_t index, const char *reason);
void sim_worker_leave(sim *w, size_t index);

/* broker */
void sim_broker_start(sim *w);
void sim_broker_kill(sim *w);
void sim_broker_hear(sim *w, const sim_event *message);
void sim_broker_take(sim *w);
void sim_broker_tick(sim *w);

/* checks */
void sim_check_action(sim *w, const pm_action *action);
void sim_check_state(sim *w, const pm_action *actions, size_t count);
void sim_check_new_broker(sim *w);
void sim_check_hello(sim *w, pm_worker_id conn);
void sim_check_terms(sim *w, const pm_event *event);
void sim_check_credit(sim *w, pm_worker_id conn, uint32_t credit);
void sim_check_end(sim *w);

/* Allocations of the scheduler fail while this is set: every n-th call. */
extern uint32_t sim_memory_fails_every, sim_memory_calls;

#endif
