/* Owns the simulated world: its clock and dice, and the order of one history. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/random.h"
#include "tests/sim/sim.h"
#include "worker/run.h"

enum {
    FAULTS_MS = 60 * 1000,
    DRAIN_MS = 1800 * 1000,
    LONG_LOAD_MS = 9000,          /* about a lease */
    WATCHED_HANG_MS = 120 * 1000, /* until a worker's own watch ends it */
    QUIET_MS = 25 * 1000,         /* longer than anybody is stopped, and silence */
    TICK_MS = 100,
    STEPS_MAX = 4 * 1000 * 1000
};

const char *const sim_tally_texts[SIM_TALLY_COUNT] = {
#define SIM_TALLY(name, text) text,
    SIM_TALLIES(SIM_TALLY)
#undef SIM_TALLY
};

static sim *current; /* whose log it is */

uint64_t sim_random(sim *w) { return pm_splitmix64(w->random++ ^ (w->seed * 0x9E3779B97F4A7C15u)); }
uint64_t sim_below(sim *w, uint64_t bound) { return sim_random(w) % bound; }
bool sim_chance(sim *w, uint32_t per_mille) { return sim_below(w, 1000) < per_mille; }

uint64_t sim_value(uint64_t run, uint64_t item) {
    return pm_splitmix64(run * 1000003 + item) >> 12;
}

pm_instance sim_instance(uint64_t number) {
    pm_instance instance;
    uint64_t halves[2] = {pm_splitmix64(number), number};
    memcpy(instance.bytes, halves, sizeof instance.bytes);
    return instance;
}

void sim_count(sim *w, sim_tally tally) { w->tally[tally]++; }

static void trace_time(const sim *w) {
    fprintf(w->trace, "%8lld.%03lld ", (long long)(w->now_ms / 1000),
            (long long)(w->now_ms % 1000));
}

void sim_trace(sim *w, const char *format, ...) {
    va_list args;
    if (!w->trace) return;
    trace_time(w);
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

/* What workers log belongs to the history. */
void __wrap_pm_log(pm_log_level level, const char *event, const char *fields, ...);
void __wrap_pm_log(pm_log_level level, const char *event, const char *fields, ...) {
    va_list args;
    (void)level;
    if (!current) return;
    if (strcmp(event, "worker.link.renew") == 0) sim_count(current, SIM_N_RENEWED);
    if (!current->trace) return;
    trace_time(current);
    fprintf(current->trace, "     %s ", event);
    va_start(args, fields);
    vfprintf(current->trace, fields, args);
    va_end(args);
    fputc('\n', current->trace);
}

/* Runs are never made ready here: no engine. */
void pm_run_ready_free(pm_run_ready **ready) { (void)ready; }

/* ---- setting up ---- */

static void add_run(sim_run *run, uint64_t items) {
    run->items = items;
    run->item = calloc(items, sizeof *run->item);
    if (!run->item) abort();
    run->task_items_most = 8;
    run->together = 1;
    run->item_ms = 100;
    run->load_ms = 50;
    run->outgoing_bytes = 1000;
}

static void draw_run(sim *w, sim_run *run) {
    const bool is_long = sim_chance(w, 80); /* images that take longer than a lease */
    add_run(run, 1 + sim_below(w, is_long ? 6 : SIM_ITEMS));
    run->submit_ms = (int64_t)sim_below(w, FAULTS_MS / 2);
    run->cancel_asked = sim_chance(w, 100);
    run->cancel_ms = run->submit_ms + (int64_t)sim_below(w, 30000);
    run->retry_asked = sim_chance(w, 200);
    if (sim_chance(w, 500)) run->terms_ms = run->submit_ms + (int64_t)sim_below(w, 8000);
    run->terms.priority = run->wanted.priority = (int)sim_below(w, 3) - 1;
    run->together = sim_chance(w, 400) ? 2 + (size_t)sim_below(w, 7) : 1;
    run->item_ms = is_long ? 9000 : 20 + (int64_t)sim_below(w, 150);
    run->load_ms = 20 + (int64_t)sim_below(w, sim_chance(w, 100) ? 12000 : 1000);
    if (sim_chance(w, 150)) run->outgoing_bytes = PM_UNRECORDED_BYTES_MAX / 4;
    run->task_items_most = sim_chance(w, 300) ? 16 : 8;
    for (uint64_t i = 0; i < run->items; i++) {
        run->item[i].poison_crash = sim_chance(w, 25);
        run->item[i].poison_hang = !run->item[i].poison_crash && sim_chance(w, 12);
        run->item[i].poison_rows =
            !run->item[i].poison_crash && !run->item[i].poison_hang && sim_chance(w, 12);
    }
}

static sim *world_new(uint64_t seed, size_t workers) {
    sim *w = calloc(1, sizeof *w);
    if (!w) abort();
    w->seed = seed;
    w->next_instance = seed * 1000;
    w->worker_count = workers;
    w->workers = calloc(workers, sizeof *w->workers);
    if (!w->workers) abort();
    w->scale.configurations = 1;
    sim_memory_fails_every = 0;
    current = w;
    return w;
}

static sim *draw_world(uint64_t seed, FILE *trace) {
    sim *w = world_new(seed, 1 + (size_t)(pm_splitmix64(seed) % SIM_WORKERS));
    w->trace = trace;
    w->faults = w->checks = true;
    w->keyed = pm_splitmix64(~seed) % 2;
    w->drop_per_mille = (uint32_t)sim_below(w, 60);
    w->double_per_mille = (uint32_t)sim_below(w, 60);
    w->late_per_mille = (uint32_t)sim_below(w, 60);
    w->run_count = 1 + (size_t)sim_below(w, SIM_RUNS);
    for (size_t i = 1; i <= w->run_count; i++) draw_run(w, &w->runs[i]);
    for (size_t i = 0; i < w->worker_count; i++) {
        sim_worker_init(w, i, 1 + (size_t)sim_below(w, SIM_THREADS));
        sim_worker_wake_at(w, i, (int64_t)sim_below(w, 1000));
    }
    /* Also shorter than the silence after which a worker is lost. */
    if (sim_chance(w, 120)) w->scale.lease_ms = 4000;
    w->liar_count = sim_chance(w, 300) ? 1 + (size_t)sim_below(w, SIM_LIARS) : 0;
    for (size_t i = 0; i < w->liar_count; i++)
        sim_timer(w, SIM_LIE, i, (int64_t)sim_below(w, 10000));
    sim_timer(w, SIM_CLIENT, 0, 1);
    sim_timer(w, SIM_FAULT, 0, (int64_t)sim_below(w, 3000));
    sim_broker_start(w);
    return w;
}

sim *sim_fleet_new(uint64_t seed, const sim_scale *scale) {
    sim *w = world_new(seed, scale->workers);
    w->scale = *scale;
    w->run_count = 1;
    add_run(&w->runs[1], scale->items);
    w->runs[1].item_ms = scale->item_ms;
    w->runs[1].together = scale->together;
    w->runs[1].load_ms = 1000;
    for (size_t i = 0; i < w->worker_count; i++) {
        sim_worker_init(w, i, scale->threads);
        sim_worker_wake_at(w, i, (int64_t)sim_below(w, 5000));
    }
    sim_timer(w, SIM_CLIENT, 0, 1);
    sim_broker_start(w);
    return w;
}

void sim_free(sim **world) {
    sim *w = *world;
    while (w->heap_count) free(sim_pop(w));
    free(w->heap);
    for (size_t i = 0; i < w->worker_count; i++) sim_worker_fini(&w->workers[i]);
    free(w->workers);
    sim_store_free(w);
    pm_scheduler_free(&w->scheduler);
    free(w);
    *world = NULL;
    current = NULL;
}

/* ---- running ---- */

static bool drained(const sim *w) {
    for (size_t i = 1; i <= w->run_count; i++) {
        const sim_run *run = &w->runs[i];
        if (run->cancel_asked && !run->answered) return false;
        if (!run->acknowledged || run->state == SIM_RUN_OPEN) return false;
        if (run->terms_asked != run->terms_had) return false;
    }
    /* Who hangs is to end. */
    for (size_t i = 0; i < w->worker_count; i++)
        for (size_t k = 0; k < w->workers[i].thread_count && w->workers[i].alive; k++)
            if (w->workers[i].threads[k].state == SIM_THREAD_HUNG) return false;
    return w->store.queue.count == 0 && w->store.finished.count == 0;
}

/* Where loading takes about a lease, the lease ends before the item starts, and a hang is seen by
 * the worker's own watch alone; each such item has to be seen four times. */
static int64_t drain_ms(const sim *w) {
    int64_t ms = DRAIN_MS;
    for (size_t i = 1; i <= w->run_count; i++)
        for (uint64_t k = 0; k < w->runs[i].items && w->runs[i].load_ms > LONG_LOAD_MS; k++)
            if (w->runs[i].item[k].poison_hang)
                ms += (1 + PM_CRASHES_ALONE_MAX) * (int64_t)WATCHED_HANG_MS;
    return ms;
}

static void fail_to_drain(sim *w) {
    for (size_t i = 1; i <= w->run_count; i++) {
        const sim_run *run = &w->runs[i];
        sim_trace(w, "run %zu: state %d, %sacknowledged%s", i, (int)run->state,
                  run->acknowledged ? "" : "not ",
                  run->cancel_asked && !run->answered ? ", to be cancelled" : "");
    }
    sim_fail(w, "invariant 8: it does not drain");
}

/* A broker that is stopped does nothing, and goes on where it was. */
static bool stopped(sim *w, const sim_event *event) {
    int64_t left_ms = w->broker_stalled_until_ms - w->now_ms;
    if (left_ms <= 0 || event->life != w->life) return false;
    /* Its tick comes before or after what waits to be heard. */
    if (event->kind == SIM_TICK) left_ms += (int64_t)sim_below(w, 2);
    sim_timer(w, event->kind, 0, left_ms);
    return true;
}

static void dispatch_broker(sim *w, const sim_event *event) {
    if (event->life != w->life || stopped(w, event)) return;
    if (event->kind == SIM_COMMIT) {
        sim_store_commit(w);
    } else if (event->kind == SIM_TAKE) {
        sim_broker_take(w);
    } else {
        sim_broker_tick(w);
        sim_timer(w, SIM_TICK, 0, TICK_MS);
    }
}

static void dispatch_to_worker(sim *w, const sim_event *event) {
    if (sim_conn_owner(event->conn) < w->worker_count)
        sim_worker_hear(w, event);
    else
        sim_liar_hear(w, event);
}

/* Takes the event over. */
static void dispatch(sim *w, sim_event *event) {
    switch (event->kind) {
    case SIM_TO_BROKER:
        if (sim_arrives(w, &event)) sim_broker_hear(w, event);
        break;
    case SIM_TO_WORKER:
        if (sim_arrives(w, &event)) dispatch_to_worker(w, event);
        break;
    case SIM_SUBMIT:
    case SIM_CANCEL:
    case SIM_RETRY:
    case SIM_TERMS: sim_broker_hear_client(w, event); break;
    case SIM_ANSWER: sim_clients_answer(w, event); break;
    case SIM_TICK:
    case SIM_COMMIT:
    case SIM_TAKE: dispatch_broker(w, event); break;
    case SIM_WAKE:
        if (event->life == w->workers[event->worker].wake_life) sim_worker_wake(w, event->worker);
        break;
    case SIM_LOST: sim_worker_lose(w, event->worker); break;
    case SIM_LIE: sim_liar_lie(w, event->worker); break;
    case SIM_CLIENT: sim_clients(w); break;
    case SIM_FAULT: sim_fault(w); break;
    case SIM_RESTART:
        if (event->life == w->life && w->killed) sim_broker_start(w);
        break;
    }
    free(event);
}

static void step(sim *w) {
    sim_event *event = sim_pop(w);
    w->now_ms = event->at_ms;
    w->steps++;
    dispatch(w, event);
}

void sim_run_until(sim *w, int64_t until_ms) {
    current = w;
    while (!w->failure[0] && w->heap_count && w->heap[0]->at_ms <= until_ms) step(w);
    w->now_ms = until_ms;
}

void sim_history(uint64_t seed, FILE *trace, sim_outcome *out) {
    sim *w = draw_world(seed, trace);
    int64_t quiet_ms = 0;
    while (!w->failure[0]) {
        step(w);
        if (w->faults && w->now_ms >= FAULTS_MS) sim_faults_off(w);
        if (!w->faults && drained(w) && !quiet_ms) quiet_ms = w->now_ms + QUIET_MS;
        if (quiet_ms && !drained(w)) quiet_ms = 0; /* a late submit took it up again */
        if (quiet_ms && w->now_ms > quiet_ms) break;
        if (w->now_ms > FAULTS_MS + DRAIN_MS && w->now_ms > FAULTS_MS + drain_ms(w))
            fail_to_drain(w);
        if (w->steps > STEPS_MAX) sim_fail(w, "invariant 13: too many steps");
    }
    if (!w->failure[0]) sim_check_end(w);
    out->held = !w->failure[0];
    out->steps = w->steps;
    memcpy(out->failure, w->failure, sizeof out->failure);
    memcpy(out->tally, w->tally, sizeof out->tally);
    sim_free(&w);
}
