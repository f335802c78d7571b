/* Owns runs and tasks: how they come, shrink, settle, take blame and end. Must not know why a
 * lease ended, nor who works. Invariants: scheduler.c. */
#include <assert.h>
#include <stdlib.h>

#include "broker/scheduler_state.h"

static void queue_ready(pm_scheduler *s, pm_sched_task *task, bool front) {
    pm_list *queue = task->alone ? &task->run->ready_alone : &task->run->ready;
    task->phase = PM_TASK_READY;
    if (front && PM_PLANTED(8)) return;
    if (front)
        pm_list_push_front(queue, &task->queue);
    else
        pm_list_push_back(queue, &task->queue);
    s->ready_count++;
    task->run->ready_count++;
    if (task->run->terms.paused) s->paused_count++;
    if (task->alone) s->alone_ready_count++;
    pm_sched_place_run(s, task->run, false);
}

void pm_sched_unqueue(pm_scheduler *s, pm_sched_task *task) {
    if (!pm_node_linked(&task->queue)) return;
    pm_node_unlink(&task->queue);
    s->ready_count--;
    if (task->alone) s->alone_ready_count--;
    if (!task->run) return;
    task->run->ready_count--;
    if (task->run->terms.paused) s->paused_count--;
    pm_sched_place_run(s, task->run, false);
}

void pm_sched_task_free(pm_scheduler *s, pm_sched_task *task) {
    assert(!task->lease && !task->pending);
    pm_sched_unqueue(s, task);
    pm_map_remove(&s->tasks, &task->by_id);
    pm_node_unlink(&task->in_run);
    if (task->run) task->run->task_count--;
    free(task);
}

static void run_free(pm_scheduler *s, pm_sched_run *run) {
    pm_sched_unplace_run(s, run);
    pm_map_remove(&s->runs, &run->by_id);
    free(run);
}

static void finish_if_empty(pm_scheduler *s, pm_sched_run *run) {
    if (run->task_count || PM_PLANTED(15)) return;
    pm_sched_act(s, PM_ACTION_RUN_DONE)->run = run->id;
    run_free(s, run);
}

static pm_sched_run *run_new(uint64_t id) {
    pm_sched_run *run = calloc(1, sizeof *run);
    if (!run) return NULL;
    run->id = id;
    pm_list_init(&run->tasks);
    pm_list_init(&run->ready);
    pm_list_init(&run->ready_alone);
    pm_list_init(&run->holders);
    pm_list_init(&run->hungry);
    return run;
}

/* A chain of new tasks out of `states`, linked by in_run into `made`; all or none. */
static pm_status tasks_make(pm_scheduler *s, const pm_task_state *states, size_t count,
                            pm_list *made) {
    pm_list_init(made);
    for (size_t i = 0; i < count; i++) {
        const pm_sched_task *known = pm_sched_task_find(s, states[i].task);
        if (states[i].next >= states[i].end || (known && known->run)) continue;
        pm_sched_task *task = known ? NULL : calloc(1, sizeof *task);
        if (!task) {
            pm_link_node *node;
            while ((node = pm_list_head(made))) {
                pm_node_unlink(node);
                free(PM_OWNER(node, pm_sched_task, in_run));
            }
            return known
                       ? pm_fail(PM_E_INTERNAL, "task %llu comes back while it is being cancelled",
                                 (unsigned long long)states[i].task)
                       : pm_fail(PM_E_MEMORY, "out of memory for %zu tasks", count);
        }
        task->id = states[i].task;
        task->next = states[i].next;
        task->end = states[i].end;
        task->alone = states[i].alone;
        task->crashes = states[i].crashes;
        pm_list_push_back(made, &task->in_run);
    }
    return PM_OK;
}

static void tasks_add(pm_scheduler *s, pm_sched_run *run, pm_list *made) {
    pm_link_node *node;
    while ((node = pm_list_head(made))) {
        pm_sched_task *task = PM_OWNER(node, pm_sched_task, in_run);
        if (pm_map_find(&s->tasks, task->id)) { /* named twice in one event */
            pm_node_unlink(node);
            free(task);
            continue;
        }
        pm_list_push_back(&run->tasks, node);
        pm_map_insert(&s->tasks, task->id, &task->by_id);
        task->run = run;
        run->task_count++;
        queue_ready(s, task, false);
    }
}

pm_status pm_sched_run_added(pm_scheduler *s, const pm_event *event) {
    pm_list made;
    pm_sched_run *run = pm_sched_run_find(s, event->run), *created = NULL;
    pm_status status = pm_sched_reserve(s, 1);
    if (status != PM_OK) return status;
    if (!event->run) return pm_fail(PM_E_INTERNAL, "a run without a number");
    if (!run) {
        status = pm_sched_turns_reserve(s);
        if (status != PM_OK) return status;
        run = created = run_new(event->run);
        if (!run) return pm_fail(PM_E_MEMORY, "out of memory for a run");
    }
    status = tasks_make(s, event->tasks, event->task_count, &made);
    if (status != PM_OK) {
        free(created);
        return status;
    }
    if (created) pm_map_insert(&s->runs, run->id, &run->by_id);
    pm_sched_terms_set(s, run, &event->terms);
    tasks_add(s, run, &made);
    finish_if_empty(s, run);
    return PM_OK;
}

pm_status pm_sched_run_cancelled(pm_scheduler *s, const pm_event *event) {
    pm_sched_run *run = pm_sched_run_find(s, event->run);
    if (!run) return PM_OK;
    pm_status status = pm_sched_reserve(s, run->leased + 1);
    if (status != PM_OK) return status;
    pm_link_node *node;
    while ((node = pm_list_head(&run->tasks))) {
        pm_sched_task *task = PM_OWNER(node, pm_sched_task, in_run);
        pm_sched_unqueue(s, task);
        pm_node_unlink(node);
        run->task_count--;
        if (task->lease) task->run->leased--;
        task->run = NULL;
        if (task->lease)
            pm_sched_lease_end(s, task->lease, "cancelled", NULL);
        else if (task->phase == PM_TASK_READY)
            pm_sched_task_free(s, task);
    }
    run_free(s, run);
    return PM_OK;
}

void pm_sched_suspect(pm_sched_task *task, uint64_t first, uint64_t count, const char *reason) {
    task->blame_first = first;
    task->blame_count = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
    task->blame_reason = reason;
}

static void task_done(pm_scheduler *s, pm_sched_task *task) {
    pm_sched_run *run = task->run;
    pm_sched_task_free(s, task);
    if (run) finish_if_empty(s, run);
}

static void blame(pm_scheduler *s, pm_sched_task *task) {
    uint32_t most = PM_PLANTED(7) ? 2 : 1 + PM_CRASHES_ALONE_MAX;
    pm_action *action = pm_sched_act(s, PM_ACTION_BLAME);
    action->run = task->run->id;
    action->task = task->id;
    action->first = task->next;
    action->end = task->next + 1;
    action->alone = task->alone;
    action->reason = task->blame_reason;
    action->blame = PM_BLAME_SET_ASIDE;
    action->crashes = task->crashes + 1;
    if (task->alone) {
        action->blame = action->crashes < most ? PM_BLAME_CRASH : PM_BLAME_POISON;
    }
    task->phase = PM_TASK_BLAMING;
    task->blame_first++;
    task->blame_count--;
    task->poisoned = action->blame == PM_BLAME_POISON;
}

void pm_sched_settle(pm_scheduler *s, pm_sched_task *task) {
    if (task->pending && !PM_PLANTED(4)) {
        task->phase = PM_TASK_SETTLING;
        return;
    }
    if (!task->run) {
        pm_sched_task_free(s, task);
        return;
    }
    if (task->next >= task->end) {
        task_done(s, task);
        return;
    }
    /* Items in front of the suspects that the store refused make the blame void: the item comes
     * again, and if it is poison it is seen again. */
    if (task->blame_count && task->blame_first == task->next) {
        blame(s, task);
        return;
    }
    task->blame_count = 0;
    queue_ready(s, task, true);
}

pm_status pm_sched_recorded(pm_scheduler *s, const pm_event *event) {
    pm_sched_task *task = pm_sched_task_find(s, event->task);
    if (!task || !task->pending ||
        (event->committed && event->ordinal != task->next && !PM_PLANTED(2) && !PM_PLANTED(4)))
        return pm_fail(PM_E_INTERNAL, "the store reports item %llu of task %llu, not asked for",
                       (unsigned long long)event->ordinal, (unsigned long long)event->task);
    pm_status status = pm_sched_reserve(s, 4);
    if (status != PM_OK) return status;
    pm_sched_lease *lease = task->lease;
    task->pending--;
    if (event->committed) {
        task->next = event->ordinal + 1;
        if (lease && !PM_PLANTED(3)) {
            pm_action *action = pm_sched_act(s, PM_ACTION_ACKNOWLEDGE);
            action->worker = lease->worker->id;
            action->task = task->id;
            action->first = event->ordinal;
        }
        if (lease && task->next >= task->end)
            pm_sched_lease_end(s, lease, NULL, NULL);
        else if (!lease && task->phase != PM_TASK_BLAMING)
            pm_sched_settle(s, task);
    } else if (lease) {
        /* What the worker sent behind it is refused as well: the task starts anew from `next`. */
        if (event->unfit && event->ordinal == task->next && !PM_PLANTED(31))
            pm_sched_suspect(task, task->next, 1, "record");
        pm_sched_lease_end(s, lease, "record", NULL);
    } else {
        pm_sched_settle(s, task);
    }
    return PM_OK;
}

pm_status pm_sched_blamed(pm_scheduler *s, const pm_event *event) {
    pm_sched_task *task = pm_sched_task_find(s, event->task);
    pm_list made;
    if (!task || task->phase != PM_TASK_BLAMING)
        return pm_fail(PM_E_INTERNAL, "the store reports blame on task %llu, not asked for",
                       (unsigned long long)event->task);
    pm_status status = pm_sched_reserve(s, 3);
    if (status != PM_OK) return status;
    if (!event->committed || !task->run) {
        task->blame_count = 0;
    } else if (!task->alone && task->end - task->next == 1 && !PM_PLANTED(30)) {
        /* Its only item: the store keeps the task as it is, alone from now on. */
        task->alone = true;
        task->crashes++;
    } else if (!task->alone) {
        status = tasks_make(s, event->tasks, event->task_count, &made);
        if (status != PM_OK) return status;
        tasks_add(s, task->run, &made);
        task->next++;
    } else {
        task->crashes++;
        if (task->poisoned) task->next = task->end;
    }
    pm_sched_settle(s, task);
    return PM_OK;
}
