/* Owns the scheduler's life under want of memory. The simulator's worlds have it in passing; here
 * it is every allocation of every step. */
#include <stdlib.h>
#include <string.h>

#include "broker/scheduler.h"
#include "tests/campaign/oom.h"

enum { STEPS = 18 };

/* A run of two tasks, a worker that crashes, one that ends it: `tokens` are learnt on the way. */
typedef struct life {
    pm_scheduler *scheduler;
    pm_token token; /* of the last lease */
    uint64_t task;  /* of the last lease or blame */
    uint64_t digest;
} life;

static void see(life *l, const pm_action *actions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const pm_action *a = &actions[i];
        const uint64_t words[] = {a->kind, a->worker, a->run, a->task, a->first, a->end};
        for (size_t w = 0; w < 6; w++) l->digest = (l->digest ^ words[w]) * 1099511628211u;
        if (a->kind == PM_ACTION_TASK) l->token = a->token;
        if (a->kind == PM_ACTION_TASK || a->kind == PM_ACTION_BLAME) l->task = a->task;
    }
}

static pm_event event_of(const life *l, size_t step) {
    static const pm_task_state tasks[] = {{.task = 1, .end = 3}, {.task = 2, .next = 3, .end = 5}};
    static const pm_task_state lone[] = {{.task = 3, .end = 1, .alone = true, .crashes = 1}};
    pm_event e = {.kind = PM_EVENT_TICK, .worker = 1, .run = 1, .task = l->task, .token = l->token};
    e.instance.bytes[0] = 1;
    switch (step) {
    case 0:
        e.kind = PM_EVENT_RUN_ADDED;
        e.tasks = tasks;
        e.task_count = 2;
        break;
    case 1: e.kind = PM_EVENT_HELLO; break;
    case 2:
        e.kind = PM_EVENT_CREDIT;
        e.credit = 1;
        break;
    case 3: e.kind = PM_EVENT_ITEM_STARTED; break;
    case 4: /* the one that crashed, as another tells */
        e.kind = PM_EVENT_HELLO;
        e.worker = 2;
        e.instance.bytes[0] = 2;
        e.crashed = true;
        e.crashed_instance.bytes[0] = 1;
        e.crash_reason = "SIGSEGV";
        break;
    case 5:
        e.kind = PM_EVENT_BLAMED;
        e.committed = true;
        e.tasks = lone;
        e.task_count = 1;
        break;
    case 6:
        e.kind = PM_EVENT_CREDIT;
        e.worker = 2;
        e.credit = 4;
        break;
    case 17: e.kind = PM_EVENT_RUN_CANCELLED; break;
    default: break; /* ticks */
    }
    return e;
}

static pm_status make(life *l) {
    const pm_scheduler_options options = {
        .heartbeat_ms = 1000, .silence_ms = 5000, .lease_ms = 30000};
    *l = (life){.digest = 1};
    return pm_scheduler_new(&options, &l->scheduler);
}

static pm_status step_once(life *l, const pm_event *event, int64_t now_ms) {
    const pm_action *actions = NULL;
    size_t count = 0;
    pm_status status = pm_scheduler_step(l->scheduler, event, now_ms, &actions, &count);
    /* What it did before it found no memory is done and does not come twice. */
    see(l, actions, count);
    return status;
}

/* A step that found no memory is done again. A task that could not be given out for want of memory
 * is no failure of the step: it goes out with the next event. */
static pm_status live(life *l, bool armed, bool for_good, uint64_t *points) {
    pm_status status = PM_E_MEMORY;
    for (uint64_t n = 1; status == PM_E_MEMORY; n++) {
        if (armed) oom_arm(n, for_good);
        status = make(l);
        bool met = oom_disarm();
        if (met != (status == PM_E_MEMORY)) return pm_fail(PM_E_INTERNAL, "pm_scheduler_new");
        *points += met;
    }
    for (size_t step = 0; step < STEPS && !status; step++) {
        pm_event event = event_of(l, step);
        status = PM_E_MEMORY;
        for (uint64_t n = 1; status == PM_E_MEMORY; n++) {
            if (armed) oom_arm(n, for_good);
            status = step_once(l, &event, 1000 + (int64_t)step);
            *points += oom_disarm();
        }
        const pm_event tick = {.kind = PM_EVENT_TICK};
        if (!status) status = step_once(l, &tick, 1000 + (int64_t)step);
    }
    pm_scheduler_counts counts = {0};
    if (!status) pm_scheduler_count(l->scheduler, &counts);
    l->digest = (l->digest ^ counts.tasks) * 1099511628211u ^ counts.workers;
    pm_scheduler_free(&l->scheduler);
    return status;
}

pm_status oom_scheduler(bool for_good, uint64_t *points) {
    life calm, short_of;
    uint64_t none = 0;
    pm_status status = live(&calm, false, false, &none);
    if (!status) status = live(&short_of, true, for_good, points);
    if (!status && calm.digest != short_of.digest)
        status = pm_fail(PM_E_MISMATCH, "other actions than with memory enough");
    return status;
}
