/* What the link thread and the compute threads share: leases with their items, results that are
 * not recorded yet, runs, and the blobs that are being fetched.
 *
 * One mutex guards all of it. The link thread puts leases in and sends what pm_work_flush finds;
 * compute threads take leases, name the item that they start, and hand in results. Nothing here
 * knows a socket or the engine. */
#ifndef PM_WORKER_WORK_H
#define PM_WORKER_WORK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/net/net.h"
#include "worker/slots.h"

enum {
    PM_UNRECORDED_ITEMS_MAX = 256, /* results that wait for the broker */
    PM_RUNS_KEPT = 4,              /* runs without a lease that stay loaded */
    PM_RUNS_KNOWN = 64,            /* ... whose description stays: more than the broker remembers */
    PM_LEASES_MAX = 1024,          /* far above any credit that is given */
    PM_AHEAD_MS = 2000,            /* work that waits for a compute thread, about */
    PM_AHEAD_MAX = 64              /* leases that do */
};
#define PM_UNRECORDED_BYTES_MAX ((size_t)512 << 20)

/* What a run needs to be computed; private to worker/run.c. */
typedef struct pm_run_ready pm_run_ready;

/* A run as announced. Lives while a lease, or the list of the last few, holds it. */
typedef struct pm_run {
    struct pm_run *next;
    size_t users;  /* leases; under the work's mutex */
    uint64_t used; /* order of last use */
    pm_message message;
    const Pm__Wire__RunInfo *info; /* in message */
    pthread_mutex_t load_lock;     /* guards ready */
    pm_run_ready *ready;
} pm_run;

/* A computed item on its way. */
typedef struct pm_outgoing {
    struct pm_outgoing *next;
    Pm__Wire__ItemResult *result; /* from malloc throughout; task and token are set when sent */
    size_t frame_count;
    pm_bytes *frames; /* each from malloc */
    size_t size_bytes;
    bool sent;
} pm_outgoing;

void pm_outgoing_free(pm_outgoing **outgoing);

typedef enum pm_lease_state { PM_LEASE_QUEUED, PM_LEASE_RUNNING, PM_LEASE_COMPUTED } pm_lease_state;

typedef struct pm_lease {
    struct pm_lease *next;
    pm_message message;
    const Pm__Wire__Task *task; /* in message */
    uint8_t token[PM_TOKEN_BYTES];
    pm_run *run;
    pm_lease_state state;
    bool adopted;   /* known to the broker of this connection */
    bool revoked;   /* its work is to be dropped */
    bool abandoned; /* given back although a thread still computes it */
    bool give_back; /* return it once its results are recorded */
    bool *recorded; /* [task->n_items] */
    size_t recorded_count;
    bool in_hand, start_sent; /* items are being computed; the broker was told */
    uint64_t in_hand_ordinal; /* the last of them: those before it follow from the task's order */
    pm_outgoing *outgoing;    /* in order of computing, not recorded */
    bool begun;               /* its first item was started */
    int64_t taken_us;         /* when its first item was started (before: when it was taken) */
    int64_t moved_us;         /* when its oldest result was sent, or the last one was recorded */
    atomic_ulong progress;    /* raised by the compute loop; starts from the work's */
    unsigned long seen;       /* progress at the last beat */
    unsigned still_beats;     /* beats without progress while a thread computes it */
} pm_lease;

/* A blob that a compute thread waits for. */
typedef struct pm_wanted {
    struct pm_wanted *next;
    struct pm_lease *lease; /* that it is for */
    pm_fetch *fetch;
    bool done;
    pm_status status;
    char text[256];   /* why it failed */
    int64_t heard_ms; /* last chunk or request anew, monotonic */
    int stalls;
} pm_wanted;

/* Monotonic microseconds. */
typedef struct pm_work_clock {
    void *user;
    int64_t (*now_us)(void *user);
} pm_work_clock;

typedef struct pm_work {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int wake_fd; /* eventfd: something to send; -1: nobody sleeps */
    pm_work_clock clock;
    pm_lease *leases;
    pm_run *runs;
    uint64_t run_clock;
    pm_wanted *wanted;    /* fetched side by side, in turns */
    unsigned long chunks; /* received, of any blob: progress for all who wait */
    size_t unrecorded_items, unrecorded_bytes;
    size_t threads;
    size_t window;      /* leases that are wanted here: one a thread and PM_AHEAD_MS of others */
    size_t credit_open; /* given on this connection, no task came for it yet */
    int64_t lease_us;   /* about how long one takes a thread; 0: not known */
    bool draining;
    bool stopping; /* no thread may wait any longer */
    bool gave_up;
    char gave_up_text[512];
    atomic_ulong progress;
    pm_slots *slots;
} pm_work;

pm_status pm_work_init(pm_work *work, pm_slots *slots);
/* The same on a given clock and without the eventfd, for one thread that plays all of them. */
void pm_work_init_plain(pm_work *work, pm_slots *slots, const pm_work_clock *clock);
/* No compute thread may be left. */
void pm_work_fini(pm_work *work);

/* How many compute threads there will be: credit is for one lease each and one more at first, then
 * for PM_AHEAD_MS of work. */
void pm_work_expect(pm_work *work, size_t threads);

/* ---- link thread; messages are taken over on PM_OK only ---- */

/* A run's description; the same one again changes nothing. */
pm_status pm_work_add_run(pm_work *work, pm_message *message);
/* PM_E_STALE: of a run that was not announced; PM_E_PROTOCOL; PM_E_LIMIT. */
pm_status pm_work_add_task(pm_work *work, pm_message *message);
void pm_work_revoke(pm_work *work, uint64_t task, const uint8_t *token);
/* Stands for all items of the task before it as well. */
void pm_work_recorded(pm_work *work, uint64_t task, uint64_t ordinal);
/* Leases as Hello and Heartbeat carry them: arrays from malloc in one block each, the caller frees
 * *out. `progress` NULL for Hello. */
pm_status pm_work_held(pm_work *work, Pm__Wire__HeldLease **out, size_t *count);
pm_status pm_work_beats(pm_work *work, Pm__Wire__Beat **out, size_t *count);
/* Every lease is adopted with its new token, or dropped. */
void pm_work_settle(pm_work *work, const Pm__Wire__Welcome *welcome);
/* Connection lost: nothing may be sent for a lease until it is adopted. */
void pm_work_unsettle(pm_work *work);

/* `send` gives PM_E_BUSY where the queue is full: the rest waits for the next flush. */
typedef pm_status (*pm_send_fn)(void *user, const Pm__Wire__Message *body, const pm_bytes *frames,
                                size_t frame_count);
pm_status pm_work_flush(pm_work *work, pm_send_fn send, void *user);

/* A chunk of what is being fetched; anything else is ignored. The message stays the caller's. */
void pm_work_chunk(pm_work *work, const pm_message *message);
/* Ask again for chunks that do not come. After some rounds the fetch is given up: PM_E_CANCELLED,
 * as no image is to blame, and its task goes back. Call now and then. */
void pm_work_fetch_tick(pm_work *work, int64_t now_ms);

/* An acknowledgement of what was sent is out for so long. */
bool pm_work_is_unanswered(pm_work *work, int64_t for_us);
/* Credit that no task has come for. */
size_t pm_work_open_credit(pm_work *work);
/* A thread got nowhere while so many beats were taken. */
bool pm_work_is_stuck(pm_work *work, unsigned beats);

/* Leases that are with this worker, started or not. */
size_t pm_work_lease_count(pm_work *work);
/* Credit to give now. */
size_t pm_work_take_credit(pm_work *work);
void pm_work_drain(pm_work *work);
/* Give back every lease as soon as nobody computes it and its results are recorded (the flush does
 * it). `force`: at once. */
void pm_work_return(pm_work *work, bool force);
bool pm_work_is_computing(pm_work *work);
/* PM_OK, or PM_E_IO: a compute thread gave up, and why. */
pm_status pm_work_verdict(pm_work *work);
void pm_work_stop(pm_work *work);

/* ---- compute threads ---- */

/* The next lease, or NULL when it is time to end. */
pm_lease *pm_work_take(pm_work *work);
/* The same without waiting: NULL where there is none now. */
pm_lease *pm_work_try_take(pm_work *work);
/* False: leave the rest of the lease alone (revoked, or draining). */
bool pm_work_start_item(pm_work *work, pm_lease *lease, size_t thread, uint64_t ordinal);
/* Takes over *outgoing, waits while too much is unrecorded. NULL: there is no result (memory); the
 * lease will be given back. */
void pm_work_finish_item(pm_work *work, pm_lease *lease, size_t thread, uint64_t ordinal,
                         pm_outgoing *outgoing);
/* The same in its two halves: hand in, then wait while there is no room (and beat, for waiting is
 * no hang). */
void pm_work_hand_in(pm_work *work, pm_lease *lease, size_t thread, uint64_t ordinal,
                     pm_outgoing *outgoing);
bool pm_work_has_room(pm_work *work, const pm_lease *lease);
/* Not all_done: the rest is given back. */
void pm_work_end(pm_work *work, pm_lease *lease, bool all_done);
void pm_work_beat(pm_work *work, pm_lease *lease);
/* There is no working on this machine, and no image is to blame: the session drains and ends. */
void pm_work_give_up(pm_work *work, const char *why);
/* Chunks received so far: progress for all who wait for some. */
unsigned long pm_work_chunks(pm_work *work);
/* Fetch a blob: into folder (then it lies at pm_cache_path), or, folder NULL, into *bytes.
 * PM_E_CANCELLED: revoked or draining. */
pm_status pm_work_fetch(pm_work *work, pm_lease *lease, const char *folder, const pm_sha256 *hash,
                        uint64_t size_bytes, uint8_t **bytes, size_t *size);
/* The same into a file that lives in memory as long as *fd is open. */
pm_status pm_work_fetch_nameless(pm_work *work, pm_lease *lease, const pm_sha256 *hash,
                                 uint64_t size_bytes, int *fd);

#endif
