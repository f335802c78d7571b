/* 500 histories in every build, and each planted mistake found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sim/sim.h"

enum { SEEDS = 500, PLANTS = 20, PLANT_SEEDS = 400 };

extern int pm_scheduler_plant;
int pm_scheduler_plant;

static void tell(uint64_t seed, const char *failure) {
    print_error("seed %llu: %s\nhistory: simulate --seed %llu --trace\n", (unsigned long long)seed,
                failure, (unsigned long long)seed);
}

static void every_history_keeps_the_invariants_and_drains(void **state) {
    (void)state;
    char failure[SIM_FAILURE_BYTES];
    size_t failed = 0;
    for (uint64_t seed = 1; seed <= SEEDS && failed < 5; seed++) {
        if (sim_history(seed, NULL, failure, NULL)) continue;
        tell(seed, failure);
        failed++;
    }
    assert_int_equal(failed, 0);
}

static void same_seed_gives_the_same_history(void **state) {
    (void)state;
    char failure[SIM_FAILURE_BYTES], *text[2];
    size_t size[2];
    for (size_t i = 0; i < 2; i++) {
        FILE *trace = open_memstream(&text[i], &size[i]);
        assert_non_null(trace);
        sim_history(77, trace, failure, NULL);
        fclose(trace);
    }
    assert_true(size[0] > 10000);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(text[0], text[1], size[0]);
    free(text[0]);
    free(text[1]);
}

static void simulator_catches_planted_bugs(void **state) {
    (void)state;
    char failure[SIM_FAILURE_BYTES];
    size_t missed = 0;
    for (pm_scheduler_plant = 1; pm_scheduler_plant <= PLANTS; pm_scheduler_plant++) {
        uint64_t seed = 1;
        while (seed <= PLANT_SEEDS && sim_history(seed, NULL, failure, NULL)) seed++;
        if (seed <= PLANT_SEEDS) {
            print_message("mistake %d: seed %llu: %s\n", pm_scheduler_plant,
                          (unsigned long long)seed, failure);
        } else {
            print_error("mistake %d is not found in %d histories\n", pm_scheduler_plant,
                        PLANT_SEEDS);
            missed++;
        }
    }
    pm_scheduler_plant = 0;
    assert_int_equal(missed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_history_keeps_the_invariants_and_drains),
        cmocka_unit_test(same_seed_gives_the_same_history),
        cmocka_unit_test(simulator_catches_planted_bugs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
