/* Owns the simulated broker: the real scheduler, its actions carried out one by one, a kill
 * between any two of them. Does what broker/loop.c does, with the fake store and network. */
#include <string.h>

#include "tests/sim/sim.h"

enum { HEARTBEAT_MS = 1000, SILENCE_MS = 5000, LEASE_MS = 10000 };

static bool inside; /* the scheduler is running: its allocations may fail */
uint32_t sim_memory_fails_every;
uint32_t sim_memory_calls;

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool memory_fails(void) {
    return inside && sim_memory_fails_every && ++sim_memory_calls % sim_memory_fails_every == 0;
}

void *__wrap_calloc(size_t count, size_t size) {
    return memory_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return memory_fails() ? NULL : __real_realloc(old, size);
}

/* Between any two actions the power may go. */
static bool killed(sim *w) {
    if (w->faults && !w->killed && sim_chance(w, 1) && sim_chance(w, 300)) sim_broker_kill(w);
    return w->killed;
}

static void to_worker(sim *w, const pm_action *a) {
    sim_event m = {.conn = a->worker,
                   .run = a->run,
                   .task = a->task,
                   .first = a->first,
                   .end = a->end,
                   .ordinal = a->first,
                   .token = a->token,
                   .reason = a->reason};
    switch (a->kind) {
    case PM_ACTION_VERDICT:
        if (w->welcome.count < SIM_HELD)
            w->welcome.leases[w->welcome.count++] =
                (pm_held_lease){.task = a->task, .next = a->adopted, .token = a->token};
        return;
    case PM_ACTION_WELCOME:
        w->welcome.kind = SIM_WELCOME;
        w->welcome.conn = a->worker;
        w->welcome.value = w->epoch;
        sim_send(w, &w->welcome);
        w->welcome = (sim_event){.count = 0};
        return;
    case PM_ACTION_REFUSE: m.kind = SIM_REFUSED; break;
    case PM_ACTION_RUN_INFO: m.kind = SIM_RUN_INFO; break;
    case PM_ACTION_TASK: m.kind = SIM_TASK; break;
    case PM_ACTION_REVOKE: m.kind = SIM_REVOKED; break;
    case PM_ACTION_ACKNOWLEDGE: m.kind = SIM_ACKNOWLEDGED; break;
    case PM_ACTION_HEARTBEAT: m.kind = SIM_HEARTBEAT_BACK; break;
    case PM_ACTION_DRAIN: m.kind = SIM_DRAIN; break;
    case PM_ACTION_RECORD:
    case PM_ACTION_BLAME:
    case PM_ACTION_RUN_DONE:
    case PM_ACTION_LOST:
    case PM_ACTION_LOG_REFUSED: return;
    }
    sim_send(w, &m);
}

static void carry_out(sim *w, const pm_action *a) {
    static const char *const names[] = {
        "verdict",   "welcome", "refuse", "run_info", "task",     "revoke", "acknowledge",
        "heartbeat", "drain",   "record", "blame",    "run_done", "lost",   "log_refused"};
    if (a->kind != PM_ACTION_HEARTBEAT)
        sim_trace(w, "  -> %s worker %llu run %llu task %llu [%llu, %llu)%s%s %s", names[a->kind],
                  (unsigned long long)a->worker, (unsigned long long)a->run,
                  (unsigned long long)a->task, (unsigned long long)a->first,
                  (unsigned long long)a->end, a->alone ? " alone" : "",
                  a->adopted ? " adopted" : "", a->reason ? a->reason : "");
    sim_check_action(w, a);
    sim_op op = {.run = a->run, .task = a->task, .item = a->first, .blame = a->blame};
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
        to_worker(w, a);
    }
}

static void feed(sim *w, const pm_event *event) {
    static const char *const names[] = {
        "run_added",     "run_cancelled", "run_terms", "recorded",  "blamed",       "paused",
        "resumed",       "hello",         "credit",    "heartbeat", "item_started", "item_result",
        "task_returned", "goodbye",       "drain",     "tick"};
    const pm_action *actions;
    size_t count;
    bool store_event = event->kind <= PM_EVENT_RESUMED;
    if (w->killed) return;
    if (event->kind != PM_EVENT_TICK && event->kind != PM_EVENT_HEARTBEAT)
        sim_trace(w, "%s worker %llu run %llu task %llu item %llu%s", names[event->kind],
                  (unsigned long long)event->worker, (unsigned long long)event->run,
                  (unsigned long long)event->task, (unsigned long long)event->ordinal,
                  event->committed ? " committed" : "");
    sim_check_terms(w, event);
    inside = true;
    pm_status status =
        pm_scheduler_step(w->scheduler, event, w->now_ms + w->broker_skew_ms, &actions, &count);
    inside = false;
    if (status != PM_OK && status != PM_E_MEMORY)
        sim_fail(w, "the scheduler says %s: %s", pm_status_name(status), pm_error_text());
    sim_check_state(w, actions, count);
    for (size_t i = 0; i < count && !killed(w); i++) carry_out(w, &actions[i]);
    if (status == PM_E_MEMORY && store_event && !w->killed) {
        sim_trace(w, "out of memory on an event of the store");
        sim_broker_kill(w);
    }
}

void sim_broker_start(sim *w) {
    static pm_task_state states[SIM_TASKS];
    pm_scheduler_options options = {.epoch = ++w->epoch,
                                    .silence_ms = SILENCE_MS,
                                    .lease_ms = LEASE_MS,
                                    .heartbeat_ms = HEARTBEAT_MS};
    memcpy(options.seed, &w->seed, sizeof w->seed);
    w->killed = w->paused = false;
    w->welcome = (sim_event){.count = 0};
    sim_check_new_broker(w);
    sim_trace(w, "broker starts, epoch %llu", (unsigned long long)w->epoch);
    if (pm_scheduler_new(&options, &w->scheduler) != PM_OK) {
        sim_fail(w, "%s", pm_error_text());
        return;
    }
    for (size_t i = 1; i <= w->run_count && !w->killed; i++) {
        if (w->runs[i].state != SIM_RUN_OPEN) continue;
        pm_event event = {.kind = PM_EVENT_RUN_ADDED, .run = i, .tasks = states};
        event.task_count = sim_store_load(w, i, states);
        event.terms = w->runs[i].terms;
        feed(w, &event);
    }
    if (!w->killed) sim_timer(w, SIM_TICK, 0, 1);
}

/* kill -9: memory and what was not committed are gone. The scheduler itself is freed by the next
 * life, because the kill may come from inside its actions. */
void sim_broker_kill(sim *w) {
    if (w->killed) return;
    sim_trace(w, "broker is killed");
    w->killed = true;
    w->life++;
    sim_store_forget(w);
    sim_timer(w, SIM_RESTART, 0, 50 + (int64_t)sim_below(w, 3000));
}

static void add_run(sim *w, const sim_op *op) {
    pm_task_state states[SIM_ITEMS];
    pm_event event = {.kind = PM_EVENT_RUN_ADDED, .run = op->run, .tasks = states};
    event.terms = op->terms;
    for (size_t i = 0; i < op->made_count; i++) {
        const sim_task *task = &w->store.tasks[op->made[i]];
        states[event.task_count++] = (pm_task_state){.task = op->made[i],
                                                     .next = task->next,
                                                     .end = task->end,
                                                     .alone = task->alone,
                                                     .crashes = task->crashes};
    }
    if (op->opened) feed(w, &event);
}

static void answer(sim *w, const sim_op *op, sim_kind what) {
    sim_event message = {
        .kind = SIM_ANSWER, .run = op->run, .first = (uint64_t)what, .value = op->value};
    if (!w->killed) sim_send(w, &message);
}

static void take(sim *w, const sim_op *op) {
    pm_event event = {.run = op->run, .task = op->task, .ordinal = op->item};
    event.committed = op->committed;
    switch (op->kind) {
    case SIM_OP_SUBMIT:
        add_run(w, op);
        answer(w, op, SIM_SUBMIT);
        break;
    case SIM_OP_RETRY: add_run(w, op); break;
    case SIM_OP_TERMS:
        event.kind = PM_EVENT_RUN_TERMS;
        event.terms = op->terms;
        if (op->committed) feed(w, &event);
        if (op->committed) answer(w, op, SIM_TERMS);
        break;
    case SIM_OP_CANCEL:
        event.kind = PM_EVENT_RUN_CANCELLED;
        feed(w, &event);
        answer(w, op, SIM_CANCEL);
        break;
    case SIM_OP_RECORD:
        event.kind = PM_EVENT_RECORDED;
        w->pending[op->task]--;
        feed(w, &event);
        break;
    case SIM_OP_BLAME: {
        pm_task_state made = {.task = op->made_count ? op->made[0] : 0};
        event.kind = PM_EVENT_BLAMED;
        event.tasks = &made;
        event.task_count = op->made_count;
        if (op->made_count) {
            const sim_task *task = &w->store.tasks[made.task];
            made.next = task->next;
            made.end = task->end;
            made.alone = task->alone;
            made.crashes = task->crashes;
        }
        feed(w, &event);
        break;
    }
    case SIM_OP_FINISH: break;
    }
}

/* What the store has finished, and whether it has room. */
void sim_broker_take(sim *w) {
    w->store.take_due = false;
    size_t count = w->store.finished_count;
    uint64_t life = w->life;
    bool full = w->store.full_until_ms > w->now_ms;
    if (full != w->paused) {
        pm_event event = {.kind = full ? PM_EVENT_PAUSED : PM_EVENT_RESUMED};
        w->paused = full;
        feed(w, &event);
    }
    for (size_t i = 0; i < count && w->life == life && !w->killed; i++) {
        sim_op op = w->store.finished[i];
        take(w, &op);
    }
    if (w->life == life) {
        w->store.finished_count -= count;
        memmove(w->store.finished, w->store.finished + count,
                w->store.finished_count * sizeof w->store.finished[0]);
    }
}

void sim_broker_tick(sim *w) {
    pm_event event = {.kind = PM_EVENT_TICK};
    if (w->killed || !w->scheduler) return;
    feed(w, &event);
    if (!killed(w) && w->paused && w->store.full_until_ms <= w->now_ms) sim_broker_take(w);
}

static void hear_client(sim *w, const sim_event *m) {
    sim_op op = {.run = m->run, .value = m->value, .terms = m->terms};
    op.kind = m->kind == SIM_SUBMIT   ? SIM_OP_SUBMIT
              : m->kind == SIM_CANCEL ? SIM_OP_CANCEL
              : m->kind == SIM_TERMS  ? SIM_OP_TERMS
                                      : SIM_OP_RETRY;
    sim_trace(w, "client asks %d of run %llu", (int)m->kind, (unsigned long long)m->run);
    if (!w->paused) sim_store_put(w, &op);
}

void sim_broker_hear(sim *w, const sim_event *m) {
    if (w->killed || !w->scheduler) return;
    pm_event event = {.worker = m->conn, .task = m->task, .ordinal = m->ordinal, .token = m->token};
    switch (m->kind) {
    case SIM_HELLO:
        event.kind = PM_EVENT_HELLO;
        event.instance = m->instance;
        event.threads = m->threads;
        event.crashed = m->crashed;
        event.crashed_instance = m->crashed_instance;
        event.crash_reason = m->reason;
        event.lease_count = m->count;
        event.leases = m->leases;
        event.in_hand_count = m->in_hand_count;
        event.in_hand = m->in_hand;
        sim_check_hello(w, m->conn);
        break;
    case SIM_CREDIT:
        event.kind = PM_EVENT_CREDIT;
        event.credit = m->credit;
        sim_check_credit(w, m->conn, m->credit);
        break;
    case SIM_HEARTBEAT:
        event.kind = PM_EVENT_HEARTBEAT;
        event.beat_count = m->count;
        event.beats = m->beats;
        break;
    case SIM_STARTED: event.kind = PM_EVENT_ITEM_STARTED; break;
    case SIM_RESULT:
        event.kind = PM_EVENT_ITEM_RESULT;
        w->message_value = m->value;
        break;
    case SIM_RETURNED: event.kind = PM_EVENT_TASK_RETURNED; break;
    case SIM_GOODBYE: event.kind = PM_EVENT_GOODBYE; break;
    case SIM_SUBMIT:
    case SIM_CANCEL:
    case SIM_RETRY:
    case SIM_TERMS: hear_client(w, m); return;
    case SIM_WELCOME:
    case SIM_REFUSED:
    case SIM_RUN_INFO:
    case SIM_TASK:
    case SIM_REVOKED:
    case SIM_ACKNOWLEDGED:
    case SIM_HEARTBEAT_BACK:
    case SIM_DRAIN:
    case SIM_ANSWER:
    case SIM_TICK:
    case SIM_WAKE:
    case SIM_CLIENT:
    case SIM_COMMIT:
    case SIM_TAKE:
    case SIM_FAULT:
    case SIM_RESTART: return;
    }
    feed(w, &event);
}
