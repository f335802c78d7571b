/* Shapiro-Wilk against R, SciPy and the published algorithm with 40 digits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/stats/shapiro.h"
#include "tests/stats/samples.h"

typedef struct table_row {
    char kind[32], stream[64];
    size_t n;
    double w, p, r_w, r_p, scipy_w, scipy_p;
} table_row;

static bool read_row(FILE *in, table_row *out) {
    return fscanf(in, "%31[^,],%63[^,],%zu,%lf,%lf,%lf,%lf,%lf,%lf\n", out->kind, out->stream,
                  &out->n, &out->w, &out->p, &out->r_w, &out->r_p, &out->scipy_w,
                  &out->scipy_p) == 9;
}

static pm_shapiro shapiro_of(const table_row *row) {
    pm_shapiro got = {0};
    float *x = sample_new(row->kind, row->stream, row->n);
    sample_sort(x, row->n);
    assert_int_equal(pm_shapiro_wilk(x, row->n, &got), PM_OK);
    free(x);
    return got;
}

static void w_and_p_are_those_of_the_published_algorithm_and_of_r(void **state) {
    (void)state;
    FILE *in = open_table("shapiro.csv");
    size_t rows = 0, of_r = 0;
    for (table_row row; read_row(in, &row); rows++) {
        pm_shapiro got = shapiro_of(&row);
        close_to(got.w, row.w, 1e-12, row.stream);
        if (!(fabs(got.p - row.p) <= 1e-14)) close_to(got.p, row.p, 1e-10, row.stream);
        assert_true(got.approximate == (row.n > 5000));
        if (isnan(row.r_p)) continue;
        of_r++;
        close_to(got.w, row.r_w, 1e-11, row.stream);
        if (!(fabs(got.p - row.r_p) <= 1e-14)) close_to(got.p, row.r_p, 2e-10, row.stream);
    }
    fclose(in);
    assert_int_equal(rows, 72);
    assert_int_equal(of_r, 66);
}

/* SciPy 1.10 computes in single precision: from 5,000 values on its p says little of near-normal
 * samples, and p below 1e-45 is 0 there. */
static void scipy_agrees_as_far_as_single_precision_goes(void **state) {
    (void)state;
    FILE *in = open_table("shapiro.csv");
    for (table_row row; read_row(in, &row);) {
        pm_shapiro got = shapiro_of(&row);
        close_to(got.w, row.scipy_w, 2e-4, row.stream);
        if (row.n > 2000) continue;
        double off = fabs(got.p - row.scipy_p);
        if (off > (row.n <= 11 ? 3e-6 : 1e-6)) close_to(got.p, row.scipy_p, 2e-3, row.stream);
    }
    fclose(in);
}

static void a_plan_serves_many_samples_and_leaves_them_alone(void **state) {
    (void)state;
    enum { N = 500 };
    pm_shapiro_plan *plan = NULL;
    assert_int_equal(pm_shapiro_plan_new(N, &plan), PM_OK);
    for (int round = 0; round < 2; round++) {
        const char *kinds[] = {"normal", "ties", "relu"};
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            char stream[64];
            snprintf(stream, sizeof stream, "shapiro/%s/%d", kinds[k], N);
            float *x = sample_new(kinds[k], stream, N), before[N];
            sample_sort(x, N);
            memcpy(before, x, sizeof before);
            pm_shapiro once, again;
            assert_int_equal(pm_shapiro_wilk(x, N, &once), PM_OK);
            assert_int_equal(pm_shapiro_run(plan, x, &again), PM_OK);
            assert_true(once.w == again.w && once.p == again.p);
            assert_memory_equal(x, before, sizeof before);
            free(x);
        }
    }
    pm_shapiro_plan_free(&plan);
    assert_null(plan);
    pm_shapiro_plan_free(&plan);
}

/* W and p do not change with unit and origin; powers of two change no digit. */
static void tiny_and_huge_values_are_judged_by_their_shape(void **state) {
    (void)state;
    float *x = sample_new("exponential", "shapiro/exponential/50", 50), scaled[50];
    sample_sort(x, 50);
    pm_shapiro want, got;
    assert_int_equal(pm_shapiro_wilk(x, 50, &want), PM_OK);
    const double factors[] = {0x1p-100, 0x1p+100};
    for (size_t f = 0; f < 2; f++) {
        for (size_t i = 0; i < 50; i++) scaled[i] = (float)((double)x[i] * factors[f]);
        assert_int_equal(pm_shapiro_wilk(scaled, 50, &got), PM_OK);
        close_to(got.p, want.p, 1e-12, "scaled");
    }
    free(x);
}

static void equal_values_are_called_normal(void **state) {
    (void)state;
    float x[6000];
    for (size_t i = 0; i < 6000; i++) x[i] = 0.1f;
    const size_t counts[] = {3, 4, 12, 6000};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        pm_shapiro got = {0};
        assert_int_equal(pm_shapiro_wilk(x, counts[k], &got), PM_OK);
        assert_true(got.w == 1 && got.p == 1);
    }
}

static void what_is_no_sorted_sample_is_refused(void **state) {
    (void)state;
    const pm_shapiro before = {.w = 7, .p = 7};
    const float samples[][4] = {{1, 2, 4, 3},   {1, NAN, 2, 3},       {NAN, 1, 2, 3},
                                {1, 2, 3, NAN}, {-INFINITY, 1, 2, 3}, {1, 2, 3, INFINITY}};
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        pm_shapiro got = before;
        assert_int_equal(pm_shapiro_wilk(samples[i], 4, &got), PM_E_USAGE);
        assert_true(got.w == 7 && got.p == 7);
    }
    pm_shapiro got = before;
    assert_int_equal(pm_shapiro_wilk(samples[0], 2, &got), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "three values"));
    assert_true(got.w == 7 && got.p == 7);
    pm_shapiro_plan *plan = NULL;
    assert_int_equal(pm_shapiro_plan_new(SIZE_MAX, &plan), PM_E_MEMORY);
    assert_null(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(w_and_p_are_those_of_the_published_algorithm_and_of_r),
        cmocka_unit_test(scipy_agrees_as_far_as_single_precision_goes),
        cmocka_unit_test(a_plan_serves_many_samples_and_leaves_them_alone),
        cmocka_unit_test(tiny_and_huge_values_are_judged_by_their_shape),
        cmocka_unit_test(equal_values_are_called_normal),
        cmocka_unit_test(what_is_no_sorted_sample_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
