/* A worker's side of the conversation with the broker: (state, event, now) -> messages.
 *
 *     pm_session_init(&session, &work, &self, &host);
 *     loop:
 *         pm_session_turn(&session, now_ms);            what is due: connect, silence, sending
 *         ... wait for messages or pm_session_wait_ms ...
 *         pm_session_hear(&session, &message, now_ms);  takes the message over
 *         until pm_session_is_done
 *     pm_session_farewell(&session);
 *
 * No socket, clock, signal, thread or randomness of its own: all that comes through `host`, so that
 * tests/sim/ runs it as it is. What has to be sent is found in the work, not queued here.
 *
 *   DOWN --(back-off over)--> GREETING --Welcome--> LIVE
 *     ^                          ^                   | |
 *     |                          +--- unanswered ----+ |
 *     +--------lost, silent, or asked to say Hello-----+
 *
 * In GREETING nothing but Hello is sent. Leases survive a lost connection: Hello offers them and
 * Welcome adopts or refuses each. */
#ifndef PM_WORKER_SESSION_H
#define PM_WORKER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/work.h"

/* What the session needs of the world. */
typedef struct pm_session_host {
    void *user;
    /* A fresh connection; whatever was on an earlier one is gone. */
    pm_status (*connect)(void *user);
    void (*disconnect)(void *user);
    pm_send_fn send; /* never blocks; PM_E_BUSY: later */
    uint32_t (*dice)(void *user);
} pm_session_host;

/* What Hello says of this process. Borrowed. */
typedef struct pm_session_self {
    const char *broker; /* for the log */
    const char *host_name, *isa;
    uint32_t pid, threads;
} pm_session_self;

typedef enum pm_session_state {
    PM_SESSION_DOWN,
    PM_SESSION_GREETING,
    PM_SESSION_LIVE
} pm_session_state;

typedef struct pm_session {
    pm_session_host host;
    pm_session_self self;
    pm_work *work;
    pm_session_state state;
    int64_t now_ms, clock_ms; /* time that never steps back, and what it was told last */
    int64_t heard_ms, beat_ms, retry_ms;
    int64_t task_ms; /* when credit was given anew, or a task came */
    int64_t heartbeat_ms, silence_ms, lease_ms;
    unsigned failures; /* connections in a row that came to nothing */
    bool crash_told, busy;
    bool draining;
    int64_t drain_until_ms;
    pm_status over; /* the broker does not want this worker, or a thread hangs */
} pm_session;

void pm_session_init(pm_session *s, pm_work *work, const pm_session_self *self,
                     const pm_session_host *host);

/* All that is due now. */
void pm_session_turn(pm_session *s, int64_t now_ms);
/* Takes the message over. */
void pm_session_hear(pm_session *s, pm_message *message, int64_t now_ms);
/* Something came that is no message of the protocol. */
void pm_session_hear_noise(pm_session *s, int64_t now_ms);
/* The connection broke. */
void pm_session_lose(pm_session *s, int64_t now_ms);
/* SIGTERM: finish what is in hand if it takes no more than 8 s, return the rest. The broker's Drain
 * does the same without the limit. */
void pm_session_drain(pm_session *s, int64_t now_ms);

/* How long nothing will be due. */
int64_t pm_session_wait_ms(const pm_session *s, int64_t now_ms);
/* Drained, or over. What the end was for: `over`, or pm_work_verdict. */
bool pm_session_is_done(pm_session *s, int64_t now_ms);
/* Return everything and say Goodbye. */
void pm_session_farewell(pm_session *s);

#endif
