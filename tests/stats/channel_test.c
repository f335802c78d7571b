/* A channel's numbers against plain sums over the values, and against the tests one by one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/stats/channel.h"
#include "lib/stats/ttest.h"
#include "tests/stats/samples.h"

enum { N = 700, CLASSES = 5 };

static void columns_of(int *column) {
    for (size_t i = 0; i < N; i++) column[i] = (int)(i * 7 % (CLASSES + 1)) - 1;
}

/* Mean and squared distances in two plain passes over those that `want` takes. */
static pm_moments plain_moments(const float *values, const int *column, bool (*want)(int, int),
                                int k) {
    long double sum = 0, squares = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < N; i++) {
        if (!want(column[i], k)) continue;
        sum += (long double)values[i];
        count++;
    }
    for (size_t i = 0; i < N; i++) {
        long double off = (long double)values[i] - sum / (long double)count;
        if (want(column[i], k)) squares += off * off;
    }
    return (pm_moments){
        .count = count, .mean = (double)(sum / (long double)count), .m2 = (double)squares};
}

static bool every(int column, int k) {
    (void)column;
    (void)k;
    return true;
}
static bool in_class(int column, int k) { return column == k; }
static bool in_another(int column, int k) { return column >= 0 && column != k; }

static void numbers_are_those_of_plain_sums(void **state) {
    (void)state;
    static const char *const kinds[] = {"normal", "relu", "ties", "exponential", "offset"};
    int column[N];
    pm_channel_plan *plan = NULL;
    pm_channel_scratch *scratch = NULL;
    columns_of(column);
    assert_int_equal(pm_channel_plan_new(column, N, CLASSES, &plan), PM_OK);
    assert_int_equal(pm_channel_scratch_new(plan, &scratch), PM_OK);
    for (size_t s = 0; s < sizeof kinds / sizeof *kinds; s++) {
        float *values = sample_new(kinds[s], "channel", N), *sorted = malloc(N * sizeof *sorted);
        float welch[CLASSES], student[CLASSES];
        pm_channel_summary got;
        pm_shapiro shapiro;
        values[3] = -values[3];
        memcpy(sorted, values, N * sizeof *sorted);
        sample_sort(sorted, N);
        assert_int_equal(pm_channel_run(plan, scratch, values, &got, welch, student), PM_OK);
        assert_int_equal(pm_shapiro_wilk(sorted, N, &shapiro), PM_OK);
        assert_true(got.w == shapiro.w && got.p == shapiro.p);
        pm_moments all = plain_moments(values, column, every, 0);
        close_to(got.mean, all.mean, 1e-13, kinds[s]);
        close_to(got.std, sqrt(all.m2 / (N - 1)), 1e-11, kinds[s]);
        for (int k = 0; k < CLASSES; k++) {
            pm_moments a = plain_moments(values, column, in_class, k);
            pm_moments b = plain_moments(values, column, in_another, k);
            close_to((double)welch[k], pm_t_test_greater(&a, &b, true), 1e-6, kinds[s]);
            close_to((double)student[k], pm_t_test_greater(&a, &b, false), 1e-6, kinds[s]);
        }
        free(sorted);
        free(values);
    }
    pm_channel_scratch_free(&scratch);
    pm_channel_plan_free(&plan);
}

static void few_and_equal_values_have_p_of_1(void **state) {
    (void)state;
    static const float equal[4] = {2, 2, 2, 2};
    static const int column[4] = {0, 0, 1, 1};
    for (size_t n = 1; n <= 4; n++) {
        pm_channel_plan *plan = NULL;
        pm_channel_scratch *scratch = NULL;
        pm_channel_summary got;
        float welch[2], student[2];
        assert_int_equal(pm_channel_plan_new(column, n, 2, &plan), PM_OK);
        assert_int_equal(pm_channel_scratch_new(plan, &scratch), PM_OK);
        assert_int_equal(pm_channel_run(plan, scratch, equal, &got, welch, student), PM_OK);
        assert_true(got.mean == 2 && got.p == 1);
        assert_true(n < 2 ? isnan(got.std) : got.std == 0);
        assert_true(n < 3 ? isnan(got.w) : got.w == 1);
        for (size_t k = 0; k < 2; k++) assert_true(welch[k] == 1 && student[k] == 1);
        pm_channel_scratch_free(&scratch);
        pm_channel_plan_free(&plan);
    }
}

static void what_is_no_sample_is_refused(void **state) {
    (void)state;
    static const int column[3] = {0, -1, 1}, beyond[3] = {0, 2, 1}, below[3] = {0, -2, 1};
    static const float bad[3] = {1, NAN, 2};
    pm_channel_plan *plan = NULL;
    pm_channel_scratch *scratch = NULL;
    pm_channel_summary got;
    float p[2];
    assert_int_equal(pm_channel_plan_new(column, 0, 2, &plan), PM_E_USAGE);
    assert_int_equal(pm_channel_plan_new(beyond, 3, 2, &plan), PM_E_USAGE);
    assert_int_equal(pm_channel_plan_new(below, 3, 2, &plan), PM_E_USAGE);
    assert_null(plan);
    assert_int_equal(pm_channel_plan_new(column, 3, 2, &plan), PM_OK);
    assert_int_equal(pm_channel_scratch_new(plan, &scratch), PM_OK);
    assert_int_equal(pm_channel_run(plan, scratch, bad, &got, p, p), PM_E_USAGE);
    pm_channel_scratch_free(&scratch);
    pm_channel_plan_free(&plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_plain_sums),
        cmocka_unit_test(few_and_equal_values_have_p_of_1),
        cmocka_unit_test(what_is_no_sample_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
