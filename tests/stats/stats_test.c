/* lib/stats: moments and box scores against NumPy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/stats/boxes.h"
#include "lib/stats/moments.h"

static void close_to(double got, double want, double relative) {
    if (!(fabs(got - want) <= relative * fabs(want))) fail_msg("%.17g is not %.17g", got, want);
}

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
        close_to(whole.mean, 1000000.0215130226, 1e-15);
        close_to(pm_moments_std(&whole), 1.7362329120567563, 1e-9);
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

/* h = np.abs(synth("heat", 1200)).reshape(30, 40).astype(float)
 * i = h[5:20, 7:33].sum() / h.sum(); area, size = 1200, 15 * 26
 * i, i * area / size, 1 - i, (1 - i) * area / (area - size) */
static void box_score_is_the_references(void **state) {
    (void)state;
    float map[30 * 40];
    pm_synth("heat", 0, map, 30 * 40);
    for (size_t i = 0; i < 30 * 40; i++) map[i] = fabsf(map[i]);
    pm_box_score score = pm_box_score_of(map, 30, 40, 7, 5, 33, 20);
    assert_null(score.reason);
    close_to(score.mu_in, 0.31714335270578892, 1e-14);
    close_to(score.mu_in_w, 0.97582570063319662, 1e-14);
    close_to(score.mu_out, 0.68285664729421103, 1e-14);
    close_to(score.mu_out_w, 1.0116394774729052, 1e-14);
}

static void no_score_has_a_reason(void **state) {
    (void)state;
    float map[4] = {1, 2, 3, 4}, zero[4] = {0};
    assert_string_equal(pm_box_score_of(map, 2, 2, 1, 0, 1, 2).reason, "box-empty");
    assert_string_equal(pm_box_score_of(map, 2, 2, 2, 0, 1, 2).reason, "box-empty");
    assert_string_equal(pm_box_score_of(map, 2, 2, 0, 0, 2, 2).reason, "box-full");
    assert_string_equal(pm_box_score_of(zero, 2, 2, 0, 0, 1, 1).reason, "map-zero");
    assert_null(pm_box_score_of(map, 2, 2, 0, 0, 1, 1).reason);
    assert_true(pm_box_score_of(map, 2, 2, 0, 0, 1, 1).mu_in == 0.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_numpys_however_they_are_merged),
        cmocka_unit_test(few_values_have_no_deviation),
        cmocka_unit_test(box_score_is_the_references),
        cmocka_unit_test(no_score_has_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
