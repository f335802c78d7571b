/* 2,000 histories in every build, every fault seen in them, and each planted mistake found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sim/sim.h"

enum { SEEDS = 2000, PLANTS = 20, PLANT_SEEDS = 600 };

extern int pm_scheduler_plant, pm_work_plant;
int pm_scheduler_plant, pm_work_plant;

/* Behind 1 .. PLANTS, which are in a row: 21 is for turns_test. */
static const int other_plants[] = {22, 23, 24, 30, 31};
/* The numbers of worker/work_private.h's plants that a history finds; 1 is the fleet's. */
static const int work_plants[] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15};

static void tell(uint64_t seed, const char *failure) {
    print_error("seed %llu: %s\nhistory: simulate --seed %llu --trace\n", (unsigned long long)seed,
                failure, (unsigned long long)seed);
}

static void every_history_keeps_the_invariants_and_every_fault_fires(void **state) {
    (void)state;
    sim_outcome outcome;
    uint64_t tallies[SIM_TALLY_COUNT] = {0};
    size_t failed = 0, unseen = 0;
    for (uint64_t seed = 1; seed <= SEEDS && failed < 5; seed++) {
        sim_history(seed, NULL, &outcome);
        for (size_t i = 0; i < SIM_TALLY_COUNT; i++) tallies[i] += outcome.tally[i];
        if (outcome.held) continue;
        tell(seed, outcome.failure);
        failed++;
    }
    assert_int_equal(failed, 0);
    for (size_t i = 0; i < SIM_TALLY_COUNT; i++) {
        if (tallies[i]) continue;
        print_error("never seen: %s\n", sim_tally_texts[i]);
        unseen++;
    }
    assert_int_equal(unseen, 0);
}

static void same_seed_gives_the_same_history(void **state) {
    (void)state;
    sim_outcome outcome;
    char *text[2];
    size_t size[2];
    for (size_t i = 0; i < 2; i++) {
        FILE *trace = open_memstream(&text[i], &size[i]);
        assert_non_null(trace);
        sim_history(77, trace, &outcome);
        fclose(trace);
    }
    assert_true(size[0] > 10000);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(text[0], text[1], size[0]);
    free(text[0]);
    free(text[1]);
}

static bool is_found(const char *whose, int number) {
    sim_outcome outcome = {.held = true};
    uint64_t seed = 0;
    while (seed < PLANT_SEEDS && outcome.held) sim_history(++seed, NULL, &outcome);
    if (outcome.held)
        print_error("%s %d is not found in %d histories\n", whose, number, PLANT_SEEDS);
    else
        print_message("%s %d: seed %llu: %s\n", whose, number, (unsigned long long)seed,
                      outcome.failure);
    return !outcome.held;
}

static void simulator_catches_mistakes_of_the_scheduler(void **state) {
    (void)state;
    size_t missed = 0;
    for (int i = 1; i <= PLANTS; i++) {
        pm_scheduler_plant = i;
        missed += !is_found("scheduler's mistake", i);
    }
    for (size_t i = 0; i < sizeof other_plants / sizeof *other_plants; i++) {
        pm_scheduler_plant = other_plants[i];
        missed += !is_found("scheduler's mistake", other_plants[i]);
    }
    pm_scheduler_plant = 0;
    assert_int_equal(missed, 0);
}

static void simulator_catches_mistakes_of_the_worker(void **state) {
    (void)state;
    size_t missed = 0;
    for (size_t i = 0; i < sizeof work_plants / sizeof *work_plants; i++) {
        pm_work_plant = work_plants[i];
        missed += !is_found("worker's mistake", work_plants[i]);
    }
    pm_work_plant = 0;
    assert_int_equal(missed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_history_keeps_the_invariants_and_every_fault_fires),
        cmocka_unit_test(same_seed_gives_the_same_history),
        cmocka_unit_test(simulator_catches_mistakes_of_the_scheduler),
        cmocka_unit_test(simulator_catches_mistakes_of_the_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
