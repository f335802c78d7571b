/* Moments against NumPy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/stats/moments.h"
#include "tests/stats/samples.h"

/* With synth() of the reference implementation:
 *   v = synth("moments", 1000).astype(float) * 3 + 1e6
 *   v.mean(), v.std(ddof=1), v.min(), v.max() */
static void moments_are_numpys_however_they_are_merged(void **state) {
    (void)state;
    float values[1000];
    pm_synth("moments", 0, values, 1000);
    const size_t parts[] = {1, 2, 7, 100, 999, 1000};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        pm_moments whole = {0};
        for (size_t first = 0; first < 1000; first += parts[p]) {
            pm_moments part = {0};
            for (size_t i = first; i < 1000 && i < first + parts[p]; i++)
                pm_moments_add(&part, (double)values[i] * 3 + 1e6, i % 3 == 0);
            pm_moments_merge(&whole, &part);
        }
        assert_int_equal(whole.count, 1000);
        assert_int_equal(whole.selected, 334);
        close_to(whole.mean, 1000000.0215130226, 1e-15, "moments");
        close_to(pm_moments_std(&whole), 1.7362329120567563, 1e-9, "moments");
        assert_true(whole.min == 999997.01153707504);
        assert_true(whole.max == 1000002.9984053373);
    }
}

static void few_values_have_no_deviation(void **state) {
    (void)state;
    pm_moments none = {0}, one = {0};
    pm_moments_add(&one, -3, false);
    assert_true(one.min == -3 && one.max == -3 && one.mean == -3);
    assert_true(isnan(pm_moments_std(&one)));
    pm_moments_merge(&one, &none);
    assert_int_equal(one.count, 1);
    pm_moments_merge(&none, &one);
    assert_true(none.mean == -3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_numpys_however_they_are_merged),
        cmocka_unit_test(few_values_have_no_deviation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
