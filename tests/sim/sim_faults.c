/* Owns what goes wrong in a history, and when. */
#include "tests/sim/sim.h"

enum { CUT_MS = 20000, STALL_MS = 15000, JUMP_MS = 60 * 1000, BACK_MS = 20 * 1000 };

uint32_t sim_memory_fails_every;

static void cut(sim *w, sim_worker *worker, bool up, bool down, int64_t until_ms) {
    sim_trace(w, "worker %zu is partitioned away%s", worker->index,
              up && down ? ""
              : up       ? ", its word is not heard"
                         : ", it hears nothing");
    if (up) worker->up_cut_until_ms = until_ms;
    if (down) worker->down_cut_until_ms = until_ms;
}

static void partition(sim *w, sim_worker *worker) {
    const int64_t until_ms = w->now_ms + (int64_t)sim_below(w, CUT_MS);
    const uint64_t way = sim_below(w, 3); /* both, up, down */
    if (way) sim_count(w, SIM_N_ONE_WAY);
    if (w->worker_count > 1 && sim_chance(w, 500)) {
        sim_count(w, SIM_N_GROUP_PARTITIONS);
        for (size_t i = 0; i < w->worker_count; i++)
            if (sim_chance(w, 600)) cut(w, &w->workers[i], way != 2, way != 1, until_ms);
        return;
    }
    sim_count(w, SIM_N_PARTITIONS);
    cut(w, worker, way != 2, way != 1, until_ms);
}

static void jump_broker(sim *w) {
    const bool forth = sim_chance(w, 500);
    w->broker_skew_ms += forth ? (int64_t)sim_below(w, JUMP_MS) : -(int64_t)sim_below(w, BACK_MS);
    sim_count(w, forth ? SIM_N_BROKER_CLOCK_FORTH : SIM_N_BROKER_CLOCK_BACK);
    sim_trace(w, "clock of the broker jumps to %+lld ms", (long long)w->broker_skew_ms);
}

static void jump_worker(sim *w, sim_worker *worker) {
    const bool forth = sim_chance(w, 500);
    worker->skew_ms += forth ? (int64_t)sim_below(w, JUMP_MS) : -(int64_t)sim_below(w, BACK_MS);
    sim_count(w, forth ? SIM_N_WORKER_CLOCK_FORTH : SIM_N_WORKER_CLOCK_BACK);
    sim_trace(w, "clock of worker %zu jumps to %+lld ms", worker->index,
              (long long)worker->skew_ms);
    sim_worker_wake_at(w, worker->index, w->now_ms);
}

static void stall(sim *w, sim_worker *worker) {
    const int64_t ms = (int64_t)sim_below(w, STALL_MS);
    if (worker->stalled_until_ms > w->now_ms) return;
    sim_count(w, SIM_N_WORKER_STALLS);
    worker->stalled_until_ms = w->now_ms + ms;
    sim_trace(w, "worker %zu is stopped for %lld ms", worker->index, (long long)ms);
    /* What it computes stands still as well. */
    for (size_t i = 0; i < worker->thread_count; i++) {
        worker->threads[i].ready_ms += ms;
        worker->threads[i].beat_ms += ms;
    }
}

static void kill_worker(sim *w, sim_worker *worker) {
    sim_trace(w, "worker %zu is killed from outside", worker->index);
    sim_count(w, SIM_N_WORKER_KILLS);
    sim_worker_die(w, worker->index, NULL, 10 + (int64_t)sim_below(w, 8000));
}

static void drain(sim *w, sim_worker *worker) {
    if (sim_chance(w, 300)) {
        sim_broker_drain(w, worker->conn);
        return;
    }
    sim_trace(w, "worker %zu is asked to drain", worker->index);
    sim_count(w, SIM_N_WORKER_DRAINS);
    pm_session_drain(&worker->session, sim_worker_now_ms(worker));
    sim_worker_wake_at(w, worker->index, w->now_ms);
}

static void fault_of_worker(sim *w, sim_worker *worker) {
    switch (sim_below(w, 7)) {
    case 0: stall(w, worker); break;
    case 1:
    case 2: partition(w, worker); break;
    case 3: jump_worker(w, worker); break;
    case 4:
        if (worker->alive) kill_worker(w, worker);
        break;
    case 5:
        if (worker->alive) drain(w, worker);
        break;
    case 6:
        w->worker_memory_every = sim_chance(w, 500) ? 20 + (uint32_t)sim_below(w, 80) : 0;
        break;
    }
}

static void fault_of_broker(sim *w) {
    switch (sim_below(w, 8)) {
    case 0: sim_broker_kill(w); break;
    case 1: w->kill_after = 1 + sim_below(w, 40); break;
    case 2: sim_memory_fails_every = 1 + (uint32_t)sim_below(w, 12); break;
    case 3:
    case 4: sim_memory_fails_every = 0; break;
    case 5: jump_broker(w); break;
    case 6: w->store.full_until_ms = w->now_ms + (int64_t)sim_below(w, 12000); break;
    case 7:
        sim_count(w, SIM_N_BROKER_STALLS);
        w->broker_stalled_until_ms = w->now_ms + (int64_t)sim_below(w, STALL_MS);
        sim_trace(w, "broker is stopped until %lld", (long long)w->broker_stalled_until_ms);
        break;
    }
}

void sim_fault(sim *w) {
    sim_worker *worker = &w->workers[sim_below(w, w->worker_count)];
    if (!w->faults) return;
    if (sim_chance(w, 80))
        w->drop_per_mille = (uint32_t)sim_below(w, 150);
    else if (sim_chance(w, 500))
        fault_of_worker(w, worker);
    else
        fault_of_broker(w);
    sim_timer(w, SIM_FAULT, 0, 200 + (int64_t)sim_below(w, 4000));
}

/* Who is stopped goes on when it was to. */
void sim_faults_off(sim *w) {
    sim_trace(w, "faults off");
    w->faults = false;
    w->store.full_until_ms = 0;
    w->kill_after = 0;
    w->worker_memory_every = sim_memory_fails_every = 0;
    for (size_t i = 0; i < w->worker_count; i++) {
        sim_worker *worker = &w->workers[i];
        worker->up_cut_until_ms = worker->down_cut_until_ms = 0;
        sim_worker_wake_at(w, i, w->now_ms);
    }
    for (size_t i = 1; i <= w->run_count; i++) {
        w->runs[i].terms_asked += w->runs[i].wanted.paused;
        w->runs[i].wanted.paused = false;
    }
}
