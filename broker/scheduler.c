/* Owns the scheduler's entry: memory, the step, the clock. The queue is in scheduler_tasks.c, the
 * leases in scheduler_leases.c, the workers in scheduler_workers.c, the turns of runs in
 * scheduler_turns.c, the choice of who gets what in scheduler_dispatch.c. Must not know: sockets,
 * the database, threads, the real clock, randomness.
 *
 *            RUN_ADDED            TASK                RECORDED, all items
 *   (task) ------------> READY --------> LEASED ------------------------------> done
 *                          ^ ^             | lease ends: returned, goodbye, silence, no progress,
 *                          | |             v             crash, hang, a record refused
 *                          | +--------- SETTLING --------------> done
 *                          |  all records  | items in hand of a crash or hang, one whose rows
 *                          |  decided      v do not hold
 *                          +----------- BLAMING ---------------> done (poison, or empty)
 *                            BLAMED, and each item set aside is a new READY task, alone
 *
 *   (worker)  unknown --HELLO--> there --silence, GOODBYE, replaced--> unknown
 *             there: idle or busy with credit; reserved (drains for an alone task); alone;
 *             stopped (drained or hung)
 *
 * Invariants (tests/sim/ checks each and shows that it would see it broken):
 *  1. A task has at most one lease. The token of a lease that ended is never taken again.
 *  2. A RECORD is for the item next in order of a leased task, by its token, from its worker; of an
 *     item there is at most one RECORD that the store has not decided on.
 *  3. ACKNOWLEDGE follows RECORDED with committed.
 *  4. A task with undecided records or blame goes to nobody.
 *  5. Only items in hand of a worker that crashed (as its parent says) or hung (beats kept coming,
 *     progress did not) are blamed, and one whose rows the store cannot take (it would come back
 *     for ever): never by silence, goodbye, return, drain, cancel, clock jump.
 *  6. An alone task goes to a worker that holds nothing else and that gets nothing else
 *     meanwhile; and not while another task of its run is ready.
 *  7. PM_CRASHES_ALONE_MAX crashes alone make an item poison, once; fewer never do.
 *  8. Every unfinished task is ready, leased, settling or being blamed; the last one to finish
 *     gives RUN_DONE, once.
 *  9. A worker gets no more tasks than its credit, and none when stopped. Beyond a task for each
 *     thread and one in reserve it gets none that make it hold more than half of its threads' share
 *     of all open tasks, so that all are at work until a run's end.
 * 10. Of runs of one priority with ready tasks, the one that was given the least work (thread time)
 *     gives the next; an alone task waits for at most one worker to run dry, where no work of a
 *     higher priority is there.
 * 11. A worker gets RUN_INFO before the first TASK of a run after its hello.
 * 12. No token is given twice, not even in another epoch.
 * 13. Work per event is O(log runs) beside the things the event names; memory is bounded by the
 *     tasks, the workers there and a fixed number of ghosts.
 * 14. A lease is adopted only where the task is ready and has everything in front of the worker's
 *     next item and is not alone, or is the worker's own lease already; and where max_workers
 *     lets it.
 * 15. Of a paused run no task goes out. What is out is finished and recorded, and adopted.
 * 16. No lease makes a run be held by more workers than its max_workers.
 * 17. A task goes to a worker only where no ready task of a run of higher priority could.
 * 18. Workers, leases and ghosts are their identity's (the key that the transport has seen):
 *     another takes over no worker by its instance (and keeps none out), adopts no lease by its
 *     task and token, and reports no crash of it. Only after a restart, when nobody knows whose a
 *     task was, may any worker go on with it. */
#include "broker/scheduler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "broker/scheduler_state.h"

enum { FIRST_ACTIONS = 64, HANG_BEATS_LEAST = 3 };

pm_status pm_sched_reserve(pm_scheduler *s, size_t count) {
    if (s->action_capacity - s->action_count >= count) return PM_OK;
    size_t capacity = s->action_capacity;
    while (capacity - s->action_count < count) capacity *= 2;
    pm_action *actions = realloc(s->actions, capacity * sizeof *actions);
    if (!actions) return pm_fail(PM_E_MEMORY, "out of memory for %zu actions", capacity);
    s->actions = actions;
    s->action_capacity = capacity;
    return PM_OK;
}

pm_action *pm_sched_act(pm_scheduler *s, pm_action_kind kind) {
    assert(s->action_count < s->action_capacity);
    pm_action *action = &s->actions[s->action_count++];
    *action = (pm_action){.kind = kind};
    return action;
}

pm_sched_run *pm_sched_run_find(const pm_scheduler *s, uint64_t id) {
    pm_map_node *node = pm_map_find(&s->runs, id);
    return node ? PM_OWNER(node, pm_sched_run, by_id) : NULL;
}

pm_sched_task *pm_sched_task_find(const pm_scheduler *s, uint64_t id) {
    pm_map_node *node = pm_map_find(&s->tasks, id);
    return node ? PM_OWNER(node, pm_sched_task, by_id) : NULL;
}

pm_sched_worker *pm_sched_worker_find(const pm_scheduler *s, pm_worker_id id) {
    pm_map_node *node = pm_map_find(&s->workers, id);
    return node ? PM_OWNER(node, pm_sched_worker, by_id) : NULL;
}

/* Beats without progress that make a hang: half of those that a lease sees, at least a few; and no
 * more than it sees, or a short lease would end as if its worker had only been slow. */
static uint32_t hang_beats(int64_t lease_beats) {
    int64_t beats = lease_beats / 2;
    if (beats < HANG_BEATS_LEAST) beats = HANG_BEATS_LEAST;
    if (beats > lease_beats - 1) beats = lease_beats - 1;
    return beats < 1 ? 1 : beats > UINT32_MAX ? UINT32_MAX : (uint32_t)beats;
}

pm_status pm_scheduler_new(const pm_scheduler_options *options, pm_scheduler **out) {
    if (options->heartbeat_ms < 1 || options->silence_ms <= options->heartbeat_ms ||
        options->lease_ms <= options->heartbeat_ms)
        return pm_fail(PM_E_USAGE, "heartbeat must be shorter than silence and lease");
    pm_scheduler *s = calloc(1, sizeof *s);
    if (!s) return pm_fail(PM_E_MEMORY, "out of memory for the scheduler");
    s->options = *options;
    s->alone_next = true;
    s->hang_beats = hang_beats(options->lease_ms / options->heartbeat_ms);
    s->action_capacity = FIRST_ACTIONS;
    s->actions = malloc(FIRST_ACTIONS * sizeof *s->actions);
    pm_list *lists[] = {&s->full_runs, &s->words, &s->deadlines, &s->idle, &s->busy, &s->served};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) pm_list_init(lists[i]);
    pm_map *maps[] = {&s->runs, &s->tasks, &s->workers, &s->instances};
    pm_status status = s->actions ? PM_OK : pm_fail(PM_E_MEMORY, "out of memory for actions");
    for (size_t i = 0; status == PM_OK && i < sizeof maps / sizeof *maps; i++)
        status = pm_map_init(maps[i]);
    if (status != PM_OK) {
        pm_scheduler_free(&s);
        return status;
    }
    *out = s;
    return PM_OK;
}

void pm_scheduler_free(pm_scheduler **scheduler) {
    pm_scheduler *s = *scheduler;
    pm_map_node *node;
    if (!s) return;
    while ((node = pm_map_any(&s->tasks))) {
        pm_sched_task *task = PM_OWNER(node, pm_sched_task, by_id);
        pm_map_remove(&s->tasks, node);
        if (task->lease && --task->lease->hold->leases == 0) free(task->lease->hold);
        free(task->lease);
        free(task);
    }
    while ((node = pm_map_any(&s->runs))) {
        pm_map_remove(&s->runs, node);
        free(PM_OWNER(node, pm_sched_run, by_id));
    }
    while ((node = pm_map_any(&s->workers))) {
        pm_map_remove(&s->workers, node);
        free(PM_OWNER(node, pm_sched_worker, by_id));
    }
    pm_map_fini(&s->runs);
    pm_map_fini(&s->tasks);
    pm_map_fini(&s->workers);
    pm_map_fini(&s->instances);
    free(s->turn.runs);
    free(s->alone_turn.runs);
    free(s->actions);
    free(s);
    *scheduler = NULL;
}

/* Any word of a worker that is known keeps it; one that is not known is asked to say Hello. */
static pm_status take_word(pm_scheduler *s, const pm_event *event) {
    pm_sched_worker *worker = pm_sched_worker_find(s, event->worker);
    if (!worker) {
        pm_status status = pm_sched_reserve(s, 1);
        if (status != PM_OK) return status;
        pm_action *action = pm_sched_act(s, PM_ACTION_REFUSE);
        action->worker = event->worker;
        action->reason = "hello";
        return PM_E_NOT_FOUND;
    }
    worker->last_word_ms = s->now_ms;
    pm_list_push_back(&s->words, &worker->word);
    return PM_OK;
}

static pm_status take_credit(pm_scheduler *s, const pm_event *event) {
    pm_sched_worker *worker = pm_sched_worker_find(s, event->worker);
    uint32_t room = PM_CREDIT_MAX - worker->credit;
    worker->credit += event->credit < room ? event->credit : room;
    pm_sched_place_worker(s, worker);
    return PM_OK;
}

/* The time that the store had no room is nobody's fault: leases start anew. */
static pm_status resume(pm_scheduler *s) {
    pm_link_node *node;
    pm_list moved;
    s->paused = false;
    pm_list_init(&moved);
    while ((node = pm_list_head(&s->deadlines))) pm_list_push_back(&moved, node);
    while ((node = pm_list_head(&moved)))
        pm_sched_lease_extend(s, PM_OWNER(node, pm_sched_lease, deadline));
    return PM_OK;
}

static pm_status tick(pm_scheduler *s) {
    pm_status status = pm_sched_expire_workers(s);
    if (status != PM_OK || s->paused) return status;
    return pm_sched_expire_leases(s);
}

static bool from_worker(pm_event_kind kind) {
    return kind == PM_EVENT_CREDIT || kind == PM_EVENT_HEARTBEAT || kind == PM_EVENT_ITEM_STARTED ||
           kind == PM_EVENT_ITEM_RESULT || kind == PM_EVENT_TASK_RETURNED;
}

static pm_status handle(pm_scheduler *s, const pm_event *event) {
    switch (event->kind) {
    case PM_EVENT_RUN_ADDED: return pm_sched_run_added(s, event);
    case PM_EVENT_RUN_CANCELLED: return pm_sched_run_cancelled(s, event);
    case PM_EVENT_RUN_TERMS: return pm_sched_run_terms(s, event);
    case PM_EVENT_RECORDED: return pm_sched_recorded(s, event);
    case PM_EVENT_BLAMED: return pm_sched_blamed(s, event);
    case PM_EVENT_PAUSED: s->paused = true; return PM_OK;
    case PM_EVENT_RESUMED: return resume(s);
    case PM_EVENT_HELLO: return pm_sched_hello(s, event);
    case PM_EVENT_CREDIT: return take_credit(s, event);
    case PM_EVENT_HEARTBEAT: return pm_sched_heartbeat(s, event);
    case PM_EVENT_ITEM_STARTED: return pm_sched_item_started(s, event);
    case PM_EVENT_ITEM_RESULT: return pm_sched_item_result(s, event);
    case PM_EVENT_TASK_RETURNED: return pm_sched_task_returned(s, event);
    case PM_EVENT_GOODBYE: return pm_sched_goodbye(s, event);
    case PM_EVENT_DRAIN: return pm_sched_drain(s, event);
    case PM_EVENT_TICK: return tick(s);
    }
    return pm_fail(PM_E_INTERNAL, "event of an unknown kind %d", (int)event->kind);
}

pm_status pm_scheduler_step(pm_scheduler *s, const pm_event *event, int64_t now_ms,
                            const pm_action **actions, size_t *count) {
    s->action_count = 0;
    /* A step back of the clock is no step, and time goes on from there. */
    if (now_ms > s->clock_ms) s->now_ms += now_ms - s->clock_ms;
    s->clock_ms = now_ms;
    pm_status status = from_worker(event->kind) ? take_word(s, event) : PM_OK;
    if (status == PM_OK)
        status = handle(s, event);
    else if (status == PM_E_NOT_FOUND)
        status = PM_OK;
    if (status == PM_OK) pm_sched_dispatch(s);
    *actions = s->actions;
    *count = s->action_count;
    return status;
}

void pm_scheduler_count(const pm_scheduler *s, pm_scheduler_counts *out) {
    *out = (pm_scheduler_counts){.runs = s->runs.count,
                                 .tasks = s->tasks.count,
                                 .ready = s->ready_count,
                                 .leased = s->leased_count,
                                 .workers = s->workers.count};
    for (size_t i = 0; i < PM_SCHEDULER_GHOSTS; i++) out->ghosts += s->ghosts[i].item_count > 0;
}

size_t pm_scheduler_run_leases(const pm_scheduler *s, uint64_t run_id) {
    const pm_sched_run *run = pm_sched_run_find(s, run_id);
    return run ? run->leased : 0;
}

size_t pm_scheduler_run_workers(const pm_scheduler *s, uint64_t run_id) {
    const pm_sched_run *run = pm_sched_run_find(s, run_id);
    return run ? run->holder_count : 0;
}

pm_worker_look pm_scheduler_worker(const pm_scheduler *s, pm_worker_id id) {
    const pm_sched_worker *worker = pm_sched_worker_find(s, id);
    if (!worker) return (pm_worker_look){0};
    return (pm_worker_look){.leases = worker->lease_count,
                            .stopped = worker->stopped,
                            .silent_ms = s->now_ms - worker->last_word_ms};
}

bool pm_scheduler_has_run(const pm_scheduler *s, uint64_t run) {
    return pm_sched_run_find(s, run) != NULL;
}
