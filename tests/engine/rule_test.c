/* The rule apart from gradients: layers, the choice of H, the scales. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "tests/engine/cases.h"

enum { CLASSES = 3, CONV = 18, CHANNELS = 64 }; /* layer3.2.conv2, the last */
static const char conv_name[] = "layer3.2.conv2";

static pm_model *model;

static int make_model(void **state) {
    (void)state;
    return pm_case_model_new("cifar_resnet20", CLASSES, &model) == PM_OK ? 0 : -1;
}

static int drop_model(void **state) {
    (void)state;
    pm_model_free(&model);
    return 0;
}

static size_t hooked(const char *layers, size_t *first) {
    bool hit[64];
    size_t count = 0;
    if (pm_layers_select(model, layers, hit)) return 0;
    for (size_t i = pm_model_conv_count(model); i-- > 0;)
        if (hit[i]) count++, *first = i;
    return count;
}

static void layers_are_chosen_by_ratio_name_and_glob(void **state) {
    (void)state;
    size_t first;
    assert_int_equal(pm_model_conv_count(model), 19);
    assert_string_equal(pm_model_conv(model, CONV)->name, conv_name);
    assert_int_equal(hooked("default", &first), 9);
    assert_int_equal(first, 10);
    assert_int_equal(hooked("ratio:0.3", &first), 5); /* floor(5.7) */
    assert_int_equal(first, 14);
    assert_int_equal(hooked("ratio:1", &first), 19);
    assert_int_equal(hooked("conv1", &first), 1);
    assert_int_equal(first, 0);
    assert_int_equal(hooked("layer2.*.conv1, layer3.0.conv[12]", &first), 5);
    assert_int_equal(first, 7);
}

static void layers_that_name_nothing_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *layers, *says;
    } bad[] = {{"conv1,layer9.*", "'layer9.*'"},
               {"", "''"},
               {"conv1,", "''"},
               {"bn1", "'bn1'"},
               {"ratio:0", "(0, 1]"},
               {"ratio:1.5", "(0, 1]"},
               {"ratio:x", "ratio"},
               {"ratio:0.01", "none"},
               {"Default", "'Default'"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bool hit[64];
        assert_int_equal(pm_layers_select(model, bad[i].layers, hit), PM_E_USAGE);
        assert_non_null(strstr(pm_error_text(), bad[i].says));
    }
}

/* Statistics of one convolution; p_class [CHANNELS][CLASSES]. */
static pm_configuration *configure(pm_attribution *a, pm_statistics **s, const float *p_class,
                                   const float *shapiro) {
    pm_configuration *c = NULL;
    a->mask = PM_MASK_CLS;
    strcpy(a->layers, conv_name);
    assert_int_equal(pm_statistics_new_empty(model, s), PM_OK);
    assert_int_equal(pm_statistics_set(*s, CONV, PM_TEST_WELCH, p_class, shapiro), PM_OK);
    assert_int_equal(pm_configuration_new(model, a, *s, &c), PM_OK);
    return c;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void quantile_takes_the_kth_smallest_p_of_all_channels(void **state) {
    (void)state;
    static const double quantiles[] = {1e-9, 0.015, 0.05, 0.1, 0.29, 0.5, 0.999, 1};
    float p[CHANNELS * CLASSES], shapiro[CHANNELS], column[CHANNELS];
    pm_synth("p", 0, p, CHANNELS * CLASSES);
    pm_synth("w", 0, shapiro, CHANNELS);
    for (size_t i = 0; i < CHANNELS * CLASSES; i++) p[i] = (p[i] + 1) / 2;
    for (size_t i = 0; i < CHANNELS; i++) shapiro[i] = (shapiro[i] + 1) / 2;
    for (size_t i = 0; i < 12; i++) p[i * CLASSES + 1] = i < 6 ? 0 : 1e-42f; /* ties, subnormal */
    for (size_t q = 0; q < sizeof quantiles / sizeof quantiles[0]; q++) {
        pm_attribution a;
        pm_attribution_defaults(&a);
        a.threshold = quantiles[q];
        a.p_value_threshold = 0.7;
        pm_statistics *s;
        pm_configuration *c = configure(&a, &s, p, shapiro);
        for (size_t y = 0; y < CLASSES; y++) {
            for (size_t i = 0; i < CHANNELS; i++) column[i] = p[i * CLASSES + y];
            qsort(column, CHANNELS, sizeof *column, by_value);
            size_t k = (size_t)(CHANNELS * quantiles[q]), want = 0, selected;
            float alpha = column[k ? k - 1 : 0];
            uint8_t in_h[CHANNELS], expected[CHANNELS];
            for (size_t i = 0; i < CHANNELS; i++)
                want += expected[i] = p[i * CLASSES + y] <= alpha && shapiro[i] < 0.7f;
            if (want == 0) memset(expected, 1, sizeof expected), want = CHANNELS;
            assert_int_equal(pm_partition_select(c, CONV, y, NULL, in_h, &selected), PM_OK);
            assert_int_equal(selected, want);
            assert_memory_equal(in_h, expected, CHANNELS);
        }
        pm_configuration_free(&c);
        pm_statistics_free(&s);
    }
}

/* 0.3f is above 0.3 and 0.7f below 0.7: in double, a p of 0.3f would be out and a shapiro p of 0.7f
 * in. */
static void thresholds_are_compared_in_float32(void **state) {
    (void)state;
    float p[CHANNELS * CLASSES], shapiro[CHANNELS];
    for (size_t i = 0; i < CHANNELS * CLASSES; i++) p[i] = 0.9f;
    for (size_t i = 0; i < CHANNELS; i++) shapiro[i] = 0.01f;
    p[0] = p[1 * CLASSES] = 0.3f;
    p[2 * CLASSES] = nextafterf(0.3f, 1);
    shapiro[1] = 0.7f;
    pm_attribution a;
    pm_attribution_defaults(&a);
    a.threshold_kind = PM_THRESHOLD_ALPHA;
    a.threshold = 0.3;
    a.p_value_threshold = 0.7;
    pm_statistics *s;
    pm_configuration *c = configure(&a, &s, p, shapiro);
    uint8_t in_h[CHANNELS];
    size_t selected;
    assert_int_equal(pm_partition_select(c, CONV, 0, NULL, in_h, &selected), PM_OK);
    assert_int_equal(selected, 1);
    assert_int_equal(in_h[0], 1);
    /* nobody of class 2 passes: H is all */
    assert_int_equal(pm_partition_select(c, CONV, 2, NULL, in_h, &selected), PM_OK);
    assert_int_equal(selected, CHANNELS);
    pm_configuration_free(&c);
    pm_statistics_free(&s);
}

/* ---- mask ins ---- */

/* Scores of CHANNELS channels decide: activation z, mean 0, std 1 but where `flat`, Shapiro-Wilk p
 * 0. */
static size_t select_ins(pm_attribution *a, const double *z, const bool *flat, uint8_t *in_h) {
    float mean[CHANNELS] = {0}, std[CHANNELS], shapiro[CHANNELS] = {0};
    double scores[CHANNELS];
    pm_statistics *s;
    pm_configuration *c = NULL;
    size_t selected;
    for (size_t i = 0; i < CHANNELS; i++) std[i] = flat && flat[i] ? 0 : 1;
    a->mask = PM_MASK_INS;
    strcpy(a->layers, conv_name);
    assert_int_equal(pm_statistics_new_empty(model, &s), PM_OK);
    assert_int_equal(pm_statistics_set(s, CONV, PM_TEST_WELCH, NULL, shapiro), PM_OK);
    assert_int_equal(pm_configuration_new(model, a, s, &c), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), conv_name));
    assert_int_equal(pm_statistics_set_moments(s, CONV, mean, std), PM_OK);
    if (pm_configuration_new(model, a, s, &c)) fail_msg("%s", pm_error_text());
    memcpy(scores, z, sizeof scores);
    pm_partition_score(c, CONV, scores);
    assert_int_equal(pm_partition_select(c, CONV, 0, scores, in_h, &selected), PM_OK);
    pm_configuration_free(&c);
    pm_statistics_free(&s);
    return selected;
}

static void scores_are_distances_from_the_mean_in_deviations(void **state) {
    (void)state;
    float mean[CHANNELS], std[CHANNELS], shapiro[CHANNELS] = {0};
    double z[CHANNELS];
    pm_statistics *s;
    pm_configuration *c = NULL;
    pm_attribution a;
    pm_attribution_defaults(&a);
    a.mask = PM_MASK_INS;
    strcpy(a.layers, conv_name);
    for (size_t i = 0; i < CHANNELS; i++) {
        mean[i] = (float)i / 8;
        std[i] = i % 4 == 3 ? 0 : (float)(i % 4 + 1) / 2;
        z[i] = 3;
    }
    std[8] = NAN; /* one image has no deviation */
    assert_int_equal(pm_statistics_new_empty(model, &s), PM_OK);
    assert_int_equal(pm_statistics_set(s, CONV, PM_TEST_WELCH, NULL, shapiro), PM_OK);
    assert_int_equal(pm_statistics_set_moments(s, CONV, mean, std), PM_OK);
    assert_int_equal(pm_configuration_new(model, &a, s, &c), PM_OK);
    pm_partition_score(c, CONV, z);
    for (size_t i = 0; i < CHANNELS; i++) {
        if (i % 4 == 3 || i == 8)
            assert_true(isnan(z[i]));
        else
            assert_true(z[i] == (3 - (double)i / 8) / ((double)(i % 4 + 1) / 2));
    }
    pm_configuration_free(&c);
    pm_statistics_free(&s);
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The reference's -z < (-z)_(k): the k - 1 largest z, and fewer where they tie. */
static void ins_takes_fewer_than_k_by_rank(void **state) {
    (void)state;
    static const double quantiles[] = {1e-9, 0.016, 0.05, 0.1, 0.29, 0.5, 0.999, 1};
    float draws[CHANNELS];
    double z[CHANNELS], sorted[CHANNELS];
    uint8_t in_h[CHANNELS];
    pm_synth("z", 0, draws, CHANNELS);
    for (size_t i = 0; i < CHANNELS; i++) z[i] = 3 * (double)draws[i];
    for (size_t i = 0; i < 12; i++) z[i] = 40 + (double)i; /* their tails all underflow to 0 */
    for (size_t i = 20; i < 26; i++) z[i] = 1;             /* ties */
    z[30] = 0, z[31] = -0.0;
    memcpy(sorted, z, sizeof z);
    qsort(sorted, CHANNELS, sizeof *sorted, descending);
    for (size_t q = 0; q < sizeof quantiles / sizeof quantiles[0]; q++) {
        pm_attribution a;
        pm_attribution_defaults(&a);
        a.threshold = quantiles[q];
        size_t k = (size_t)(CHANNELS * quantiles[q]), want = 0;
        double limit = sorted[k ? k - 1 : 0];
        size_t selected = select_ins(&a, z, NULL, in_h);
        for (size_t i = 0; i < CHANNELS; i++) {
            assert_int_equal(in_h[i], -z[i] < -limit);
            want += -z[i] < -limit;
        }
        assert_int_equal(selected, want);
    }
}

/* Upper tails of the normal distribution, from its table: 1 - Phi(1.6448536) = 0.05 and so on. */
static void ins_by_alpha_compares_the_upper_tail(void **state) {
    (void)state;
    double z[CHANNELS];
    uint8_t in_h[CHANNELS];
    pm_attribution a;
    pm_attribution_defaults(&a);
    a.threshold_kind = PM_THRESHOLD_ALPHA;
    static const struct {
        double alpha, z;
    } table[] = {{0.5, 0},
                 {0.05, 1.6448536269514722},
                 {0.01, 2.3263478740408408},
                 {1e-3, 3.0902323061678132},
                 {0.9, -1.2815515655446004}};
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        for (size_t i = 0; i < CHANNELS; i++) z[i] = table[t].z + ((double)i - 31.5) * 1e-6;
        a.threshold = table[t].alpha;
        assert_int_equal(select_ins(&a, z, NULL, in_h), CHANNELS / 2);
        for (size_t i = 0; i < CHANNELS; i++) assert_int_equal(in_h[i], i >= CHANNELS / 2);
    }
    a.threshold = 1; /* strictly below 1: every finite score but those that round to 1 */
    assert_int_equal(select_ins(&a, z, NULL, in_h), CHANNELS);
}

static void ins_may_find_nobody_and_never_a_flat_channel(void **state) {
    (void)state;
    double z[CHANNELS];
    bool flat[CHANNELS] = {false};
    uint8_t in_h[CHANNELS];
    pm_attribution a;
    pm_attribution_defaults(&a);
    for (size_t i = 0; i < CHANNELS; i++) z[i] = (double)(i % 8);
    a.threshold_kind = PM_THRESHOLD_ALPHA;
    a.threshold = 0;
    assert_int_equal(select_ins(&a, z, NULL, in_h), 0);
    for (size_t i = 0; i < CHANNELS; i++) assert_int_equal(in_h[i], 0);
    a.threshold = 1;
    for (size_t i = 0; i < CHANNELS; i++) flat[i] = i % 8 == 7; /* the largest */
    assert_int_equal(select_ins(&a, z, flat, in_h), CHANNELS - CHANNELS / 8);
    a.threshold_kind = PM_THRESHOLD_QUANTILE; /* eight rank behind everybody */
    a.threshold = 9.0 / CHANNELS;
    assert_int_equal(select_ins(&a, z, flat, in_h), CHANNELS / 8);
    for (size_t i = 0; i < CHANNELS; i++) assert_int_equal(in_h[i], i % 8 == 6);
}

static bool near(double a, double b) { return fabs(a - b) < 1e-12; }

static void scales_conserve_the_variance_they_say(void **state) {
    (void)state;
    double m = 3, n = 5;
    pm_attribution a;
    pm_attribution_defaults(&a);
    pm_partition_scales s = pm_partition_scale(&a, m, n);
    assert_true(near(s.scale_h * s.scale_h * m, m + n));
    assert_true(s.scale_l == 0);
    a.variance_conservation = false;
    s = pm_partition_scale(&a, m, n);
    assert_true(s.scale_h == 1 && s.scale_l == 0 && s.beta == 1);
    a.gamma = 2;
    s = pm_partition_scale(&a, m, n); /* gamma hat = 2 sqrt(5/3) */
    assert_true(near(s.scale_h * s.scale_h, 4.0 * 5 / 3));
    assert_true(s.scale_l == 1);
    a.variance_conservation = true;
    s = pm_partition_scale(&a, m, n);
    assert_true(near(s.scale_h * s.scale_h * m + s.scale_l * s.scale_l * n, m + n));
    assert_true(near(s.scale_h / s.scale_l, 2 * sqrt(n / m)));
    a.exact = true;
    a.variance_conservation = false; /* which exact ignores */
    s = pm_partition_scale(&a, m, n);
    assert_true(near(s.scale_h, 2 * sqrt(n / m)));
    assert_true(s.scale_l == 1);
}

static void values_out_of_range_are_refused(void **state) {
    (void)state;
    pm_attribution good, a;
    pm_configuration *c = NULL;
    pm_statistics *s;
    pm_attribution_defaults(&good);
    assert_int_equal(pm_configuration_new(model, &good, NULL, &c), PM_OK);
    assert_int_equal(pm_configuration_hook_count(c), 9);
    assert_int_equal(pm_configuration_hook(c, 0), 10);
    pm_configuration_free(&c);
    good.mask = PM_MASK_CLS;
    assert_int_equal(pm_configuration_new(model, &good, NULL, &c), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "needs statistics"));
    assert_int_equal(pm_statistics_new_empty(model, &s), PM_OK);
#define REFUSED(CHANGE)                                                                            \
    do {                                                                                           \
        a = good;                                                                                  \
        CHANGE;                                                                                    \
        assert_int_equal(pm_configuration_new(model, &a, s, &c), PM_E_USAGE);                      \
        assert_null(c);                                                                            \
    } while (0)
    REFUSED(a.threshold = 0);
    REFUSED(a.threshold = 1.01);
    REFUSED(a.threshold = NAN);
    REFUSED((a.threshold_kind = PM_THRESHOLD_ALPHA, a.threshold = -0.1));
    REFUSED(a.p_value_threshold = -1);
    REFUSED(a.p_value_threshold = NAN);
    REFUSED(a.gamma = 0);
    REFUSED(a.gamma = NAN);
    REFUSED(a.gamma = 1e200);
    REFUSED(a.layers[0] = '\0');
    REFUSED(memset(a.layers, 'x', sizeof a.layers));
    REFUSED((void)0); /* empty statistics cover no hooked layer */
    pm_statistics_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_chosen_by_ratio_name_and_glob),
        cmocka_unit_test(layers_that_name_nothing_are_refused_by_name),
        cmocka_unit_test(quantile_takes_the_kth_smallest_p_of_all_channels),
        cmocka_unit_test(thresholds_are_compared_in_float32),
        cmocka_unit_test(scores_are_distances_from_the_mean_in_deviations),
        cmocka_unit_test(ins_takes_fewer_than_k_by_rank),
        cmocka_unit_test(ins_by_alpha_compares_the_upper_tail),
        cmocka_unit_test(ins_may_find_nobody_and_never_a_flat_channel),
        cmocka_unit_test(scales_conserve_the_variance_they_say),
        cmocka_unit_test(values_out_of_range_are_refused),
    };
    return cmocka_run_group_tests_name("engine_rule", tests, make_model, drop_model);
}
