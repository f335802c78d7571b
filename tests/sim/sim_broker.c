/* Owns the simulated broker: the real scheduler, its actions carried out one by one, a kill
 * between any two of them. Does what broker/loop.c does, with the fake store and network. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/sim.h"

enum { HEARTBEAT_MS = 1000, SILENCE_MS = 5000, LEASE_MS = 10000, LOST_WITHIN_MS = 50 };

/* ---- memory that fails ---- */

static struct {
    sim *world;
    uint32_t every;
    sim_tally tally;
    bool on;
} memory;

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

void sim_memory_begin(sim *w, uint32_t every, sim_tally tally) {
    memory.world = w;
    memory.every = every;
    memory.tally = tally;
    memory.on = true;
}

void sim_memory_end(void) { memory.on = false; }

bool sim_memory_hold(void) {
    bool was = memory.on;
    memory.on = false;
    return was;
}

void sim_memory_go_on(bool was) { memory.on = was; }

static bool memory_fails(void) {
    if (!memory.on || !memory.every || ++memory.world->memory_calls % memory.every) return false;
    sim_count(memory.world, memory.tally);
    return true;
}

void *__wrap_calloc(size_t count, size_t size) {
    return memory_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return memory_fails() ? NULL : __real_realloc(old, size);
}

/* ---- the scheduler's steps ---- */

/* Between any two actions the power may go: at any time, or at the n-th action from a moment on. */
static bool killed(sim *w, size_t i, size_t count) {
    if (!w->faults || w->killed) return w->killed;
    bool now = w->kill_after && --w->kill_after == 0;
    if (!now && !(sim_chance(w, 1) && sim_chance(w, 300))) return false;
    if (i > 0 && i < count) sim_count(w, SIM_N_MID_LIST);
    if (w->recovering) sim_count(w, SIM_N_MID_RECOVERY);
    sim_broker_kill(w);
    return true;
}

static void trace_action(sim *w, const pm_action *a) {
    static const char *const names[] = {
        "verdict",   "welcome", "refuse", "run_info", "task",     "revoke", "acknowledge",
        "heartbeat", "drain",   "record", "blame",    "run_done", "lost",   "log_refused"};
    if (!w->trace || a->kind == PM_ACTION_HEARTBEAT) return;
    sim_trace(w, "  -> %s worker %llx run %llu task %llu [%llu, %llu)%s%s %s", names[a->kind],
              (unsigned long long)a->worker, (unsigned long long)a->run,
              (unsigned long long)a->task, (unsigned long long)a->first, (unsigned long long)a->end,
              a->alone ? " alone" : "", a->adopted ? " adopted" : "", a->reason ? a->reason : "");
}

static void carry_out(sim *w, const pm_action *a) {
    sim_op op = {.run = a->run, .task = a->task, .item = a->first, .blame = a->blame};
    trace_action(w, a);
    if (w->checks) sim_check_action(w, a);
    if (a->kind == PM_ACTION_RECORD) {
        op.kind = SIM_OP_RECORD;
        op.value = w->message_value;
        sim_store_put(w, &op);
    } else if (a->kind == PM_ACTION_BLAME) {
        op.kind = SIM_OP_BLAME;
        sim_store_put(w, &op);
    } else if (a->kind == PM_ACTION_RUN_DONE) {
        op.kind = SIM_OP_FINISH;
        sim_store_put(w, &op);
    } else {
        sim_wire_action(w, a);
    }
}

static void trace_event(sim *w, const pm_event *event) {
    static const char *const names[] = {
        "run_added",     "run_cancelled", "run_terms", "recorded",  "blamed",       "paused",
        "resumed",       "hello",         "credit",    "heartbeat", "item_started", "item_result",
        "task_returned", "goodbye",       "drain",     "tick"};
    if (!w->trace || event->kind == PM_EVENT_TICK || event->kind == PM_EVENT_HEARTBEAT) return;
    sim_trace(w, "%s worker %llx run %llu task %llu item %llu%s", names[event->kind],
              (unsigned long long)event->worker, (unsigned long long)event->run,
              (unsigned long long)event->task, (unsigned long long)event->ordinal,
              event->committed ? " committed" : "");
}

static pm_status step(sim *w, const pm_event *event, const pm_action **actions, size_t *count) {
    struct timespec begin, end;
    const int64_t now_ms = w->now_ms + w->broker_skew_ms;
    if (w->checks) return pm_scheduler_step(w->scheduler, event, now_ms, actions, count);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    pm_status status = pm_scheduler_step(w->scheduler, event, now_ms, actions, count);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    uint64_t ns =
        (uint64_t)((end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec);
    w->traffic.events++;
    w->traffic.step_ns += ns;
    if (ns > w->traffic.step_ns_most) w->traffic.step_ns_most = ns;
    return status;
}

void sim_broker_feed(sim *w, const pm_event *event) {
    const pm_action *actions;
    size_t count;
    bool store_event = event->kind <= PM_EVENT_RESUMED;
    if (w->killed) return;
    trace_event(w, event);
    sim_check_terms(w, event);
    const size_t others = sim_check_others(w, event);
    sim_memory_begin(w, sim_memory_fails_every, SIM_N_BROKER_MEMORY);
    pm_status status = step(w, event, &actions, &count);
    sim_memory_end();
    if (sim_check_others(w, event) < others)
        sim_fail(w, "invariant 18: a hello takes over another key's worker");
    if (status != PM_OK && status != PM_E_MEMORY)
        sim_fail(w, "the scheduler says %s: %s", pm_status_name(status), pm_error_text());
    if (w->checks) sim_check_state(w, actions, count);
    for (size_t i = 0; i < count && !killed(w, i, count); i++) carry_out(w, &actions[i]);
    if (status == PM_E_MEMORY && store_event && !w->killed) {
        sim_trace(w, "out of memory on an event of the store");
        sim_broker_kill(w);
    }
}

/* ---- its life ---- */

void sim_broker_start(sim *w) {
    pm_scheduler_options options = {.epoch = ++w->epoch,
                                    .silence_ms = SILENCE_MS,
                                    .lease_ms = w->scale.lease_ms ? w->scale.lease_ms : LEASE_MS,
                                    .heartbeat_ms = HEARTBEAT_MS};
    memcpy(options.seed, &w->seed, sizeof w->seed);
    w->killed = w->paused = false;
    w->verdict_count = 0;
    sim_check_new_broker(w);
    sim_trace(w, "broker starts, epoch %llu", (unsigned long long)w->epoch);
    if (pm_scheduler_new(&options, &w->scheduler) != PM_OK) {
        sim_fail(w, "%s", pm_error_text());
        return;
    }
    w->recovering = true;
    for (size_t i = 1; i <= w->run_count && !w->killed; i++) {
        pm_task_state *states = NULL;
        if (w->runs[i].state != SIM_RUN_OPEN) continue;
        pm_event event = {.kind = PM_EVENT_RUN_ADDED, .run = i};
        event.task_count = sim_store_load(w, i, &states);
        event.tasks = states;
        event.terms = w->runs[i].terms;
        sim_broker_feed(w, &event);
        free(states);
        /* After the power went nobody may be told of what is not asked for again. */
        if (!w->killed) (void)killed(w, 0, 0);
    }
    w->recovering = false;
    if (!w->killed) sim_timer(w, SIM_TICK, 0, 100);
}

void sim_broker_kill(sim *w) {
    if (w->killed) return;
    sim_trace(w, "broker is killed, %zu operations forgotten, %zu commits untold",
              w->store.queue.count, w->store.finished.count);
    sim_count(w, SIM_N_BROKER_KILLS);
    if (w->store.finished.count) sim_count(w, SIM_N_UNTOLD);
    for (size_t i = 0; i < w->store.queue.count; i++) sim_count(w, SIM_N_FORGOTTEN);
    w->killed = true;
    w->kill_after = 0;
    w->life++;
    sim_store_forget(w);
    sim_timer(w, SIM_RESTART, 0, w->scale.workers ? 500 : 10 + (int64_t)sim_below(w, 8000));
    /* Most connections break; what a partition swallows is found out by silence. */
    for (size_t i = 0; i < w->worker_count; i++)
        if (!w->faults || sim_chance(w, 700))
            sim_timer(w, SIM_LOST, i, (int64_t)sim_below(w, LOST_WITHIN_MS));
}

void sim_broker_drain(sim *w, pm_worker_id conn) {
    pm_event event = {.kind = PM_EVENT_DRAIN, .worker = conn};
    if (conn && !w->killed && w->scheduler) sim_broker_feed(w, &event);
}

void sim_broker_tick(sim *w) {
    pm_event event = {.kind = PM_EVENT_TICK};
    if (w->killed || !w->scheduler) return;
    sim_broker_feed(w, &event);
    if (!killed(w, 0, 0) && w->paused && w->store.full_until_ms <= w->now_ms) sim_broker_take(w);
}

/* ---- what the store has finished ---- */

static void answer(sim *w, const sim_op *op, sim_kind kind) {
    const sim_event message = {
        .kind = SIM_ANSWER, .run = op->run, .first = kind, .value = op->value};
    if (op->committed && !killed(w, 0, 0)) sim_send_client(w, &message);
}

static void take_opened(sim *w, const sim_op *op) {
    pm_event event = {.kind = PM_EVENT_RUN_ADDED, .run = op->run, .terms = op->terms};
    if (!op->opened) return;
    pm_task_state *states = calloc(op->made_count + 1, sizeof *states);
    if (!states) abort();
    for (uint64_t i = 0; i < op->made_count; i++) {
        const sim_task *task = &w->store.tasks[op->made_first + i];
        states[i] = (pm_task_state){.task = op->made_first + i,
                                    .next = task->next,
                                    .end = task->end,
                                    .alone = task->alone,
                                    .crashes = task->crashes};
    }
    event.task_count = op->made_count;
    event.tasks = states;
    sim_broker_feed(w, &event);
    free(states);
}

static void take_blamed(sim *w, const sim_op *op, pm_event *event) {
    pm_task_state made = {.task = op->made_first};
    event->kind = PM_EVENT_BLAMED;
    event->tasks = &made;
    event->task_count = op->made_count;
    if (op->made_count) {
        const sim_task *task = &w->store.tasks[made.task];
        made.next = task->next;
        made.end = task->end;
        made.alone = task->alone;
        made.crashes = task->crashes;
    }
    sim_broker_feed(w, event);
}

static void take(sim *w, const sim_op *op) {
    pm_event event = {.run = op->run,
                      .task = op->task,
                      .ordinal = op->item,
                      .committed = op->committed,
                      .unfit = op->unfit};
    switch (op->kind) {
    case SIM_OP_SUBMIT:
        take_opened(w, op);
        answer(w, op, SIM_SUBMIT);
        break;
    case SIM_OP_RETRY:
        take_opened(w, op);
        answer(w, op, SIM_RETRY);
        break;
    case SIM_OP_TERMS:
        event.kind = PM_EVENT_RUN_TERMS;
        event.terms = op->terms;
        if (op->committed) sim_broker_feed(w, &event);
        answer(w, op, SIM_TERMS);
        break;
    case SIM_OP_CANCEL:
        event.kind = PM_EVENT_RUN_CANCELLED;
        sim_broker_feed(w, &event);
        answer(w, op, SIM_CANCEL);
        break;
    case SIM_OP_RECORD:
        event.kind = PM_EVENT_RECORDED;
        if (w->checks) w->pending[op->task]--;
        sim_broker_feed(w, &event);
        break;
    case SIM_OP_BLAME: take_blamed(w, op, &event); break;
    case SIM_OP_FINISH: break;
    }
}

/* What the store has finished, and whether it has room. */
void sim_broker_take(sim *w) {
    w->store.take_due = false;
    sim_ops *finished = &w->store.finished;
    size_t count = finished->count;
    uint64_t life = w->life;
    bool full = w->store.full_until_ms > w->now_ms;
    if (full != w->paused) {
        pm_event event = {.kind = full ? PM_EVENT_PAUSED : PM_EVENT_RESUMED};
        w->paused = full;
        if (full) sim_count(w, SIM_N_STORE_FULL);
        sim_broker_feed(w, &event);
    }
    for (size_t i = 0; i < count && w->life == life && !w->killed; i++) {
        sim_op op = finished->ops[i];
        take(w, &op);
    }
    if (w->life != life) return;
    finished->count -= count;
    if (finished->count)
        memmove(finished->ops, finished->ops + count, finished->count * sizeof *finished->ops);
}

void sim_broker_hear_client(sim *w, const sim_event *event) {
    sim_op op = {.run = event->run, .value = event->value, .terms = event->terms};
    if (w->killed || !w->scheduler) return;
    op.kind = event->kind == SIM_SUBMIT   ? SIM_OP_SUBMIT
              : event->kind == SIM_CANCEL ? SIM_OP_CANCEL
              : event->kind == SIM_TERMS  ? SIM_OP_TERMS
                                          : SIM_OP_RETRY;
    sim_trace(w, "client asks %d of run %llu", (int)event->kind, (unsigned long long)event->run);
    if (!w->paused) sim_store_put(w, &op);
}
