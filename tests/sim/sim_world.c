/* Owns the simulated world: the clock, the event heap, the network and its faults, the clients,
 * and the order of one history. */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"

enum {
    FAULTS_MS = 60 * 1000,
    DRAIN_MS = 900 * 1000,
    TICK_MS = 100,
    WAKE_MS = 40,
    STEPS_MAX = 4 * 1000 * 1000
};

uint64_t sim_random(sim *w) { return pm_splitmix64(w->random++ ^ (w->seed * 0x9E3779B97F4A7C15u)); }
uint64_t sim_below(sim *w, uint64_t bound) { return sim_random(w) % bound; }
bool sim_chance(sim *w, uint32_t per_mille) { return sim_below(w, 1000) < per_mille; }

uint64_t sim_value(uint64_t run, uint64_t item) { return pm_splitmix64(run * 1000003 + item); }

pm_instance sim_instance(uint64_t number) {
    pm_instance instance;
    uint64_t halves[2] = {pm_splitmix64(number), number};
    memcpy(instance.bytes, halves, sizeof instance.bytes);
    return instance;
}

void sim_trace(sim *w, const char *format, ...) {
    va_list args;
    if (!w->trace) return;
    fprintf(w->trace, "%8lld.%03lld ", (long long)(w->now_ms / 1000),
            (long long)(w->now_ms % 1000));
    va_start(args, format);
    vfprintf(w->trace, format, args);
    va_end(args);
    fputc('\n', w->trace);
}

void sim_fail(sim *w, const char *format, ...) {
    va_list args;
    if (w->failure[0]) return;
    int used = snprintf(w->failure, sizeof w->failure, "at %lld ms: ", (long long)w->now_ms);
    va_start(args, format);
    vsnprintf(w->failure + used, sizeof w->failure - (size_t)used, format, args);
    va_end(args);
    sim_trace(w, "FAILED %s", w->failure);
}

/* ---- heap of events by (time, order) ---- */

static bool before(const sim_event *a, const sim_event *b) {
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void push(sim *w, const sim_event *event, int64_t delay_ms) {
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity ? 2 * w->heap_capacity : 256;
        w->heap = realloc(w->heap, w->heap_capacity * sizeof(sim_event *));
        if (!w->heap) abort();
    }
    sim_event *copy = malloc(sizeof *copy);
    if (!copy) abort();
    *copy = *event;
    copy->at_ms = w->now_ms + delay_ms;
    copy->order = w->order++;
    size_t at = w->heap_count++;
    for (; at && before(copy, w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = copy;
}

static sim_event *pop(sim *w) {
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

void sim_timer(sim *w, sim_kind kind, size_t worker, int64_t delay_ms) {
    sim_event event = {.kind = kind, .worker = worker, .life = w->life};
    push(w, &event, delay_ms);
}

void sim_send(sim *w, const sim_event *message) {
    if (!w->faults) {
        push(w, message, 1); /* in order */
        return;
    }
    if (sim_chance(w, w->drop_per_mille)) {
        sim_trace(w, "net drops kind %d task %llu", (int)message->kind,
                  (unsigned long long)message->task);
        return;
    }
    size_t copies = sim_chance(w, w->double_per_mille) ? 2 : 1;
    for (size_t i = 0; i < copies; i++) {
        int64_t delay = 1 + (int64_t)sim_below(w, 10);
        if (sim_chance(w, w->late_per_mille)) delay += (int64_t)sim_below(w, 7000);
        push(w, message, delay);
    }
}

static bool cut(const sim *w, const sim_event *message) {
    for (size_t i = 0; i < w->worker_count; i++)
        if (w->workers[i].conn == message->conn && message->conn)
            return w->workers[i].cut_until_ms > w->now_ms;
    return false;
}

/* ---- clients: submit until acknowledged, sometimes cancel, retry or change terms ---- */

/* Some runs are left alone; the others are paused, moved and capped while faults are on. */
static void choose_terms(sim *w, sim_run *run) {
    if (!run->terms_ms || run->terms_ms > w->now_ms) return;
    run->terms_ms = w->now_ms + 500 + (int64_t)sim_below(w, 12000);
    run->terms_asked++;
    switch (sim_below(w, 3)) {
    case 0: run->wanted.paused = !run->wanted.paused; break;
    case 1: run->wanted.priority = (int)sim_below(w, 3) - 1; break;
    case 2: run->wanted.max_workers = (uint32_t)sim_below(w, 4); break;
    }
}

static void ask_terms(sim *w, uint64_t id) {
    sim_run *run = &w->runs[id];
    if (w->faults) choose_terms(w, run);
    if (!run->acknowledged || run->terms_asked == run->terms_had) return;
    sim_event message = {
        .kind = SIM_TERMS, .run = id, .value = run->terms_asked, .terms = run->wanted};
    sim_send(w, &message);
}

static void clients(sim *w) {
    for (size_t i = 1; i <= w->run_count; i++) {
        sim_run *run = &w->runs[i];
        sim_event message = {.run = i};
        if (run->submit_ms > w->now_ms) continue;
        ask_terms(w, i);
        if (run->cancel_asked && run->cancel_ms <= w->now_ms && run->acknowledged) {
            message.kind = SIM_CANCEL;
            if (!run->answered) sim_send(w, &message);
        } else if (!run->acknowledged) {
            message.kind = SIM_SUBMIT;
            sim_send(w, &message);
        } else if (run->retry_asked && run->state == SIM_RUN_DONE) {
            message.kind = SIM_RETRY;
            message.value = sim_below(w, 3); /* all errors, or those of every second item */
            run->retry_asked = false;
            sim_send(w, &message);
        }
    }
    sim_timer(w, SIM_CLIENT, 0, 500);
}

static void answer(sim *w, const sim_event *event) {
    sim_run *run = &w->runs[event->run];
    if (event->first == SIM_SUBMIT) {
        run->acknowledged = true;
        if (run->state == SIM_RUN_NONE)
            sim_fail(w,
                     "invariant 3: submit of run %llu acknowledged, "
                     "not committed",
                     (unsigned long long)event->run);
    } else if (event->first == SIM_CANCEL) {
        run->answered = true;
    } else if (event->first == SIM_TERMS && event->value > run->terms_had) {
        run->terms_had = event->value;
    }
}

/* ---- faults ---- */

static void fault(sim *w) {
    size_t index = (size_t)sim_below(w, w->worker_count);
    sim_worker *worker = &w->workers[index];
    if (!w->faults) return;
    switch (sim_below(w, 10)) {
    case 0: sim_broker_kill(w); break;
    case 1: sim_memory_fails_every = 1 + (uint32_t)sim_below(w, 12); break;
    case 2:
        w->broker_skew_ms += (int64_t)sim_below(w, 60 * 1000);
        sim_trace(w, "clock of the broker jumps to +%lld ms", (long long)w->broker_skew_ms);
        break;
    case 3:
        if (worker->alive) {
            sim_trace(w, "worker %zu is killed from outside", index);
            sim_worker_die(w, index, 10 + (int64_t)sim_below(w, 8000));
        }
        break;
    case 4:
        worker->stalled_until_ms = w->now_ms + (int64_t)sim_below(w, 15000);
        sim_trace(w, "worker %zu stalls", index);
        break;
    case 5:
        worker->cut_until_ms = w->now_ms + (int64_t)sim_below(w, 20000);
        sim_trace(w, "worker %zu is partitioned away", index);
        break;
    case 6:
        if (worker->alive) sim_worker_leave(w, index);
        break;
    case 7: w->store.full_until_ms = w->now_ms + (int64_t)sim_below(w, 12000); break;
    case 8: sim_memory_fails_every = 0; break;
    case 9: w->drop_per_mille = (uint32_t)sim_below(w, 150); break;
    }
    sim_timer(w, SIM_FAULT, 0, 200 + (int64_t)sim_below(w, 4000));
}

static void setup(sim *w) {
    w->faults = true;
    w->drop_per_mille = (uint32_t)sim_below(w, 60);
    w->double_per_mille = (uint32_t)sim_below(w, 60);
    w->late_per_mille = (uint32_t)sim_below(w, 60);
    w->next_conn = 1;
    w->next_instance = w->seed * 1000;
    w->worker_count = 1 + (size_t)sim_below(w, SIM_WORKERS);
    w->run_count = 1 + (size_t)sim_below(w, SIM_RUNS);
    for (size_t i = 1; i <= w->run_count; i++) {
        sim_run *run = &w->runs[i];
        run->items = 1 + sim_below(w, SIM_ITEMS);
        run->submit_ms = (int64_t)sim_below(w, FAULTS_MS / 2);
        run->cancel_asked = sim_chance(w, 100);
        run->cancel_ms = run->submit_ms + (int64_t)sim_below(w, 30000);
        run->retry_asked = sim_chance(w, 200);
        if (sim_chance(w, 500)) run->terms_ms = run->submit_ms + (int64_t)sim_below(w, 8000);
        run->terms.priority = run->wanted.priority = (int)sim_below(w, 3) - 1;
        for (uint64_t item = 0; item < run->items; item++) {
            run->poison_crash[item] = sim_chance(w, 25);
            run->poison_hang[item] = !run->poison_crash[item] && sim_chance(w, 12);
        }
    }
    for (size_t i = 0; i < w->worker_count; i++) {
        w->workers[i].thread_count = 1 + (size_t)sim_below(w, SIM_THREADS);
        sim_timer(w, SIM_WAKE, i, (int64_t)sim_below(w, 1000));
    }
    sim_timer(w, SIM_CLIENT, 0, 1);
    sim_timer(w, SIM_FAULT, 0, (int64_t)sim_below(w, 3000));
    sim_broker_start(w);
}

static bool drained(const sim *w) {
    for (size_t i = 1; i <= w->run_count; i++) {
        const sim_run *run = &w->runs[i];
        if (run->cancel_asked && !run->answered) return false;
        if (!run->acknowledged || run->state == SIM_RUN_OPEN) return false;
        if (run->terms_asked != run->terms_had) return false;
    }
    return w->store.queued == 0 && w->store.finished_count == 0;
}

static void dispatch(sim *w, const sim_event *event) {
    switch (event->kind) {
    case SIM_HELLO:
    case SIM_CREDIT:
    case SIM_HEARTBEAT:
    case SIM_STARTED:
    case SIM_RESULT:
    case SIM_RETURNED:
    case SIM_GOODBYE:
    case SIM_SUBMIT:
    case SIM_CANCEL:
    case SIM_RETRY:
    case SIM_TERMS:
        if (!cut(w, event)) sim_broker_hear(w, event);
        break;
    case SIM_WELCOME:
    case SIM_REFUSED:
    case SIM_RUN_INFO:
    case SIM_TASK:
    case SIM_REVOKED:
    case SIM_ACKNOWLEDGED:
    case SIM_HEARTBEAT_BACK:
    case SIM_DRAIN:
        if (!cut(w, event)) sim_worker_hear(w, event);
        break;
    case SIM_ANSWER: answer(w, event); break;
    case SIM_TICK:
        if (event->life == w->life) {
            sim_broker_tick(w);
            sim_timer(w, SIM_TICK, 0, TICK_MS);
        }
        break;
    case SIM_WAKE:
        sim_worker_wake(w, event->worker);
        sim_timer(w, SIM_WAKE, event->worker, WAKE_MS);
        break;
    case SIM_CLIENT: clients(w); break;
    case SIM_COMMIT:
        if (event->life == w->life) sim_store_commit(w);
        break;
    case SIM_TAKE:
        if (event->life == w->life) sim_broker_take(w);
        break;
    case SIM_FAULT: fault(w); break;
    case SIM_RESTART:
        if (event->life == w->life && w->killed) sim_broker_start(w);
        break;
    }
}

static void calm(sim *w) {
    sim_trace(w, "faults off");
    w->faults = false;
    w->store.full_until_ms = 0;
    sim_memory_fails_every = 0;
    for (size_t i = 0; i < w->worker_count; i++)
        w->workers[i].stalled_until_ms = w->workers[i].cut_until_ms = 0;
    for (size_t i = 1; i <= w->run_count; i++) {
        w->runs[i].terms_asked += w->runs[i].wanted.paused;
        w->runs[i].wanted.paused = false;
    }
}

bool sim_history(uint64_t seed, FILE *trace, char failure[SIM_FAILURE_BYTES], uint64_t *steps) {
    sim *w = calloc(1, sizeof *w);
    if (!w) abort();
    w->seed = seed;
    w->trace = trace;
    sim_memory_fails_every = sim_memory_calls = 0;
    setup(w);
    int64_t quiet_ms = 0;
    while (!w->failure[0]) {
        sim_event *event = pop(w);
        w->now_ms = event->at_ms;
        dispatch(w, event);
        free(event);
        if (w->faults && w->now_ms >= FAULTS_MS) calm(w);
        if (!w->faults && drained(w) && !quiet_ms) quiet_ms = w->now_ms + 15 * 1000;
        if (quiet_ms && !drained(w)) quiet_ms = 0; /* a late submit took it up again */
        if (quiet_ms && w->now_ms > quiet_ms) break;
        if (w->now_ms > FAULTS_MS + DRAIN_MS) sim_fail(w, "invariant 8: it does not drain");
        if (w->steps++ > STEPS_MAX) sim_fail(w, "invariant 13: too many steps");
    }
    if (!w->failure[0]) sim_check_end(w);
    memcpy(failure, w->failure, SIM_FAILURE_BYTES);
    if (steps) *steps = w->steps;
    while (w->heap_count) free(pop(w));
    free(w->heap);
    pm_scheduler_free(&w->scheduler);
    bool held = !w->failure[0];
    free(w);
    return held;
}
