/* Whose turn it is among runs, over minutes of simulated work: thread time is shared, not tasks;
 * who comes late comes in level; priorities are strict; and with a million items a claim is quick.
 *
 * The workers here never fail: they have threads, hold one task in reserve, and a clock in ms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/scheduler.h"
#include "lib/base/clock.h"

enum { WORKERS = 4, THREADS = 2, RUNS = 4, HELD = 64, NEVER_MS = 1 << 30, TICK_MS = 5 };

extern int pm_scheduler_plant, pm_work_plant;
int pm_scheduler_plant, pm_work_plant;

typedef struct held {
    uint64_t run, task, next, end;
    pm_token token;
} held;

typedef struct thread {
    bool busy;
    held task;
    int64_t ready_ms;
} thread;

typedef struct worker {
    thread threads[THREADS];
    held queue[HELD];
    size_t queued;
} worker;

typedef struct world {
    pm_scheduler *scheduler;
    int64_t now_ms;
    worker workers[WORKERS + 1]; /* by id */
    int64_t item_ms[RUNS + 1];   /* that an item takes */
    int64_t worked_ms[RUNS + 1]; /* thread time so far */
    uint64_t given[RUNS + 1];    /* tasks so far */
    uint64_t next_task;
    bool done[RUNS + 1];
} world;

static void feed(world *w, const pm_event *event);

static void carry_out(world *w, const pm_action *a) {
    if (a->kind == PM_ACTION_TASK) {
        worker *to = &w->workers[a->worker];
        assert_true(to->queued < HELD);
        to->queue[to->queued++] = (held){a->run, a->task, a->first, a->end, a->token};
        w->given[a->run]++;
    } else if (a->kind == PM_ACTION_RUN_DONE) {
        w->done[a->run] = true;
    }
}

static void feed(world *w, const pm_event *event) {
    const pm_action *actions;
    size_t count;
    assert_int_equal(pm_scheduler_step(w->scheduler, event, w->now_ms, &actions, &count), PM_OK);
    bool record = false;
    uint64_t ordinal = 0, task = 0;
    for (size_t i = 0; i < count; i++) {
        carry_out(w, &actions[i]);
        if (actions[i].kind != PM_ACTION_RECORD) continue;
        record = true;
        ordinal = actions[i].first;
        task = actions[i].task;
    }
    if (!record) return;
    pm_event recorded = {
        .kind = PM_EVENT_RECORDED, .task = task, .ordinal = ordinal, .committed = true};
    feed(w, &recorded);
}

static void credit(world *w, pm_worker_id id, uint32_t tasks) {
    pm_event event = {.kind = PM_EVENT_CREDIT, .worker = id, .credit = tasks};
    feed(w, &event);
}

static void open_world(world *w) {
    pm_scheduler_options options = {
        .epoch = 1, .silence_ms = NEVER_MS, .lease_ms = NEVER_MS, .heartbeat_ms = 1000};
    *w = (world){.next_task = 1};
    assert_int_equal(pm_scheduler_new(&options, &w->scheduler), PM_OK);
}

static void join(world *w, pm_worker_id id) {
    pm_event hello = {.kind = PM_EVENT_HELLO, .worker = id, .threads = THREADS};
    memcpy(hello.instance.bytes, &id, sizeof id);
    feed(w, &hello);
    credit(w, id, THREADS + 1);
}

/* `count` tasks of `items` items. */
static void add_run(world *w, uint64_t run, size_t count, uint64_t items, pm_run_terms terms) {
    pm_task_state *states = calloc(count, sizeof *states);
    assert_non_null(states);
    for (size_t i = 0; i < count; i++)
        states[i] =
            (pm_task_state){.task = w->next_task++, .next = i * items, .end = (i + 1) * items};
    pm_event event = {.kind = PM_EVENT_RUN_ADDED,
                      .run = run,
                      .tasks = states,
                      .task_count = count,
                      .terms = terms};
    feed(w, &event);
    free(states);
}

static void say(world *w, pm_event_kind kind, pm_worker_id id, const held *task) {
    pm_event event = {.kind = kind,
                      .worker = id,
                      .task = task->task,
                      .ordinal = task->next,
                      .token = task->token};
    feed(w, &event);
}

static void start_next(world *w, pm_worker_id id, thread *t) {
    worker *me = &w->workers[id];
    if (t->task.next == t->task.end) {
        if (t->busy) credit(w, id, 1);
        t->busy = me->queued > 0;
        if (!t->busy) return;
        t->task = me->queue[0];
        memmove(me->queue, me->queue + 1, --me->queued * sizeof *me->queue);
    }
    say(w, PM_EVENT_ITEM_STARTED, id, &t->task);
    t->ready_ms = w->now_ms + w->item_ms[t->task.run];
}

static void work_until(world *w, int64_t until_ms) {
    for (; w->now_ms < until_ms; w->now_ms += TICK_MS) {
        for (pm_worker_id id = 1; id <= WORKERS; id++) {
            for (size_t i = 0; i < THREADS; i++) {
                thread *t = &w->workers[id].threads[i];
                if (t->busy && t->ready_ms > w->now_ms) continue;
                if (t->busy) {
                    w->worked_ms[t->task.run] += w->item_ms[t->task.run];
                    say(w, PM_EVENT_ITEM_RESULT, id, &t->task);
                    t->task.next++;
                }
                start_next(w, id, t);
            }
        }
    }
}

/* A run of short tasks beside one of long ones; what the short one got of the threads. */
static double share_of_short(int64_t short_ms, int64_t long_ms) {
    world *w = malloc(sizeof *w);
    assert_non_null(w);
    open_world(w);
    w->item_ms[1] = short_ms;
    w->item_ms[2] = long_ms;
    add_run(w, 1, 20000, 4, (pm_run_terms){0});
    add_run(w, 2, 20000, 4, (pm_run_terms){0});
    for (pm_worker_id id = 1; id <= WORKERS; id++) join(w, id);
    work_until(w, 20000);
    int64_t a = w->worked_ms[1], b = w->worked_ms[2];
    work_until(w, 50000);
    a = w->worked_ms[1] - a;
    b = w->worked_ms[2] - b;
    pm_scheduler_free(&w->scheduler);
    free(w);
    return (double)a / (double)(a + b);
}

static void threads_are_shared_by_work_and_not_by_tasks(void **state) {
    (void)state;
    pm_scheduler_plant = 0;
    double even = share_of_short(10, 10), uneven = share_of_short(10, 200);
    print_message("of two runs: %.3f with equal tasks, %.3f with tasks 20 times shorter\n", even,
                  uneven);
    assert_true(even > 0.45 && even < 0.55);
    assert_true(uneven > 0.45 && uneven < 0.55);
    pm_scheduler_plant = 21; /* tasks are counted */
    double counted = share_of_short(10, 200);
    pm_scheduler_plant = 0;
    print_message("with tasks counted: %.3f\n", counted);
    assert_true(counted < 0.2);
}

static void late_run_comes_in_level_and_does_not_catch_up(void **state) {
    (void)state;
    world *w = malloc(sizeof *w);
    assert_non_null(w);
    open_world(w);
    w->item_ms[1] = w->item_ms[2] = w->item_ms[3] = 20;
    add_run(w, 1, 20000, 4, (pm_run_terms){0});
    add_run(w, 3, 20000, 4, (pm_run_terms){.paused = true});
    for (pm_worker_id id = 1; id <= WORKERS; id++) join(w, id);
    work_until(w, 20000);
    add_run(w, 2, 20000, 4, (pm_run_terms){0});
    pm_event resume = {.kind = PM_EVENT_RUN_TERMS, .run = 3};
    feed(w, &resume);
    assert_int_equal(w->worked_ms[3], 0);
    int64_t before = w->worked_ms[1];
    work_until(w, 40000);
    int64_t all = w->worked_ms[1] - before + w->worked_ms[2] + w->worked_ms[3];
    assert_true(w->worked_ms[1] - before > all * 3 / 10);
    assert_true(w->worked_ms[2] > all * 3 / 10);
    assert_true(w->worked_ms[3] > all * 3 / 10);
    pm_scheduler_free(&w->scheduler);
    free(w);
}

/* What the first has out is charged at a second an item; it takes a hundredth of that. */
static void run_that_comes_before_the_first_result_does_not_wait(void **state) {
    (void)state;
    world *w = malloc(sizeof *w);
    assert_non_null(w);
    open_world(w);
    w->item_ms[1] = w->item_ms[2] = 10;
    add_run(w, 1, 20000, 4, (pm_run_terms){0});
    for (pm_worker_id id = 1; id <= WORKERS; id++) join(w, id);
    add_run(w, 2, 20000, 4, (pm_run_terms){0});
    work_until(w, 2000);
    const int64_t all = w->worked_ms[1] + w->worked_ms[2];
    print_message("of the first two seconds it got %lld of %lld ms\n", (long long)w->worked_ms[2],
                  (long long)all);
    assert_true(all > 2000 * WORKERS * THREADS * 9 / 10);
    assert_true(w->worked_ms[2] > all * 4 / 10);
    assert_true(w->worked_ms[1] > all * 4 / 10);
    pm_scheduler_free(&w->scheduler);
    free(w);
}

static void higher_priority_goes_first_to_the_last_task(void **state) {
    (void)state;
    world *w = malloc(sizeof *w);
    assert_non_null(w);
    open_world(w);
    for (uint64_t run = 1; run <= 3; run++) w->item_ms[run] = 10;
    add_run(w, 1, 400, 4, (pm_run_terms){.priority = -5});
    add_run(w, 2, 400, 4, (pm_run_terms){.priority = 100});
    add_run(w, 3, 400, 4, (pm_run_terms){.priority = 7});
    for (pm_worker_id id = 1; id <= WORKERS; id++) join(w, id);
    while (w->given[2] < 400) {
        assert_int_equal(w->given[1] + w->given[3], 0);
        work_until(w, w->now_ms + TICK_MS);
    }
    /* Changed on the way: the last is first from the next task on. */
    while (w->given[3] < 200) work_until(w, w->now_ms + TICK_MS);
    pm_event up = {.kind = PM_EVENT_RUN_TERMS, .run = 1, .terms = {.priority = 8}};
    feed(w, &up);
    uint64_t given = w->given[3];
    while (w->given[1] < 400) work_until(w, w->now_ms + TICK_MS);
    assert_true(w->given[3] <= given + 1);
    work_until(w, w->now_ms + 20000);
    assert_true(w->done[1] && w->done[2] && w->done[3]);
    pm_scheduler_free(&w->scheduler);
    free(w);
}

static void capped_run_leaves_the_other_workers_to_others(void **state) {
    (void)state;
    world *w = malloc(sizeof *w);
    assert_non_null(w);
    open_world(w);
    w->item_ms[1] = w->item_ms[2] = 10;
    add_run(w, 1, 20000, 4, (pm_run_terms){.priority = 1, .max_workers = 1});
    add_run(w, 2, 20000, 4, (pm_run_terms){0});
    for (pm_worker_id id = 1; id <= WORKERS; id++) join(w, id);
    work_until(w, 1000);
    int64_t one = w->worked_ms[1], two = w->worked_ms[2];
    work_until(w, 21000);
    one = w->worked_ms[1] - one;
    two = w->worked_ms[2] - two;
    /* One of four workers, all of it: it has the higher priority. */
    assert_true(one > 20000 * THREADS * 9 / 10);
    assert_true(two > (WORKERS - 1) * 20000 * THREADS * 9 / 10);
    assert_int_equal(pm_scheduler_run_workers(w->scheduler, 1), 1);
    pm_event more = {.kind = PM_EVENT_RUN_TERMS, .run = 1, .terms = {1, false, 3}};
    feed(w, &more);
    work_until(w, 23000);
    assert_int_equal(pm_scheduler_run_workers(w->scheduler, 1), 3);
    pm_event fewer = {.kind = PM_EVENT_RUN_TERMS, .run = 1, .terms = {1, false, 2}};
    feed(w, &fewer);
    work_until(w, 25000);
    assert_int_equal(pm_scheduler_run_workers(w->scheduler, 1), 2);
    pm_scheduler_free(&w->scheduler);
    free(w);
}

static void add_alone(world *w, uint64_t run, int priority) {
    const pm_task_state state = {
        .task = w->next_task++, .next = 0, .end = 1, .alone = true, .crashes = 1};
    pm_event event = {.kind = PM_EVENT_RUN_ADDED,
                      .run = run,
                      .tasks = &state,
                      .task_count = 1,
                      .terms = {.priority = priority}};
    feed(w, &event);
}

static void item_set_aside_does_not_wait_for_a_capped_run_to_end(void **state) {
    (void)state;
    for (int priority = 0; priority <= 100; priority += 100) {
        world *w = malloc(sizeof *w);
        assert_non_null(w);
        open_world(w);
        w->item_ms[1] = w->item_ms[2] = 10;
        add_run(w, 1, 20000, 4, (pm_run_terms){.max_workers = 1});
        join(w, 1);
        work_until(w, 1000);
        add_alone(w, 2, priority);
        work_until(w, 3000);
        assert_true(w->done[2]);
        assert_false(w->done[1]);
        const int64_t before = w->worked_ms[1];
        work_until(w, 13000);
        assert_true(w->worked_ms[1] - before > 10000 * THREADS * 9 / 10);
        pm_scheduler_free(&w->scheduler);
        free(w);
    }
}

/* Kept free for an item set aside, and then work that goes first comes, at any moment of that. */
static void worker_kept_free_works_for_those_who_come_first(void **state) {
    (void)state;
    size_t waited = 0;
    for (int64_t delay_ms = 0; delay_ms < 80; delay_ms += TICK_MS) {
        world *w = malloc(sizeof *w);
        assert_non_null(w);
        open_world(w);
        for (uint64_t run = 1; run <= 3; run++) w->item_ms[run] = 10;
        add_run(w, 1, 2000, 4, (pm_run_terms){0});
        join(w, 1);
        work_until(w, 1000);
        add_alone(w, 2, 0);
        work_until(w, 1000 + delay_ms);
        add_run(w, 3, 300, 4, (pm_run_terms){.priority = 5});
        work_until(w, 5000);
        assert_true(w->worked_ms[3] > 4000 * THREADS * 8 / 10);
        waited += !w->done[2];
        work_until(w, 20000);
        assert_true(w->done[3] && w->done[2]);
        pm_scheduler_free(&w->scheduler);
        free(w);
    }
    assert_true(waited > 0);
}

/* ---- a million items, thousands of runs ---- */

enum { MANY_RUNS = 4000, MANY_TASKS = 50, MANY_ITEMS = 5, CLAIMS = 20000 };

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void claim_is_quick_with_a_million_items_in_thousands_of_runs(void **state) {
    (void)state;
    world *w = malloc(sizeof *w);
    int64_t *took_us = calloc(CLAIMS, sizeof *took_us);
    assert_non_null(w);
    assert_non_null(took_us);
    open_world(w);
    for (uint64_t run = 1; run <= MANY_RUNS; run++) {
        pm_task_state states[MANY_TASKS];
        for (size_t i = 0; i < MANY_TASKS; i++)
            states[i] = (pm_task_state){
                .task = w->next_task++, .next = i * MANY_ITEMS, .end = (i + 1) * MANY_ITEMS};
        pm_event event = {.kind = PM_EVENT_RUN_ADDED,
                          .run = run,
                          .tasks = states,
                          .task_count = MANY_TASKS,
                          .terms = {.priority = (int)(run % 3), .max_workers = run % 5 ? 0 : 2}};
        const pm_action *actions;
        size_t count;
        assert_int_equal(pm_scheduler_step(w->scheduler, &event, 1, &actions, &count), PM_OK);
    }
    for (pm_worker_id id = 1; id <= 64; id++) {
        pm_event hello = {.kind = PM_EVENT_HELLO, .worker = id, .threads = 8};
        const pm_action *actions;
        size_t count;
        memcpy(hello.instance.bytes, &id, sizeof id);
        assert_int_equal(pm_scheduler_step(w->scheduler, &hello, 1, &actions, &count), PM_OK);
    }
    for (size_t i = 0; i < CLAIMS; i++) {
        pm_event event = {.kind = PM_EVENT_CREDIT, .worker = 1 + i % 64, .credit = 1};
        const pm_action *actions;
        size_t count, tasks = 0;
        int64_t start_us = pm_clock_us();
        assert_int_equal(
            pm_scheduler_step(w->scheduler, &event, (int64_t)(i / 20), &actions, &count), PM_OK);
        took_us[i] = pm_clock_us() - start_us;
        for (size_t k = 0; k < count; k++) tasks += actions[k].kind == PM_ACTION_TASK;
        assert_int_equal(tasks, 1);
    }
    qsort(took_us, CLAIMS, sizeof *took_us, compare);
    print_message("%d items in %d runs, 64 workers with up to %d tasks each: a claim takes %lld us "
                  "(median), %lld us (p99)\n",
                  MANY_RUNS * MANY_TASKS * MANY_ITEMS, MANY_RUNS, CLAIMS / 64,
                  (long long)took_us[CLAIMS / 2], (long long)took_us[CLAIMS * 99 / 100]);
    assert_true(took_us[CLAIMS * 99 / 100] < 5000);
    pm_scheduler_free(&w->scheduler);
    free(took_us);
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_are_shared_by_work_and_not_by_tasks),
        cmocka_unit_test(late_run_comes_in_level_and_does_not_catch_up),
        cmocka_unit_test(run_that_comes_before_the_first_result_does_not_wait),
        cmocka_unit_test(higher_priority_goes_first_to_the_last_task),
        cmocka_unit_test(capped_run_leaves_the_other_workers_to_others),
        cmocka_unit_test(item_set_aside_does_not_wait_for_a_capped_run_to_end),
        cmocka_unit_test(worker_kept_free_works_for_those_who_come_first),
        cmocka_unit_test(claim_is_quick_with_a_million_items_in_thousands_of_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
