/* Owns the conversation with the broker. See link.h.
 *
 *   DOWN --(back-off over)--> GREETING --Welcome--> LIVE
 *     ^--------lost, silent, or asked to say Hello-----|
 *
 * In GREETING nothing but Hello is sent. Leases survive a lost connection: Hello offers them and
 * Welcome adopts or refuses each. What has to be sent is found in the work, not queued here. */
#include "worker/link.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "parchgrad.h"

enum {
    HEARTBEAT_MS = 1000, /* until Welcome says otherwise */
    SILENCE_MS = 5000,
    BACK_OFF_MS = 100,
    BACK_OFF_MAX_MS = 3000,
    DRAIN_MS = 8000, /* the image at hand may take this long */
    DRAIN_ALONE_MS = 500,
    BUSY_RETRY_MS = 20,
    GOODBYE_MS = 1000,
    MESSAGES_A_TURN = 64
};

typedef enum link_state { DOWN, GREETING, LIVE } link_state;

typedef struct session {
    const pm_worker_options *options;
    pm_work *work;
    pm_link *link;
    link_state state;
    int64_t heard_ms, beat_ms, retry_ms;
    int64_t heartbeat_ms, silence_ms;
    unsigned failures; /* connections in a row that came to nothing */
    bool crash_told, busy;
    bool draining;
    int64_t drain_until_ms;
    pm_status over; /* the broker does not want this worker */
} session;

static pm_status send_message(void *user, const Pm__Wire__Message *body, const pm_bytes *frames,
                              size_t frame_count) {
    session *s = user;
    return pm_link_send(s->link, body, frames, frame_count);
}

static void go_down(session *s, const char *why) {
    if (s->state == LIVE || s->failures == 0)
        pm_log(PM_LOG_WARN, "worker.link.down", "why=%s broker=" PM_QUOTED, why, s->options->url);
    uint32_t dice;
    pm_random_bytes(&dice, sizeof dice);
    int64_t wait_ms = BACK_OFF_MAX_MS;
    if (s->failures < 5) wait_ms = (int64_t)BACK_OFF_MS << s->failures;
    /* Jitter: half to one and a half, so that a fleet does not come back in one wave. */
    s->retry_ms = pm_clock_ms() + wait_ms / 2 + (int64_t)(dice % (uint32_t)wait_ms);
    s->failures++;
    s->state = DOWN;
    pm_link_disconnect(s->link);
    pm_work_unsettle(s->work);
}

static const char *isa_of_host(void) {
    if (__builtin_cpu_supports("avx512f")) return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
    return "baseline";
}

static size_t fill_crash(const session *s, Pm__Wire__Hello *hello, Pm__Wire__InHand *in_hand,
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

static pm_status send_hello(session *s) {
    static Pm__Wire__InHand in_hand[PM_THREADS_MAX];
    static Pm__Wire__InHand *in_hand_pointers[PM_THREADS_MAX];
    char host[256] = "";
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
    gethostname(host, sizeof host - 1);
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    hello.protocol = PM_PROTOCOL_VERSION;
    hello.engine_version = (char *)PM_ENGINE_VERSION;
    hello.role = (char *)pm_role_name(PM_ROLE_WORKER);
    hello.instance = (ProtobufCBinaryData){PM_INSTANCE_BYTES, (uint8_t *)s->work->slots->instance};
    hello.host = host;
    hello.has_pid = hello.has_threads = true;
    hello.pid = (uint32_t)getpid();
    hello.threads = (uint32_t)s->options->threads;
    hello.isa = (char *)isa_of_host();
    hello.n_leases = count;
    hello.leases = pointers;
    hello.n_in_hand = fill_crash(s, &hello, in_hand, in_hand_pointers);
    hello.in_hand = in_hand_pointers;
    Pm__Wire__Message message = pm_wire_hello(&hello);
    status = pm_link_send(s->link, &message, NULL, 0);
    free(pointers);
    free(held);
    return status;
}

static void greet(session *s) {
    pm_status status = pm_link_connect(s->link);
    if (!status) status = send_hello(s);
    s->heard_ms = pm_clock_ms();
    s->state = GREETING;
    if (status) go_down(s, pm_status_name(status));
}

static pm_status give_credit(session *s, size_t tasks) {
    if (tasks == 0) return PM_OK;
    Pm__Wire__Credit credit = PM__WIRE__CREDIT__INIT;
    credit.tasks = (uint32_t)tasks;
    Pm__Wire__Message message = pm_wire_credit(&credit);
    return pm_link_send(s->link, &message, NULL, 0);
}

static int64_t between(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

static void on_welcome(session *s, const Pm__Wire__Welcome *welcome) {
    if (s->state != GREETING) return;
    if (welcome->protocol != PM_PROTOCOL_VERSION) {
        s->over = pm_fail(PM_E_MISMATCH, "the broker speaks protocol %u, this worker %d",
                          welcome->protocol, PM_PROTOCOL_VERSION);
        return;
    }
    s->heartbeat_ms = between(welcome->heartbeat_ms, 50, 60000);
    s->silence_ms = between(welcome->silence_ms, 2 * s->heartbeat_ms, 600000);
    s->state = LIVE;
    s->failures = 0;
    s->crash_told = true;
    s->beat_ms = pm_clock_ms();
    pm_work_settle(s->work, welcome);
    const size_t held = pm_work_lease_count(s->work);
    pm_log(PM_LOG_INFO, "worker.link.up", "broker=" PM_QUOTED " leases=%zu", s->options->url, held);
    if (give_credit(s, pm_work_take_credit(s->work))) go_down(s, "full");
}

static void on_refused(session *s, const Pm__Wire__Refused *refused) {
    if (strcmp(refused->reason, "hello") == 0) {
        /* A broker that started anew behind the same connection. */
        go_down(s, "hello");
        s->retry_ms = pm_clock_ms();
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
    }
}

static void return_task(session *s, const Pm__Wire__Task *task) {
    Pm__Wire__TaskReturned returned = PM__WIRE__TASK_RETURNED__INIT;
    pm_log(PM_LOG_ERROR, "worker.task.refused", "task=%llu error=" PM_QUOTED,
           (unsigned long long)task->task, pm_error_text());
    returned.task = task->task;
    returned.token = task->token;
    Pm__Wire__Message message = pm_wire_task_returned(&returned);
    if (pm_link_send(s->link, &message, NULL, 0)) go_down(s, "full");
}

static void on_task(session *s, pm_message *message) {
    const Pm__Wire__Task *task = message->body->task;
    pm_status status = s->draining ? pm_fail(PM_E_CANCELLED, "this worker is stopping")
                                   : pm_work_add_task(s->work, message);
    if (!status) return;
    return_task(s, task);
    /* Saying Hello anew makes the broker announce its runs again and count credit from the start.
     */
    if (status != PM_E_CANCELLED && s->state == LIVE) go_down(s, "task");
    pm_message_fini(message);
}

/* Takes the message over. */
static void on_message(session *s, pm_message *message) {
    const Pm__Wire__Message *body = message->body;
    bool live = s->state == LIVE;
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
        const Pm__Wire__LeaseRevoked *revoked = body->lease_revoked;
        pm_log(PM_LOG_INFO, "worker.lease.revoked", "task=%llu reason=%s",
               (unsigned long long)revoked->task, revoked->reason);
        if (strcmp(revoked->reason, "hang") == 0)
            s->over = pm_fail(PM_E_TIMEOUT, "an image hangs; another worker takes over");
        if (revoked->token.len == PM_TOKEN_BYTES)
            pm_work_revoke(s->work, revoked->task, revoked->token.data);
    } else if (live && body->body_case == PM__WIRE__MESSAGE__BODY_CHUNK) {
        pm_work_chunk(s->work, message);
    } else if (live && body->body_case == PM__WIRE__MESSAGE__BODY_DRAIN) {
        if (!s->draining) kill(getpid(), SIGTERM);
    }
    pm_message_fini(message);
}

static void receive(session *s) {
    for (int i = 0; i < MESSAGES_A_TURN && s->state != DOWN && !s->over; i++) {
        pm_message message;
        pm_status status = pm_link_receive(s->link, 0, &message);
        if (status == PM_E_TIMEOUT) return;
        s->heard_ms = pm_clock_ms();
        if (status)
            pm_log(PM_LOG_WARN, "worker.message", "error=" PM_QUOTED, pm_error_text());
        else
            on_message(s, &message);
    }
}

static pm_status send_heartbeat(session *s) {
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
    status = pm_link_send(s->link, &message, NULL, 0);
    free(pointers);
    free(beats);
    return status;
}

/* Send what there is to send. A full queue is tried again soon; anything else is a new start. */
static void transmit(session *s, int64_t now_ms) {
    pm_status status = pm_work_flush(s->work, send_message, s);
    if (!status) {
        if (give_credit(s, pm_work_take_credit(s->work))) status = PM_E_IO;
    }
    if (!status && now_ms >= s->beat_ms) {
        status = send_heartbeat(s);
        s->beat_ms = now_ms + s->heartbeat_ms;
        pm_work_fetch_tick(s->work, now_ms);
    }
    s->busy = status == PM_E_BUSY;
    if (status == PM_E_LIMIT || status == PM_E_MEMORY)
        pm_log(PM_LOG_ERROR, "worker.send", "error=" PM_QUOTED, pm_error_text());
    if (status && !s->busy) go_down(s, "send");
}

static void begin_drain(session *s) {
    if (s->draining) return;
    s->draining = true;
    s->drain_until_ms = pm_clock_ms() + DRAIN_MS;
    pm_log(PM_LOG_INFO, "worker.drain", "leases=%zu", pm_work_lease_count(s->work));
    pm_work_drain(s->work);
    pm_work_return(s->work, false);
}

static bool drained(session *s, int64_t now_ms) {
    if (!s->draining) return false;
    /* Nobody to give results to: what is lost is computed again. */
    if (s->state != LIVE && s->drain_until_ms > now_ms + DRAIN_ALONE_MS)
        s->drain_until_ms = now_ms + DRAIN_ALONE_MS;
    return pm_work_lease_count(s->work) == 0 || now_ms >= s->drain_until_ms;
}

static void say_goodbye(session *s) {
    if (s->state != LIVE) return;
    pm_work_return(s->work, true);
    (void)pm_work_flush(s->work, send_message, s);
    Pm__Wire__Goodbye goodbye = PM__WIRE__GOODBYE__INIT;
    Pm__Wire__Message message = pm_wire_goodbye(&goodbye);
    (void)pm_link_send(s->link, &message, NULL, 0);
}

static int wait_ms(const session *s, int64_t now_ms) {
    int64_t until = s->state == DOWN   ? s->retry_ms
                    : s->state == LIVE ? s->beat_ms
                                       : s->heard_ms + s->silence_ms;
    if (s->busy && until > now_ms + BUSY_RETRY_MS) until = now_ms + BUSY_RETRY_MS;
    if (s->draining && until > s->drain_until_ms) until = s->drain_until_ms;
    return (int)between(until - now_ms, 0, HEARTBEAT_MS);
}

/* One turn: what is due, wait, what arrived. */
static pm_status turn(session *s, int signal_fd) {
    int64_t now_ms = pm_clock_ms();
    bool messages = false;
    pm_wait_fd fds[] = {{.fd = signal_fd}, {.fd = s->work->wake_fd}};
    if (s->state == DOWN && now_ms >= s->retry_ms) greet(s);
    if (s->state != DOWN && pm_link_lost(s->link)) go_down(s, "lost");
    if (s->state != DOWN && now_ms - s->heard_ms > s->silence_ms) go_down(s, "silent");
    if (s->state == LIVE) transmit(s, now_ms);
    /* While down, what compute threads have to say waits for the next connection. */
    pm_status status = pm_link_wait(s->link, fds, s->state == LIVE && !s->busy ? 2 : 1,
                                    wait_ms(s, now_ms), &messages);
    if (status) return status;
    if (fds[0].readable) {
        struct signalfd_siginfo info;
        if (read(signal_fd, &info, sizeof info) == (ssize_t)sizeof info) begin_drain(s);
    }
    if (messages) receive(s);
    return s->over;
}

pm_status pm_worker_link_run(const pm_worker_options *options, pm_work *work, int signal_fd,
                             bool *left_computing) {
    session s = {
        .options = options, .work = work, .heartbeat_ms = HEARTBEAT_MS, .silence_ms = SILENCE_MS};
    pm_status status = pm_link_new(options->url, PM_ROLE_WORKER, options->insecure, &s.link);
    if (status) return status;
    pm_work_expect(work, options->threads);
    while (!status && !drained(&s, pm_clock_ms())) status = turn(&s, signal_fd);
    say_goodbye(&s);
    *left_computing = pm_work_is_computing(work);
    pm_link_finish(&s.link, GOODBYE_MS);
    return status;
}
