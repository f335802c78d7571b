/* Owns whose turn it is among runs: priority, work given, pause, the most workers a run may have.
 * Must not know which worker asks, nor how leases end. O(log runs) for each task handed out, beside
 * the runs with max_workers that its worker holds. Invariants 10, 15, 16, 17: scheduler.c.
 *
 * Work is thread time: from an item's start (or the one before it) to its result, as the broker
 * sees it. A task is charged when it goes out, by what the run's items took so far, and that is put
 * right when its lease ends. Who is new or had nothing to give for a while comes in level with the
 * others: start-time fair queuing (Goyal, Vin, Cheng 1996) with threads as the link. Level is what
 * leases that ended have taken: what the others hold is an estimate, and may be put right. */
#include <assert.h>
#include <stdlib.h>

#include "broker/scheduler_state.h"

enum { FIRST_TURNS = 64, ITEM_US_FIRST = 1000000, ITEM_US_LEAST = 100 };

/* ---- the heap ---- */

static bool before(const pm_sched_run *a, const pm_sched_run *b) {
    if (a->terms.priority != b->terms.priority && !PM_PLANTED(20))
        return a->terms.priority > b->terms.priority;
    if (PM_PLANTED(10)) return a->id < b->id;
    if (a->given_us != b->given_us) return a->given_us < b->given_us;
    return a->turn < b->turn;
}

static void put(pm_turns *turns, size_t at, pm_sched_run *run) {
    turns->runs[at] = run;
    run->index = at;
}

static void sift(pm_turns *turns, size_t at) {
    pm_sched_run *run = turns->runs[at];
    for (; at && before(run, turns->runs[(at - 1) / 2]); at = (at - 1) / 2)
        put(turns, at, turns->runs[(at - 1) / 2]);
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < turns->count && before(turns->runs[child + 1], turns->runs[child])) child++;
        if (child >= turns->count || !before(turns->runs[child], run)) break;
        put(turns, at, turns->runs[child]);
        at = child;
    }
    put(turns, at, run);
}

static void enter(pm_turns *turns, pm_sched_run *run) {
    assert(turns->count < turns->capacity);
    run->where = turns;
    turns->runs[turns->count] = run;
    sift(turns, turns->count++);
}

static void leave(pm_sched_run *run) {
    pm_turns *turns = run->where;
    if (!turns) return;
    pm_sched_run *last = turns->runs[--turns->count];
    run->where = NULL;
    if (last == run) return;
    put(turns, run->index, last);
    sift(turns, run->index);
}

pm_sched_run *pm_sched_first_run(const pm_turns *turns) {
    return turns->count ? turns->runs[0] : NULL;
}

static pm_status reserve(pm_turns *turns, size_t count) {
    if (turns->capacity >= count) return PM_OK;
    size_t capacity = turns->capacity ? 2 * turns->capacity : FIRST_TURNS;
    pm_sched_run **runs = realloc(turns->runs, capacity * sizeof *runs);
    if (!runs) return pm_fail(PM_E_MEMORY, "out of memory for %zu runs", capacity);
    turns->runs = runs;
    turns->capacity = capacity;
    return PM_OK;
}

pm_status pm_sched_turns_reserve(pm_scheduler *s) {
    pm_status status = reserve(&s->turn, s->runs.count + 1);
    return status ? status : reserve(&s->alone_turn, s->runs.count + 1);
}

/* ---- places ---- */

static int64_t *level_of(pm_scheduler *s, const pm_sched_run *run) {
    return &s->level_us[run->terms.priority + PM_PRIORITY_MOST];
}

static bool is_full(const pm_sched_run *run) {
    uint32_t most = run->terms.max_workers;
    return most && run->holder_count >= most + (PM_PLANTED(19) ? 1 : 0);
}

/* As many workers as it may have: each of them may get more of it. One that has more than that (it
 * was changed) gives nothing until some are through. */
static bool is_for_holders(const pm_sched_run *run) {
    return run->terms.max_workers && run->holder_count == run->terms.max_workers &&
           !run->terms.paused && !pm_list_empty(&run->ready);
}

void pm_sched_place_run(pm_scheduler *s, pm_sched_run *run, bool had_turn) {
    bool normal = !pm_list_empty(&run->ready), alone = !pm_list_empty(&run->ready_alone);
    bool shut = is_full(run) || (run->terms.paused && !PM_PLANTED(18));
    pm_turns *where = shut ? NULL : normal ? &s->turn : alone ? &s->alone_turn : NULL;
    if (had_turn) run->turn = ++s->turns;
    if (where != run->where) {
        bool back = !run->where;
        leave(run);
        if (where && back && run->given_us < *level_of(s, run)) run->given_us = *level_of(s, run);
        if (where) enter(where, run);
    } else if (where) {
        sift(where, run->index);
    }
    if (!is_for_holders(run) || pm_list_empty(&run->hungry))
        pm_node_unlink(&run->full_run);
    else if (!pm_node_linked(&run->full_run))
        pm_list_push_back(&s->full_runs, &run->full_run);
}

void pm_sched_unplace_run(pm_scheduler *s, pm_sched_run *run) {
    leave(run);
    pm_node_unlink(&run->full_run);
    if (run->terms.paused) s->paused_count -= run->ready_count;
}

pm_sched_run *pm_sched_run_for(const pm_scheduler *s, const pm_sched_worker *worker) {
    pm_sched_run *best = pm_sched_first_run(&s->turn);
    for (const pm_link_node *node = worker->limited.next; node != &worker->limited;
         node = node->next) {
        pm_sched_run *run = PM_OWNER(node, pm_sched_hold, in_worker)->run;
        if (is_for_holders(run) && (!best || before(run, best))) best = run;
    }
    return best;
}

pm_sched_worker *pm_sched_full_run_worker(const pm_scheduler *s) {
    pm_link_node *node = pm_list_head(&s->full_runs);
    if (!node) return NULL;
    const pm_sched_run *run = PM_OWNER(node, pm_sched_run, full_run);
    return PM_OWNER(pm_list_head(&run->hungry), pm_sched_hold, hungry)->worker;
}

/* ---- terms ---- */

/* Other runs of the new priority have their own count of work: it comes in level with them. */
void pm_sched_terms_set(pm_scheduler *s, pm_sched_run *run, const pm_run_terms *terms) {
    bool moved = run->terms.priority != terms->priority;
    pm_turns *where = run->where;
    leave(run);
    if (run->terms.paused) s->paused_count -= run->ready_count;
    if (terms->paused) s->paused_count += run->ready_count;
    run->terms = *terms;
    if (moved) run->given_us = *level_of(s, run);
    if (where) enter(where, run);
    for (pm_link_node *node = run->holders.next; node != &run->holders; node = node->next) {
        pm_sched_hold *hold = PM_OWNER(node, pm_sched_hold, in_run);
        pm_list_push_back(terms->max_workers ? &hold->worker->limited : &hold->worker->holds,
                          &hold->in_worker);
        pm_node_unlink(&hold->hungry);
        if (terms->max_workers) pm_sched_hunger_changed(s, hold->worker);
    }
    pm_sched_place_run(s, run, false);
}

pm_status pm_sched_run_terms(pm_scheduler *s, const pm_event *event) {
    pm_sched_run *run = pm_sched_run_find(s, event->run);
    if (event->terms.priority < -PM_PRIORITY_MOST || event->terms.priority > PM_PRIORITY_MOST)
        return pm_fail(PM_E_INTERNAL, "run %llu with priority %d", (unsigned long long)event->run,
                       event->terms.priority);
    if (run) pm_sched_terms_set(s, run, &event->terms);
    return PM_OK;
}

/* ---- who holds what of it ---- */

static pm_sched_hold *find_hold(const pm_sched_run *run, const pm_sched_worker *worker) {
    const pm_list *list = run->terms.max_workers ? &worker->limited : &worker->holds;
    for (pm_link_node *node = list->next; node != list; node = node->next)
        if (PM_OWNER(node, pm_sched_hold, in_worker)->run == run)
            return PM_OWNER(node, pm_sched_hold, in_worker);
    return NULL;
}

bool pm_sched_may_hold(const pm_sched_run *run, const pm_sched_worker *worker) {
    if (!is_full(run)) return true;
    return run->holder_count == run->terms.max_workers && find_hold(run, worker);
}

pm_sched_hold *pm_sched_hold_add(pm_scheduler *s, pm_sched_run *run, pm_sched_worker *worker) {
    pm_sched_hold *hold = find_hold(run, worker);
    if (!hold) {
        hold = calloc(1, sizeof *hold);
        if (!hold) return NULL;
        hold->run = run;
        hold->worker = worker;
        pm_list_push_back(&run->holders, &hold->in_run);
        run->holder_count++;
    }
    hold->leases++;
    /* In front, where it is found soon. */
    pm_list_push_front(run->terms.max_workers ? &worker->limited : &worker->holds,
                       &hold->in_worker);
    pm_sched_hunger_changed(s, worker);
    return hold;
}

void pm_sched_hold_drop(pm_scheduler *s, pm_sched_hold *hold) {
    pm_sched_run *run = hold->run;
    if (--hold->leases) return;
    pm_node_unlink(&hold->in_run);
    pm_node_unlink(&hold->in_worker);
    pm_node_unlink(&hold->hungry);
    run->holder_count--;
    free(hold);
    pm_sched_place_run(s, run, false);
}

void pm_sched_hunger_changed(pm_scheduler *s, pm_sched_worker *worker) {
    bool hungry = worker->waits == &s->busy || worker->waits == &s->idle;
    for (pm_link_node *node = worker->limited.next; node != &worker->limited; node = node->next) {
        pm_sched_hold *hold = PM_OWNER(node, pm_sched_hold, in_worker);
        if (hungry == pm_node_linked(&hold->hungry)) continue;
        if (hungry)
            pm_list_push_back(&hold->run->hungry, &hold->hungry);
        else
            pm_node_unlink(&hold->hungry);
        pm_sched_place_run(s, hold->run, false);
    }
}

/* ---- work ---- */

static void give(pm_scheduler *s, pm_sched_run *run, int64_t us) {
    run->given_us += us;
    pm_sched_place_run(s, run, false);
}

void pm_sched_charge(pm_scheduler *s, pm_sched_lease *lease) {
    pm_sched_run *run = lease->task->run;
    int64_t item_us = run->item_us ? run->item_us : s->item_us ? s->item_us : ITEM_US_FIRST;
    if (item_us < ITEM_US_LEAST) item_us = ITEM_US_LEAST;
    const int64_t settled_us = run->given_us - run->out_us;
    if (*level_of(s, run) < settled_us) *level_of(s, run) = settled_us;
    lease->charged_us =
        PM_PLANTED(21) ? 1 : item_us * (int64_t)(lease->task->end - lease->received);
    run->out_us += lease->charged_us;
    give(s, run, lease->charged_us);
}

void pm_sched_work_begins(const pm_scheduler *s, pm_sched_lease *lease) {
    if (lease->has_mark) return;
    lease->has_mark = true;
    lease->mark_ms = s->now_ms;
}

/* A clock that jumped is no work: no more than a lease lasts without a word. */
void pm_sched_work_seen(pm_scheduler *s, pm_sched_lease *lease, bool item_done) {
    pm_sched_run *run = lease->task->run;
    if (!lease->has_mark) return;
    int64_t ms = s->now_ms - lease->mark_ms;
    if (ms > s->options.lease_ms) ms = s->options.lease_ms;
    lease->mark_ms = s->now_ms;
    lease->spent_us += 1000 * ms;
    if (!item_done || !run) return;
    run->item_us = run->item_us ? (7 * run->item_us + 1000 * ms) / 8 : 1000 * ms;
    s->item_us = run->item_us;
}

void pm_sched_settle_charge(pm_scheduler *s, pm_sched_lease *lease) {
    if (lease->started_end > lease->received) pm_sched_work_seen(s, lease, false);
    pm_sched_run *run = lease->task->run;
    if (!run) return;
    run->out_us -= lease->charged_us;
    if (!PM_PLANTED(21)) give(s, run, lease->spent_us - lease->charged_us);
}
