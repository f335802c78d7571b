/* Owns the choice: which task goes to which worker next. Must not know how leases end, nor how runs
 * take turns (scheduler_turns.c). Workers stand in the list that their state asks for, so that the
 * head of a list is always the answer. Invariants 6, 9, 11, 17: scheduler.c. */
#include <string.h>

#include "broker/scheduler_state.h"

static void wait_in(pm_scheduler *s, pm_sched_worker *worker, pm_list *list) {
    pm_node_unlink(&worker->hunger);
    worker->waits = list;
    if (list) pm_list_push_back(list, &worker->hunger);
    pm_sched_hunger_changed(s, worker);
}

void pm_sched_place_worker(pm_scheduler *s, pm_sched_worker *worker) {
    bool takes = !worker->stopped && (worker->credit > 0 || PM_PLANTED(9));
    if (!takes || (worker->alone && !PM_PLANTED(6)))
        wait_in(s, worker, NULL);
    else if (!worker->lease_count)
        wait_in(s, worker, &s->idle);
    else
        wait_in(s, worker, worker == s->reserved ? NULL : &s->busy);
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
    pm_sched_charge(s, lease);
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

static pm_sched_worker *first_worker(pm_list *workers) {
    pm_link_node *node = pm_list_head(workers);
    return node ? PM_OWNER(node, pm_sched_worker, hunger) : NULL;
}

bool pm_sched_has_share(const pm_scheduler *s, const pm_sched_worker *worker) {
    const uint64_t held = worker->lease_count;
    const uint64_t open = s->ready_count - s->paused_count + s->leased_count;
    if (PM_PLANTED(17)) return false;
    return held > worker->threads && 2 * held * s->threads >= open * worker->threads;
}

/* Who has its share steps aside; each step is paid for by the one that placed it. */
static pm_sched_worker *first_busy(pm_scheduler *s) {
    pm_sched_worker *worker;
    while ((worker = first_worker(&s->busy)) && pm_sched_has_share(s, worker))
        wait_in(s, worker, &s->served);
    return worker;
}

/* Where nothing is ready but for those who hold something of it already. */
static pm_sched_worker *first_holder(pm_scheduler *s) {
    pm_sched_worker *worker;
    while ((worker = pm_sched_full_run_worker(s)) && pm_sched_has_share(s, worker))
        wait_in(s, worker, &s->served);
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

/* With other work of its priority about, one alone task at a time and every other turn: neither
 * side starves. Against work of another priority, the higher one goes first. */
static bool alone_has_turn(const pm_scheduler *s, const pm_sched_run *run) {
    const pm_sched_run *other = pm_sched_first_run(&s->turn);
    if (!other || run->terms.priority > other->terms.priority) return true;
    if (run->terms.priority < other->terms.priority) return PM_PLANTED(20);
    return s->alone_next && !s->alone_leased_count;
}

/* Nothing alone could go to the reserved worker as things are. */
static bool reserved_for_nothing(const pm_scheduler *s, const pm_sched_run *run) {
    const pm_sched_run *other = pm_sched_first_run(&s->turn);
    return !run || s->reserved->stopped || (other && run->terms.priority < other->terms.priority);
}

/* A worker that is to take an alone task while all are busy, with runs in turn or with what their
 * caps leave to them, is reserved and runs dry first. */
static bool give_alone(pm_scheduler *s, bool *failed) {
    pm_sched_run *run = pm_sched_first_run(&s->alone_turn);
    if (s->reserved && reserved_for_nothing(s, run)) unreserve(s);
    if (!run || !alone_has_turn(s, run)) return false;
    pm_sched_task *task = PM_OWNER(pm_list_head(&run->ready_alone), pm_sched_task, queue);
    pm_sched_worker *worker = first_worker(&s->idle);
    if (PM_PLANTED(6) && !worker) worker = first_worker(&s->busy);
    if (worker) {
        *failed = !give(s, task, worker);
        if (*failed) return false;
        s->alone_next = false;
        unreserve(s);
        return true;
    }
    worker = first_worker(&s->busy);
    if ((s->turn.count || !pm_list_empty(&s->full_runs)) && !s->reserved && worker) {
        s->reserved = worker;
        wait_in(s, worker, NULL);
    }
    return false;
}

static bool give_normal(pm_scheduler *s, bool *failed) {
    pm_sched_worker *worker = NULL;
    if (s->turn.count) {
        worker = first_worker(&s->idle);
        if (!worker) worker = first_busy(s);
    }
    if (!worker) worker = first_holder(s);
    pm_sched_run *run = worker ? pm_sched_run_for(s, worker) : NULL;
    if (!run) return false;
    *failed = !give(s, PM_OWNER(pm_list_head(&run->ready), pm_sched_task, queue), worker);
    s->alone_next = true;
    return !*failed;
}

void pm_sched_dispatch(pm_scheduler *s) {
    bool failed = false;
    if (s->paused || s->draining) return;
    look_at_served(s);
    while (!failed && (give_alone(s, &failed) || (!failed && give_normal(s, &failed)))) continue;
}
