/* A fleet of 2,000 workers, each with its real session, whose broker restarts, or is cut off, or
 * has no room for all: they come back spread out, and all of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/sim.h"

enum {
    FLEET = 2000,
    WINDOW_MS = 100,
    WINDOWS = 2000,
    CALM_MS = 10 * 1000,
    /* worker/session.c: the first span, and how libzmq retries a broker that is not there */
    FIRST_SPAN_MS = 1000,
    RETRY_SPAN_MS = 950
};

extern int pm_scheduler_plant, pm_work_plant;
int pm_scheduler_plant, pm_work_plant;

static size_t attempts[WINDOWS];

static void note_attempt(sim *w, size_t worker) {
    (void)worker;
    size_t window = (size_t)(w->now_ms / WINDOW_MS);
    if (window < WINDOWS) attempts[window]++;
}

/* Everybody once within the first span, and who came too early again within libzmq's: the most that
 * one window is expected to see, and five standard deviations. */
static size_t attempts_most(void) {
    double expected =
        (double)FLEET * WINDOW_MS / FIRST_SPAN_MS + (double)FLEET * WINDOW_MS / RETRY_SPAN_MS;
    return (size_t)(expected + 5 * sqrt(expected));
}

static size_t worst_window(const sim *w, int64_t from_ms) {
    size_t worst = 0, end = (size_t)(w->now_ms / WINDOW_MS);
    for (size_t i = (size_t)(from_ms / WINDOW_MS); i <= end && i < WINDOWS; i++)
        if (attempts[i] > worst) worst = attempts[i];
    return worst;
}

static size_t live(const sim *w) {
    size_t count = 0;
    for (size_t i = 0; i < w->worker_count; i++)
        count += w->workers[i].alive && w->workers[i].session.state == PM_SESSION_LIVE;
    return count;
}

static sim *fleet_new(void) {
    const sim_scale scale = {.workers = FLEET,
                             .threads = 1,
                             .items = 40 * FLEET,
                             .item_ms = 4000,
                             .lease_ms = 30000,
                             .configurations = 1,
                             .task_items = 2,
                             .together = 1};
    sim *w = sim_fleet_new(1, &scale);
    memset(attempts, 0, sizeof attempts);
    w->on_connect = note_attempt;
    sim_run_until(w, CALM_MS);
    assert_int_equal(live(w), FLEET);
    assert_string_equal(w->failure, "");
    return w;
}

static size_t attempts_after_a_restart(sim *w) {
    const int64_t from_ms = w->now_ms;
    uint64_t rows = w->traffic.rows;
    sim_broker_kill(w);
    /* Down for 500 ms; the last one tried at 1,100 ms, or just before the broker came. */
    sim_run_until(w, from_ms + 3000);
    size_t worst = worst_window(w, from_ms);
    if (!pm_work_plant) {
        assert_int_equal(live(w), FLEET);
        /* They went on with what they had. */
        assert_true(w->tally[SIM_N_ADOPTED] >= FLEET * 9 / 10);
        sim_run_until(w, from_ms + 10000);
        assert_true(w->traffic.rows > rows + FLEET);
    }
    assert_string_equal(w->failure, "");
    return worst;
}

static void a_restarted_broker_sees_no_stampede(void **state) {
    (void)state;
    sim *w = fleet_new();
    size_t worst = attempts_after_a_restart(w);
    print_message("at most %zu attempts in %d ms, allowed %zu\n", worst, WINDOW_MS,
                  attempts_most());
    assert_true(worst <= attempts_most());
    assert_true(worst >= FLEET / 20); /* the test counts something */
    sim_free(&w);
}

static void without_jitter_there_would_be_one(void **state) {
    (void)state;
    pm_work_plant = 1;
    sim *w = fleet_new();
    size_t worst = attempts_after_a_restart(w);
    pm_work_plant = 0;
    assert_true(worst > attempts_most());
    sim_free(&w);
}

/* Nobody's word or answer comes through for 20 s; then each finds the broker again by its back-off:
 * 8 s of waiting at most, before it 5 s for a Welcome that was lost. */
static void a_partition_heals_without_a_stampede(void **state) {
    (void)state;
    sim *w = fleet_new();
    const int64_t from_ms = w->now_ms, healed_ms = from_ms + 20000;
    for (size_t i = 0; i < FLEET; i++)
        w->workers[i].up_cut_until_ms = w->workers[i].down_cut_until_ms = healed_ms;
    sim_run_until(w, healed_ms);
    assert_int_equal(live(w), 0);
    sim_run_until(w, healed_ms + 14000);
    assert_int_equal(live(w), FLEET);
    assert_true(worst_window(w, from_ms) <= attempts_most());
    assert_string_equal(w->failure, "");
    sim_free(&w);
}

/* Each Hello takes the broker 2 ms, the fleet's 4 s: words wait behind them, but nobody gives up
 * and makes it longer. */
static void a_slow_broker_does_not_collapse(void **state) {
    (void)state;
    sim *w = fleet_new();
    const int64_t from_ms = w->now_ms;
    const uint64_t connects = w->tally[SIM_N_CONNECTS];
    w->hello_us = 2000;
    sim_broker_kill(w);
    sim_run_until(w, from_ms + 10000);
    assert_int_equal(live(w), FLEET);
    assert_true(w->tally[SIM_N_CONNECTS] - connects < FLEET + FLEET / 10);
    assert_string_equal(w->failure, "");
    sim_free(&w);
}

static void who_finds_no_room_asks_ever_more_seldom_and_comes_in_later(void **state) {
    (void)state;
    sim *w = fleet_new();
    const int64_t from_ms = w->now_ms;
    w->seats = FLEET / 2;
    sim_broker_kill(w);
    sim_run_until(w, from_ms + 20000);
    assert_int_equal(live(w), FLEET / 2);
    assert_true(worst_window(w, from_ms) <= attempts_most());
    /* Half of them wait 4 s on average between two attempts; five standard deviations. */
    const double expected = FLEET / 2 * (double)WINDOW_MS / 4000;
    assert_true((double)worst_window(w, from_ms + 15000) <= expected + 5 * sqrt(expected) + 1);
    w->seats = 0;
    sim_run_until(w, from_ms + 30000);
    assert_int_equal(live(w), FLEET);
    assert_string_equal(w->failure, "");
    sim_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restarted_broker_sees_no_stampede),
        cmocka_unit_test(without_jitter_there_would_be_one),
        cmocka_unit_test(a_partition_heals_without_a_stampede),
        cmocka_unit_test(a_slow_broker_does_not_collapse),
        cmocka_unit_test(who_finds_no_room_asks_ever_more_seldom_and_comes_in_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
