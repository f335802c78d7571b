/* Owns the fake store: tasks and results as committed, and a queue that a kill forgets. Follows
 * the contract of lib/store: an op is conditional on the task's next item. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { OPS_MAX = 4096 };

static void append(sim_ops *ops, const sim_op *op) {
    if (ops->count == ops->capacity) {
        ops->capacity = ops->capacity ? 2 * ops->capacity : 64;
        ops->ops = realloc(ops->ops, ops->capacity * sizeof *ops->ops);
        if (!ops->ops) abort();
    }
    ops->ops[ops->count++] = *op;
}

void sim_store_put(sim *w, const sim_op *op) {
    if (w->checks && w->store.queue.count == OPS_MAX) {
        sim_fail(w, "invariant 13: the store's queue overflows");
        return;
    }
    append(&w->store.queue, op);
    if (w->store.commit_due) return;
    w->store.commit_due = true;
    sim_timer(w, SIM_COMMIT, 0, 1 + (int64_t)sim_below(w, w->faults ? 40 : 5));
}

static uint64_t task_new(sim *w, uint64_t run, uint64_t next, uint64_t end, bool alone,
                         uint32_t crashes) {
    uint64_t id = ++w->store.task_count;
    if (w->checks && id >= SIM_TASKS) {
        sim_fail(w, "invariant 13: more than %d tasks", SIM_TASKS);
        return 0;
    }
    if (id >= w->store.task_capacity) {
        w->store.task_capacity = w->store.task_capacity ? 2 * w->store.task_capacity : 256;
        w->store.tasks = realloc(w->store.tasks, w->store.task_capacity * sizeof *w->store.tasks);
        if (!w->store.tasks) abort();
        w->store.tasks[0] = (sim_task){.there = false};
    }
    w->store.tasks[id] = (sim_task){
        .there = true, .alone = alone, .run = run, .next = next, .end = end, .crashes = crashes};
    return id;
}

static void made(sim_op *op, uint64_t task) {
    if (!op->made_count++) op->made_first = task;
}

/* Tasks of random lengths over the items that have no row. */
static void cut_tasks(sim *w, sim_op *op, sim_run *run) {
    uint64_t item = 0;
    while (item < run->items) {
        uint64_t end = item, most = 1 + sim_below(w, run->task_items_most);
        if (w->scale.task_items) most = w->scale.task_items;
        while (end < run->items && end - item < most && !run->item[end].results &&
               !run->item[end].errors)
            end++;
        if (end > item) made(op, task_new(w, op->run, item, end, false, 0));
        item = end > item ? end : item + 1;
    }
}

static void submit(sim *w, sim_op *op) {
    sim_run *run = &w->runs[op->run];
    op->committed = true;
    if (run->state == SIM_RUN_OPEN || run->state == SIM_RUN_DONE) return;
    run->state = SIM_RUN_OPEN;
    op->opened = true;
    op->terms = run->terms;
    w->done_told[op->run] = false;
    cut_tasks(w, op, run);
}

static void retry(sim *w, sim_op *op) {
    sim_run *run = &w->runs[op->run];
    op->committed = run->state == SIM_RUN_DONE;
    if (!op->committed) return;
    for (uint64_t i = 0; i < run->items; i++) {
        if (op->value && (!run->item[i].errors || i % 2 != op->value - 1)) continue;
        /* What was blamed before is forgiven, and the truth with it. */
        run->item[i].errors = run->item[i].blamed = run->item[i].suspect = 0;
    }
    sim_count(w, SIM_N_RETRIES);
    cut_tasks(w, op, run);
    op->opened = op->made_count > 0;
    op->terms = run->terms;
    if (op->opened) run->state = SIM_RUN_OPEN;
    w->done_told[op->run] = false;
}

static void record(sim *w, sim_op *op) {
    sim_task *task = &w->store.tasks[op->task];
    op->committed = task->there && task->next == op->item;
    /* Now and then the store refuses for a reason of its own; all behind it is refused then. */
    if (op->committed && w->faults && sim_chance(w, 4)) {
        sim_count(w, SIM_N_STORE_REFUSED);
        op->committed = false;
    }
    if (!op->committed) return;
    sim_item *item = &w->runs[task->run].item[op->item];
    if (item->poison_rows) {
        sim_count(w, SIM_N_UNFIT);
        item->suspect++;
        op->committed = false;
        op->unfit = true;
        return;
    }
    w->traffic.rows += w->scale.configurations;
    if (++item->results + item->errors > 1)
        sim_fail(w, "two rows for item %llu of run %llu", (unsigned long long)op->item,
                 (unsigned long long)task->run);
    item->value = op->value;
    if (++task->next == task->end) task->there = false;
}

static void blame(sim *w, sim_op *op) {
    sim_task *task = &w->store.tasks[op->task];
    op->committed = task->there && task->next == op->item;
    if (w->faults && sim_chance(w, 10)) op->committed = false;
    if (!op->committed) return;
    sim_item *item = &w->runs[task->run].item[op->item];
    if (++item->blamed > item->suspect)
        sim_fail(w, "invariant 5: item %llu of run %llu blamed %u times, in hand of %u crashes",
                 (unsigned long long)op->item, (unsigned long long)task->run, item->blamed,
                 item->suspect);
    switch (op->blame) {
    case PM_BLAME_SET_ASIDE:
        sim_count(w, SIM_N_SET_ASIDE);
        if (task->end - task->next == 1) { /* in place, as lib/store does */
            sim_count(w, SIM_N_SET_ASIDE_LAST);
            task->alone = true;
            task->crashes++;
            break;
        }
        made(op, task_new(w, task->run, op->item, op->item + 1, true, 1));
        task = &w->store.tasks[op->task]; /* they may have moved */
        if (++task->next == task->end) task->there = false;
        break;
    case PM_BLAME_CRASH: task->crashes++; break;
    case PM_BLAME_POISON:
        if (task->crashes != PM_CRASHES_ALONE_MAX)
            sim_fail(w, "invariant 7: item %llu of run %llu is poison after %u crashes",
                     (unsigned long long)op->item, (unsigned long long)task->run,
                     task->crashes + 1);
        sim_count(w, SIM_N_POISONED);
        item->errors++;
        task->there = false;
        break;
    }
}

static void cancel(sim *w, sim_op *op) {
    op->committed = true;
    if (w->runs[op->run].state != SIM_RUN_OPEN) return;
    w->runs[op->run].state = SIM_RUN_CANCELLED;
    sim_count(w, SIM_N_CANCELS);
    for (size_t i = 1; i <= w->store.task_count; i++)
        if (w->store.tasks[i].run == op->run) w->store.tasks[i].there = false;
}

static void finish(sim *w, sim_op *op) {
    op->committed = true;
    for (size_t i = 1; i <= w->store.task_count; i++)
        if (w->store.tasks[i].there && w->store.tasks[i].run == op->run) op->committed = false;
    if (op->committed && w->runs[op->run].state == SIM_RUN_OPEN)
        w->runs[op->run].state = SIM_RUN_DONE;
}

/* A change that comes late, behind a newer one, must not undo it. */
static void terms(sim *w, sim_op *op) {
    sim_run *run = &w->runs[op->run];
    op->committed = run->state != SIM_RUN_NONE;
    if (op->committed && op->value >= run->terms_number) {
        run->terms = op->terms;
        run->terms_number = op->value;
        sim_count(w, SIM_N_TERMS);
    }
    op->terms = run->terms;
}

/* One transaction: all that is queued. */
void sim_store_commit(sim *w) {
    if (w->store.full_until_ms > w->now_ms) {
        sim_timer(w, SIM_COMMIT, 0, 200);
        if (!w->store.take_due) sim_timer(w, SIM_TAKE, 0, 1);
        w->store.take_due = true;
        return;
    }
    for (size_t i = 0; i < w->store.queue.count; i++) {
        sim_op *op = &w->store.queue.ops[i];
        switch (op->kind) {
        case SIM_OP_SUBMIT: submit(w, op); break;
        case SIM_OP_RECORD: record(w, op); break;
        case SIM_OP_BLAME: blame(w, op); break;
        case SIM_OP_CANCEL: cancel(w, op); break;
        case SIM_OP_RETRY: retry(w, op); break;
        case SIM_OP_TERMS: terms(w, op); break;
        case SIM_OP_FINISH: finish(w, op); break;
        }
        append(&w->store.finished, op);
    }
    sim_trace(w, "store commits %zu", w->store.queue.count);
    w->traffic.commits++;
    w->store.queue.count = 0;
    w->store.commit_due = false;
    if (!w->store.take_due) sim_timer(w, SIM_TAKE, 0, 1 + (int64_t)sim_below(w, 4));
    w->store.take_due = true;
}

void sim_store_forget(sim *w) {
    w->store.queue.count = w->store.finished.count = 0;
    w->store.commit_due = w->store.take_due = false;
}

size_t sim_store_load(sim *w, uint64_t run, pm_task_state **out) {
    size_t count = 0;
    pm_task_state *states = calloc(w->store.task_count + 1, sizeof *states);
    if (!states) abort();
    *out = states;
    for (size_t i = 1; i <= w->store.task_count; i++) {
        const sim_task *task = &w->store.tasks[i];
        if (!task->there || task->run != run) continue;
        states[count++] = (pm_task_state){.task = i,
                                          .next = task->next,
                                          .end = task->end,
                                          .alone = task->alone,
                                          .crashes = task->crashes};
    }
    return count;
}

void sim_store_free(sim *w) {
    free(w->store.tasks);
    free(w->store.queue.ops);
    free(w->store.finished.ops);
    for (size_t i = 1; i <= w->run_count; i++) free(w->runs[i].item);
}
