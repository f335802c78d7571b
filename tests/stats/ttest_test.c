/* The t-test against SciPy and against an incomplete beta function with 40 digits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/stats/ttest.h"
#include "tests/stats/samples.h"

static pm_moments moments_of(const char *kind, const char *stream, size_t n, double shift,
                             double scale) {
    pm_moments moments = {0};
    float *x = sample_new(kind, stream, n);
    for (size_t i = 0; i < n; i++) pm_moments_add(&moments, shift + scale * (double)x[i], false);
    free(x);
    return moments;
}

/* The running mean of values far from 0 costs the offset samples some digits of p. */
static void p_is_scipys_from_1_down_to_1e_minus_265(void **state) {
    (void)state;
    FILE *in = open_table("ttest.csv");
    char kind[32], stream_a[64], stream_b[64];
    size_t na, nb, rows = 0;
    double shift, scale, exact[2], scipy[2], least = 1;
    while (fscanf(in, "%31[^,],%63[^,],%zu,%63[^,],%zu,%lf,%lf,%lf,%lf,%lf,%lf\n", kind, stream_a,
                  &na, stream_b, &nb, &shift, &scale, &exact[0], &scipy[0], &exact[1],
                  &scipy[1]) == 11) {
        pm_moments a = moments_of(kind, stream_a, na, shift, scale);
        pm_moments b = moments_of(kind, stream_b, nb, 0, 1);
        for (int student = 0; student < 2; student++) {
            double p = pm_t_test_greater(&a, &b, !student);
            close_to(p, exact[student], strcmp(kind, "offset") ? 1e-12 : 1e-9, stream_a);
            close_to(p, scipy[student], 1e-9, stream_a);
            if (p < 0.5)
                close_to(pm_t_test_greater(&b, &a, !student), 1 - exact[student], 1e-14, stream_a);
            least = fmin(least, p);
        }
        rows++;
    }
    fclose(in);
    assert_int_equal(rows, 23);
    assert_true(least < 1e-264);
}

/* mpmath.betainc(df / 2, 0.5, 0, df / (df + t * t), regularized=True) / 2 with 40 digits, t and df
 * of these moments; scipy.stats.ttest_ind_from_stats agrees to 1e-13. */
static void p_holds_for_a_million_values(void **state) {
    (void)state;
    pm_moments b = {.count = 800000, .m2 = 900000};
    pm_moments a = {.count = 700000, .mean = 0.0079, .m2 = 650000};
    close_to(pm_t_test_greater(&a, &b, true), 8.815375103416472e-07, 1e-12, "welch");
    close_to(pm_t_test_greater(&a, &b, false), 1.0248306133607542e-06, 1e-12, "student");
    a.mean = 0.0353;
    close_to(pm_t_test_greater(&a, &b, true), 1.8673270355949572e-101, 1e-12, "welch");
    close_to(pm_t_test_greater(&a, &b, false), 3.3757258625711629e-100, 1e-12, "student");
}

static void nothing_to_judge_by_is_1(void **state) {
    (void)state;
    pm_moments none = {0}, one = {0}, low = {0}, high = {0}, spread = {0};
    pm_moments_add(&one, 5, false);
    for (int i = 0; i < 3; i++) {
        pm_moments_add(&low, 0.1, false);
        pm_moments_add(&high, 7, false);
        pm_moments_add(&spread, i, false);
    }
    for (int welch = 0; welch < 2; welch++) {
        assert_true(pm_t_test_greater(&none, &spread, welch) == 1);
        assert_true(pm_t_test_greater(&one, &spread, welch) == 1);
        assert_true(pm_t_test_greater(&spread, &one, welch) == 1);
        assert_true(pm_t_test_greater(&low, &low, welch) == 1);
        assert_true(pm_t_test_greater(&high, &low, welch) == 1);
        assert_true(pm_t_test_greater(&high, &spread, welch) < 0.01);
        pm_moments bad = spread;
        pm_moments_add(&bad, NAN, false);
        assert_true(pm_t_test_greater(&bad, &spread, welch) == 1);
    }
}

enum { CLASSES = 7 };

/* The naive way: every value of the other classes added one by one. */
static void rest_is_what_the_others_have_together(void **state) {
    (void)state;
    const size_t counts[CLASSES] = {10, 0, 300, 1, 2, 0, 77};
    pm_moments classes[CLASSES], rest[CLASSES];
    for (size_t k = 0; k < CLASSES; k++) {
        char stream[16];
        snprintf(stream, sizeof stream, "rest/%zu", k);
        classes[k] = moments_of("normal", stream, counts[k], (double)k, 1);
        classes[k].selected = counts[k] / 10;
    }
    pm_moments_rest(classes, CLASSES, rest);
    for (size_t k = 0; k < CLASSES; k++) {
        pm_moments want = {0};
        for (size_t other = 0; other < CLASSES; other++) {
            if (other == k) continue;
            char stream[16];
            snprintf(stream, sizeof stream, "rest/%zu", other);
            float *x = sample_new("normal", stream, counts[other]);
            for (size_t i = 0; i < counts[other]; i++)
                pm_moments_add(&want, (double)other + (double)x[i], false);
            free(x);
        }
        assert_int_equal(rest[k].count, want.count);
        assert_int_equal(rest[k].selected, 38 - counts[k] / 10);
        close_to(rest[k].mean, want.mean, 1e-13, "mean");
        close_to(rest[k].m2, want.m2, 1e-13, "m2");
        assert_true(rest[k].min == want.min && rest[k].max == want.max);
    }
}

/* Total less class would leave m2 of the others no digit: 1e16 against 2. */
static void rest_survives_a_class_that_dwarfs_it(void **state) {
    (void)state;
    pm_moments classes[3] = {0}, rest[3];
    for (int i = 0; i < 2; i++) {
        pm_moments_add(&classes[0], 1 + i, false);
        pm_moments_add(&classes[1], i ? 1e8 : -1e8, false);
        pm_moments_add(&classes[2], 3 + i, false);
    }
    pm_moments_rest(classes, 3, rest);
    assert_true(rest[1].count == 4 && rest[1].mean == 2.5 && rest[1].m2 == 5);
    assert_true(rest[1].min == 1 && rest[1].max == 4);
}

static void rest_of_a_single_class_is_empty(void **state) {
    (void)state;
    pm_moments class = {0}, rest = {.count = 9};
    pm_moments_add(&class, 1, true);
    pm_moments_rest(&class, 1, &rest);
    assert_int_equal(rest.count, 0);
    pm_moments_rest(NULL, 0, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p_is_scipys_from_1_down_to_1e_minus_265),
        cmocka_unit_test(p_holds_for_a_million_values),
        cmocka_unit_test(nothing_to_judge_by_is_1),
        cmocka_unit_test(rest_is_what_the_others_have_together),
        cmocka_unit_test(rest_survives_a_class_that_dwarfs_it),
        cmocka_unit_test(rest_of_a_single_class_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
