/* Owns the checks: every action and every state against the invariants of broker/scheduler.c, by
 * what the simulator itself remembers and by what is in the store. */
#include <inttypes.h>
#include <string.h>

#include "broker/scheduler_state.h"
#include "tests/sim/sim.h"

enum { SILENCE_MS = 5500, CALM_MS = 120 * 1000 };

/* Work is not tasks: a run of short ones may have many turns while one of long ones waits, and
 * tasks that a worker gives back (it was not told of the run, as the network lost its order) cost
 * nothing. */
enum { SIM_PASSED_OVER = 250 };

static sim_shadow_worker *shadow(sim *w, pm_worker_id conn) {
    /* The latest connections of each owner are apart. */
    return &w->shadow[(sim_conn_owner(conn) + 8 * (conn >> 16)) % SIM_SHADOW_WORKERS];
}

void sim_check_new_broker(sim *w) {
    pm_scheduler_free(&w->scheduler);
    memset(w->shadow, 0, sizeof w->shadow);
    memset(w->last_holder, 0, sizeof w->last_holder);
    memset(w->pending, 0, sizeof w->pending);
    memset(w->passed_over, 0, sizeof w->passed_over);
}

/* A hello that took effect. */
static void check_welcome(sim *w, pm_worker_id conn) {
    *shadow(w, conn) = (sim_shadow_worker){.conn = conn};
}

void sim_check_credit(sim *w, pm_worker_id conn, uint32_t credit) {
    shadow(w, conn)->credit += credit;
}

static void check_token_new(sim *w, const pm_token *token) {
    uint64_t slot;
    static const pm_token none;
    memcpy(&slot, token->bytes, sizeof slot);
    for (slot %= SIM_TOKENS; memcmp(&w->tokens[slot], &none, sizeof none) != 0;
         slot = (slot + 1) % SIM_TOKENS) {
        if (memcmp(&w->tokens[slot], token, sizeof none) == 0) {
            sim_fail(w, "invariant 12: a token is given twice");
            return;
        }
    }
    w->tokens[slot] = *token;
    if (++w->token_count > SIM_TOKENS / 2) sim_fail(w, "invariant 13: too many leases");
}

/* A token is told to nobody but its holder. */
static void check_token_told(sim *w, const pm_action *a) {
    const pm_worker_id holder = w->last_holder[a->task];
    if (holder && sim_conn_owner(holder) != sim_conn_owner(a->worker))
        sim_fail(w, "invariant 1: the token of task %" PRIu64 " is told to another", a->task);
}

/* Who held it last, of those that this broker knows of, has the same key. */
static void check_adopted(sim *w, const pm_action *a) {
    const pm_worker_id holder = w->last_holder[a->task];
    if (holder && sim_identity(w, holder) != sim_identity(w, a->worker))
        sim_fail(w, "invariant 18: task %" PRIu64 " is adopted by another key", a->task);
}

size_t sim_check_others(const sim *w, const pm_event *event) {
    size_t count = 0;
    if (!w->checks || event->kind != PM_EVENT_HELLO) return 0;
    const pm_link_node *words = &w->scheduler->words;
    for (const pm_link_node *node = words->next; node != words; node = node->next) {
        const pm_sched_worker *worker = PM_OWNER(node, pm_sched_worker, word);
        /* Its connection's owner, not what the scheduler believes. */
        count += w->keyed && sim_identity(w, worker->id) != event->identity;
    }
    return count;
}

/* A new lease, by TASK or by adoption. */
static void check_lease(sim *w, const pm_action *a) {
    if (a->task >= SIM_TASKS) return;
    check_token_new(w, &a->token);
    if (w->pending[a->task])
        sim_fail(w, "invariant 4: task %" PRIu64 " goes out with %u undecided records", a->task,
                 w->pending[a->task]);
    w->last_token[a->task] = a->token;
    w->last_holder[a->task] = a->worker;
}

static void check_task(sim *w, const pm_action *a) {
    sim_shadow_worker *to = shadow(w, a->worker);
    check_lease(w, a);
    if (--to->credit < 0) sim_fail(w, "invariant 9: worker %" PRIu64 " has no credit", a->worker);
    if (a->run <= SIM_RUNS && !to->runs[a->run])
        sim_fail(w, "invariant 11: a task of run %" PRIu64 " before its run info", a->run);
    const sim_task *task = &w->store.tasks[a->task];
    if (task->there && (task->next != a->first || task->end != a->end))
        sim_fail(w, "task %" PRIu64 " goes out as [%" PRIu64 ", %" PRIu64 "), but is not that",
                 a->task, a->first, a->end);
}

static void check_record(sim *w, const pm_action *a) {
    const sim_task *task = &w->store.tasks[a->task];
    if (w->last_holder[a->task] != a->worker ||
        memcmp(&w->last_token[a->task], &a->token, sizeof a->token) != 0)
        sim_fail(w, "invariant 1: a record of task %" PRIu64 " by a token that is not the last",
                 a->task);
    if (task->there && a->first != task->next + w->pending[a->task] && !w->store.finished.count)
        sim_fail(w, "invariant 2: a record of item %" PRIu64 " of task %" PRIu64 " out of order",
                 a->first, a->task);
    w->pending[a->task]++;
}

static void check_acknowledge(sim *w, const pm_action *a) {
    const sim_task *task = &w->store.tasks[a->task];
    if (task->there && a->first >= task->next)
        sim_fail(w, "invariant 3: item %" PRIu64 " of task %" PRIu64 " acknowledged before commit",
                 a->first, a->task);
}

/* The same worker may come by another connection: its leases come along. */
static void moved(sim *w, const pm_action *welcome) {
    const pm_sched_worker *worker = pm_sched_worker_find(w->scheduler, welcome->worker);
    if (!worker) return;
    for (const pm_link_node *node = worker->leases.next; node != &worker->leases;
         node = node->next) {
        const pm_sched_lease *lease = PM_OWNER(node, pm_sched_lease, in_worker);
        w->last_holder[lease->task->id] = welcome->worker;
    }
}

/* Once the network keeps order, so do results. */
static void check_refused(sim *w, const pm_action *a) {
    const bool honest = sim_conn_owner(a->worker) < w->worker_count;
    if (honest && w->now_ms > CALM_MS && strcmp(a->reason, "order") == 0)
        sim_fail(w, "invariant 2: item %" PRIu64 " of task %" PRIu64 " is sent out of order",
                 a->first, a->task);
}

void sim_check_action(sim *w, const pm_action *a) {
    switch (a->kind) {
    case PM_ACTION_VERDICT:
        if (a->adopted) check_adopted(w, a);
        if (a->adopted && memcmp(&w->last_token[a->task], &a->token, sizeof a->token) != 0)
            check_lease(w, a);
        else if (a->adopted)
            check_token_told(w, a);
        break;
    case PM_ACTION_WELCOME:
        check_welcome(w, a->worker);
        moved(w, a);
        break;
    case PM_ACTION_RUN_INFO:
        if (a->run <= SIM_RUNS) shadow(w, a->worker)->runs[a->run] = true;
        break;
    case PM_ACTION_TASK: check_task(w, a); break;
    case PM_ACTION_RECORD: check_record(w, a); break;
    case PM_ACTION_ACKNOWLEDGE: check_acknowledge(w, a); break;
    case PM_ACTION_BLAME:
        if (a->blame == PM_BLAME_POISON && a->crashes != 1 + PM_CRASHES_ALONE_MAX)
            sim_fail(w, "invariant 7: poison after %u crashes", a->crashes);
        if (w->pending[a->task])
            sim_fail(w, "invariant 4: task %" PRIu64 " blamed with undecided records", a->task);
        break;
    case PM_ACTION_RUN_DONE:
        if (w->done_told[a->run] && w->runs[a->run].state == SIM_RUN_DONE)
            sim_fail(w, "invariant 8: run %" PRIu64 " is done twice", a->run);
        w->done_told[a->run] = true;
        break;
    case PM_ACTION_REFUSE:
    case PM_ACTION_REVOKE:
    case PM_ACTION_HEARTBEAT:
    case PM_ACTION_DRAIN:
    case PM_ACTION_LOST: break;
    case PM_ACTION_LOG_REFUSED: check_refused(w, a); break;
    }
}

static size_t length(const pm_list *list) {
    size_t count = 0;
    for (const pm_link_node *node = list->next; node != list; node = node->next) count++;
    return count;
}

/* Any worker may get a task of it. */
static bool is_open(const sim *w, const pm_sched_run *run) {
    const pm_run_terms *terms = &w->told[run->id];
    return !terms->paused && (!terms->max_workers || length(&run->holders) < terms->max_workers);
}

static void check_tasks(sim *w, const pm_scheduler *s) {
    size_t ready = 0, leased = 0, alone = 0;
    for (size_t i = 0; i < s->tasks.bucket_count; i++) {
        for (const pm_map_node *node = s->tasks.buckets[i]; node; node = node->next) {
            const pm_sched_task *task = PM_OWNER(node, pm_sched_task, by_id);
            ready += task->phase == PM_TASK_READY;
            leased += task->phase == PM_TASK_LEASED;
            alone += task->phase == PM_TASK_READY && task->alone;
            if ((task->phase == PM_TASK_READY) != pm_node_linked(&task->queue))
                sim_fail(w, "invariant 8: task %" PRIu64 " is ready but in no queue", task->id);
            if ((task->phase == PM_TASK_LEASED) != (task->lease != NULL))
                sim_fail(w, "invariant 8: task %" PRIu64 " leased without lease", task->id);
            if (task->phase == PM_TASK_SETTLING && !task->pending)
                sim_fail(w, "invariant 8: task %" PRIu64 " waits for nothing", task->id);
        }
    }
    if (ready != s->ready_count || leased != s->leased_count || alone != s->alone_ready_count)
        sim_fail(w, "invariant 8: %zu ready, %zu leased, but the count says %zu, %zu", ready,
                 leased, s->ready_count, s->leased_count);
}

static void check_workers(sim *w, const pm_scheduler *s) {
    for (const pm_link_node *node = s->words.next; node != &s->words; node = node->next) {
        const pm_sched_worker *worker = PM_OWNER(node, pm_sched_worker, word);
        size_t held = 0;
        bool alone = false;
        for (const pm_link_node *at = worker->leases.next; at != &worker->leases; at = at->next) {
            const pm_sched_lease *lease = PM_OWNER(at, pm_sched_lease, in_worker);
            held++;
            alone |= lease->task->alone;
        }
        if (alone && held > 1)
            sim_fail(w, "invariant 6: worker %" PRIu64 " holds an alone task and another",
                     worker->id);
        if (held != worker->lease_count)
            sim_fail(w, "invariant 13: worker %" PRIu64 " holds %zu, counted %zu", worker->id, held,
                     worker->lease_count);
    }
}

/* Each task handed out passes over the other runs of its priority that any worker could have been
 * given one of. */
static void check_turns(sim *w, const pm_scheduler *s, const pm_action *actions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        /* A lease adopted is a turn taken. */
        if (actions[i].kind == PM_ACTION_VERDICT && actions[i].adopted)
            w->passed_over[w->store.tasks[actions[i].task].run] = 0;
        if (actions[i].kind != PM_ACTION_TASK) continue;
        const pm_sched_run *given = pm_sched_run_find(s, actions[i].run);
        if (actions[i].alone && given && !pm_list_empty(&given->ready))
            sim_fail(w, "invariant 6: run %" PRIu64 " gives an alone task while others are ready",
                     actions[i].run);
        if (actions[i].alone) continue;
        for (uint64_t run = 1; run <= w->run_count; run++) {
            const pm_sched_run *other = pm_sched_run_find(s, run);
            if (run == actions[i].run || !other || pm_list_empty(&other->ready) ||
                !is_open(w, other) || w->told[run].priority > w->told[actions[i].run].priority)
                w->passed_over[run] = 0;
            else if (w->told[run].priority == w->told[actions[i].run].priority &&
                     ++w->passed_over[run] > SIM_PASSED_OVER)
                sim_fail(w, "invariant 10: run %" PRIu64 " is passed over again and again", run);
        }
    }
}

/* Of the runs open to all at the last task's priority, its run had been given the least. */
static void check_least(sim *w, const pm_scheduler *s, const pm_action *actions, size_t count) {
    const pm_action *last = NULL;
    int64_t charged_us = 0; /* to its run from then on, also for alone tasks */
    for (size_t i = 0; i < count; i++) {
        const pm_sched_task *task = pm_sched_task_find(s, actions[i].task);
        if (actions[i].kind != PM_ACTION_TASK || !task || !task->lease) continue;
        if (!actions[i].alone) last = &actions[i];
        if (last == &actions[i]) charged_us = 0;
        if (last && last->run == actions[i].run) charged_us += task->lease->charged_us;
    }
    const pm_sched_run *given = last ? pm_sched_run_find(s, last->run) : NULL;
    if (!given) return;
    int64_t had_us = given->given_us - charged_us;
    for (uint64_t id = 1; id <= w->run_count; id++) {
        const pm_sched_run *run = pm_sched_run_find(s, id);
        if (!run || run == given || pm_list_empty(&run->ready) || !is_open(w, run)) continue;
        if (w->told[id].priority == w->told[last->run].priority && run->given_us < had_us)
            sim_fail(w,
                     "invariant 10: run %" PRIu64 " with %lld us gives, run %" PRIu64
                     " with %lld waits",
                     last->run, (long long)had_us, id, (long long)run->given_us);
    }
}

static size_t holders(const pm_scheduler *s, uint64_t run, pm_worker_id worker, size_t *its) {
    size_t count = 0;
    *its = 0;
    for (const pm_link_node *node = s->words.next; node != &s->words; node = node->next) {
        const pm_sched_worker *each = PM_OWNER(node, pm_sched_worker, word);
        size_t held = 0;
        for (const pm_link_node *at = each->leases.next; at != &each->leases; at = at->next) {
            const pm_sched_task *task = PM_OWNER(at, pm_sched_lease, in_worker)->task;
            held += task->run && task->run->id == run;
        }
        count += held > 0;
        if (each->id == worker) *its = held;
    }
    return count;
}

/* By what the scheduler was told of the runs, and who holds what after the step: of a run that
 * gave a task in it no holder has gone since. */
static void check_terms(sim *w, const pm_scheduler *s, const pm_action *a) {
    size_t its, most = w->told[a->run].max_workers;
    size_t count = holders(s, a->run, a->worker, &its);
    if (most && count > most)
        sim_fail(w, "invariant 16: run %" PRIu64 " is held by %zu workers, may be by %zu", a->run,
                 count, most);
    if (a->kind != PM_ACTION_TASK) return;
    if (w->told[a->run].paused)
        sim_fail(w, "invariant 15: a task of run %" PRIu64 " goes out, which is paused", a->run);
    const pm_sched_worker *worker = pm_sched_worker_find(s, a->worker);
    for (uint64_t id = 1; id <= w->run_count; id++) {
        const pm_sched_run *run = pm_sched_run_find(s, id);
        if (!run || w->told[id].paused || w->told[id].priority <= w->told[a->run].priority)
            continue;
        most = w->told[id].max_workers;
        count = holders(s, id, a->worker, &its);
        bool normal = !pm_list_empty(&run->ready);
        bool could = normal ? !most || count < most || (count == most && its)
                            : !pm_list_empty(&run->ready_alone) && (!most || count < most) &&
                                  worker && worker->lease_count == 1;
        if (could)
            sim_fail(w,
                     "invariant 17: a task of run %" PRIu64 " goes to worker %" PRIu64
                     " before one of run %" PRIu64,
                     a->run, a->worker, id);
    }
}

void sim_check_terms(sim *w, const pm_event *event) {
    if (event->kind == PM_EVENT_RUN_ADDED || event->kind == PM_EVENT_RUN_TERMS)
        w->told[event->run] = event->terms;
}

/* By what it held before the last task that this step gave it. */
static void check_shares(sim *w, const pm_scheduler *s, const pm_action *actions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (actions[i].kind != PM_ACTION_TASK) continue;
        const pm_sched_worker *worker = pm_sched_worker_find(s, actions[i].worker);
        if (!worker || worker->lease_count <= worker->threads + 1) continue;
        size_t open = s->leased_count;
        for (uint64_t id = 1; id <= w->run_count; id++) {
            const pm_sched_run *run = pm_sched_run_find(s, id);
            if (run && !w->told[id].paused) open += length(&run->ready) + length(&run->ready_alone);
        }
        if (2 * (worker->lease_count - 1) * s->threads >= open * worker->threads)
            sim_fail(w,
                     "invariant 9: worker %" PRIu64 " with %zu tasks of %zu got more than a share",
                     worker->id, worker->lease_count, open);
    }
}

void sim_check_state(sim *w, const pm_action *actions, size_t count) {
    const pm_scheduler *s = w->scheduler;
    check_shares(w, s, actions, count);
    check_tasks(w, s);
    check_workers(w, s);
    check_turns(w, s, actions, count);
    check_least(w, s, actions, count);
    for (size_t i = 0; i < count; i++)
        if (actions[i].kind == PM_ACTION_TASK) check_terms(w, s, &actions[i]);
    if (s->paused || s->draining || pm_list_empty(&s->idle) || sim_memory_fails_every) return;
    for (uint64_t id = 1; id <= w->run_count; id++) {
        const pm_sched_run *run = pm_sched_run_find(s, id);
        if (run && !pm_list_empty(&run->ready) && is_open(w, run))
            sim_fail(w, "invariant 8: tasks of run %" PRIu64 " are ready and a worker is idle", id);
    }
}

/* A lease lives on by the token of its verdict, and without a verdict not at all. */
void sim_check_settled(sim *w, const sim_worker *worker, const Pm__Wire__Welcome *welcome) {
    for (const pm_lease *l = worker->work.leases; l; l = l->next) {
        bool good = l->revoked;
        for (size_t i = 0; i < welcome->n_leases && !good; i++)
            good = welcome->leases[i]->task == l->task->task && welcome->leases[i]->has_token &&
                   memcmp(welcome->leases[i]->token.data, l->token, PM_TOKEN_BYTES) == 0;
        if (!good)
            sim_fail(w, "worker %zu goes on with task %" PRIu64 " without its verdict",
                     worker->index, l->task->task);
    }
}

/* What a worker keeps is bounded by what it asked for and what the protocol allows. */
void sim_check_worker(sim *w, sim_worker *worker) {
    size_t leases = 0, live = 0, runs = 0;
    const pm_work *work = &worker->work;
    for (const pm_lease *l = work->leases; l; l = l->next) {
        leases++;
        live += !l->revoked;
    }
    for (const pm_run *run = work->runs; run; run = run->next) runs++;
    if (work->window > worker->window_most) worker->window_most = work->window;
    if (leases - live > worker->thread_count)
        sim_fail(w, "invariant 13: worker %zu keeps %zu leases that are over", worker->index,
                 leases - live);
    /* A network that doubles credit may bring more tasks than were asked for; then none is open. */
    if (work->credit_open && live + work->credit_open > worker->window_most)
        sim_fail(w, "invariant 13: worker %zu holds %zu leases and %zu credit, its window is %zu",
                 worker->index, live, work->credit_open, worker->window_most);
    if (runs > PM_RUNS_KNOWN + leases)
        sim_fail(w, "invariant 13: worker %zu knows %zu runs", worker->index, runs);
    if (work->unrecorded_items > PM_UNRECORDED_ITEMS_MAX + 8 * worker->thread_count)
        sim_fail(w, "invariant 13: worker %zu keeps %zu results", worker->index,
                 work->unrecorded_items);
}

void sim_check_end(sim *w) {
    pm_scheduler_counts counts;
    pm_scheduler_count(w->scheduler, &counts);
    if (counts.runs || counts.tasks || counts.leased)
        sim_fail(w, "invariant 13: %zu runs, %zu tasks, %zu leases are left", counts.runs,
                 counts.tasks, counts.leased);
    size_t most = w->worker_count;
    /* Who ended without a word is known until its silence is noticed. */
    for (size_t i = 0; i < w->worker_count; i++)
        most += w->workers[i].ended_ms && w->now_ms - w->workers[i].ended_ms < SILENCE_MS;
    if (counts.workers > most || counts.ghosts > PM_SCHEDULER_GHOSTS)
        sim_fail(w, "invariant 13: %zu workers known, %zu are there", counts.workers, most);
    for (uint64_t i = 1; i <= w->run_count; i++) {
        const sim_run *run = &w->runs[i];
        if (run->state == SIM_RUN_CANCELLED) continue;
        for (uint64_t item = 0; item < run->items; item++) {
            const sim_item *row = &run->item[item];
            bool poison = row->poison_crash || row->poison_hang || row->poison_rows;
            /* A liar may be given poison, and has a result without computing. */
            bool results = poison ? row->results == 0 : row->results == 1;
            if (row->results + row->errors != 1 || (!results && !(poison && w->liar_count)))
                sim_fail(w, "item %" PRIu64 " of run %" PRIu64 "%s has %u results and %u errors",
                         item, i, poison ? " (poison)" : "", row->results, row->errors);
            if (row->results && row->value != sim_value(i, item))
                sim_fail(w, "item %" PRIu64 " of run %" PRIu64 " has a wrong value", item, i);
        }
    }
}
