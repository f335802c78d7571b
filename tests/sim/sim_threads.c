/* Owns the simulated compute threads of a worker: what worker/compute.c does with a lease, through
 * the same functions of worker/work.h, but without waiting and without an engine. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { OPEN_MS = 4, BEAT_MS = 900, ROOM_MS = 250 };

void sim_threads_suspect(sim *w, const pm_lease *lease) {
    const Pm__Wire__Task *task = lease->task;
    const uint64_t end = lease->begun ? lease->in_hand_ordinal + 1 : 0;
    for (size_t i = 0; i < task->n_items; i++)
        if (!lease->recorded[i] && task->items[i]->ordinal < end)
            w->runs[task->run].item[task->items[i]->ordinal].suspect++;
}

static void fill_layers(Pm__Wire__Result *result, size_t layers) {
    result->layers = calloc(layers ? layers : 1, sizeof *result->layers);
    for (size_t i = 0; result->layers && i < layers; i++) {
        Pm__Wire__LayerGradient *layer = malloc(sizeof *layer);
        if (!layer) abort();
        pm__wire__layer_gradient__init(layer);
        layer->conv = (uint32_t)i;
        layer->name = strdup("layer3.0.conv1");
        layer->channels = 1024;
        layer->selected = 512;
        layer->has_m = layer->has_n = layer->has_beta = true;
        layer->m = layer->n = layer->beta = layer->scale_h = layer->scale_l = 0.5;
        layer->variance_before = layer->variance_after = 0.25;
        result->layers[result->n_layers++] = layer;
    }
}

static Pm__Wire__Result *result_new(const sim *w, uint32_t configuration, double value) {
    Pm__Wire__Result *result = malloc(sizeof *result);
    if (!result) abort();
    pm__wire__result__init(result);
    result->configuration = configuration;
    result->has_target = result->has_predicted = true;
    result->has_p_target = result->has_p_predicted = true;
    result->has_mu_in = result->has_mu_out = result->has_compute_ms = true;
    result->p_target = value;
    fill_layers(result, w->scale.layers);
    return result;
}

static pm_outgoing *compute(const sim *w, const Pm__Wire__Task *task, uint64_t ordinal) {
    const size_t count = task->n_configurations;
    pm_outgoing *out = calloc(1, sizeof *out);
    Pm__Wire__ItemResult *result = malloc(sizeof *result);
    if (!out || !result) abort();
    pm__wire__item_result__init(result);
    result->token = (ProtobufCBinaryData){PM_TOKEN_BYTES, calloc(1, PM_TOKEN_BYTES)};
    result->ordinal = ordinal;
    result->results = calloc(count, sizeof *result->results);
    if (!result->results || !result->token.data) abort();
    for (size_t i = 0; i < count; i++)
        result->results[result->n_results++] =
            result_new(w, task->configurations[i], (double)sim_value(task->run, ordinal));
    out->result = result;
    out->size_bytes = w->runs[task->run].outgoing_bytes;
    return out;
}

/* ---- one thread ---- */

static void load(sim *w, sim_worker *worker, sim_thread *t) {
    const uint64_t run = t->lease->task->run;
    t->state = SIM_THREAD_LOADING;
    t->ready_ms = w->now_ms + (worker->loaded[run] ? 1 : w->runs[run].load_ms);
    worker->loaded[run] = true;
    t->first = 0;
    t->all_done = true;
}

static void begin_group(sim *w, sim_thread *t) {
    const Pm__Wire__Task *task = t->lease->task;
    const size_t left = task->n_items - t->first;
    t->together = w->runs[task->run].together;
    if (t->together > left) t->together = left;
    if (t->together > 1) sim_count(w, SIM_N_TOGETHER);
    t->started = t->handed = 0;
    t->lost = false;
    t->state = SIM_THREAD_STARTING;
    t->ready_ms = w->now_ms;
}

static const sim_item *item_of(const sim *w, const sim_thread *t, size_t k) {
    const Pm__Wire__Task *task = t->lease->task;
    return &w->runs[task->run].item[task->items[t->first + k]->ordinal];
}

static void begin_computing(sim *w, sim_thread *t) {
    const int64_t each_ms = w->runs[t->lease->task->run].item_ms;
    int64_t ms = each_ms / 2 + (int64_t)sim_below(w, (uint64_t)each_ms + 1);
    t->state = SIM_THREAD_COMPUTING;
    t->ready_ms = w->now_ms + ms * (int64_t)t->started;
    t->beat_ms = w->now_ms + BEAT_MS;
    if (t->started && ms > 10 * 1000) sim_count(w, SIM_N_LONG_ITEMS);
}

static void hang(sim *w, sim_worker *worker, sim_thread *t) {
    sim_trace(w, "worker %zu hangs in task %llu", worker->index,
              (unsigned long long)t->lease->task->task);
    sim_count(w, SIM_N_HANGS);
    sim_threads_suspect(w, t->lease);
    t->state = SIM_THREAD_HUNG;
}

/* Poison acts while it is decoded or while it is computed. False: the worker died. */
static bool meet_poison(sim *w, sim_worker *worker, sim_thread *t, size_t first, size_t end) {
    static const char *const reasons[] = {"SIGSEGV", "SIGABRT", "SIGILL", "SIGBUS"};
    for (size_t k = first; k < end; k++) {
        if (item_of(w, t, k)->poison_crash) {
            sim_worker_crash(w, worker->index, reasons[sim_below(w, 4)]);
            return false;
        }
        if (item_of(w, t, k)->poison_hang && t->state != SIM_THREAD_HUNG) hang(w, worker, t);
    }
    return true;
}

/* The next item of the group, as start_item. */
static bool start_item(sim *w, sim_worker *worker, sim_thread *t) {
    const Pm__Wire__Task *task = t->lease->task;
    const size_t thread = (size_t)(t - worker->threads);
    if (t->all_done && t->started < t->together)
        t->all_done = pm_work_start_item(&worker->work, t->lease, thread,
                                         task->items[t->first + t->started]->ordinal);
    if (!t->all_done || t->started == t->together) {
        begin_computing(w, t);
        return true;
    }
    t->started++;
    t->ready_ms = w->now_ms + (int64_t)sim_below(w, OPEN_MS);
    pm_work_beat(&worker->work, t->lease);
    return !sim_chance(w, 300) || meet_poison(w, worker, t, t->started - 1, t->started);
}

static void end_lease(sim_worker *worker, sim_thread *t) {
    pm_work_end(&worker->work, t->lease, t->all_done);
    t->lease = NULL;
    t->state = SIM_THREAD_IDLE;
}

/* Now and then there is no memory for a result. */
static bool hand_in(sim *w, sim_worker *worker, sim_thread *t) {
    const Pm__Wire__Task *task = t->lease->task;
    const uint64_t ordinal = task->items[t->first + t->handed]->ordinal;
    pm_outgoing *out = NULL;
    t->lost = t->lost || (w->faults && sim_chance(w, 2));
    if (!t->lost) out = compute(w, task, ordinal);
    pm_work_beat(&worker->work, t->lease);
    pm_work_hand_in(&worker->work, t->lease, (size_t)(t - worker->threads), ordinal, out);
    t->handed++;
    return pm_work_has_room(&worker->work, t->lease);
}

/* As the end of do_items: all of the group in order; behind a lost one nothing counts. */
static void hand_over(sim *w, sim_worker *worker, sim_thread *t) {
    while (t->handed < t->started) {
        bool room = hand_in(w, worker, t);
        if (t->lost) t->all_done = false;
        if (room) continue;
        sim_count(w, SIM_N_WAITED_FOR_ROOM);
        t->ready_ms = w->now_ms + ROOM_MS;
        return;
    }
    if (!pm_work_has_room(&worker->work, t->lease)) { /* it waits in finish_item */
        pm_work_beat(&worker->work, t->lease);
        t->ready_ms = w->now_ms + ROOM_MS;
        return;
    }
    t->first += t->started;
    if (t->all_done && t->first < t->lease->task->n_items)
        begin_group(w, t);
    else
        end_lease(worker, t);
}

/* One step of what is due. False: the worker died. */
static bool step(sim *w, sim_worker *worker, sim_thread *t) {
    switch (t->state) {
    case SIM_THREAD_IDLE:
        t->lease = pm_work_try_take(&worker->work);
        if (t->lease) load(w, worker, t);
        return true;
    case SIM_THREAD_LOADING: begin_group(w, t); return true;
    case SIM_THREAD_STARTING: return start_item(w, worker, t);
    case SIM_THREAD_COMPUTING:
        if (w->now_ms < t->ready_ms) {
            pm_work_beat(&worker->work, t->lease);
            t->beat_ms = w->now_ms + BEAT_MS;
            return true;
        }
        if (!meet_poison(w, worker, t, 0, t->started)) return false;
        if (t->state == SIM_THREAD_HUNG) return true;
        t->state = SIM_THREAD_HANDING;
        hand_over(w, worker, t);
        return true;
    case SIM_THREAD_HANDING: hand_over(w, worker, t); return true;
    case SIM_THREAD_HUNG: return true;
    }
    return true;
}

static int64_t due_ms(const sim_thread *t) {
    if (t->state == SIM_THREAD_IDLE || t->state == SIM_THREAD_HUNG) return INT64_MAX;
    if (t->state == SIM_THREAD_COMPUTING && t->beat_ms < t->ready_ms) return t->beat_ms;
    return t->ready_ms;
}

bool sim_threads_run(sim *w, sim_worker *worker) {
    for (size_t i = 0; i < worker->thread_count; i++) {
        sim_thread *t = &worker->threads[i];
        if (t->state == SIM_THREAD_IDLE && !step(w, worker, t)) return false;
        while (due_ms(t) <= w->now_ms)
            if (!step(w, worker, t)) return false;
    }
    return true;
}

int64_t sim_threads_due_ms(const sim_worker *worker) {
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < worker->thread_count; i++) {
        int64_t due = due_ms(&worker->threads[i]);
        if (due < least) least = due;
    }
    return least;
}
