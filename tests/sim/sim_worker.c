/* Owns the simulated worker: what docs/PROTOCOL.md asks of one, and how it dies. */
#include <string.h>

#include "tests/sim/sim.h"

enum {
    BEAT_MS = 1000,
    DEAF_MS = 5000,    /* nothing from the broker: say Hello again */
    RESEND_MS = 3000,  /* a result without acknowledgement */
    REJOIN_MS = 10000, /* nothing to do: say Hello again */
    HELLO_MS = 1000
};

static sim_held *find_held(sim_worker *worker, uint64_t task) {
    for (size_t i = 0; i < SIM_HELD; i++)
        if (worker->held[i].used && worker->held[i].task == task) return &worker->held[i];
    return NULL;
}

static size_t held_count(const sim_worker *worker) {
    size_t count = 0;
    for (size_t i = 0; i < SIM_HELD; i++) count += worker->held[i].used;
    return count;
}

static void send(sim *w, size_t index, sim_event *message) {
    message->conn = w->workers[index].conn;
    sim_send(w, message);
}

static void hello(sim *w, size_t index) {
    sim_worker *worker = &w->workers[index];
    sim_event m = {.kind = SIM_HELLO, .instance = worker->instance, .crashed = worker->crashed};
    m.threads = (uint32_t)worker->thread_count;
    m.crashed_instance = worker->crashed_instance;
    m.reason = worker->crash_reason;
    m.in_hand_count = worker->in_hand_count;
    memcpy(m.in_hand, worker->in_hand, sizeof m.in_hand);
    for (size_t i = 0; i < SIM_HELD; i++)
        if (worker->held[i].used)
            m.leases[m.count++] = (pm_held_lease){.task = worker->held[i].task,
                                                  .next = worker->held[i].unacknowledged,
                                                  .token = worker->held[i].token};
    if (sim_chance(w, 500)) worker->conn = w->next_conn++; /* a new connection */
    worker->welcome = false;
    worker->hello_ms = worker->busy_ms = w->now_ms;
    send(w, index, &m);
}

void sim_worker_start(sim *w, size_t index) {
    sim_worker *worker = &w->workers[index];
    worker->alive = true;
    worker->instance = sim_instance(++w->next_instance);
    worker->conn = w->next_conn++;
    worker->heard_ms = w->now_ms;
    sim_trace(w, "worker %zu starts as %llu", index, (unsigned long long)worker->conn);
    hello(w, index);
}

void sim_worker_die(sim *w, size_t index, int64_t restart_after_ms) {
    sim_worker *worker = &w->workers[index];
    size_t threads = worker->thread_count;
    *worker = (sim_worker){.thread_count = threads,
                           .restart_ms = w->now_ms + restart_after_ms,
                           .cut_until_ms = worker->cut_until_ms,
                           .incarnation = worker->incarnation + 1};
}

/* For the truth: what is in hand now may rightly be blamed once. */
static void suspect(sim *w, const sim_held *held) {
    for (uint64_t item = held->unacknowledged; item < held->started_end; item++)
        w->runs[held->run].suspect[item]++;
}

void sim_worker_crash(sim *w, size_t index, const char *reason) {
    sim_worker *worker = &w->workers[index];
    pm_instance instance = worker->instance;
    pm_held_lease in_hand[SIM_HELD];
    size_t count = 0;
    bool told = sim_chance(w, 500); /* the parent saw what was in hand */
    sim_trace(w, "worker %zu crashes (%s)", index, reason);
    for (size_t i = 0; i < SIM_HELD; i++)
        if (worker->held[i].used) suspect(w, &worker->held[i]);
    for (size_t i = 0; told && i < worker->thread_count; i++)
        if (worker->threads[i].held && worker->threads[i].computing)
            in_hand[count++] = (pm_held_lease){.task = worker->threads[i].held->task,
                                               .next = worker->threads[i].held->todo,
                                               .token = worker->threads[i].held->token};
    sim_worker_die(w, index, 10 + (int64_t)sim_below(w, sim_chance(w, 300) ? 8000 : 500));
    worker->crashed = true;
    worker->crashed_instance = instance;
    worker->crash_reason = reason;
    worker->in_hand_count = count;
    memcpy(worker->in_hand, in_hand, count * sizeof in_hand[0]);
}

void sim_worker_leave(sim *w, size_t index) {
    sim_worker *worker = &w->workers[index];
    sim_trace(w, "worker %zu leaves", index);
    for (size_t i = 0; i < SIM_HELD; i++) {
        sim_event m = {
            .kind = SIM_RETURNED, .task = worker->held[i].task, .token = worker->held[i].token};
        if (worker->held[i].used) send(w, index, &m);
    }
    sim_event bye = {.kind = SIM_GOODBYE};
    send(w, index, &bye);
    sim_worker_die(w, index, 500 + (int64_t)sim_below(w, 4000));
}

static void credit(sim *w, size_t index, uint32_t count) {
    sim_event m = {.kind = SIM_CREDIT, .credit = count};
    if (count) send(w, index, &m);
}

static void let_go(sim *w, size_t index, sim_held *held) {
    sim_worker *worker = &w->workers[index];
    for (size_t i = 0; i < worker->thread_count; i++)
        if (worker->threads[i].held == held) worker->threads[i] = (sim_thread){.held = NULL};
    *held = (sim_held){.used = false};
    worker->busy_ms = w->now_ms;
    if (worker->welcome) credit(w, index, 1);
}

static void send_started(sim *w, size_t index, const sim_held *held, uint64_t item) {
    sim_event m = {.kind = SIM_STARTED, .task = held->task, .token = held->token, .ordinal = item};
    send(w, index, &m);
}

static void send_result(sim *w, size_t index, sim_held *held, uint64_t item) {
    sim_event m = {.kind = SIM_RESULT,
                   .task = held->task,
                   .token = held->token,
                   .ordinal = item,
                   .value = sim_value(held->run, item)};
    held->sent_ms = w->now_ms;
    send(w, index, &m);
}

/* A thread takes the next item of its task, or the next task that waits. */
static void start_item(sim *w, size_t index, sim_thread *thread) {
    sim_worker *worker = &w->workers[index];
    if (thread->held && thread->held->todo >= thread->held->end) thread->held = NULL;
    for (size_t i = 0; !thread->held && i < SIM_HELD; i++) {
        if (!worker->held[i].used || !worker->held[i].queued) continue;
        thread->held = &worker->held[i];
        thread->held->queued = false;
    }
    if (!thread->held) return;
    sim_held *held = thread->held;
    thread->computing = true;
    thread->ready_ms = w->now_ms + 20 + (int64_t)sim_below(w, 180);
    send_started(w, index, held, held->todo);
    /* The next one is decoded meanwhile. */
    uint64_t ahead = held->todo + 1 < held->end && sim_chance(w, 300) ? 1 : 0;
    if (ahead) send_started(w, index, held, held->todo + 1);
    if (held->started_end < held->todo + 1 + ahead) held->started_end = held->todo + 1 + ahead;
}

/* False: the worker died of it. */
static bool finish_item(sim *w, size_t index, sim_thread *thread) {
    static const char *const reasons[] = {"SIGSEGV", "SIGABRT", "memory", "SIGBUS"};
    sim_held *held = thread->held;
    const sim_run *run = &w->runs[held->run];
    if (run->poison_crash[held->todo]) {
        sim_worker_crash(w, index, reasons[sim_below(w, 4)]);
        return false;
    }
    if (run->poison_hang[held->todo]) {
        sim_trace(w, "worker %zu hangs on item %llu of run %llu", index,
                  (unsigned long long)held->todo, (unsigned long long)held->run);
        thread->hung = true;
        suspect(w, held);
        return true;
    }
    thread->computing = false;
    held->progress++;
    send_result(w, index, held, held->todo++);
    return true;
}

static void beat(sim *w, size_t index) {
    sim_worker *worker = &w->workers[index];
    sim_event m = {.kind = SIM_HEARTBEAT};
    uint64_t all = 0;
    for (size_t i = 0; i < SIM_HELD; i++) all += worker->held[i].progress;
    for (size_t i = 0; i < SIM_HELD; i++) {
        sim_held *held = &worker->held[i];
        if (!held->used) continue;
        /* Nothing left to compute: it cannot hang. */
        if (held->todo >= held->end) held->progress++;
        m.beats[m.count++] = (pm_beat){.task = held->task,
                                       .token = held->token,
                                       .progress = held->queued ? all : held->progress};
    }
    worker->beat_ms = w->now_ms;
    send(w, index, &m);
}

static void resend(sim *w, size_t index) {
    sim_worker *worker = &w->workers[index];
    for (size_t i = 0; i < SIM_HELD; i++) {
        sim_held *held = &worker->held[i];
        if (!held->used || held->unacknowledged >= held->todo) continue;
        if (w->now_ms - held->sent_ms < RESEND_MS) continue;
        for (uint64_t item = held->unacknowledged; item < held->todo; item++)
            send_result(w, index, held, item);
    }
}

void sim_worker_wake(sim *w, size_t index) {
    sim_worker *worker = &w->workers[index];
    if (worker->stalled_until_ms > w->now_ms) return;
    if (!worker->alive) {
        if (worker->restart_ms <= w->now_ms) sim_worker_start(w, index);
        return;
    }
    for (size_t i = 0; i < worker->thread_count; i++) {
        sim_thread *thread = &worker->threads[i];
        if (thread->hung) continue;
        if (thread->computing && thread->ready_ms > w->now_ms) continue;
        if (thread->computing && !finish_item(w, index, thread)) return;
        if (!thread->hung) start_item(w, index, thread);
    }
    bool deaf = w->now_ms - worker->heard_ms > DEAF_MS;
    bool bored = worker->welcome && !held_count(worker) && w->now_ms - worker->busy_ms > REJOIN_MS;
    if ((!worker->welcome || deaf || bored) && w->now_ms - worker->hello_ms >= HELLO_MS)
        hello(w, index);
    if (worker->welcome && w->now_ms - worker->beat_ms >= BEAT_MS) beat(w, index);
    if (worker->welcome) resend(w, index);
}

static void take_task(sim *w, size_t index, const sim_event *m) {
    sim_worker *worker = &w->workers[index];
    sim_held *held = find_held(worker, m->task), *slot = NULL;
    if (held && memcmp(&held->token, &m->token, sizeof m->token) == 0) return;
    if (held) { /* two leases on one task: one is stale; say which one is dropped */
        sim_event back = {.kind = SIM_RETURNED, .task = m->task, .token = held->token};
        send(w, index, &back);
        suspect(w, held);
        let_go(w, index, held);
    }
    for (size_t i = 0; i < SIM_HELD && !slot; i++)
        if (!worker->held[i].used) slot = &worker->held[i];
    if (!slot || held_count(worker) > 2 * worker->thread_count) {
        sim_event back = {.kind = SIM_RETURNED, .task = m->task, .token = m->token};
        send(w, index, &back);
        return;
    }
    *slot = (sim_held){.used = true,
                       .queued = true,
                       .task = m->task,
                       .run = m->run,
                       .token = m->token,
                       .unacknowledged = m->first,
                       .todo = m->first,
                       .started_end = m->first,
                       .end = m->end};
    worker->busy_ms = w->now_ms;
}

static void welcome(sim *w, size_t index, const sim_event *m) {
    sim_worker *worker = &w->workers[index];
    if (worker->welcome) return; /* a second copy */
    for (size_t i = 0; i < m->count; i++) {
        const pm_held_lease *verdict = &m->leases[i];
        sim_held *held = find_held(worker, verdict->task);
        if (held && !verdict->next) {
            let_go(w, index, held);
        } else if (held) {
            held->token = verdict->token;
            for (uint64_t item = held->unacknowledged; item < held->todo; item++)
                send_result(w, index, held, item);
            for (uint64_t item = held->todo; item < held->started_end; item++)
                send_started(w, index, held, item);
        } else if (verdict->next) {
            sim_event back = {.kind = SIM_RETURNED, .task = verdict->task, .token = verdict->token};
            send(w, index, &back);
        }
    }
    worker->welcome = true;
    worker->crashed = false;
    worker->in_hand_count = 0;
    /* One in reserve, and now and then what short tasks ask for. */
    size_t held = held_count(worker), most = worker->thread_count + 1;
    if (sim_chance(w, 500)) most += 1 + sim_below(w, SIM_HELD - SIM_THREADS - 1);
    credit(w, index, (uint32_t)(held < most ? most - held : 0));
}

static void revoked(sim *w, size_t index, const sim_event *m) {
    sim_worker *worker = &w->workers[index];
    sim_held *held = find_held(worker, m->task);
    if (!held || memcmp(&held->token, &m->token, sizeof m->token) != 0) return;
    for (size_t i = 0; i < worker->thread_count; i++) {
        if (worker->threads[i].held != held || !worker->threads[i].hung) continue;
        sim_trace(w, "worker %zu ends: it hangs in a task that was revoked", index);
        sim_worker_die(w, index, 100 + (int64_t)sim_below(w, 2000));
        return;
    }
    let_go(w, index, held);
}

void sim_worker_hear(sim *w, const sim_event *m) {
    size_t index = 0;
    while (index < w->worker_count && w->workers[index].conn != m->conn) index++;
    if (index == w->worker_count) return;
    sim_worker *worker = &w->workers[index];
    if (!worker->alive || worker->stalled_until_ms > w->now_ms) return;
    worker->heard_ms = w->now_ms;
    if (m->kind == SIM_WELCOME) {
        welcome(w, index, m);
    } else if (m->kind == SIM_REFUSED) {
        if (worker->welcome) hello(w, index);
    } else if (m->kind == SIM_TASK) {
        take_task(w, index, m);
    } else if (m->kind == SIM_REVOKED) {
        revoked(w, index, m);
    } else if (m->kind == SIM_ACKNOWLEDGED) {
        sim_held *held = find_held(worker, m->task);
        /* Cumulative: items are recorded in order. */
        if (held && m->ordinal >= held->unacknowledged && m->ordinal < held->todo)
            held->unacknowledged = m->ordinal + 1;
        if (held && held->unacknowledged >= held->end) let_go(w, index, held);
    }
}
