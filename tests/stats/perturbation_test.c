/* lib/stats: order of pixels, masked passes and their measures, against PyTorch and NumPy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/stats/perturbation.h"

enum { SIDE = 6, PIXELS = SIDE * SIDE, INPUTS = 3 * PIXELS, CLASSES = 5, RATIOS = 5 };

static const double ratios[RATIOS] = {0, 0.01, 0.3, 0.5, 1}; /* 0.01 takes no pixel of 36 */

/* ---- order ---- */

/* v = np.array([0.5, -0.0, 0.25, 0.0, 0.5, 1e-45, 0.25, -1, 3, 0.5], np.float32)
 * np.argsort(-v, kind="stable"), np.argsort(v, kind="stable") */
static void equal_heat_is_in_order_of_index_both_ways(void **state) {
    (void)state;
    const float heat[10] = {0.5F, -0.0F, 0.25F, 0, 0.5F, 1e-45F, 0.25F, -1, 3, 0.5F};
    const uint32_t down[10] = {8, 0, 4, 9, 2, 6, 5, 1, 3, 7};
    const uint32_t up[10] = {7, 1, 3, 5, 2, 6, 0, 4, 9, 8};
    uint32_t scratch[10], order[10];
    pm_pixels_rank(heat, 10, PM_CURVE_MORF, scratch, order);
    assert_memory_equal(order, down, sizeof down);
    pm_pixels_rank(heat, 10, PM_CURVE_LERF, scratch, order);
    assert_memory_equal(order, up, sizeof up);
}

/* Every neighbour in the right order: greater heat first, or equal heat and the lower index. */
static void large_maps_are_in_order(void **state) {
    (void)state;
    enum { MANY = 50176 };
    float *heat = malloc(MANY * sizeof *heat);
    uint32_t *scratch = malloc(MANY * sizeof *scratch), *order = malloc(MANY * sizeof *order);
    assert_true(heat && scratch && order);
    pm_synth("order", 0, heat, MANY);
    for (size_t i = 0; i < MANY; i++) heat[i] = floorf(heat[i] * 3000) * 1e-7F;
    for (int c = 0; c < PM_CURVE_COUNT; c++) {
        pm_pixels_rank(heat, MANY, (pm_curve)c, scratch, order);
        for (size_t i = 1; i < MANY; i++) {
            float a = heat[order[i - 1]], b = heat[order[i]];
            bool before = c == PM_CURVE_MORF ? a > b : a < b;
            assert_true(before || (a == b && order[i - 1] < order[i]));
        }
    }
    free(heat);
    free(scratch);
    free(order);
}

/* [int(P * r) for r in (0, .01, .1, .2, .29, .3, .4, .5, .57, .7, .9, 1)] */
static void pixels_taken_are_pythons(void **state) {
    (void)state;
    const double r[12] = {0, .01, .1, .2, .29, .3, .4, .5, .57, .7, .9, 1};
    const size_t sides[3] = {100, 1024, 50176};
    const size_t want[3][12] = {
        {0, 1, 10, 20, 28, 30, 40, 50, 56, 70, 90, 100},
        {0, 10, 102, 204, 296, 307, 409, 512, 583, 716, 921, 1024},
        {0, 501, 5017, 10035, 14551, 15052, 20070, 25088, 28600, 35123, 45158, 50176}};
    for (size_t p = 0; p < 3; p++)
        for (size_t i = 0; i < 12; i++)
            assert_int_equal(pm_pixels_taken(sides[p], r[i]), want[p][i]);
}

/* np.trapz([.9, .5, .25, .25, .1], [0, .1, .3, .35, .8]) / .8 */
static void area_is_numpys(void **state) {
    (void)state;
    const double x[] = {0, .1, .3, .35, .8}, y[] = {.9, .5, .25, .25, .1}, same[] = {.2, .2};
    assert_true(fabs(pm_curve_area(x, y, 5) - 0.29531249999999992) < 1e-15);
    assert_true(isnan(pm_curve_area(x, y, 1)));
    assert_true(isnan(pm_curve_area(same, y, 2)));
}

/* ---- curves, of a linear model ---- */

typedef struct model {
    float weights[CLASSES * INPUTS], input[INPUTS], zero[INPUTS], replacement[INPUTS];
    float heat[PIXELS], logits[CLASSES];
    size_t passes;
    float scale; /* of the logits */
} model;

static void answer(const model *m, const float *tensor, float *logits) {
    for (size_t c = 0; c < CLASSES; c++) {
        double sum = 0;
        for (size_t i = 0; i < INPUTS; i++)
            sum += (double)m->weights[c * INPUTS + i] * (double)tensor[i];
        logits[c] = m->scale * (float)sum;
    }
}

static pm_status forward(void *user, pm_masked_fn next, void *from, size_t count, float *logits) {
    model *m = user;
    assert_in_range(count, 1, PM_CURVES_BATCH);
    m->passes += count;
    for (size_t n = 0; n < count; n++) answer(m, next(from, n), logits + n * CLASSES);
    return PM_OK;
}

static model *make(void) {
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->scale = 1;
    pm_synth("curve/weights", 0, m->weights, CLASSES * INPUTS);
    pm_synth("curve/input", 0, m->input, INPUTS);
    pm_synth("curve/replacement", 0, m->replacement, INPUTS);
    pm_synth("curve/heat", 0, m->heat, PIXELS);
    for (size_t i = 0; i < PIXELS; i++) m->heat[i] = floorf(fabsf(m->heat[i] * 4)) / 4;
    answer(m, m->input, m->logits);
    return m;
}

static pm_curves *curves_of(const model *m, const float *replacement) {
    pm_curves *curves = NULL;
    assert_int_equal(pm_curves_new(PIXELS, CLASSES, ratios, RATIOS, &curves), PM_OK);
    pm_curves_begin(curves, m->input, replacement);
    return curves;
}

static void near(double got, double want) {
    if (!(fabs(got - want) <= 2e-6)) fail_msg("%.9g is not %.9g", got, want);
}

/* w = synth_tensor("curve/weights", (5, 108)); x = synth_tensor("curve/input", (3, 6, 6))
 * heat = (synth_tensor("curve/heat", (6, 6)) * 4).abs().floor() / 4
 * evaluate(lambda b: b.flatten(1) @ w.T, x, y, heat, (0, .01, .3, .5, 1)) of the reference */
static void curves_are_the_references(void **state) {
    (void)state;
    static const struct {
        size_t target;
        double aopc[2][RATIOS], lodds[2][RATIOS];
        bool correct[2][RATIOS];
    } want[2] = {
        {2,
         {{0, 0, 0.00068994286, -5.1341485e-05, -0.19417997},
          {0, 0, -0.031332817, -0.034973461, -0.19417997}},
         {{0, 0, -0.1261826, 0.0087828059, 3.5370109}, {0, 0, 1.8537339, 1.9472162, 3.5370109}},
         {{0}, {0}}},
        {4,
         {{0, 0, 0.35024619, 0.85582006, 0.7444911}, {0, 0, 0.11062729, 0.099330485, 0.7444911}},
         {{0, 0, -0.46335474, -2.3657131, -1.5523289},
          {0, 0, -0.12457614, -0.11111961, -1.5523289}},
         {{1, 1, 1, 0, 0}, {1, 1, 1, 1, 0}}}};
    const double fracdiff[2][RATIOS] = {{0, 0, 0.35024613, 0.85582006, 0.7444911},
                                        {0, 0, 0.11062723, 0.099330485, 0.7444911}};
    model *m = make();
    pm_curves *curves = curves_of(m, m->zero);
    pm_curves_result r;
    for (size_t t = 0; t < 2; t++) {
        assert_int_equal(pm_curves_run(curves, m->heat, m->logits, want[t].target, forward, m, &r),
                         PM_OK);
        assert_true(r.finite);
        assert_int_equal(r.row_count, 2 * RATIOS);
        for (size_t i = 0; i < r.row_count; i++) {
            const pm_perturbation *row = &r.rows[i];
            size_t c = i / RATIOS, k = i % RATIOS;
            assert_int_equal(row->curve, c);
            assert_true(row->ratio == ratios[k] && row->has_lodds);
            near(row->aopc, want[t].aopc[c][k]);
            near(row->lodds, want[t].lodds[c][k]);
            near(row->fracdiff, fracdiff[c][k]);
            assert_int_equal(row->correct, want[t].correct[c][k]);
        }
    }
    pm_curves_free(&curves);
    free(m);
}

/* The same with z[:, taken] = synth_tensor("curve/replacement", (3, 6, 6)): p_2 of each ratio, and
 * np.trapz of them. */
static void replaced_pixels_and_areas_are_torchs(void **state) {
    (void)state;
    const double p[2 * RATIOS] = {0.00582003687, 0.00582003687, 0.0526456125,  0.17052108,
                                  0.0568500757,  0.00582003687, 0.00582003687, 0.0114594558,
                                  0.00348506519, 0.0568500757};
    model *m = make();
    pm_curves *curves = curves_of(m, m->replacement);
    pm_curves_result r;
    assert_int_equal(pm_curves_run(curves, m->heat, m->logits, 2, forward, m, &r), PM_OK);
    for (size_t i = 0; i < r.row_count; i++) near(r.rows[i].p_target, p[i]);
    near(r.deletion_auc, 0.087695177882);
    near(r.insertion_auc, 0.0191419641371);
    pm_curves_free(&curves);
    free(m);
}

/* Ratios 0 and 0.01 take nothing; ratio 1 is the same tensor whatever the order and heat map. */
static void no_tensor_is_asked_for_twice(void **state) {
    (void)state;
    model *m = make();
    pm_curves *curves = curves_of(m, m->zero);
    pm_curves_result r, again;
    assert_int_equal(pm_curves_run(curves, m->heat, m->logits, 2, forward, m, &r), PM_OK);
    assert_int_equal(m->passes, 2 + 2 + 1);
    double p = r.rows[RATIOS - 1].p_target;
    assert_true(p == r.rows[2 * RATIOS - 1].p_target);
    m->heat[0] = 17;
    assert_int_equal(pm_curves_run(curves, m->heat, m->logits, 2, forward, m, &again), PM_OK);
    assert_int_equal(m->passes, 5 + 2 + 2);
    assert_true(p == again.rows[RATIOS - 1].p_target);
    pm_curves_begin(curves, m->input, m->replacement); /* another photograph */
    assert_int_equal(pm_curves_run(curves, m->heat, m->logits, 2, forward, m, &again), PM_OK);
    assert_int_equal(m->passes, 9 + 2 + 2 + 1);
    assert_true(p != again.rows[RATIOS - 1].p_target);
    pm_curves_free(&curves);
    free(m);
}

/* evaluate(lambda b: 4 * (b.flatten(1) @ w.T), x, 1, ...): p_y(x) is 5e-13. */
static void lodds_of_a_small_probability_are_the_references(void **state) {
    (void)state;
    const double want[2 * RATIOS] = {-5.26258039, -5.26258039, -8.9601202, -2.32901502, 21.4112167,
                                     -5.26258039, -5.26258039, 3.41332722, 12.1520214,  21.4112167};
    model *m = make();
    m->scale = 4;
    answer(m, m->input, m->logits);
    pm_curves *curves = curves_of(m, m->zero);
    pm_curves_result r;
    assert_int_equal(pm_curves_run(curves, m->heat, m->logits, 1, forward, m, &r), PM_OK);
    for (size_t i = 0; i < r.row_count; i++)
        if (!(fabs(r.rows[i].lodds - want[i]) <= 1e-5))
            fail_msg("row %zu: %.9g is not %.9g", i, r.rows[i].lodds, want[i]);
    pm_curves_free(&curves);
    free(m);
}

static void a_probability_of_zero_has_no_logarithm(void **state) {
    (void)state;
    model *m = make();
    m->scale = 200; /* softmax underflows in float */
    answer(m, m->input, m->logits);
    pm_curves *curves = curves_of(m, m->zero);
    pm_curves_result r;
    assert_int_equal(pm_curves_run(curves, m->heat, m->logits, 1, forward, m, &r), PM_OK);
    assert_true(r.finite);
    assert_true(r.rows[0].p_target == 0 && !r.rows[0].has_lodds && r.rows[0].aopc == 0);
    pm_curves_free(&curves);
    free(m);
}

static void what_is_not_finite_is_said(void **state) {
    (void)state;
    model *m = make();
    m->scale = INFINITY;
    pm_curves *curves = curves_of(m, m->zero);
    pm_curves_result r;
    assert_int_equal(pm_curves_run(curves, m->heat, m->logits, 1, forward, m, &r), PM_OK);
    assert_false(r.finite);
    assert_int_equal(r.row_count, 0);
    pm_curves_free(&curves);
    free(m);
}

/* More passes than go together: each row as of a run that asks for it alone. */
static void rows_do_not_depend_on_company(void **state) {
    (void)state;
    enum { MANY = 19 };
    double all[MANY];
    model *m = make();
    pm_curves *curves = NULL, *one = NULL;
    pm_curves_result r, alone;
    for (size_t i = 0; i < MANY; i++) all[i] = (double)(i + 1) / (MANY + 1);
    assert_int_equal(pm_curves_new(PIXELS, CLASSES, all, MANY, &curves), PM_OK);
    pm_curves_begin(curves, m->input, m->replacement);
    assert_int_equal(pm_curves_run(curves, m->heat, m->logits, 1, forward, m, &r), PM_OK);
    assert_int_equal(m->passes, 2 * MANY);
    assert_true(m->passes > 3 * PM_CURVES_BATCH);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(pm_curves_new(PIXELS, CLASSES, &all[i], 1, &one), PM_OK);
        pm_curves_begin(one, m->input, m->replacement);
        assert_int_equal(pm_curves_run(one, m->heat, m->logits, 1, forward, m, &alone), PM_OK);
        for (size_t c = 0; c < PM_CURVE_COUNT; c++)
            assert_true(r.rows[c * MANY + i].p_target == alone.rows[c].p_target);
        pm_curves_free(&one);
    }
    pm_curves_free(&curves);
    free(m);
}

static pm_status refuse(void *user, pm_masked_fn next, void *from, size_t count, float *logits) {
    (void)user;
    (void)next;
    (void)from;
    (void)count;
    (void)logits;
    return PM_E_CANCELLED;
}

static void a_pass_that_fails_ends_it(void **state) {
    (void)state;
    model *m = make();
    pm_curves *curves = curves_of(m, m->zero);
    pm_curves_result r = {.row_count = 77};
    assert_int_equal(pm_curves_run(curves, m->heat, m->logits, 1, refuse, m, &r), PM_E_CANCELLED);
    assert_int_equal(r.row_count, 77);
    pm_curves_free(&curves);
    free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_heat_is_in_order_of_index_both_ways),
        cmocka_unit_test(large_maps_are_in_order),
        cmocka_unit_test(pixels_taken_are_pythons),
        cmocka_unit_test(area_is_numpys),
        cmocka_unit_test(curves_are_the_references),
        cmocka_unit_test(replaced_pixels_and_areas_are_torchs),
        cmocka_unit_test(no_tensor_is_asked_for_twice),
        cmocka_unit_test(lodds_of_a_small_probability_are_the_references),
        cmocka_unit_test(a_probability_of_zero_has_no_logarithm),
        cmocka_unit_test(what_is_not_finite_is_said),
        cmocka_unit_test(rows_do_not_depend_on_company),
        cmocka_unit_test(a_pass_that_fails_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
