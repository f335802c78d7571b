/* The experiments' numbers: the published sums, NumPy's random numbers, PyTorch's gradients in
 * double (tests/data/make_experiment_vectors.py). */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/stats/mt19937.h"
#include "tools/experiment/checkerboard.h"
#include "tools/experiment/gradient_sum.h"

static FILE *open_table(const char *name) {
    char path[4096], header[256];
    const char *tree = getenv("PARCHMILL_SOURCE_DIR");
    assert_non_null(tree);
    snprintf(path, sizeof path, "%s/tests/data/experiment/%s", tree, name);
    FILE *in = fopen(path, "r");
    if (!in) fail_msg("no %s", path);
    assert_non_null(fgets(header, sizeof header, in));
    return in;
}

static void close_to(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) fail_msg("%.17g is not %.17g", got, want);
}

static void random_numbers_are_numpys(void **state) {
    (void)state;
    FILE *in = open_table("mt19937.csv");
    char kind[16];
    uint32_t seed;
    size_t index, rows = 0;
    double want;
    while (fscanf(in, "%u,%zu,%15[^,],%lf\n", &seed, &index, kind, &want) == 4) {
        pm_mt generator;
        double got = NAN;
        pm_mt_begin(&generator, seed);
        for (size_t i = 0; i <= index; i++)
            got = i < 400 ? pm_mt_uniform(&generator) : pm_mt_normal(&generator);
        close_to(got, want, index < 400 ? 0 : 1e-14);
        rows++;
    }
    fclose(in);
    assert_int_equal(rows, 56);
}

/* The numbers of the published code, as its figure has them. */
static void uniform_sums_of_seed_21_are_the_published_ones(void **state) {
    (void)state;
    pm_mt generator;
    pm_vectors vectors;
    pm_mt_begin(&generator, 21);
    pm_vectors_draw(&generator, PM_SPREAD_UNIFORM, PM_GRADIENT_L, &vectors);
    pm_sums s = pm_vectors_sum(&vectors, PM_GRADIENT_L);
    close_to(s.h_u, -0.1805, 5e-5);
    close_to(s.h_v, 0.4810, 5e-5);
    close_to(s.l_u, 0.4055, 5e-5);
    close_to(s.l_v, -0.2554, 5e-5);
    close_to(s.h_u + s.l_u, 0.2250, 5.1e-5);
    close_to(s.h_v + s.l_v, 0.2256, 5.1e-5);
}

static void normal_sums_are_numpys(void **state) {
    (void)state;
    FILE *in = open_table("gradient_sum_normal.csv");
    double want[4];
    assert_int_equal(fscanf(in, "%lf,%lf,%lf,%lf", &want[0], &want[1], &want[2], &want[3]), 4);
    fclose(in);
    pm_mt generator;
    pm_vectors vectors;
    pm_mt_begin(&generator, 21);
    pm_vectors_draw(&generator, PM_SPREAD_NORMAL, PM_GRADIENT_L, &vectors);
    pm_sums s = pm_vectors_sum(&vectors, PM_GRADIENT_L);
    close_to(s.h_u, want[0], 1e-12);
    close_to(s.h_v, want[1], 1e-12);
    close_to(s.l_u, want[2], 1e-12);
    close_to(s.l_v, want[3], 1e-12);
}

static void angle_is_between_all_and_h(void **state) {
    (void)state;
    close_to(pm_sums_angle(&(pm_sums){.h_u = 1}), 0, 1e-12);
    close_to(pm_sums_angle(&(pm_sums){.h_u = 1, .l_v = 1}), 45, 1e-12);
    close_to(pm_sums_angle(&(pm_sums){.h_u = 1, .l_v = -1}), 45, 1e-12);
    close_to(pm_sums_angle(&(pm_sums){.h_v = 2, .l_u = 2, .l_v = -2}), 90, 1e-12);
    close_to(pm_sums_angle(&(pm_sums){.h_v = 1, .l_v = -3}), 180, 1e-12);
}

/* The means again from the definitions, by another path over the same stream. */
static void distribution_is_that_of_the_draws(void **state) {
    (void)state;
    pm_gradient *g = malloc(sizeof *g);
    pm_vectors *v = malloc(sizeof *v);
    pm_mt generator;
    double mean = 0, beyond = 0, mean_250 = 0, total = 0;
    assert_true(g && v);
    assert_int_equal(pm_gradient_compute(PM_SPREAD_UNIFORM, 5, g), PM_OK);
    pm_mt_begin(&generator, 5);
    for (size_t i = 0; i < 2 * (size_t)PM_GRADIENT_DRAWS; i++) {
        bool second = i >= PM_GRADIENT_DRAWS;
        pm_vectors_draw(&generator, PM_SPREAD_UNIFORM, second ? 1000 : 100, v);
        double hu = 0, hv = 0, lu = 0, lv = 0;
        for (size_t k = 0; k < 10; k++) hu += v->h_u[k], hv += v->h_v[k];
        for (size_t k = 0; k < (second ? 250U : 100U); k++) lu += v->l_u[k], lv += v->l_v[k];
        double cosine = (hu * (hu + lu) + hv * (hv + lv)) / hypot(hu, hv) / hypot(hu + lu, hv + lv);
        double angle = acos(fmin(1, cosine)) * 180 / acos(-1);
        if (second) mean_250 += angle / PM_GRADIENT_DRAWS;
        if (!second) mean += angle / PM_GRADIENT_DRAWS;
        if (!second && angle > 45) beyond += 1.0 / PM_GRADIENT_DRAWS;
    }
    close_to(g->mean, mean, 1e-6);
    close_to(g->beyond, beyond, 1e-9);
    close_to(g->l[10], 250, 0);
    close_to(g->means[10], mean_250, 1e-6);
    close_to(g->means[0], 0, 1e-12);
    for (size_t i = 0; i < PM_GRADIENT_BINS; i++) total += g->counts[i];
    close_to(total, PM_GRADIENT_DRAWS, 0);
    free(g);
    free(v);
}

static void board_gradient_is_pytorchs(void **state) {
    (void)state;
    FILE *in = open_table("checkerboard.csv");
    pm_board *board = malloc(sizeof *board);
    uint64_t seed;
    size_t stride, row, column, rows = 0, drawn = 0;
    double scale, want, got[PM_BOARD_CELLS], most = 0;
    assert_non_null(board);
    while (fscanf(in, "%" SCNu64 ",%zu,%lf,%zu,%zu,%lf\n", &seed, &stride, &scale, &row, &column,
                  &want) == 6) {
        if (rows++ % PM_BOARD_CELLS == 0) {
            pm_board_draw(seed, stride, board);
            pm_board_backward(board, stride, scale, got);
            drawn++;
        }
        most = fmax(most, fabs(want));
        close_to(got[row * PM_BOARD_SIDE + column], want, 1e-13 * scale);
    }
    fclose(in);
    assert_int_equal(rows, 400);
    assert_int_equal(drawn, 4);
    assert_true(most > 0.01);
    free(board);
}

static void phase_share_is_1_for_a_checkerboard_and_0_without_stride(void **state) {
    (void)state;
    double tiles[PM_BOARD_CELLS], rows[PM_BOARD_CELLS];
    for (size_t i = 0; i < PM_BOARD_CELLS; i++) {
        tiles[i] = (i / 10 + i) % 2 ? -3 : 1; /* of absolute value 3 and 1 */
        rows[i] = i / 10 < 5 ? 1 : 2;
    }
    close_to(pm_board_phase_share(tiles, 2), 1, 1e-12);
    close_to(pm_board_phase_share(tiles, 1), 0, 1e-12);
    /* Rows 0, 2, 4 are 1 and 6, 8 are 2: means 1.4 and 1.6 of variance 0.25 around 1.5. */
    close_to(pm_board_phase_share(rows, 2), 0.01 / 0.25, 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_numbers_are_numpys),
        cmocka_unit_test(uniform_sums_of_seed_21_are_the_published_ones),
        cmocka_unit_test(normal_sums_are_numpys),
        cmocka_unit_test(angle_is_between_all_and_h),
        cmocka_unit_test(distribution_is_that_of_the_draws),
        cmocka_unit_test(board_gradient_is_pytorchs),
        cmocka_unit_test(phase_share_is_1_for_a_checkerboard_and_0_without_stride),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
