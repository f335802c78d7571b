/* The paired t-test and the interval of a mean, against SciPy and a beta function with 40 digits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/stats/paired.h"
#include "tests/stats/samples.h"

static pm_moments differences(const char *kind, const char *stream_a, const char *stream_b,
                              size_t n, double shift) {
    pm_moments out = {0};
    float *a = sample_new(kind, stream_a, n), *b = sample_new(kind, stream_b, n);
    for (size_t i = 0; i < n; i++) pm_moments_add(&out, (double)b[i] + shift - (double)a[i], false);
    free(a);
    free(b);
    return out;
}

static void mean_interval_and_p_are_scipys(void **state) {
    (void)state;
    FILE *in = open_table("paired.csv");
    char kind[32], a[64], b[64];
    size_t n, rows = 0;
    double shift, mean, ci95, t, scipy_p, exact_p;
    while (fscanf(in, "%31[^,],%63[^,],%63[^,],%zu,%lf,%lf,%lf,%lf,%lf,%lf\n", kind, a, b, &n,
                  &shift, &mean, &ci95, &t, &scipy_p, &exact_p) == 10) {
        pm_moments moments = differences(kind, a, b, n, shift);
        pm_paired got = pm_paired_test(&moments);
        assert_int_equal(got.n, n);
        close_to(got.mean, mean, 1e-9, a);
        close_to(got.ci95, ci95, 1e-9, a);
        close_to(pm_ci95(&moments), ci95, 1e-9, a);
        close_to(got.t, t, 1e-9, a);
        if (scipy_p > 0) close_to(got.p, scipy_p, 1e-7, a);
        if (exact_p > 1e-300) close_to(got.p, exact_p, 1e-7, a);
        rows++;
    }
    fclose(in);
    assert_true(rows >= 9);
}

static void nothing_to_judge_by_is_p_1_and_no_interval(void **state) {
    (void)state;
    pm_moments none = {0}, one = {0}, equal = {0};
    pm_moments_add(&one, 3, false);
    for (int i = 0; i < 5; i++) pm_moments_add(&equal, 2, false);
    assert_true(isnan(pm_ci95(&none)) && isnan(pm_ci95(&one)));
    pm_paired p = pm_paired_test(&none);
    assert_true(p.n == 0 && isnan(p.mean) && isnan(p.t) && p.p >= 1);
    p = pm_paired_test(&one);
    assert_true(fabs(p.mean - 3) < 1e-12 && isnan(p.ci95) && p.p >= 1);
    p = pm_paired_test(&equal);
    assert_true(fabs(p.mean - 2) < 1e-12 && fabs(p.ci95) < 1e-12 && isinf(p.t) && p.t > 0 &&
                p.p <= 0);
    pm_moments zero = {0};
    for (int i = 0; i < 5; i++) pm_moments_add(&zero, 0, false);
    p = pm_paired_test(&zero);
    assert_true(isnan(p.t) && p.p >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_interval_and_p_are_scipys),
        cmocka_unit_test(nothing_to_judge_by_is_p_1_and_no_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
