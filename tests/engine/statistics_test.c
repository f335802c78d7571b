/* Statistics read from a file: what is refused, and what is kept. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/cases.h"
#include "tests/engine/tensor_file.h"
#include "worker/engine/statistics.h"

enum { CLASSES = 3, CONV = 18, BEFORE = 17, CHANNELS = 64 };
static const char conv_name[] = "layer3.2.conv2"; /* CONV, the last; BEFORE is layer3.2.conv1 */

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

static void statistics_read_columns_by_class_name(void **state) {
    (void)state;
    float p[CHANNELS * 2], shapiro[CHANNELS], classes[2] = {2, 0};
    for (size_t i = 0; i < CHANNELS * 2; i++) p[i] = (float)i / (CHANNELS * 2);
    for (size_t i = 0; i < CHANNELS; i++) shapiro[i] = 0;
    p[2 * 2] = NAN; /* channel 2, class 2 */
    const pm_file_tensor tensors[] = {{"welch/layer3.2.conv2", 2, {CHANNELS, 2}, p},
                                      {"shapiro/layer3.2.conv2", 1, {CHANNELS}, shapiro},
                                      {"classes", 1, {2}, classes}};
    pm_weights *file = pm_tensor_file(tensors, 3);
    pm_statistics *s;
    pm_configuration *c = NULL;
    pm_attribution a;
    pm_attribution_defaults(&a);
    assert_int_equal(pm_statistics_new(model, file, &s), PM_OK);
    pm_weights_free(&file);
    a.mask = PM_MASK_CLS;
    a.threshold_kind = PM_THRESHOLD_ALPHA;
    a.threshold = 6.5 / (CHANNELS * 2);
    strcpy(a.layers, conv_name);
    assert_int_equal(pm_configuration_new(model, &a, s, &c), PM_OK);
    uint8_t in_h[CHANNELS];
    size_t selected;
    assert_int_equal(pm_partition_select(c, CONV, 2, NULL, in_h, &selected), PM_OK);
    assert_int_equal(selected, 3); /* 0, 2, 6 of 128: channels 0, 1, 3; NaN counts as 1 */
    assert_true(in_h[0] && in_h[1] && !in_h[2] && in_h[3]);
    assert_int_equal(pm_partition_select(c, CONV, 0, NULL, in_h, &selected), PM_OK);
    assert_int_equal(selected, 3); /* 1, 3, 5 of 128 */
    assert_true(in_h[2]);
    assert_int_equal(pm_partition_select(c, CONV, 1, NULL, in_h, &selected), PM_E_NOT_FOUND);
    assert_non_null(strstr(pm_error_text(), "class 1"));
    pm_configuration_free(&c);
    /* a layer, and a test, that the file lacks */
    strcpy(a.layers, "conv1");
    assert_int_equal(pm_configuration_new(model, &a, s, &c), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "conv1"));
    strcpy(a.layers, conv_name);
    a.test = PM_TEST_STUDENT;
    assert_int_equal(pm_configuration_new(model, &a, s, &c), PM_E_USAGE);
    assert_null(c);
    pm_statistics_free(&s);
}

static void statistics_without_classes_are_read_for_ins(void **state) {
    (void)state;
    float mean[CHANNELS] = {0}, std[CHANNELS], shapiro[CHANNELS] = {0};
    pm_file_tensor t[] = {{"mean/layer3.2.conv2", 1, {CHANNELS}, mean},
                          {"std/layer3.2.conv2", 1, {CHANNELS}, std},
                          {"shapiro/layer3.2.conv2", 1, {CHANNELS}, shapiro}};
    for (size_t i = 0; i < CHANNELS; i++) std[i] = 2;
    pm_weights *file = pm_tensor_file(t, 3);
    pm_statistics *s;
    pm_configuration *c = NULL;
    pm_attribution a;
    pm_attribution_defaults(&a);
    a.mask = PM_MASK_INS;
    strcpy(a.layers, conv_name);
    assert_int_equal(pm_statistics_new(model, file, &s), PM_OK);
    assert_int_equal(pm_configuration_new(model, &a, s, &c), PM_OK);
    pm_configuration_free(&c);
    a.mask = PM_MASK_CLS;
    assert_int_equal(pm_configuration_new(model, &a, s, &c), PM_E_USAGE);
    assert_null(c);
    pm_statistics_free(&s);
    pm_weights_free(&file);
}

static pm_status statistics_of(const pm_file_tensor *tensors, size_t count) {
    pm_weights *file = pm_tensor_file(tensors, count);
    pm_statistics *s = NULL;
    pm_status status = pm_statistics_new(model, file, &s);
    if (status) assert_null(s);
    pm_statistics_free(&s);
    pm_weights_free(&file);
    return status;
}

static void malformed_statistics_are_refused(void **state) {
    (void)state;
    float twice[2] = {1, 1}, beyond[2] = {0, 3}, large[CHANNELS] = {2};
    const pm_file_tensor welch = {"welch/layer3.2.conv2", 2, {CHANNELS, 2}, NULL},
                         shapiro = {"shapiro/layer3.2.conv2", 1, {CHANNELS}, NULL};
    pm_file_tensor t[3] = {welch, shapiro, {"classes", 1, {2}, twice}};
    assert_int_equal(statistics_of(t, 3), PM_E_FORMAT);
    t[2].values = beyond;
    assert_int_equal(statistics_of(t, 3), PM_E_MISMATCH);
    t[2].shape[0] = 1;
    assert_int_equal(statistics_of(t, 3), PM_E_MISMATCH); /* one class, two columns */
    assert_non_null(strstr(pm_error_text(), "welch/layer3.2.conv2"));
    assert_int_equal(statistics_of(t, 2), PM_E_MISMATCH); /* two columns, three classes */
    t[0].shape[1] = CLASSES;
    assert_int_equal(statistics_of(t, 2), PM_OK);
    t[1].values = large;
    assert_int_equal(statistics_of(t, 2), PM_E_FORMAT);
    assert_non_null(strstr(pm_error_text(), "outside 0..1"));
    assert_int_equal(statistics_of(t, 1), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "shapiro/layer3.2.conv2"));
    t[1].values = NULL;
    assert_int_equal(statistics_of(t + 1, 1), PM_E_MISMATCH); /* decides nothing for any mask */
    assert_non_null(strstr(pm_error_text(), "mean/"));
    float mean[CHANNELS] = {0}, std[CHANNELS] = {0};
    pm_file_tensor m[] = {{"mean/layer3.2.conv2", 1, {CHANNELS}, mean},
                          {"std/layer3.2.conv2", 1, {CHANNELS}, std},
                          {"shapiro/layer3.2.conv2", 1, {CHANNELS}, NULL}};
    assert_int_equal(statistics_of(m, 3), PM_OK);
    assert_int_equal(statistics_of(m, 2), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'shapiro/layer3.2.conv2'"));
    assert_int_equal(statistics_of(m + 1, 2), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'mean/layer3.2.conv2'"));
    std[5] = -1;
    assert_int_equal(statistics_of(m, 3), PM_E_FORMAT);
    assert_non_null(strstr(pm_error_text(), "channel 5"));
    std[5] = INFINITY;
    assert_int_equal(statistics_of(m, 3), PM_E_FORMAT);
    std[5] = 0, mean[6] = NAN;
    assert_int_equal(statistics_of(m, 3), PM_E_FORMAT);
}

/* ---- of some attributions alone ---- */

/* Both tests of the last two convolutions; welch of layer3.2.conv1 counts down. */
static float p_values[CHANNELS * CLASSES], p_downwards[CHANNELS * CLASSES];
static pm_file_tensor two_layers[] = {
    {"shapiro/layer3.2.conv1", 1, {CHANNELS}, NULL},
    {"shapiro/layer3.2.conv2", 1, {CHANNELS}, NULL},
    {"welch/layer3.2.conv2", 2, {CHANNELS, CLASSES}, p_values},
    {"student/layer3.2.conv1", 2, {CHANNELS, CLASSES}, p_values},
    {"student/layer3.2.conv2", 2, {CHANNELS, CLASSES}, p_downwards},
    {"welch/layer3.2.conv1", 2, {CHANNELS, CLASSES}, p_downwards},
};
enum { TWO_LAYERS = sizeof two_layers / sizeof *two_layers };

static void fill_p_values(void) {
    for (size_t i = 0; i < CHANNELS * CLASSES; i++) {
        p_values[i] = (float)i / (CHANNELS * CLASSES);
        p_downwards[i] = 1 - p_values[i];
    }
}

static pm_attribution hooks(pm_mask mask, pm_test test, const char *layers) {
    pm_attribution a;
    pm_attribution_defaults(&a);
    a.mask = mask;
    a.test = test;
    strcpy(a.layers, layers);
    return a;
}

/* What the first `count` tensors of two_layers give for one attribution, or for none (NULL). */
static pm_status read_for(const pm_attribution *a, size_t count, pm_statistics **out) {
    pm_weights *file = pm_tensor_file(two_layers, count);
    pm_status status = pm_statistics_new_for(model, file, &a, a ? 1 : 0, out);
    pm_weights_free(&file);
    return status;
}

static void p_values_are_kept_where_somebody_compares_them(void **state) {
    (void)state;
    const pm_attribution a = hooks(PM_MASK_CLS, PM_TEST_WELCH, "layer3.2.conv2"),
                         b = hooks(PM_MASK_CLS, PM_TEST_STUDENT, "layer3.2.conv1"),
                         off = hooks(PM_MASK_OFF, PM_TEST_STUDENT, "layer3.2.*"),
                         ins = hooks(PM_MASK_INS, PM_TEST_STUDENT, "layer3.2.*"),
                         wrong = hooks(PM_MASK_CLS, PM_TEST_STUDENT, "layer3.2.*,layer9.*");
    const pm_attribution *const all[] = {&a, &off, &ins, &wrong, &b};
    pm_statistics *some, *whole;
    fill_p_values();
    pm_weights *file = pm_tensor_file(two_layers, TWO_LAYERS);
    assert_int_equal(pm_statistics_new_for(model, file, all, 5, &some), PM_OK);
    assert_int_equal(pm_statistics_new(model, file, &whole), PM_OK);
    pm_weights_free(&file);
    for (int t = 0; t < PM_TEST_COUNT; t++)
        for (size_t conv = 0; conv < pm_model_conv_count(model); conv++) {
            const bool there = conv == CONV || conv == BEFORE,
                       wanted = conv == (t == PM_TEST_WELCH ? CONV : BEFORE);
            assert_int_equal(pm_statistics_has(whole, conv, (pm_test)t), there);
            assert_int_equal(pm_statistics_has(some, conv, (pm_test)t), wanted);
            for (size_t k = 0; k < CLASSES && wanted; k++) {
                const float *x, *y;
                assert_int_equal(pm_statistics_class(some, conv, (pm_test)t, k, &x), PM_OK);
                assert_int_equal(pm_statistics_class(whole, conv, (pm_test)t, k, &y), PM_OK);
                assert_memory_equal(x, y, CHANNELS * sizeof *x);
            }
        }
    pm_statistics_free(&some);
    pm_statistics_free(&whole);
}

static void what_is_not_kept_is_refused_as_what_is_not_there(void **state) {
    (void)state;
    const pm_attribution first = hooks(PM_MASK_CLS, PM_TEST_WELCH, "conv1"),
                         last = hooks(PM_MASK_CLS, PM_TEST_WELCH, conv_name);
    pm_configuration *c = NULL;
    pm_statistics *s;
    char lacking[256];
    fill_p_values();
    /* The file has p-values, but none that are asked for: it is the configuration that is wrong. */
    assert_int_equal(read_for(&first, TWO_LAYERS, &s), PM_OK);
    assert_int_equal(pm_configuration_new(model, &first, s, &c), PM_E_USAGE);
    assert_string_equal(pm_error_text(), "configuration: the statistics have no welch p-values for "
                                         "hooked layer conv1");
    assert_int_equal(pm_configuration_new(model, &last, s, &c), PM_E_USAGE);
    strcpy(lacking, pm_error_text());
    pm_statistics_free(&s);
    assert_int_equal(read_for(&last, TWO_LAYERS, &s), PM_OK);
    assert_int_equal(pm_configuration_new(model, &last, s, &c), PM_OK);
    pm_configuration_free(&c);
    pm_statistics_free(&s);
    assert_int_equal(read_for(&last, 2, &s), PM_E_MISMATCH); /* shapiro alone decides nothing */
    assert_non_null(strstr(pm_error_text(), "holds no statistics"));
    assert_string_equal(lacking, "configuration: the statistics have no welch p-values for hooked "
                                 "layer layer3.2.conv2");
    assert_int_equal(read_for(NULL, TWO_LAYERS, &s), PM_OK);
    assert_false(pm_statistics_has(s, CONV, PM_TEST_WELCH));
    pm_statistics_free(&s);
}

static void the_rest_of_a_file_is_checked_by_its_shapes(void **state) {
    (void)state;
    const pm_attribution last = hooks(PM_MASK_CLS, PM_TEST_WELCH, conv_name),
                         before = hooks(PM_MASK_CLS, PM_TEST_WELCH, "layer3.2.conv1");
    pm_file_tensor *other = &two_layers[TWO_LAYERS - 1];
    pm_statistics *s = NULL;
    fill_p_values();
    p_downwards[5] = 2;
    assert_int_equal(read_for(&last, TWO_LAYERS, &s), PM_OK); /* nobody looks at it */
    pm_statistics_free(&s);
    assert_int_equal(read_for(&before, TWO_LAYERS, &s), PM_E_FORMAT);
    assert_non_null(strstr(pm_error_text(), "welch p-value of layer3.2.conv1 is 2"));
    other->shape[1]--;
    assert_int_equal(read_for(&last, TWO_LAYERS, &s), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'welch/layer3.2.conv1'"));
    other->shape[1]++;
    strcpy(other->name, "welch/layer3.1.conv1");
    assert_int_equal(read_for(&last, TWO_LAYERS, &s), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'shapiro/layer3.1.conv1' is missing"));
    strcpy(other->name, "welch/layer3.2.conv1");
    assert_null(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_read_columns_by_class_name),
        cmocka_unit_test(statistics_without_classes_are_read_for_ins),
        cmocka_unit_test(malformed_statistics_are_refused),
        cmocka_unit_test(p_values_are_kept_where_somebody_compares_them),
        cmocka_unit_test(what_is_not_kept_is_refused_as_what_is_not_there),
        cmocka_unit_test(the_rest_of_a_file_is_checked_by_its_shapes),
    };
    return cmocka_run_group_tests_name("engine_statistics", tests, make_model, drop_model);
}
