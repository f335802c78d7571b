/* Rank correlation against SciPy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/stats/ranks.h"
#include "tests/stats/samples.h"

static void rho_is_scipys(void **state) {
    (void)state;
    FILE *in = open_table("spearman.csv");
    char kind_a[32], stream_a[64], kind_b[32], stream_b[64];
    size_t n, rows = 0;
    double mix, rho;
    while (fscanf(in, "%31[^,],%63[^,],%31[^,],%63[^,],%zu,%lf,%lf\n", kind_a, stream_a, kind_b,
                  stream_b, &n, &mix, &rho) == 7) {
        float *a = sample_new(kind_a, stream_a, n), *b = sample_new(kind_b, stream_b, n);
        for (size_t i = 0; i < n; i++) b[i] = (float)(mix * (double)a[i] + (double)b[i]);
        double got = 7, back = 7;
        assert_int_equal(pm_spearman(a, b, n, &got), PM_OK);
        assert_int_equal(pm_spearman(b, a, n, &back), PM_OK);
        free(b);
        free(a);
        if (!(fabs(got - rho) <= 1e-14)) fail_msg("%s: %.17g is not %.17g", stream_a, got, rho);
        assert_true(got == back);
        rows++;
    }
    fclose(in);
    assert_int_equal(rows, 12);
}

static void order_alone_counts(void **state) {
    (void)state;
    const float up[] = {-INFINITY, -1, -0.0f, 0, 5, INFINITY}, other[] = {1, 2, 4, 4, 8, 16};
    const float down[] = {9, 8, 7, 7, 6, 5};
    double rho = 7;
    assert_int_equal(pm_spearman(up, other, 6, &rho), PM_OK);
    assert_true(rho == 1);
    assert_int_equal(pm_spearman(up, down, 6, &rho), PM_OK);
    assert_true(rho == -1);
}

static void what_has_no_order_has_no_correlation(void **state) {
    (void)state;
    const float same[] = {2, 2, 2}, some[] = {1, 2, 3}, bad[] = {1, NAN, 3};
    double rho = 7;
    assert_int_equal(pm_spearman(same, some, 3, &rho), PM_OK);
    assert_true(isnan(rho));
    rho = 7;
    assert_int_equal(pm_spearman(some, same, 3, &rho), PM_OK);
    assert_true(isnan(rho));
    rho = 7;
    assert_int_equal(pm_spearman(some, some, 1, &rho), PM_OK);
    assert_true(isnan(rho));
    rho = 7;
    assert_int_equal(pm_spearman(NULL, NULL, 0, &rho), PM_OK);
    assert_true(isnan(rho));
    rho = 7;
    assert_int_equal(pm_spearman(some, bad, 3, &rho), PM_E_USAGE);
    assert_int_equal(pm_spearman(bad, some, 3, &rho), PM_E_USAGE);
    assert_true(rho == 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rho_is_scipys),
        cmocka_unit_test(order_alone_counts),
        cmocka_unit_test(what_has_no_order_has_no_correlation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
