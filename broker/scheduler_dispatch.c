/* Owns the choice: which task goes to which worker next. Must not know how leases end. O(1) for
 * each task handed out: runs and workers stand in the list that their state asks for, so that the
 * head of a list is always the answer. Invariants 6, 9, 10, 11: scheduler.c. */
#include <string.h>

#include "broker/scheduler_state.h"

void pm_sched_place_run(pm_scheduler *s, pm_sched_run *run, bool had_turn) {
    bool normal = !pm_list_empty(&run->ready), alone = !pm_list_empty(&run->ready_alone);
    pm_list *where = normal ? &s->turn : alone ? &s->alone_turn : NULL;
    if (where == run->where && (!had_turn || PM_PLANTED(10))) return;
    pm_node_unlink(&run->place);
    run->where = where;
    if (where) pm_list_push_back(where, &run->place);
}

void pm_sched_place_worker(pm_scheduler *s, pm_sched_worker *worker) {
    bool takes = !worker->stopped && (worker->credit > 0 || PM_PLANTED(9));
    pm_node_unlink(&worker->hunger);
    if (!takes || (worker->alone && !PM_PLANTED(6))) return;
    if (!worker->lease_count)
        pm_list_push_back(&s->idle, &worker->hunger);
    else if (worker != s->reserved)
        pm_list_push_back(&s->busy, &worker->hunger);
}

static bool knows_run(pm_sched_worker *worker, uint64_t run) {
    for (size_t i = 0; i < PM_RUNS_SENT; i++)
        if (worker->runs_sent[i] == run) return true;
    worker->runs_sent[worker->runs_sent_next] = run;
    worker->runs_sent_next = (worker->runs_sent_next + 1) % PM_RUNS_SENT;
    return PM_PLANTED(11);
}

/* False: no memory; the task stays ready and is tried again at the next event. */
static bool give(pm_scheduler *s, pm_sched_task *task, pm_sched_worker *worker) {
    if (pm_sched_reserve(s, 2) != PM_OK) return false;
    if (worker->credit) worker->credit--;
    pm_sched_lease *lease = pm_sched_lease_new(s, task, worker);
    if (!lease) {
        worker->credit++;
        return false;
    }
    if (!knows_run(worker, task->run->id)) {
        pm_action *info = pm_sched_act(s, PM_ACTION_RUN_INFO);
        info->worker = worker->id;
        info->run = task->run->id;
    }
    pm_action *action = pm_sched_act(s, PM_ACTION_TASK);
    action->worker = worker->id;
    action->run = task->run->id;
    action->task = task->id;
    action->first = task->next;
    action->end = task->end;
    action->token = lease->token;
    action->alone = task->alone;
    action->crashes = task->crashes;
    return true;
}

static pm_sched_task *first_task(pm_list *runs, bool alone) {
    pm_link_node *place = pm_list_head(runs);
    if (!place) return NULL;
    pm_sched_run *run = PM_OWNER(place, pm_sched_run, place);
    pm_link_node *node = pm_list_head(alone ? &run->ready_alone : &run->ready);
    return PM_OWNER(node, pm_sched_task, queue);
}

static pm_sched_worker *first_worker(pm_list *workers) {
    pm_link_node *node = pm_list_head(workers);
    return node ? PM_OWNER(node, pm_sched_worker, hunger) : NULL;
}

bool pm_sched_has_share(const pm_scheduler *s, const pm_sched_worker *worker) {
    const uint64_t held = worker->lease_count, open = s->ready_count + s->leased_count;
    if (PM_PLANTED(17)) return false;
    return held > worker->threads && 2 * held * s->threads >= open * worker->threads;
}

/* Who has its share steps aside; each step is paid for by the one that placed it. */
static pm_sched_worker *first_busy(pm_scheduler *s) {
    pm_sched_worker *worker;
    while ((worker = first_worker(&s->busy)) && pm_sched_has_share(s, worker))
        pm_list_push_back(&s->served, &worker->hunger);
    return worker;
}

/* Shares grow as tasks or runs come and workers go. Where the first has its share still, the others
 * wait with it: the end of a lease of theirs places them anew. */
static void look_at_served(pm_scheduler *s) {
    pm_sched_worker *worker;
    while ((worker = first_worker(&s->served)) && !pm_sched_has_share(s, worker))
        pm_sched_place_worker(s, worker);
}

static void unreserve(pm_scheduler *s) {
    pm_sched_worker *worker = s->reserved;
    s->reserved = NULL;
    if (worker) pm_sched_place_worker(s, worker);
}

/* With other work about, one alone task at a time and every other turn: neither side starves. A
 * worker that is to take one while all are busy is reserved and runs dry first. */
static bool give_alone(pm_scheduler *s, bool *failed) {
    pm_sched_task *task = first_task(&s->alone_turn, true);
    bool other_work = !pm_list_empty(&s->turn);
    pm_sched_worker *worker = first_worker(&s->idle);
    if (s->reserved && (!task || s->reserved->stopped)) {
        unreserve(s);
        worker = first_worker(&s->idle);
    }
    if (!task || (other_work && (!s->alone_next || s->alone_leased_count))) return false;
    if (PM_PLANTED(6) && !worker) worker = first_worker(&s->busy);
    if (worker) {
        *failed = !give(s, task, worker);
        if (*failed) return false;
        s->alone_next = false;
        unreserve(s);
        return true;
    }
    worker = first_worker(&s->busy);
    if (other_work && !s->reserved && worker) {
        s->reserved = worker;
        pm_node_unlink(&worker->hunger);
    }
    return false;
}

static bool give_normal(pm_scheduler *s, bool *failed) {
    pm_sched_task *task = first_task(&s->turn, false);
    pm_sched_worker *worker = first_worker(&s->idle);
    if (!worker) worker = first_busy(s);
    if (!task || !worker) return false;
    *failed = !give(s, task, worker);
    s->alone_next = true;
    return !*failed;
}

void pm_sched_dispatch(pm_scheduler *s) {
    bool failed = false;
    if (s->paused || s->draining) return;
    look_at_served(s);
    while (!failed && (give_alone(s, &failed) || (!failed && give_normal(s, &failed)))) continue;
}
