/* Crashes that a parent reports late, when the lease has ended already: counted all the same, and
 * nothing else is. The lease here is shorter than the silence that makes a worker lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "broker/scheduler.h"

enum { LEASE_MS = 2000, SILENCE_MS = 5000, ITEMS = 4 };

extern int pm_scheduler_plant, pm_work_plant;
int pm_scheduler_plant, pm_work_plant;

typedef struct world {
    pm_scheduler *scheduler;
    int64_t now_ms;
    pm_held_lease lease; /* the last one that went out */
    pm_worker_id leased_to;
    uint64_t progress;
    size_t blames; /* and the last one: */
    uint64_t blamed_task, blamed_item;
    uint32_t crashes;
} world;

/* Tasks that items are set aside to are numbered from here. */
enum { ASIDE = 100 };

static void feed(world *w, const pm_event *event) {
    const pm_action *actions;
    pm_action blame = {.kind = PM_ACTION_TASK};
    size_t count;
    assert_int_equal(pm_scheduler_step(w->scheduler, event, w->now_ms, &actions, &count), PM_OK);
    for (size_t i = 0; i < count; i++) {
        const pm_action *a = &actions[i];
        if (a->kind == PM_ACTION_TASK) {
            w->lease = (pm_held_lease){.task = a->task, .next = a->first, .token = a->token};
            w->leased_to = a->worker;
        }
        if (a->kind == PM_ACTION_BLAME) blame = *a;
    }
    if (blame.kind != PM_ACTION_BLAME) return;
    w->blames++;
    w->blamed_task = blame.task;
    w->blamed_item = blame.first;
    w->crashes = blame.crashes;
    const pm_task_state aside = {.task = ASIDE + w->blames,
                                 .next = blame.first,
                                 .end = blame.first + 1,
                                 .alone = true,
                                 .crashes = 1};
    const bool made = blame.blame == PM_BLAME_SET_ASIDE;
    const pm_event answer = {.kind = PM_EVENT_BLAMED,
                             .task = blame.task,
                             .ordinal = blame.first,
                             .committed = true,
                             .tasks = made ? &aside : NULL,
                             .task_count = made};
    feed(w, &answer);
}

static void pass(world *w, int64_t ms) {
    const pm_event tick = {.kind = PM_EVENT_TICK};
    for (int64_t end_ms = w->now_ms + ms; w->now_ms < end_ms;) {
        w->now_ms += 100;
        feed(w, &tick);
    }
}

static pm_instance instance_of(uint64_t number) {
    pm_instance out = {{0}};
    memcpy(out.bytes, &number, sizeof number);
    return out;
}

/* It has room for a task more. */
static void take_one(world *w, pm_worker_id id) {
    feed(w, &(pm_event){.kind = PM_EVENT_CREDIT, .worker = id, .credit = 1});
}

/* Worker `id`; `dead`: of the same parent, crashed with `in_hand`. */
static void join(world *w, pm_worker_id id, pm_worker_id dead, const pm_held_lease *in_hand) {
    pm_event hello = {.kind = PM_EVENT_HELLO,
                      .worker = id,
                      .instance = instance_of(id),
                      .threads = 1,
                      .crashed = dead != 0,
                      .crashed_instance = instance_of(dead),
                      .crash_reason = "SIGSEGV",
                      .in_hand = in_hand,
                      .in_hand_count = in_hand != NULL};
    feed(w, &hello);
    take_one(w, id);
}

static void open_world(world *w) {
    const pm_scheduler_options options = {
        .epoch = 1, .silence_ms = SILENCE_MS, .lease_ms = LEASE_MS, .heartbeat_ms = 1000};
    const pm_task_state task = {.task = 1, .next = 0, .end = ITEMS};
    *w = (world){.now_ms = 1000};
    assert_int_equal(pm_scheduler_new(&options, &w->scheduler), PM_OK);
    join(w, 1, 0, NULL);
    feed(w, &(pm_event){.kind = PM_EVENT_RUN_ADDED, .run = 1, .tasks = &task, .task_count = 1});
    assert_int_equal(w->lease.task, 1);
}

/* Its beats name the lease it has, with progress or without. */
static void beat(world *w, pm_worker_id id, const pm_held_lease *lease, bool progress) {
    w->progress += progress;
    const pm_beat named = {.task = lease->task, .progress = w->progress, .token = lease->token};
    feed(w,
         &(pm_event){.kind = PM_EVENT_HEARTBEAT, .worker = id, .beats = &named, .beat_count = 1});
}

static void a_crash_is_counted_though_the_lease_ended_before_the_worker_was_lost(void **state) {
    (void)state;
    world w;
    open_world(&w);
    const pm_held_lease in_hand = w.lease;
    pass(&w, LEASE_MS + 500); /* dead from the first moment; nobody else is there */
    pass(&w, SILENCE_MS);
    assert_int_equal(w.blames, 0); /* silence is nobody's fault */
    join(&w, 2, 1, &in_hand);
    assert_int_equal(w.blames, 1);
    assert_int_equal(w.blamed_task, 1);
    assert_int_equal(w.blamed_item, 0);
    pm_scheduler_free(&w.scheduler);
}

static void or_while_it_still_counts_as_there(void **state) {
    (void)state;
    world w;
    open_world(&w);
    const pm_held_lease in_hand = w.lease;
    pass(&w, LEASE_MS + 500);
    join(&w, 2, 1, &in_hand);
    assert_int_equal(w.blames, 1);
    assert_int_equal(w.blamed_item, 0);
    pm_scheduler_free(&w.scheduler);
}

/* Each worker takes longer over its model than a lease lasts, then dies of the item at once, and
 * its parent waits ever longer: three times alone, then the item is an error. */
static void so_an_item_that_kills_comes_to_its_end(void **state) {
    (void)state;
    world w;
    open_world(&w);
    for (pm_worker_id id = 1; id <= 4; id++) {
        beat(&w, id, &w.lease, true);
        for (int64_t ms = 0; ms < LEASE_MS + 500; ms += 500) {
            pass(&w, 500);
            if (w.leased_to == id) beat(&w, id, &w.lease, false);
        }
        take_one(&w, id);
        assert_int_equal(w.leased_to, id); /* again, since the first one ended */
        const pm_held_lease in_hand = w.lease;
        assert_int_equal(in_hand.next, 0);
        pass(&w, 11000);
        join(&w, id + 1, id, &in_hand);
        assert_int_equal(w.blames, id);
        assert_int_equal(w.blamed_item, 0);
        assert_int_equal(w.crashes, id);
        if (id == 1) { /* the others first; then it, alone */
            const pm_held_lease rest = w.lease;
            for (uint64_t item = rest.next; item < ITEMS; item++) {
                feed(&w, &(pm_event){.kind = PM_EVENT_ITEM_RESULT,
                                     .worker = id + 1,
                                     .task = rest.task,
                                     .ordinal = item,
                                     .token = rest.token});
                feed(&w, &(pm_event){.kind = PM_EVENT_RECORDED,
                                     .task = rest.task,
                                     .ordinal = item,
                                     .committed = true});
            }
            take_one(&w, id + 1);
        }
    }
    pm_scheduler_counts left;
    pm_scheduler_count(w.scheduler, &left);
    assert_int_equal(left.tasks, 0);
    pm_scheduler_free(&w.scheduler);
}

/* What expired is remembered only for what a parent names: a worker that was slow, went on, and
 * crashes later is blamed for what it has then. */
static void what_only_expired_is_not_blamed(void **state) {
    (void)state;
    world w;
    open_world(&w);
    feed(&w, &(pm_event){.kind = PM_EVENT_ITEM_STARTED,
                         .worker = 1,
                         .task = 1,
                         .ordinal = 0,
                         .token = w.lease.token});
    pass(&w, LEASE_MS + 500); /* a clock that jumps: too few beats for a hang */
    join(&w, 9, 0, NULL);     /* somebody else goes on with the task */
    assert_int_equal(w.leased_to, 9);
    const pm_task_state more = {.task = 2, .next = 50, .end = 51};
    feed(&w, &(pm_event){.kind = PM_EVENT_RUN_ADDED, .run = 2, .tasks = &more, .task_count = 1});
    take_one(&w, 1);
    assert_int_equal(w.leased_to, 1);
    const pm_held_lease in_hand = w.lease;
    assert_int_equal(in_hand.task, 2);
    join(&w, 2, 1, &in_hand);
    assert_int_equal(w.blames, 1);
    assert_int_equal(w.blamed_task, 2);
    assert_int_equal(w.blamed_item, 50);
    pm_scheduler_free(&w.scheduler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_is_counted_though_the_lease_ended_before_the_worker_was_lost),
        cmocka_unit_test(or_while_it_still_counts_as_there),
        cmocka_unit_test(so_an_item_that_kills_comes_to_its_end),
        cmocka_unit_test(what_only_expired_is_not_blamed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
