/* Owns what workers say: messages into the scheduler's events. Trusts nothing in them: ids come
 * from the transport, tokens are the scheduler's to judge. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/records.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/text.h"

enum {
    ID_BYTES = 5,
    KEYED_BIT = 2,
    HELD_MAX = 4096,
    THREADS_MOST = 1024,
    RATE_MS = 15000,
    PATH_BYTES = 8192,
    PIECES_MOST = 4 * PM_FETCH_WINDOW, /* a worker that asks anew has asked before */
    PIECES_A_TURN = 16
};

/* ZeroMQ's own ids are a zero byte and a number of 32 bits. With the number goes the socket, whose
 * ids are its own. */
pm_worker_id pm_broker_worker_id(const pm_peer *peer) {
    pm_worker_id id = 1 | (peer->keyed ? KEYED_BIT : 0);
    if (peer->id_size != ID_BYTES || peer->id[0] != 0) return 0;
    for (size_t i = 1; i < ID_BYTES; i++) id |= (pm_worker_id)peer->id[i] << (8 * i);
    return id;
}

pm_peer pm_broker_worker_peer(pm_worker_id id) {
    pm_peer peer = {.role = PM_ROLE_WORKER,
                    .port = PM_PORT_WORKER,
                    .keyed = (id & KEYED_BIT) != 0,
                    .id_size = ID_BYTES};
    for (size_t i = 1; i < ID_BYTES; i++) peer.id[i] = (uint8_t)(id >> (8 * i));
    return peer;
}

pm_seat *pm_broker_seat(const pm_broker *b, pm_worker_id id) {
    pm_map_node *node = pm_map_find(&b->seats, id);
    return node ? PM_OWNER(node, pm_seat, by_id) : NULL;
}

void pm_broker_drop_seat(pm_broker *b, pm_worker_id id) {
    pm_seat *seat = pm_broker_seat(b, id);
    if (!seat) return;
    pm_map_remove(&b->seats, &seat->by_id);
    pm_node_unlink(&seat->in_order);
    free(seat);
}

/* An exponential average, put right for what it has not seen yet. */
static double decayed(const pm_seat *seat, int64_t now_ms) {
    return seat->rate * exp(-(double)(now_ms - seat->rate_ms) / RATE_MS);
}

void pm_broker_seat_count(pm_seat *seat) {
    int64_t now_ms = pm_clock_ms();
    seat->items_done++;
    seat->rate = decayed(seat, now_ms) + 1e3 / RATE_MS;
    seat->rate_ms = now_ms;
}

double pm_broker_seat_rate(const pm_seat *seat) {
    int64_t now_ms = pm_clock_ms();
    double seen = 1 - exp(-(double)(now_ms - seat->since_ms) / RATE_MS);
    return seen > 0 ? decayed(seat, now_ms) / seen : 0;
}

static bool read_token(const ProtobufCBinaryData *bytes, pm_token *out) {
    if (bytes->len != sizeof out->bytes) return false;
    memcpy(out->bytes, bytes->data, sizeof out->bytes);
    return true;
}

/* ---- hello ---- */

static pm_greeting *read_hello(const Pm__Wire__Hello *hello, pm_worker_id id, uint64_t identity) {
    size_t count = hello->n_leases + hello->n_in_hand;
    pm_greeting *out = calloc(1, sizeof *out + count * sizeof(pm_held_lease));
    if (!out) return NULL;
    out->event =
        (pm_event){.kind = PM_EVENT_HELLO, .worker = id, .identity = identity, .leases = out->held};
    memcpy(out->event.instance.bytes, hello->instance.data, sizeof out->event.instance.bytes);
    out->event.threads = hello->threads < THREADS_MOST ? hello->threads : THREADS_MOST;
    if (hello->has_crashed_instance && hello->crashed_instance.len == PM_INSTANCE_BYTES) {
        out->event.crashed = true;
        memcpy(out->event.crashed_instance.bytes, hello->crashed_instance.data, PM_INSTANCE_BYTES);
        pm_text_clean(hello->crash_reason ? hello->crash_reason : "crash", out->reason,
                      sizeof out->reason);
        out->event.crash_reason = out->reason;
    }
    for (size_t i = 0; i < hello->n_leases; i++) {
        const Pm__Wire__HeldLease *lease = hello->leases[i];
        pm_held_lease *held = &out->held[out->event.lease_count++];
        held->task = lease->task;
        held->next = lease->next;
        read_token(&lease->token, &held->token);
    }
    out->event.in_hand = out->held + out->event.lease_count;
    for (size_t i = 0; i < hello->n_in_hand; i++) {
        const Pm__Wire__InHand *item = hello->in_hand[i];
        pm_held_lease *held = &out->held[out->event.lease_count + out->event.in_hand_count++];
        held->task = item->task;
        held->next = item->ordinal;
        read_token(&item->token, &held->token);
    }
    return out;
}

/* NULL: no room, or somebody else's seat: an id may be taken up again once its connection has
 * gone, and until the silence is noticed the seat is still that worker's. */
static pm_seat *take_seat(pm_broker *b, pm_worker_id id, uint64_t identity,
                          const Pm__Wire__Hello *hello) {
    pm_seat *seat = pm_broker_seat(b, id);
    if (seat && seat->identity != identity) return NULL;
    if (!seat) {
        if (b->seats.count >= 2 * PM_WORKERS_MAX) return NULL;
        seat = calloc(1, sizeof *seat);
        if (!seat) return NULL;
        seat->since_ms = seat->rate_ms = pm_clock_ms();
        seat->identity = identity;
        pm_map_insert(&b->seats, id, &seat->by_id);
        pm_list_push_back(&b->seat_order, &seat->in_order);
    }
    char host[60];
    pm_text_clean(hello->host ? hello->host : "?", host, sizeof host);
    snprintf(seat->name, sizeof seat->name, "%s:%u", host, hello->pid);
    for (char *c = seat->name; *c; c++)
        if (*c == ' ' || *c == '"') *c = '?';
    pm_text_clean(hello->isa ? hello->isa : "", seat->isa, sizeof seat->isa);
    pm_text_clean(hello->engine_version, seat->engine_version, sizeof seat->engine_version);
    seat->threads = hello->threads;
    return seat;
}

static void note_worker(pm_broker *b, const Pm__Wire__Hello *hello, pm_greeting *greeting) {
    pm_op *op = pm_op_new(PM_OP_WORKER_SEEN);
    if (!op) {
        free(greeting);
        return;
    }
    op->cookie = greeting;
    memcpy(op->worker.instance, hello->instance.data, sizeof op->worker.instance);
    pm_text_clean(hello->host ? hello->host : "?", op->worker.host, sizeof op->worker.host);
    pm_text_clean(hello->isa ? hello->isa : "", op->worker.isa, sizeof op->worker.isa);
    snprintf(op->worker.engine_version, sizeof op->worker.engine_version, "%s",
             hello->engine_version);
    op->worker.pid = hello->pid;
    op->worker.threads = hello->threads;
    pm_broker_put(b, op);
}

static void feed_greeting(pm_broker *b, const pm_greeting *greeting) {
    pm_broker_feed(b, &greeting->event);
    const pm_seat *seat = pm_broker_seat(b, greeting->event.worker);
    /* Refused by the scheduler: nothing will ever say LOST. */
    if (seat && !seat->here) pm_broker_drop_seat(b, greeting->event.worker);
}

/* The welcome waits until the store knows the worker, so that its results name it. With a full
 * disk that may take long: then it does not wait. */
static void hear_hello(pm_broker *b, const pm_peer *peer, pm_worker_id id,
                       const Pm__Wire__Hello *hello) {
    char text[256];
    if (pm_broker_refuse_protocol(b, peer, hello)) return;
    if (strcmp(hello->engine_version, PM_ENGINE_VERSION) != 0) {
        snprintf(text, sizeof text,
                 "this broker works with engine %s, not %.32s; their numbers may differ: use the "
                 "same version of parchmill on both sides",
                 PM_ENGINE_VERSION, hello->engine_version);
        pm_broker_refuse(b, peer, "version", text, 0);
    } else if (strcmp(hello->role, pm_role_name(PM_ROLE_WORKER)) != 0) {
        pm_broker_refuse(b, peer, "role", "this socket is for workers", 0);
    } else if (hello->instance.len != PM_INSTANCE_BYTES ||
               hello->n_leases + hello->n_in_hand > HELD_MAX) {
        pm_broker_refuse(b, peer, "usage", "a hello with a malformed instance or too many leases",
                         0);
    } else {
        pm_greeting *greeting = read_hello(hello, id, peer->identity);
        pm_seat *seat = greeting ? take_seat(b, id, peer->identity, hello) : NULL;
        if (!seat) {
            free(greeting);
            pm_broker_refuse(b, peer, "full", "no room for another worker", 0);
            return;
        }
        if (seat->worker_id || b->paused[0]) {
            feed_greeting(b, greeting);
            free(greeting);
        } else if (!seat->waits) {
            seat->waits = true;
            note_worker(b, hello, greeting);
        } else {
            free(greeting); /* said twice; the first is on its way */
        }
    }
}

void pm_broker_greet(pm_broker *b, const pm_op *op) {
    const pm_greeting *greeting = op->cookie;
    pm_seat *seat = pm_broker_seat(b, greeting->event.worker);
    if (seat && seat->waits) {
        seat->waits = false;
        if (op->status == PM_OK) seat->worker_id = op->worker.worker_id;
        feed_greeting(b, greeting);
    }
}

/* ---- the rest ---- */

static void hear_heartbeat(pm_broker *b, pm_worker_id id, const Pm__Wire__Heartbeat *heartbeat) {
    pm_event event = {.kind = PM_EVENT_HEARTBEAT, .worker = id};
    pm_beat *beats = calloc(heartbeat->n_beats + 1, sizeof *beats);
    if (!beats) return; /* as if it had been lost */
    for (size_t i = 0; i < heartbeat->n_beats; i++) {
        pm_beat *beat = &beats[event.beat_count];
        beat->task = heartbeat->beats[i]->task;
        beat->progress = heartbeat->beats[i]->progress;
        if (read_token(&heartbeat->beats[i]->token, &beat->token)) event.beat_count++;
    }
    event.beats = beats;
    pm_broker_feed(b, &event);
    free(beats);
}

/* A worker that breaks the protocol would do so again with the next result: it is sent away. */
static void send_away(pm_broker *b, const pm_peer *peer, pm_worker_id id) {
    pm_event bye = {.kind = PM_EVENT_GOODBYE, .worker = id};
    static pm_log_budget gate;
    pm_log_seldom(&gate, PM_LOG_ERROR, "worker.refused", "reason=" PM_QUOTED, pm_error_text());
    pm_broker_refuse(b, peer, "usage", pm_error_text(), 0);
    pm_broker_feed(b, &bye);
}

static void hear_result(pm_broker *b, const pm_peer *peer, pm_worker_id id,
                        const pm_message *message) {
    const Pm__Wire__ItemResult *result = message->body->item_result;
    const pm_run_task *task = pm_runs_task(&b->runs, result->task);
    pm_event event = {.kind = PM_EVENT_ITEM_RESULT,
                      .worker = id,
                      .task = result->task,
                      .ordinal = result->ordinal};
    read_token(&result->token, &event.token);
    if (task && task->run->spec) {
        pm_status status = pm_record_make(result, message->frames, message->frame_count,
                                          task->run->spec, &b->record);
        if (status == PM_E_PROTOCOL) send_away(b, peer, id);
        if (status) return;
    }
    pm_broker_feed(b, &event);
    pm_op_free(&b->record);
}

/* Where a registered file lies; one that is not gets its word from the same queue, so that answers
 * keep their order. */
static pm_status find_piece(pm_broker *b, const pm_peer *peer, const Pm__Wire__Fetch *fetch,
                            pm_piece **out) {
    char path[PATH_BYTES] = "";
    pm_sha256 hash;
    uint64_t file_bytes = 0;
    memcpy(hash.bytes, fetch->sha256.data, sizeof hash.bytes);
    bool known = pm_runs_blob(&b->runs, &hash, path, sizeof path, &file_bytes) == PM_OK;
    pm_status status = pm_piece_new(path, out);
    if (status) return status;
    (*out)->peer = *peer;
    (*out)->hash = hash;
    (*out)->offset = fetch->offset;
    (*out)->size_bytes = fetch->size_bytes;
    (*out)->file_bytes = file_bytes;
    if (!known) (*out)->missing = "no run has such a file";
    return PM_OK;
}

/* What is over a worker's share is not answered: it asks again. */
static void hear_fetch(pm_broker *b, const pm_peer *peer, pm_seat *seat,
                       const Pm__Wire__Fetch *fetch) {
    pm_piece *piece = NULL;
    if (fetch->sha256.len != PM_SHA256_BYTES || fetch->size_bytes > PM_CHUNK_BYTES) {
        pm_broker_refuse(b, peer, "usage", "a fetch of a malformed hash or more than a chunk", 0);
        return;
    }
    if (!seat) {
        pm_broker_refuse(b, peer, "hello", "say hello first", 0);
        return;
    }
    if (seat->pieces >= PIECES_MOST || find_piece(b, peer, fetch, &piece) != PM_OK) return;
    if (pm_blobs_ask(b->blobs, &piece) == PM_OK) seat->pieces++;
    pm_piece_free(&piece);
}

static void send_piece(pm_broker *b, const pm_piece *piece) {
    Pm__Wire__Chunk chunk = PM__WIRE__CHUNK__INIT;
    const pm_bytes frame = {piece->bytes, piece->size_bytes};
    chunk.sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, (uint8_t *)piece->hash.bytes};
    chunk.offset = piece->offset;
    chunk.missing = (char *)piece->missing;
    Pm__Wire__Message message = pm_wire_chunk(&chunk);
    pm_broker_send(b, &piece->peer, &message, &frame, piece->missing ? 0 : 1);
}

void pm_broker_send_pieces(pm_broker *b) {
    pm_piece *piece;
    for (int i = 0; i < PIECES_A_TURN && (piece = pm_blobs_take(b->blobs)); i++) {
        pm_seat *seat = pm_broker_seat(b, pm_broker_worker_id(&piece->peer));
        if (seat) {
            if (seat->pieces) seat->pieces--;
            send_piece(b, piece);
        }
        pm_piece_free(&piece);
    }
}

static void hear_started(pm_broker *b, pm_worker_id id, const Pm__Wire__ItemStarted *started) {
    pm_event event = {.kind = PM_EVENT_ITEM_STARTED,
                      .worker = id,
                      .task = started->task,
                      .ordinal = started->ordinal};
    read_token(&started->token, &event.token);
    pm_broker_feed(b, &event);
}

static void hear_returned(pm_broker *b, pm_worker_id id, const Pm__Wire__TaskReturned *returned) {
    pm_event event = {.kind = PM_EVENT_TASK_RETURNED, .worker = id, .task = returned->task};
    read_token(&returned->token, &event.token);
    pm_broker_feed(b, &event);
}

/* ---- who is not wanted any more ---- */

static void dismiss(pm_broker *b, const pm_seat *seat) {
    pm_event bye = {.kind = PM_EVENT_GOODBYE, .worker = seat->by_id.key};
    pm_log(PM_LOG_WARN, "worker.dismissed", "worker=" PM_QUOTED " reason=role", seat->name);
    if (seat->here)
        pm_broker_feed(b, &bye); /* LOST takes the seat away */
    else
        pm_broker_drop_seat(b, bye.worker); /* its greeting finds nobody */
}

void pm_broker_dismiss_worker(pm_broker *b, const pm_peer *peer) {
    pm_worker_id id = pm_broker_worker_id(peer);
    const pm_seat *seat = id ? pm_broker_seat(b, id) : NULL;
    if (seat && seat->identity == peer->identity) dismiss(b, seat);
}

void pm_broker_check_seats(pm_broker *b) {
    uint64_t version = pm_router_allow_version(b->router);
    pm_link_node *next;
    if (version == b->allow_version) return;
    b->allow_version = version;
    for (pm_link_node *node = b->seat_order.next; node != &b->seat_order; node = next) {
        const pm_seat *seat = PM_OWNER(node, pm_seat, in_order);
        pm_peer peer = pm_broker_worker_peer(seat->by_id.key);
        next = node->next;
        peer.identity = seat->identity;
        if (pm_router_role(b->router, &peer) == PM_ROLE_WORKER) continue;
        dismiss(b, seat);
        pm_broker_refuse(b, &peer, "role", "the broker's list does not have this key any more", 0);
    }
}

void pm_broker_hear_worker(pm_broker *b, const pm_peer *peer, const pm_message *message) {
    const Pm__Wire__Message *body = message->body;
    pm_worker_id id = pm_broker_worker_id(peer);
    pm_seat *seat = id ? pm_broker_seat(b, id) : NULL;
    pm_event event = {.worker = id};
    if (!id) {
        pm_broker_refuse(b, peer, "usage", "a worker must not choose its routing id", 0);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_HELLO) {
        hear_hello(b, peer, id, body->hello);
    } else if (seat && seat->identity != peer->identity) {
        pm_log_seldom(&b->refusals, PM_LOG_WARN, "message.refused",
                      "what=%s reason=identity name=" PM_QUOTED, pm_wire_name(body->body_case),
                      pm_router_name(b->router, peer->identity));
        pm_broker_refuse(b, peer, "hello", "say hello first", 0);
    } else if (seat && seat->waits) {
        return; /* not welcome yet; it will say it again */
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_HEARTBEAT) {
        hear_heartbeat(b, id, body->heartbeat);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_GOODBYE) {
        event.kind = PM_EVENT_GOODBYE;
        pm_broker_feed(b, &event);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_CREDIT) {
        event.kind = PM_EVENT_CREDIT;
        event.credit = body->credit->tasks;
        pm_broker_feed(b, &event);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_ITEM_STARTED) {
        hear_started(b, id, body->item_started);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_ITEM_RESULT) {
        hear_result(b, peer, id, message);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_TASK_RETURNED) {
        hear_returned(b, id, body->task_returned);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_FETCH) {
        hear_fetch(b, peer, seat, body->fetch);
    }
}
