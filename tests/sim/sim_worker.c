/* Owns the simulated worker's process: the real session on the fake network, its clock, how it dies
 * and what its parent does then. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { BUSY_PER_MILLE = 2, HUNG_RESTART_MS = 500 };

int64_t sim_worker_now_ms(const sim_worker *worker) {
    return worker->world->now_ms + worker->skew_ms;
}

/* ---- what the session needs of the world ---- */

static int64_t clock_us(void *user) { return 1000 * sim_worker_now_ms(user); }

static pm_status do_connect(void *user) {
    sim_worker *worker = user;
    sim *w = worker->world;
    worker->conn = sim_conn(worker->index, ++worker->connections);
    sim_trace(w, "worker %zu connects as %llx", worker->index, (unsigned long long)worker->conn);
    sim_count(w, SIM_N_CONNECTS);
    if (w->on_connect) w->on_connect(w, worker->index);
    return PM_OK;
}

static void do_disconnect(void *user) { ((sim_worker *)user)->conn = 0; }

/* What a worker drops, by giving it back or because the task was leased anew, may still be blamed
 * if it crashes before the broker knows. */
static void note_dropped(sim *w, const sim_worker *worker, uint64_t task) {
    for (const pm_lease *lease = worker->work.leases; lease; lease = lease->next)
        if (!lease->revoked && lease->task->task == task) sim_threads_suspect(w, lease);
}

static pm_status do_send(void *user, const Pm__Wire__Message *message, const pm_bytes *frames,
                         size_t frame_count) {
    sim_worker *worker = user;
    sim *w = worker->world;
    (void)frames;
    (void)frame_count;
    if (!worker->conn) return pm_fail(PM_E_IO, "not connected");
    if (w->faults && sim_chance(w, BUSY_PER_MILLE)) {
        sim_count(w, SIM_N_BUSY);
        return pm_fail(PM_E_BUSY, "the queue is full");
    }
    if (message->body_case == PM__WIRE__MESSAGE__BODY_TASK_RETURNED)
        note_dropped(w, worker, message->task_returned->task);
    sim_send(w, SIM_TO_BROKER, worker->conn, message);
    return PM_OK;
}

static uint32_t do_dice(void *user) { return (uint32_t)sim_random(((sim_worker *)user)->world); }

/* ---- its life ---- */

static void set_instance(sim *w, sim_worker *worker) {
    const pm_instance instance = sim_instance(++w->next_instance);
    memcpy(worker->slots->instance, instance.bytes, sizeof instance.bytes);
}

void sim_worker_init(sim *w, size_t index, size_t threads) {
    sim_worker *worker = &w->workers[index];
    *worker = (sim_worker){.world = w, .index = index, .thread_count = threads};
    worker->slots = calloc(1, sizeof *worker->slots);
    worker->threads = calloc(threads, sizeof *worker->threads);
    if (!worker->slots || !worker->threads) abort();
    worker->woken_ms = INT64_MAX;
    set_instance(w, worker);
}

static void start(sim *w, sim_worker *worker) {
    const pm_work_clock clock = {.user = worker, .now_us = clock_us};
    const pm_session_self self = {.broker = "sim",
                                  .host_name = "sim",
                                  .isa = "none",
                                  .pid = (uint32_t)worker->index,
                                  .threads = (uint32_t)worker->thread_count};
    const pm_session_host host = {.user = worker,
                                  .connect = do_connect,
                                  .disconnect = do_disconnect,
                                  .send = do_send,
                                  .dice = do_dice};
    sim_trace(w, "worker %zu starts", worker->index);
    pm_work_init_plain(&worker->work, worker->slots, &clock);
    pm_session_init(&worker->session, &worker->work, &self, &host);
    memset(worker->threads, 0, worker->thread_count * sizeof *worker->threads);
    memset(worker->loaded, 0, sizeof worker->loaded);
    worker->drained_by_broker = false;
    worker->window_most = worker->work.window;
    worker->alive = true;
}

void sim_worker_fini(sim_worker *worker) {
    if (worker->alive) pm_work_fini(&worker->work);
    free(worker->slots);
    free(worker->threads);
}

void sim_worker_die(sim *w, size_t index, const char *reason, int64_t restart_after_ms) {
    sim_worker *worker = &w->workers[index];
    pm_work_fini(&worker->work);
    worker->alive = false;
    worker->conn = 0;
    /* The parent's part. */
    pm_slots_turn(worker->slots, reason);
    set_instance(w, worker);
    worker->ended_ms = w->now_ms;
    worker->restart_ms = w->now_ms + restart_after_ms;
    sim_worker_wake_at(w, index, worker->restart_ms);
}

void sim_worker_crash(sim *w, size_t index, const char *reason) {
    sim_worker *worker = &w->workers[index];
    sim_trace(w, "worker %zu crashes (%s)", index, reason);
    sim_count(w, SIM_N_CRASHES);
    for (const pm_lease *lease = worker->work.leases; lease; lease = lease->next)
        sim_threads_suspect(w, lease);
    sim_worker_die(w, index, reason, 10 + (int64_t)sim_below(w, sim_chance(w, 300) ? 8000 : 500));
}

/* It said that it is done: drained, hung, or sent away. */
static void end(sim *w, sim_worker *worker) {
    const pm_status over = worker->session.over;
    pm_session_farewell(&worker->session);
    if (over == PM_E_TIMEOUT) {
        const bool told = strstr(pm_error_text(), "another") != NULL;
        sim_count(w, told ? SIM_N_HUNG_TOLD : SIM_N_HUNG_SELF);
        sim_trace(w, "worker %zu ends: it hangs (%s)", worker->index, told ? "told" : "own watch");
        sim_worker_die(w, worker->index, NULL, HUNG_RESTART_MS);
        return;
    }
    if (over) {
        sim_fail(w, "worker %zu is sent away: %s", worker->index, pm_error_text());
        return;
    }
    sim_trace(w, "worker %zu has drained", worker->index);
    if (pm_work_is_computing(&worker->work)) sim_count(w, SIM_N_LEFT_COMPUTING);
    sim_worker_die(w, worker->index, NULL, 500 + (int64_t)sim_below(w, 4000));
}

void sim_worker_wake_at(sim *w, size_t index, int64_t at_ms) {
    sim_worker *worker = &w->workers[index];
    if (at_ms < w->now_ms) at_ms = w->now_ms;
    if (worker->woken_ms <= at_ms) return;
    worker->woken_ms = at_ms;
    sim_timer_of_life(w, SIM_WAKE, index, ++worker->wake_life, at_ms - w->now_ms);
}

/* Its turn: compute threads first, then the session, as the link thread would. */
static void live(sim *w, sim_worker *worker) {
    if (!sim_threads_run(w, worker)) return;
    sim_memory_begin(w, w->worker_memory_every, SIM_N_WORKER_MEMORY);
    pm_session_turn(&worker->session, sim_worker_now_ms(worker));
    const bool done = pm_session_is_done(&worker->session, sim_worker_now_ms(worker));
    sim_memory_end();
    if (w->checks) sim_check_worker(w, worker);
    if (done) {
        end(w, worker);
        return;
    }
    int64_t wait_ms = pm_session_wait_ms(&worker->session, sim_worker_now_ms(worker));
    int64_t at_ms = w->now_ms + (wait_ms > 0 ? wait_ms : 1), due_ms = sim_threads_due_ms(worker);
    sim_worker_wake_at(w, worker->index, due_ms < at_ms ? due_ms : at_ms);
}

void sim_worker_wake(sim *w, size_t index) {
    sim_worker *worker = &w->workers[index];
    worker->woken_ms = INT64_MAX;
    if (worker->stalled_until_ms > w->now_ms) {
        sim_worker_wake_at(w, index, worker->stalled_until_ms);
    } else if (!worker->alive && worker->restart_ms > w->now_ms) {
        sim_worker_wake_at(w, index, worker->restart_ms);
    } else {
        if (!worker->alive) start(w, worker);
        live(w, worker);
    }
}

void sim_worker_hear(sim *w, const sim_event *event) {
    sim_worker *worker = &w->workers[sim_conn_owner(event->conn)];
    pm_message message = {0};
    if (!worker->alive || worker->conn != event->conn) return;
    if (pm_wire_unpack(event->bytes, event->size, &message.body) != PM_OK) abort();
    const Pm__Wire__Message__BodyCase verb = message.body->body_case;
    if (verb == PM__WIRE__MESSAGE__BODY_DRAIN) sim_count(w, SIM_N_BROKER_DRAINS);
    if (verb == PM__WIRE__MESSAGE__BODY_TASK) note_dropped(w, worker, message.body->task->task);
    const bool greeting = worker->session.state == PM_SESSION_GREETING;
    Pm__Wire__Message *welcome = NULL;
    if (w->checks && greeting && verb == PM__WIRE__MESSAGE__BODY_WELCOME &&
        pm_wire_unpack(event->bytes, event->size, &welcome) != PM_OK)
        abort();
    sim_memory_begin(w, w->worker_memory_every, SIM_N_WORKER_MEMORY);
    pm_session_hear(&worker->session, &message, sim_worker_now_ms(worker));
    sim_memory_end();
    if (welcome) sim_check_settled(w, worker, welcome->welcome);
    pm_wire_free(&welcome);
    /* It goes on with its turn at once, unless it is about to: a burst is one turn. */
    sim_worker_wake_at(w, worker->index, w->now_ms);
}

void sim_worker_lose(sim *w, size_t index) {
    sim_worker *worker = &w->workers[index];
    if (!worker->alive || !worker->conn) return;
    sim_trace(w, "worker %zu loses its connection", index);
    pm_session_lose(&worker->session, sim_worker_now_ms(worker));
    sim_worker_wake_at(w, index, w->now_ms);
}
