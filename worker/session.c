/* Owns the conversation with the broker. See session.h. Must not know sockets, the clock, signals
 * and compute threads. */
#include "worker/session.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "parchgrad.h"
#include "worker/work_private.h"

enum {
    HEARTBEAT_MS = 1000, /* until Welcome says otherwise */
    SILENCE_MS = 5000,
    LEASE_MS = 30000,
    BACK_OFF_MS = 1000,
    BACK_OFF_LEAST_MS = 50,
    BACK_OFF_MAX_MS = 8000,
    DRAIN_MS = 8000, /* the image at hand may take this long */
    DRAIN_ALONE_MS = 500,
    BUSY_RETRY_MS = 20,
    STUCK_BEATS_LEAST = 90 /* longer than a fetch may stall */
};

/* A step back of the clock is no step. */
static void set_now(pm_session *s, int64_t now_ms) {
    if (now_ms > s->clock_ms) s->now_ms += now_ms - s->clock_ms;
    s->clock_ms = now_ms;
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t between(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : min64(value, high);
}

void pm_session_init(pm_session *s, pm_work *work, const pm_session_self *self,
                     const pm_session_host *host) {
    *s = (pm_session){.host = *host,
                      .self = *self,
                      .work = work,
                      .heartbeat_ms = HEARTBEAT_MS,
                      .silence_ms = SILENCE_MS,
                      .lease_ms = LEASE_MS};
    pm_work_expect(work, self->threads);
}

static pm_status send_message(pm_session *s, const Pm__Wire__Message *message) {
    return s->host.send(s->host.user, message, NULL, 0);
}

/* Any moment within a span that doubles: a fleet that lost its broker at one time does not come
 * back at one time. */
static int64_t back_off_ms(pm_session *s) {
    int64_t span_ms = BACK_OFF_MAX_MS;
    if (s->failures < 3) span_ms = (int64_t)BACK_OFF_MS << s->failures;
    if (PM_WORK_PLANTED(1)) return BACK_OFF_LEAST_MS; /* no jitter, no back-off */
    return BACK_OFF_LEAST_MS + (int64_t)(s->host.dice(s->host.user) % (uint32_t)span_ms);
}

static void go_down(pm_session *s, const char *why) {
    if (s->state == PM_SESSION_LIVE || s->failures == 0)
        pm_log(PM_LOG_WARN, "worker.link.down", "why=%s broker=" PM_QUOTED, why, s->self.broker);
    s->retry_ms = s->now_ms + back_off_ms(s);
    s->failures++;
    s->state = PM_SESSION_DOWN;
    s->host.disconnect(s->host.user);
    pm_work_unsettle(s->work);
}

/* ---- hello ---- */

static size_t fill_crash(const pm_session *s, Pm__Wire__Hello *hello, Pm__Wire__InHand *in_hand,
                         Pm__Wire__InHand **pointers) {
    const pm_crash *crash = &s->work->slots->crash;
    if (s->crash_told || !crash->happened) return 0;
    hello->has_crashed_instance = true;
    hello->crashed_instance = (ProtobufCBinaryData){PM_INSTANCE_BYTES, (uint8_t *)crash->instance};
    hello->crash_reason = (char *)crash->reason;
    for (size_t i = 0; i < crash->count; i++) {
        pm__wire__in_hand__init(&in_hand[i]);
        in_hand[i].task = crash->in_hand[i].task;
        in_hand[i].ordinal = crash->in_hand[i].ordinal;
        in_hand[i].token =
            (ProtobufCBinaryData){PM_TOKEN_BYTES, (uint8_t *)crash->in_hand[i].token};
        pointers[i] = &in_hand[i];
    }
    return crash->count;
}

static void fill_self(const pm_session *s, Pm__Wire__Hello *hello) {
    hello->protocol = PM_PROTOCOL_VERSION;
    hello->engine_version = (char *)PM_ENGINE_VERSION;
    hello->role = (char *)pm_role_name(PM_ROLE_WORKER);
    hello->instance = (ProtobufCBinaryData){PM_INSTANCE_BYTES, (uint8_t *)s->work->slots->instance};
    hello->host = (char *)s->self.host_name;
    hello->has_pid = hello->has_threads = true;
    hello->pid = s->self.pid;
    hello->threads = s->self.threads;
    hello->isa = (char *)s->self.isa;
    hello->has_schema_version = true;
    hello->schema_version = PM_SCHEMA_VERSION;
}

static pm_status send_hello(pm_session *s) {
    Pm__Wire__InHand in_hand[PM_THREADS_MAX];
    Pm__Wire__InHand *in_hand_pointers[PM_THREADS_MAX];
    Pm__Wire__HeldLease *held = NULL, **pointers = NULL;
    size_t count = 0;
    pm_status status = pm_work_held(s->work, &held, &count);
    if (status) return status;
    pointers = calloc(count + 1, sizeof *pointers);
    if (!pointers) {
        free(held);
        return pm_fail(PM_E_MEMORY, "hello: no memory");
    }
    for (size_t i = 0; i < count; i++) pointers[i] = &held[i];
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    fill_self(s, &hello);
    hello.n_leases = count;
    hello.leases = pointers;
    hello.n_in_hand = fill_crash(s, &hello, in_hand, in_hand_pointers);
    hello.in_hand = in_hand_pointers;
    Pm__Wire__Message message = pm_wire_hello(&hello);
    status = send_message(s, &message);
    free(pointers);
    free(held);
    return status;
}

static void greet(pm_session *s) {
    pm_status status = s->host.connect(s->host.user);
    if (!status) status = send_hello(s);
    s->heard_ms = s->now_ms;
    s->state = PM_SESSION_GREETING;
    if (status) go_down(s, pm_status_name(status));
}

/* Something that was to be answered was not: a message is lost for good (the broker had no memory
 * for it). Hello on the same connection sets credit and results on both sides anew. No sooner than
 * a lease's end, or the lease of a thread that hangs would be made new each time. */
static void renew(pm_session *s) {
    const int64_t patience_ms = 2 * s->lease_ms;
    bool starves = pm_work_open_credit(s->work) > 0 && s->now_ms - s->task_ms >= patience_ms;
    if (PM_WORK_PLANTED(2)) return; /* waits for ever */
    if (!starves && !pm_work_is_unanswered(s->work, patience_ms * 1000)) return;
    pm_log(PM_LOG_DEBUG, "worker.link.renew", "broker=" PM_QUOTED, s->self.broker);
    pm_work_unsettle(s->work);
    s->state = PM_SESSION_GREETING;
    if (send_hello(s)) go_down(s, "send");
}

static pm_status give_credit(pm_session *s) {
    size_t tasks = pm_work_take_credit(s->work);
    if (tasks == 0) return PM_OK;
    Pm__Wire__Credit credit = PM__WIRE__CREDIT__INIT;
    credit.tasks = (uint32_t)tasks;
    if (tasks == pm_work_open_credit(s->work)) s->task_ms = s->now_ms;
    Pm__Wire__Message message = pm_wire_credit(&credit);
    return send_message(s, &message);
}

/* ---- what is heard ---- */

static void on_welcome(pm_session *s, const Pm__Wire__Welcome *welcome) {
    if (s->state != PM_SESSION_GREETING) return;
    if (welcome->protocol != PM_PROTOCOL_VERSION) {
        s->over = pm_fail(PM_E_MISMATCH, "the broker speaks protocol %u, this worker %d",
                          welcome->protocol, PM_PROTOCOL_VERSION);
        return;
    }
    s->heartbeat_ms = between(welcome->heartbeat_ms, 50, 60000);
    s->silence_ms = between(welcome->silence_ms, 2 * s->heartbeat_ms, 600000);
    s->lease_ms = between(welcome->lease_ms, s->heartbeat_ms, 24 * 3600 * 1000);
    s->state = PM_SESSION_LIVE;
    s->failures = 0;
    s->crash_told = true;
    s->beat_ms = s->task_ms = s->now_ms;
    pm_work_settle(s->work, welcome);
    const size_t held = pm_work_lease_count(s->work);
    pm_log(PM_LOG_INFO, "worker.link.up", "broker=" PM_QUOTED " leases=%zu", s->self.broker, held);
    if (give_credit(s)) go_down(s, "full");
}

static void on_refused(pm_session *s, const Pm__Wire__Refused *refused) {
    if (strcmp(refused->reason, "hello") == 0) {
        /* A broker that started anew behind the same connection, or thought that we were gone. */
        if (s->state == PM_SESSION_LIVE) go_down(s, "hello");
    } else if (strcmp(refused->reason, "version") == 0) {
        s->over = pm_fail(PM_E_MISMATCH, "the broker refuses this worker: %s", refused->text);
    } else if (strcmp(refused->reason, "usage") == 0) {
        /* What it objects to would be sent again as it is. */
        s->over = pm_fail(PM_E_PROTOCOL, "the broker refuses this worker: %s", refused->text);
    } else if (strcmp(refused->reason, "role") == 0) {
        s->over = pm_fail(PM_E_DENIED, "the broker refuses this worker: %s", refused->text);
    } else {
        pm_log(PM_LOG_WARN, "worker.refused", "reason=%s text=" PM_QUOTED, refused->reason,
               refused->text);
        if (s->state == PM_SESSION_GREETING) go_down(s, "refused");
    }
}

static void return_task(pm_session *s, const Pm__Wire__Task *task) {
    Pm__Wire__TaskReturned returned = PM__WIRE__TASK_RETURNED__INIT;
    pm_log(PM_LOG_ERROR, "worker.task.refused", "task=%llu error=" PM_QUOTED,
           (unsigned long long)task->task, pm_error_text());
    returned.task = task->task;
    returned.token = task->token;
    Pm__Wire__Message message = pm_wire_task_returned(&returned);
    if (send_message(s, &message)) go_down(s, "full");
}

static void on_task(pm_session *s, pm_message *message) {
    const Pm__Wire__Task *task = message->body->task;
    pm_status status = s->draining ? pm_fail(PM_E_CANCELLED, "this worker is stopping")
                                   : pm_work_add_task(s->work, message);
    s->task_ms = s->now_ms;
    if (!status) return;
    return_task(s, task);
    /* Saying Hello anew makes the broker announce its runs again and count credit from the start.
     */
    if (status != PM_E_CANCELLED && s->state == PM_SESSION_LIVE) go_down(s, "task");
    pm_message_fini(message);
}

static void on_revoked(pm_session *s, const Pm__Wire__LeaseRevoked *revoked) {
    pm_log(PM_LOG_INFO, "worker.lease.revoked", "task=%llu reason=%s",
           (unsigned long long)revoked->task, revoked->reason);
    if (strcmp(revoked->reason, "hang") == 0)
        s->over = pm_fail(PM_E_TIMEOUT, "an image hangs; another worker takes over");
    if (revoked->token.len == PM_TOKEN_BYTES)
        pm_work_revoke(s->work, revoked->task, revoked->token.data);
}

static void drain(pm_session *s, int64_t until_ms) {
    const bool anew = !s->draining;
    s->drain_until_ms = anew ? until_ms : min64(s->drain_until_ms, until_ms);
    if (!anew) return;
    s->draining = true;
    pm_log(PM_LOG_INFO, "worker.drain", "leases=%zu", pm_work_lease_count(s->work));
    pm_work_drain(s->work);
    pm_work_return(s->work, false);
}

void pm_session_hear(pm_session *s, pm_message *message, int64_t now_ms) {
    const Pm__Wire__Message *body = message->body;
    bool live = s->state == PM_SESSION_LIVE;
    set_now(s, now_ms);
    s->heard_ms = s->now_ms;
    if (body->body_case == PM__WIRE__MESSAGE__BODY_WELCOME) {
        on_welcome(s, body->welcome);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_REFUSED) {
        on_refused(s, body->refused);
    } else if (live && body->body_case == PM__WIRE__MESSAGE__BODY_RUN_INFO) {
        if (pm_work_add_run(s->work, message) == PM_OK) return;
        pm_log(PM_LOG_ERROR, "worker.run.refused", "error=" PM_QUOTED, pm_error_text());
    } else if (live && body->body_case == PM__WIRE__MESSAGE__BODY_TASK) {
        on_task(s, message);
        return;
    } else if (live && body->body_case == PM__WIRE__MESSAGE__BODY_ITEM_RECORDED) {
        pm_work_recorded(s->work, body->item_recorded->task, body->item_recorded->ordinal);
    } else if (live && body->body_case == PM__WIRE__MESSAGE__BODY_LEASE_REVOKED) {
        on_revoked(s, body->lease_revoked);
    } else if (live && body->body_case == PM__WIRE__MESSAGE__BODY_CHUNK) {
        pm_work_chunk(s->work, message);
    } else if (live && body->body_case == PM__WIRE__MESSAGE__BODY_DRAIN) {
        drain(s, INT64_MAX); /* nobody waits for the process to go */
    }
    pm_message_fini(message);
}

void pm_session_hear_noise(pm_session *s, int64_t now_ms) {
    set_now(s, now_ms);
    s->heard_ms = s->now_ms;
    pm_log(PM_LOG_WARN, "worker.message", "error=" PM_QUOTED, pm_error_text());
}

void pm_session_lose(pm_session *s, int64_t now_ms) {
    set_now(s, now_ms);
    if (s->state != PM_SESSION_DOWN) go_down(s, "lost");
}

/* ---- what is due ---- */

static pm_status send_heartbeat(pm_session *s) {
    Pm__Wire__Beat *beats = NULL, **pointers = NULL;
    size_t count = 0;
    pm_status status = pm_work_beats(s->work, &beats, &count);
    if (status) return status;
    pointers = calloc(count + 1, sizeof *pointers);
    if (!pointers) {
        free(beats);
        return pm_fail(PM_E_MEMORY, "heartbeat: no memory");
    }
    for (size_t i = 0; i < count; i++) pointers[i] = &beats[i];
    Pm__Wire__Heartbeat heartbeat = PM__WIRE__HEARTBEAT__INIT;
    heartbeat.n_beats = count;
    heartbeat.beats = pointers;
    Pm__Wire__Message message = pm_wire_heartbeat(&heartbeat);
    status = send_message(s, &message);
    free(pointers);
    free(beats);
    return status;
}

/* The broker's word on a hang may be lost, and a lease that ended for another reason has a thread
 * that is stuck all the same. In beats, not in time: a process that was stopped hangs in nothing.
 */
static void watch_threads(pm_session *s) {
    int64_t beats = between(2 * s->lease_ms / s->heartbeat_ms, STUCK_BEATS_LEAST, UINT32_MAX);
    if (PM_WORK_PLANTED(3) || !pm_work_is_stuck(s->work, (unsigned)beats)) return;
    s->over = pm_fail(PM_E_TIMEOUT, "an image hangs; this worker ends");
}

/* Send what there is to send. A full queue is tried again soon; anything else is a new start. */
static void transmit(pm_session *s) {
    pm_status status = pm_work_flush(s->work, s->host.send, s->host.user);
    if (!status && give_credit(s)) status = PM_E_IO;
    if (!status && s->now_ms >= s->beat_ms) {
        status = send_heartbeat(s);
        s->beat_ms = s->now_ms + s->heartbeat_ms;
        pm_work_fetch_tick(s->work, pm_work_now_us(s->work) / 1000);
        watch_threads(s);
        if (!status) renew(s);
    }
    s->busy = status == PM_E_BUSY;
    if (status == PM_E_LIMIT || status == PM_E_MEMORY)
        pm_log(PM_LOG_ERROR, "worker.send", "error=" PM_QUOTED, pm_error_text());
    if (status && !s->busy) go_down(s, "send");
}

void pm_session_turn(pm_session *s, int64_t now_ms) {
    set_now(s, now_ms);
    if (!s->draining && pm_work_verdict(s->work)) pm_session_drain(s, now_ms);
    if (s->state == PM_SESSION_DOWN && s->now_ms >= s->retry_ms) greet(s);
    if (s->state != PM_SESSION_DOWN && s->now_ms - s->heard_ms > s->silence_ms &&
        !PM_WORK_PLANTED(13))
        go_down(s, "silent");
    if (s->state == PM_SESSION_LIVE) transmit(s);
}

void pm_session_drain(pm_session *s, int64_t now_ms) {
    set_now(s, now_ms);
    drain(s, s->now_ms + DRAIN_MS);
}

bool pm_session_is_done(pm_session *s, int64_t now_ms) {
    set_now(s, now_ms);
    if (s->over) return true;
    if (!s->draining) return false;
    /* Nobody to give results to: what is lost is computed again. */
    if (s->state != PM_SESSION_LIVE)
        s->drain_until_ms = min64(s->drain_until_ms, s->now_ms + DRAIN_ALONE_MS);
    return pm_work_lease_count(s->work) == 0 || s->now_ms >= s->drain_until_ms;
}

void pm_session_farewell(pm_session *s) {
    if (s->state != PM_SESSION_LIVE) return;
    pm_work_return(s->work, true);
    (void)pm_work_flush(s->work, s->host.send, s->host.user);
    Pm__Wire__Goodbye goodbye = PM__WIRE__GOODBYE__INIT;
    Pm__Wire__Message message = pm_wire_goodbye(&goodbye);
    (void)send_message(s, &message);
}

int64_t pm_session_wait_ms(const pm_session *s, int64_t now_ms) {
    int64_t session_ms = s->now_ms + (now_ms > s->clock_ms ? now_ms - s->clock_ms : 0);
    int64_t until_ms = s->state == PM_SESSION_DOWN   ? s->retry_ms
                       : s->state == PM_SESSION_LIVE ? s->beat_ms
                                                     : s->heard_ms + s->silence_ms + 1;
    if (s->busy) until_ms = min64(until_ms, session_ms + BUSY_RETRY_MS);
    if (s->draining) until_ms = min64(until_ms, s->drain_until_ms);
    return between(until_ms - session_ms, 0, HEARTBEAT_MS);
}
