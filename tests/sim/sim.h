/* The seeded simulator: the real scheduler of the broker and the real session and leases of the
 * workers (worker/session.c, worker/work*.c), around a fake network, compute threads, clients and
 * store, on a clock of its own. Messages between broker and workers are the real ones, packed and
 * unpacked. The same seed gives the same history to the last byte.
 *
 * One history: runs are submitted, workers come; for a while everything goes wrong (messages are
 * dropped, doubled, late, out of order; workers, groups of them and single directions are
 * partitioned away; workers are killed, stall, hang, drain and crash on poison items; liars send
 * what they must not; the broker stalls, is killed between any two actions and comes back with what
 * was committed; memory runs out on both sides; clocks jump both ways; the store refuses or has no
 * room). Then faults are switched off and everything must drain. Each step is checked against the
 * numbered invariants at the head of broker/scheduler.c. */
#ifndef PM_TESTS_SIM_H
#define PM_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "broker/scheduler.h"
#include "worker/session.h"

enum {
    SIM_WORKERS = 5, /* in a history */
    SIM_LIARS = 2,
    SIM_THREADS = 3,
    SIM_HELD = 64, /* leases in one Hello of a liar, verdicts of one Welcome that are traced */
    SIM_RUNS = 4,
    SIM_ITEMS = 48,
    SIM_TASKS = 1024, /* in a history */
    SIM_TOKENS = 1 << 14,
    SIM_SNOOPED = 32,
    SIM_FAILURE_BYTES = 256
};

/* ---- what happened, so that a fault that never fires is seen ---- */

#define SIM_TALLIES(X)                                                                             \
    X(DROPPED, "messages dropped")                                                                 \
    X(DOUBLED, "messages doubled")                                                                 \
    X(LATE, "messages late, out of order")                                                         \
    X(CUT_UP, "messages cut off on their way to the broker")                                       \
    X(CUT_DOWN, "messages cut off on their way to a worker")                                       \
    X(PARTITIONS, "partitions of one worker")                                                      \
    X(GROUP_PARTITIONS, "partitions of a group")                                                   \
    X(ONE_WAY, "partitions of one direction")                                                      \
    X(BUSY, "sends refused by a full queue")                                                       \
    X(CONNECTS, "connections made by workers")                                                     \
    X(BROKER_KILLS, "broker killed")                                                               \
    X(MID_LIST, "... within a list of actions")                                                    \
    X(MID_RECOVERY, "... while it recovers")                                                       \
    X(UNTOLD, "... with commits it was not told of")                                               \
    X(FORGOTTEN, "operations forgotten with it")                                                   \
    X(BROKER_STALLS, "broker stopped and continued")                                               \
    X(BROKER_CLOCK_FORTH, "broker's clock jumps forward")                                          \
    X(BROKER_CLOCK_BACK, "broker's clock jumps back")                                              \
    X(BROKER_MEMORY, "allocations of the scheduler that failed")                                   \
    X(STORE_FULL, "store without room")                                                            \
    X(STORE_REFUSED, "operations that the store refused")                                          \
    X(WORKER_KILLS, "workers killed")                                                              \
    X(WORKER_STALLS, "workers stopped and continued")                                              \
    X(WORKER_CLOCK_FORTH, "workers' clocks jump forward")                                          \
    X(WORKER_CLOCK_BACK, "workers' clocks jump back")                                              \
    X(WORKER_MEMORY, "allocations of workers that failed")                                         \
    X(WORKER_DRAINS, "workers drained by a signal")                                                \
    X(BROKER_DRAINS, "workers drained by the broker")                                              \
    X(LEFT_COMPUTING, "... that left an image unfinished")                                         \
    X(CRASHES, "workers crashed on an item")                                                       \
    X(HANGS, "threads hung on an item")                                                            \
    X(HUNG_TOLD, "workers that ended by the broker's word on a hang")                              \
    X(HUNG_SELF, "workers that ended by their own watch")                                          \
    X(TOGETHER, "groups of items in hand together")                                                \
    X(LONG_ITEMS, "items that took longer than a lease")                                           \
    X(WAITED_FOR_ROOM, "threads that waited for room")                                             \
    X(RENEWED, "hellos because of something unanswered")                                           \
    X(ADOPTED, "leases adopted")                                                                   \
    X(NOT_ADOPTED, "leases not adopted")                                                           \
    X(REVOKED, "leases revoked")                                                                   \
    X(REFUSED_RESULTS, "results refused")                                                          \
    X(SET_ASIDE, "items set aside")                                                                \
    X(SET_ASIDE_LAST, "... the last one of their task")                                            \
    X(UNFIT, "results whose rows do not hold")                                                     \
    X(POISONED, "items found to be poison")                                                        \
    X(LIE_OTHERS_TOKEN, "lies: another's token")                                                   \
    X(LIE_OLD_TOKEN, "lies: an old token")                                                         \
    X(LIE_MADE_UP_TOKEN, "lies: a token made up")                                                  \
    X(LIE_TWICE, "lies: a result twice")                                                           \
    X(LIE_NOT_STARTED, "lies: results of items not started, in any order")                         \
    X(LIE_STARTED, "lies: another's item started")                                                 \
    X(LIE_RETURNED, "lies: another's task returned")                                               \
    X(LIE_INSTANCE, "lies: hello with another's instance")                                         \
    X(LIE_CRASH, "lies: a crash of nobody, with others' items in hand")                            \
    X(LIE_LEASES, "lies: hello with made-up leases")                                               \
    X(LIE_REAL_CRASH, "lies: a crash of another key's instance")                                   \
    X(LIE_REAL_LEASE, "lies: hello with another key's lease")                                      \
    X(LIE_CREDIT, "lies: a flood of credit")                                                       \
    X(LIE_BEATS, "lies: beats for others' leases")                                                 \
    X(LIE_NOISE, "lies: verbs of the broker, and noise")                                           \
    X(SUBMITS, "submits acknowledged")                                                             \
    X(CANCELS, "runs cancelled")                                                                   \
    X(RETRIES, "runs retried")                                                                     \
    X(TERMS, "runs paused, moved or capped")

typedef enum sim_tally {
#define SIM_TALLY(name, text) SIM_N_##name,
    SIM_TALLIES(SIM_TALLY)
#undef SIM_TALLY
        SIM_TALLY_COUNT
} sim_tally;

extern const char *const sim_tally_texts[SIM_TALLY_COUNT];

/* ---- events ---- */

typedef enum sim_kind {
    /* on the wire */
    SIM_TO_BROKER,
    SIM_TO_WORKER,
    /* client to broker and back */
    SIM_SUBMIT,
    SIM_CANCEL,
    SIM_RETRY,
    SIM_TERMS,
    SIM_ANSWER,
    /* timers */
    SIM_TICK,
    SIM_WAKE,
    SIM_LOST, /* a worker's connection broke */
    SIM_LIE,
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
    pm_worker_id conn;   /* the worker's connection */
    size_t worker;       /* timers */
    bool served;         /* it had its turn in the broker's queue */
    unsigned tries;      /* to reach a broker that is not there */
    uint64_t life;       /* timers: of the broker, or of the worker's wake */
    uint64_t run, first; /* clients; `first`: kind of the request, in an answer */
    uint64_t value;      /* SIM_RETRY: which; SIM_TERMS: the number of this change */
    pm_run_terms terms;  /* SIM_TERMS */
    size_t size;
    uint8_t bytes[]; /* a packed Message */
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
    bool committed, unfit;
    bool opened;                     /* the run is open by this op */
    uint64_t made_first, made_count; /* tasks, numbered one after the other */
} sim_op;

typedef struct sim_ops {
    sim_op *ops;
    size_t count, capacity;
} sim_ops;

typedef enum sim_run_state {
    SIM_RUN_NONE,
    SIM_RUN_OPEN,
    SIM_RUN_DONE,
    SIM_RUN_CANCELLED
} sim_run_state;

typedef struct sim_item {
    uint32_t results, errors; /* rows */
    uint64_t value;
    /* the truth, which the store does not know */
    bool poison_crash, poison_hang, poison_rows;
    uint32_t suspect; /* times in hand at a crash or hang, or refused for its rows */
    uint32_t blamed;  /* committed */
} sim_item;

typedef struct sim_run {
    sim_run_state state;
    uint64_t items;
    sim_item *item; /* [items] */
    uint64_t task_items_most;
    int64_t item_ms, load_ms;
    size_t together, outgoing_bytes;
    bool acknowledged, cancel_asked, retry_asked, answered;
    int64_t submit_ms, cancel_ms;
    pm_run_terms terms;              /* committed */
    pm_run_terms wanted;             /* by the client, who asks until it is answered */
    uint64_t terms_number;           /* of the newest change committed */
    uint64_t terms_asked, terms_had; /* numbers of changes */
    int64_t terms_ms;                /* of the next one */
} sim_run;

typedef struct sim_store {
    sim_task *tasks; /* by id; 0 is unused */
    size_t task_count, task_capacity;
    sim_ops queue, finished;
    bool commit_due, take_due;
    int64_t full_until_ms;
} sim_store;

/* ---- workers ---- */

typedef enum sim_thread_state {
    SIM_THREAD_IDLE,
    SIM_THREAD_LOADING,
    SIM_THREAD_STARTING,  /* opens the photographs of a group, one by one */
    SIM_THREAD_COMPUTING, /* the group */
    SIM_THREAD_HANDING,   /* hands in the group; may wait for room */
    SIM_THREAD_HUNG
} sim_thread_state;

/* As worker/compute.c, step by step. */
typedef struct sim_thread {
    sim_thread_state state;
    pm_lease *lease;
    size_t first;           /* item of the task that the group begins with */
    size_t started, handed; /* of the group */
    size_t together;
    bool all_done, lost;
    int64_t ready_ms, beat_ms; /* of the world */
} sim_thread;

struct sim;

typedef struct sim_worker {
    struct sim *world;
    size_t index;
    bool alive;
    pm_slots *slots; /* the parent's: outlives the worker */
    pm_work work;
    pm_session session;
    pm_worker_id conn; /* 0: not connected */
    uint64_t connections;
    size_t thread_count, window_most;
    sim_thread *threads; /* [thread_count] */
    bool loaded[SIM_RUNS + 1];
    bool drained_by_broker;
    int64_t restart_ms, ended_ms, stalled_until_ms, up_cut_until_ms, down_cut_until_ms, skew_ms;
    int64_t woken_ms; /* of the timer that is under way; INT64_MAX: none */
    uint64_t wake_life;
} sim_worker;

typedef struct sim_liar {
    pm_worker_id conn;
    uint64_t connections;
    pm_instance instance;
    size_t count; /* leases that it was given */
    struct {
        uint64_t task, run, next, end;
        pm_token token;
    } given[SIM_SNOOPED];
} sim_liar;

/* What a liar may have seen go by. */
typedef struct sim_snooped {
    uint64_t task, first, end;
    pm_token token;
    pm_instance instance;
} sim_snooped;

/* ---- what the checks remember of the broker's deeds ---- */

typedef struct sim_shadow_worker {
    pm_worker_id conn;
    int64_t credit;
    bool runs[SIM_RUNS + 1];
} sim_shadow_worker;

enum { SIM_SHADOW_WORKERS = 2048 };

/* How a world differs from a history's. */
typedef struct sim_scale {
    size_t workers, threads;
    uint64_t items;
    int64_t item_ms, lease_ms;
    size_t configurations, layers; /* of a result: how large it is */
    uint64_t task_items;
    size_t together;
} sim_scale;

/* Messages and bytes by verb, and what the broker did, for fleets. */
enum { SIM_VERBS = 64 };
typedef struct sim_traffic {
    uint64_t messages[2][SIM_VERBS], bytes[2][SIM_VERBS]; /* to the broker, to workers */
    uint64_t events, rows, commits;
    uint64_t step_ns, step_ns_most;
} sim_traffic;

typedef struct sim {
    uint64_t seed, random;
    int64_t now_ms, broker_skew_ms;
    bool faults, checks;
    bool keyed; /* each worker and liar has a key of its own */
    FILE *trace;
    char failure[SIM_FAILURE_BYTES];
    sim_event **heap;
    size_t heap_count, heap_capacity;
    uint64_t order, steps;
    sim_scale scale;
    sim_store store;
    sim_run runs[SIM_RUNS + 1]; /* 1 .. run_count */
    size_t run_count;
    sim_worker *workers;
    size_t worker_count;
    sim_liar liars[SIM_LIARS];
    size_t liar_count;
    sim_snooped snooped[SIM_SNOOPED];
    uint64_t snooped_count;
    uint64_t next_instance;
    /* the broker */
    pm_scheduler *scheduler;
    uint64_t epoch, life;
    bool paused, killed, recovering;
    uint64_t kill_after; /* so many actions; 0: not asked for */
    int64_t broker_stalled_until_ms;
    int64_t hello_us, busy_until_us; /* fleets: how long a Hello takes the broker, and its queue */
    size_t seats;                    /* fleets: more workers are refused; 0: no bound */
    uint64_t message_value;          /* of the result at hand */
    pm_action verdicts[SIM_HELD * 64];
    size_t verdict_count;
    uint32_t drop_per_mille, double_per_mille, late_per_mille;
    uint32_t worker_memory_every, memory_calls;
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
    uint64_t tally[SIM_TALLY_COUNT];
    sim_traffic traffic;
    void (*on_connect)(struct sim *w,
                       size_t worker); /* fleets: an attempt to connect; may be NULL */
} sim;

typedef struct sim_outcome {
    bool held;
    char failure[SIM_FAILURE_BYTES]; /* what did not hold, and when */
    uint64_t steps;
    uint64_t tally[SIM_TALLY_COUNT];
} sim_outcome;

/* Run the history of a seed. */
void sim_history(uint64_t seed, FILE *trace, sim_outcome *out);

/* A world of many workers and one run, nothing goes wrong and nothing is checked unless the caller
 * does it. */
sim *sim_fleet_new(uint64_t seed, const sim_scale *scale);
/* Until then, or until something failed. */
void sim_run_until(sim *w, int64_t until_ms);
void sim_free(sim **w);

/* ---- shared by the files of the simulator ---- */

uint64_t sim_random(sim *w);
uint64_t sim_below(sim *w, uint64_t bound);
bool sim_chance(sim *w, uint32_t per_mille);
/* Exact in a double. */
uint64_t sim_value(uint64_t run, uint64_t item);
pm_instance sim_instance(uint64_t number);
void sim_count(sim *w, sim_tally tally);
__attribute__((format(printf, 2, 3))) void sim_trace(sim *w, const char *format, ...);
/* The first failure of a history is kept. */
__attribute__((format(printf, 2, 3))) void sim_fail(sim *w, const char *format, ...);

/* net: the heap of events, connections, and messages with the network's faults */
void sim_push(sim *w, sim_event *event, int64_t delay_ms);
sim_event *sim_pop(sim *w);
void sim_timer(sim *w, sim_kind kind, size_t worker, int64_t delay_ms);
void sim_timer_of_life(sim *w, sim_kind kind, size_t worker, uint64_t life, int64_t delay_ms);
/* A connection of a worker or, behind them, of a liar. */
pm_worker_id sim_conn(size_t owner, uint64_t number);
size_t sim_conn_owner(pm_worker_id conn);
/* Whose key the transport would have seen; 0: no keys. */
uint64_t sim_identity(const sim *w, pm_worker_id conn);
void sim_send(sim *w, sim_kind direction, pm_worker_id conn, const Pm__Wire__Message *message);
/* A copy of it. */
void sim_send_client(sim *w, const sim_event *request);
/* False: it was cut off, or waits (the event is taken over then). */
bool sim_arrives(sim *w, sim_event **event);

/* store */
void sim_store_put(sim *w, const sim_op *op);
void sim_store_commit(sim *w);
void sim_store_forget(sim *w);
size_t sim_store_load(sim *w, uint64_t run, pm_task_state **states);
void sim_store_free(sim *w);

/* clients */
void sim_clients(sim *w);
void sim_clients_answer(sim *w, const sim_event *event);

/* faults */
void sim_fault(sim *w);
void sim_faults_off(sim *w);

/* workers */
void sim_worker_init(sim *w, size_t index, size_t threads);
void sim_worker_fini(sim_worker *worker);
void sim_worker_wake(sim *w, size_t index);
void sim_worker_wake_at(sim *w, size_t index, int64_t at_ms);
void sim_worker_hear(sim *w, const sim_event *event);
void sim_worker_lose(sim *w, size_t index);
/* The process ends; `reason`: by its own fault, the parent will tell. */
void sim_worker_die(sim *w, size_t index, const char *reason, int64_t restart_after_ms);
void sim_worker_crash(sim *w, size_t index, const char *reason);
int64_t sim_worker_now_ms(const sim_worker *worker);

/* compute threads; false: the worker died of it */
bool sim_threads_run(sim *w, sim_worker *worker);
int64_t sim_threads_due_ms(const sim_worker *worker);
/* For the truth: what is in hand now may rightly be blamed once. */
void sim_threads_suspect(sim *w, const pm_lease *lease);

/* liars */
void sim_liar_lie(sim *w, size_t index);
void sim_liar_hear(sim *w, const sim_event *event);
void sim_snoop_task(sim *w, const pm_action *action);
void sim_snoop_instance(sim *w, const pm_instance *instance);

/* broker */
void sim_broker_start(sim *w);
void sim_broker_kill(sim *w);
void sim_broker_hear(sim *w, const sim_event *event);
void sim_broker_hear_client(sim *w, const sim_event *event);
void sim_broker_take(sim *w);
void sim_broker_tick(sim *w);
void sim_broker_drain(sim *w, pm_worker_id conn);
void sim_broker_feed(sim *w, const pm_event *event);

/* wire: between messages and the scheduler's events and actions */
void sim_wire_action(sim *w, const pm_action *action);

/* checks */
void sim_check_action(sim *w, const pm_action *action);
void sim_check_state(sim *w, const pm_action *actions, size_t count);
void sim_check_new_broker(sim *w);
void sim_check_terms(sim *w, const pm_event *event);
/* How many workers another hello than their own must leave alone; around it. */
size_t sim_check_others(const sim *w, const pm_event *event);
void sim_check_credit(sim *w, pm_worker_id conn, uint32_t credit);
void sim_check_worker(sim *w, sim_worker *worker);
void sim_check_settled(sim *w, const sim_worker *worker, const Pm__Wire__Welcome *welcome);
void sim_check_end(sim *w);

/* Memory: calls of calloc and realloc fail between begin and end, every n-th; 0: never. */
extern uint32_t sim_memory_fails_every;
void sim_memory_begin(sim *w, uint32_t every, sim_tally tally);
void sim_memory_end(void);
/* The simulator's own needs within. */
bool sim_memory_hold(void);
void sim_memory_go_on(bool was);

#endif
