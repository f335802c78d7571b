/* Owns what is under way: the heap of events by (time, order), and the network's faults. Knows
 * connections and bytes, not what they say. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { OWNER_BITS = 16, RETRY_MS = 50, RETRY_MORE_MS = 950, WORD_US = 20 };

/* ---- heap ---- */

static bool before(const sim_event *a, const sim_event *b) {
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

void sim_push(sim *w, sim_event *event, int64_t delay_ms) {
    bool memory = sim_memory_hold();
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity ? 2 * w->heap_capacity : 256;
        w->heap = realloc(w->heap, w->heap_capacity * sizeof(sim_event *));
        if (!w->heap) abort();
    }
    sim_memory_go_on(memory);
    event->at_ms = w->now_ms + (delay_ms > 0 ? delay_ms : 0);
    event->order = w->order++;
    size_t at = w->heap_count++;
    for (; at && before(event, w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = event;
}

sim_event *sim_pop(sim *w) {
    sim_event *first = w->heap[0], *last = w->heap[--w->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= w->heap_count) break;
        if (child + 1 < w->heap_count && before(w->heap[child + 1], w->heap[child])) child++;
        if (!before(w->heap[child], last)) break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    if (w->heap_count) w->heap[at] = last;
    return first;
}

static sim_event *event_new(sim_kind kind, const void *bytes, size_t size) {
    sim_event *event = malloc(sizeof *event + size);
    if (!event) abort();
    *event = (sim_event){.kind = kind, .size = size};
    if (size) memcpy(event->bytes, bytes, size);
    return event;
}

static sim_event *event_copy(const sim_event *from) {
    sim_event *event = event_new(from->kind, NULL, 0);
    event = realloc(event, sizeof *event + from->size);
    if (!event) abort();
    memcpy(event, from, sizeof *event + from->size);
    return event;
}

void sim_timer_of_life(sim *w, sim_kind kind, size_t worker, uint64_t life, int64_t delay_ms) {
    sim_event *event = event_new(kind, NULL, 0);
    event->worker = worker;
    event->life = life;
    sim_push(w, event, delay_ms);
}

void sim_timer(sim *w, sim_kind kind, size_t worker, int64_t delay_ms) {
    sim_timer_of_life(w, kind, worker, w->life, delay_ms);
}

/* ---- connections ---- */

pm_worker_id sim_conn(size_t owner, uint64_t number) {
    return (number << OWNER_BITS) | (owner + 1);
}

uint64_t sim_identity(const sim *w, pm_worker_id conn) {
    return w->keyed ? 1 + sim_conn_owner(conn) : 0;
}

size_t sim_conn_owner(pm_worker_id conn) { return (size_t)(conn & ((1u << OWNER_BITS) - 1)) - 1; }

/* ---- messages ---- */

/* Takes the event over. */
static void transmit(sim *w, sim_event *event) {
    if (!w->faults) {
        sim_push(w, event, 1); /* in order */
        return;
    }
    if (sim_chance(w, w->drop_per_mille)) {
        sim_trace(w, "net drops a message of connection %llu", (unsigned long long)event->conn);
        sim_count(w, SIM_N_DROPPED);
        free(event);
        return;
    }
    if (sim_chance(w, w->double_per_mille)) {
        sim_event *copy = event_copy(event);
        sim_count(w, SIM_N_DOUBLED);
        sim_push(w, copy, 1 + (int64_t)sim_below(w, 5000));
    }
    int64_t delay = 1 + (int64_t)sim_below(w, 10);
    if (sim_chance(w, w->late_per_mille)) {
        delay += (int64_t)sim_below(w, 7000);
        sim_count(w, SIM_N_LATE);
    }
    sim_push(w, event, delay);
}

void sim_send(sim *w, sim_kind direction, pm_worker_id conn, const Pm__Wire__Message *message) {
    pm_buffer bytes = {0};
    bool memory = sim_memory_hold();
    if (pm_wire_pack(message, &bytes) != PM_OK) abort();
    size_t way = direction == SIM_TO_WORKER;
    if ((size_t)message->body_case < SIM_VERBS) {
        w->traffic.messages[way][message->body_case]++;
        w->traffic.bytes[way][message->body_case] += bytes.size;
    }
    sim_event *event = event_new(direction, bytes.bytes, bytes.size);
    event->conn = conn;
    transmit(w, event);
    pm_buffer_fini(&bytes);
    sim_memory_go_on(memory);
}

void sim_send_client(sim *w, const sim_event *request) { transmit(w, event_copy(request)); }

static bool is_hello(const sim_event *event) {
    Pm__Wire__Message *body = NULL;
    if (pm_wire_unpack(event->bytes, event->size, &body) != PM_OK) return false;
    bool hello = body->body_case == PM__WIRE__MESSAGE__BODY_HELLO;
    pm_wire_free(&body);
    return hello;
}

/* What is said first on a connection waits in its queue until there is a broker to connect to. */
static bool waits_for_broker(sim *w, const sim_event *event) {
    const size_t owner = sim_conn_owner(event->conn);
    return w->killed && event->kind == SIM_TO_BROKER && owner < w->worker_count &&
           w->workers[owner].conn == event->conn && is_hello(event);
}

bool sim_arrives(sim *w, sim_event **event) {
    sim_event *e = *event;
    const bool up = e->kind == SIM_TO_BROKER;
    const size_t owner = sim_conn_owner(e->conn);
    const sim_worker *worker = owner < w->worker_count ? &w->workers[owner] : NULL;
    if (worker && (up ? worker->up_cut_until_ms : worker->down_cut_until_ms) > w->now_ms) {
        sim_count(w, up ? SIM_N_CUT_UP : SIM_N_CUT_DOWN);
        return false;
    }
    if (up && w->broker_stalled_until_ms > w->now_ms) {
        sim_push(w, e, w->broker_stalled_until_ms - w->now_ms);
        *event = NULL;
        return false;
    }
    if (waits_for_broker(w, e)) {
        if (e->tries++ && w->on_connect) w->on_connect(w, owner);
        sim_push(w, e, RETRY_MS + (int64_t)sim_below(w, RETRY_MORE_MS));
        *event = NULL;
        return false;
    }
    if (up && w->hello_us && !e->served && !w->killed) {
        /* One after the other. */
        int64_t from_us = w->now_ms * 1000;
        if (w->busy_until_us > from_us) from_us = w->busy_until_us;
        w->busy_until_us = from_us + (is_hello(e) ? w->hello_us : WORD_US);
        e->served = true;
        sim_push(w, e, from_us / 1000 - w->now_ms);
        *event = NULL;
        return false;
    }
    if (!up && worker && worker->stalled_until_ms > w->now_ms) {
        sim_push(w, e, worker->stalled_until_ms - w->now_ms);
        *event = NULL;
        return false;
    }
    return true;
}
