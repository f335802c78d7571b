/* Owns the wiring: sockets, signals, the lifeline, the tick, the writer's completions, start and
 * stop. Must not know what messages mean. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/roles.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/net/allow.h"

enum {
    TICK_MS = 100,
    MESSAGES_A_TURN = 256,
    WAIT_WRITER = 0,
    WAIT_SIGNAL,
    WAIT_LIFELINE,
    WAIT_BLOBS,
    WAITS
};

void pm_broker_die(pm_broker *b, pm_status status) {
    if (!b->fatal) b->fatal = status;
}

void pm_broker_feed(pm_broker *b, const pm_event *event) {
    const pm_action *actions = NULL;
    size_t count = 0;
    bool of_store = event->kind <= PM_EVENT_RESUMED;
    if (b->fatal) return;
    pm_status status = pm_scheduler_step(b->scheduler, event, pm_clock_ms(), &actions, &count);
    for (size_t i = 0; i < count && !b->fatal; i++) pm_broker_carry_out(b, &actions[i]);
    if (status == PM_E_MEMORY && !of_store)
        pm_log(PM_LOG_WARN, "memory.short", "reason=" PM_QUOTED, pm_error_text());
    else if (status)
        pm_broker_die(b, status);
}

static void put_deferred(pm_broker *b) {
    while (b->deferred) {
        pm_deferred *first = b->deferred;
        if (pm_writer_put(b->writer, &first->op) != PM_OK) return;
        b->deferred = first->next;
        if (!b->deferred) b->deferred_end = &b->deferred;
        free(first);
    }
}

void pm_broker_free_op(pm_op *op) {
    free(op->cookie);
    pm_op_free(&op);
}

void pm_broker_put(pm_broker *b, pm_op *op) {
    if (!b->deferred && pm_writer_put(b->writer, &op) == PM_OK) return;
    pm_deferred *later = malloc(sizeof *later);
    if (!later) {
        pm_broker_free_op(op);
        pm_broker_die(b, pm_fail(PM_E_MEMORY, "out of memory for what the store must write"));
        return;
    }
    *later = (pm_deferred){.op = op};
    *b->deferred_end = later;
    b->deferred_end = &later->next;
}

bool pm_broker_put_if_room(pm_broker *b, pm_op **op) {
    return !b->deferred && pm_writer_put(b->writer, op) == PM_OK;
}

static void refuse_role(pm_broker *b, const pm_peer *peer, Pm__Wire__Message__BodyCase verb) {
    char text[160];
    const char *port = peer->port == PM_PORT_WORKER ? "workers" : "clients";
    pm_log_seldom(&b->refusals, PM_LOG_WARN, "message.refused",
                  "what=%s role=%s port=%s name=" PM_QUOTED, pm_wire_name(verb),
                  pm_role_name(peer->role), port, pm_router_name(b->router, peer->identity));
    if (peer->role == PM_ROLE_NONE && peer->port == PM_PORT_WORKER)
        pm_broker_dismiss_worker(b, peer);
    else if (peer->role == PM_ROLE_NONE)
        pm_queries_forget(b, peer);
    if (peer->role == PM_ROLE_NONE)
        snprintf(text, sizeof text, "the broker's list does not have this key as one for %s", port);
    else
        snprintf(text, sizeof text, "role %s may not ask for that%s", pm_role_name(peer->role),
                 pm_role_may(PM_ROLE_ADMIN, verb) ? "; a key with role admin may" : "");
    pm_broker_refuse(b, peer, "role", text, 0);
}

static void hear(pm_broker *b, const pm_peer *peer, const pm_message *message) {
    Pm__Wire__Message__BodyCase verb = message->body->body_case;
    if (!pm_role_may(peer->role, verb)) {
        refuse_role(b, peer, verb);
    } else if (peer->port == PM_PORT_WORKER) {
        pm_broker_hear_worker(b, peer, message);
    } else {
        pm_broker_hear_client(b, peer, message);
    }
}

static bool room(const pm_broker *b) { return !b->deferred && pm_writer_has_room(b->writer); }

static void hear_all(pm_broker *b) {
    for (int i = 0; i < MESSAGES_A_TURN && room(b) && !b->fatal; i++) {
        pm_peer peer;
        pm_message message;
        pm_status status = pm_router_receive(b->router, &peer, &message);
        if (status == PM_E_TIMEOUT) return;
        if (status == PM_E_PROTOCOL || status == PM_E_LIMIT) {
            pm_log_seldom(&b->refusals, PM_LOG_WARN, "message.refused", "role=%s reason=" PM_QUOTED,
                          pm_role_name(peer.role), pm_error_text());
            pm_broker_refuse(b, &peer, status == PM_E_LIMIT ? "limit" : "format", pm_error_text(),
                             0);
        } else if (status) {
            pm_log(PM_LOG_WARN, "message.lost", "reason=" PM_QUOTED, pm_error_text());
            return;
        } else {
            hear(b, &peer, &message);
            pm_message_fini(&message);
        }
    }
}

/* With no room in the writer only the writer is waited for: messages stay in their queues, whose
 * high-water marks stop the workers. */
static pm_status wait(pm_broker *b, pm_wait_fd *fds, size_t count, bool *messages) {
    struct pollfd polled[WAITS + PM_QUERIES_MAX];
    *messages = false;
    if (room(b)) return pm_router_wait(b->router, fds, count, TICK_MS, messages);
    for (size_t i = 0; i < count; i++)
        polled[i] = (struct pollfd){.fd = fds[i].fd, .events = POLLIN};
    int ready = poll(polled, count, TICK_MS);
    for (size_t i = 0; i < count; i++) fds[i].readable = ready > 0 && polled[i].revents != 0;
    return PM_OK;
}

static pm_status serve(pm_broker *b, int signal_fd) {
    pm_event tick = {.kind = PM_EVENT_TICK};
    int64_t next_tick_ms = 0;
    while (!b->fatal) {
        bool messages = false;
        pm_wait_fd fds[WAITS + PM_QUERIES_MAX] = {
            [WAIT_WRITER] = {.fd = pm_writer_fd(b->writer)},
            [WAIT_SIGNAL] = {.fd = signal_fd},
            [WAIT_LIFELINE] = {.fd =
                                   b->options.lifeline_fd < 0 ? signal_fd : b->options.lifeline_fd},
            [WAIT_BLOBS] = {.fd = pm_blobs_fd(b->blobs)}};
        pm_status status =
            wait(b, fds, WAITS + pm_queries_fds(&b->queries, fds + WAITS), &messages);
        if (status) return status;
        if (fds[WAIT_SIGNAL].readable || fds[WAIT_LIFELINE].readable) {
            pm_log(PM_LOG_INFO, "broker.stopping", "reason=%s",
                   fds[WAIT_SIGNAL].readable ? "signal" : "lifeline");
            return PM_OK;
        }
        pm_broker_take(b);
        put_deferred(b);
        pm_broker_check_seats(b);
        if (messages) hear_all(b);
        pm_broker_send_pieces(b);
        pm_queries_serve(b);
        /* After the words that were waiting: a pause of ours must not look like their silence. */
        if (!room(b)) next_tick_ms = pm_clock_ms() + 2 * PM_HEARTBEAT_MS;
        if (pm_clock_ms() >= next_tick_ms) {
            pm_broker_drop_deaf(b);
            pm_broker_feed(b, &tick);
            next_tick_ms = pm_clock_ms() + TICK_MS;
        }
    }
    return b->fatal;
}

static pm_status block_signals(int *out) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return pm_fail(PM_E_IO, "cannot block signals: %s", strerror(errno));
    *out = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *out >= 0 ? PM_OK : pm_fail(PM_E_IO, "signalfd: %s", strerror(errno));
}

static pm_status start_scheduler(pm_broker *b) {
    pm_scheduler_options options = {.silence_ms = PM_SILENCE_MS,
                                    .heartbeat_ms = PM_HEARTBEAT_MS,
                                    .lease_ms = b->options.lease_ms};
    pm_status status = pm_store_epoch(b->store, b->epoch);
    if (status) return status;
    memcpy(&options.epoch, b->epoch, sizeof options.epoch);
    pm_random_bytes(options.seed, sizeof options.seed);
    return pm_scheduler_new(&options, &b->scheduler);
}

/* What can be seen to be wrong before anything is made. */
static pm_status check_options(const pm_broker_options *options) {
    pm_endpoint endpoint;
    pm_status status = PM_OK;
    for (size_t i = 0; !status && i < options->url_count; i++)
        status =
            pm_endpoint_resolve(options->urls[i], PM_PORT_WORKER, &options->credentials, &endpoint);
    pm_allow *allow = NULL;
    if (!status && options->allow) status = pm_allow_read(options->allow, &allow, NULL);
    pm_allow_free(&allow);
    return status;
}

/* The database first: a second broker fails before it touches the first one's sockets. */
static pm_status start(pm_broker *b) {
    pm_status status = check_options(&b->options);
    if (!status) status = pm_map_init(&b->seats);
    if (!status) status = pm_runs_init(&b->runs);
    if (!status) status = pm_store_open(b->options.db, &b->store);
    if (!status) status = start_scheduler(b);
    if (!status) status = pm_blobs_new(&b->blobs);
    if (!status) status = pm_router_new(&b->router);
    if (!status && b->options.allow) status = pm_router_allow(b->router, b->options.allow);
    for (size_t i = 0; !status && i < b->options.url_count; i++)
        status = pm_router_bind(b->router, b->options.urls[i], &b->options.credentials);
    pm_credentials_wipe(&b->options.credentials);
    if (!status) status = pm_broker_recover(b);
    return status;
}

static void free_seats(pm_broker *b) {
    pm_link_node *node;
    while ((node = pm_list_head(&b->seat_order))) {
        pm_seat *seat = PM_OWNER(node, pm_seat, in_order);
        pm_broker_drop_seat(b, seat->by_id.key);
    }
    if (b->seats.buckets) pm_map_fini(&b->seats);
}

/* What the writer has is committed, but nobody is told any more: they ask again. */
static pm_status stop(pm_broker *b) {
    pm_status status = PM_OK, closed = PM_OK;
    pm_op *op;
    pm_queries_fini(&b->queries); /* readers would keep the -wal file */
    if (b->writer) {
        while ((op = pm_writer_take(b->writer))) pm_broker_free_op(op);
        status = pm_writer_stop(&b->writer, &b->store);
    }
    while (b->deferred) {
        pm_deferred *first = b->deferred;
        b->deferred = first->next;
        pm_broker_free_op(first->op);
        free(first);
    }
    if (b->store) closed = pm_store_close(&b->store);
    if (closed == PM_E_BUSY) {
        pm_log(PM_LOG_WARN, "store.shared", "reason=" PM_QUOTED, pm_error_text());
        closed = PM_OK;
    }
    pm_router_free(&b->router);
    pm_scheduler_free(&b->scheduler);
    free_seats(b);
    pm_runs_fini(&b->runs);
    pm_blobs_free(&b->blobs);
    return status ? status : closed;
}

pm_status pm_broker_run(const pm_broker_options *options) {
    int signal_fd = -1;
    char text[512] = "";
    pm_broker *b = calloc(1, sizeof *b);
    if (!b) return pm_fail(PM_E_MEMORY, "out of memory");
    b->options = *options;
    b->deferred_end = &b->deferred;
    pm_list_init(&b->seat_order);
    pm_status status = block_signals(&signal_fd);
    if (!status) status = start(b);
    if (!status) {
        for (size_t i = 0; i < options->url_count; i++)
            pm_log(PM_LOG_INFO, "broker.ready", "db=" PM_QUOTED " listen=%s runs=%zu", options->db,
                   options->urls[i], b->runs.by_id.count);
        status = serve(b, signal_fd);
    }
    if (status) strncpy(text, pm_error_text(), sizeof text - 1);
    pm_status stopped = stop(b);
    if (signal_fd >= 0) close(signal_fd);
    free(b);
    if (status) return pm_fail(status, "%s", text); /* the first reason is the one to tell */
    if (!stopped) pm_log(PM_LOG_INFO, "broker.stopped", "db=" PM_QUOTED, options->db);
    return stopped;
}
