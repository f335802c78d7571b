/* Activations, which statistics are made of: the oracle against PyTorch, both in double; the fast
 * engine against both on every instruction set of this CPU; the same bits whatever ran before. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "tests/engine/cases.h"
#include "worker/engine/kernels/kernels.h"

typedef struct activations {
    size_t channels, convs, classes;
    double *mean, *density, *logits;
} activations;

static const struct {
    const char *arch;
    size_t side, classes;
} nets[] = {{"resnet18", 64, 1000},
            {"vgg16", 64, 1000},    /* bias and no BatchNorm */
            {"vgg16_bn", 64, 1000}, /* bias that BatchNorm takes in */
            {"cifar_resnet20", 32, 10}};
enum { NETS = sizeof nets / sizeof *nets };

static float *make_input(const char *name, size_t side) {
    float *input = malloc(3 * side * side * sizeof *input);
    assert_non_null(input);
    pm_synth(name, 0, input, 3 * side * side);
    for (size_t i = 0; i < 3 * side * side; i++) input[i] *= 2;
    return input;
}

static double *read_doubles(const pm_weights *file, const char *name, size_t *count) {
    const pm_tensor_info *info = pm_weights_find(file, name);
    assert_non_null(info);
    float *values = malloc(info->count * sizeof *values);
    double *wide = malloc(info->count * sizeof *wide);
    assert_true(values && wide);
    assert_int_equal(pm_weights_read(file, info, values), PM_OK);
    for (size_t i = 0; i < info->count; i++) wide[i] = (double)values[i];
    free(values);
    *count = info->count;
    return wide;
}

/* What PyTorch says of nets[net]. */
static activations expected(size_t net) {
    char path[1024];
    pm_weights *file;
    activations a;
    snprintf(path, sizeof path, "%s/tests/data/engine/%s_%zu_activations.safetensors",
             getenv("PARCHMILL_SOURCE_DIR"), nets[net].arch, nets[net].side);
    if (pm_weights_open(path, &file)) fail_msg("%s", pm_error_text());
    a.mean = read_doubles(file, "mean", &a.channels);
    a.density = read_doubles(file, "density", &a.convs);
    a.logits = read_doubles(file, "logits", &a.classes);
    pm_weights_free(&file);
    return a;
}

static void drop(activations *a) {
    free(a->mean);
    free(a->density);
    free(a->logits);
}

static double relative_l2(const double *a, const double *want, size_t count) {
    double off = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        off += (a[i] - want[i]) * (a[i] - want[i]);
        all += want[i] * want[i];
    }
    return sqrt(off / all);
}

static void oracle_in_double_meets_pytorch_in_double(void **state) {
    (void)state;
    for (size_t n = 0; n < NETS; n++) {
        activations want = expected(n), got = want;
        pm_model *model;
        float *input = make_input("input/0", nets[n].side);
        if (pm_case_model_new(nets[n].arch, nets[n].classes, &model))
            fail_msg("%s", pm_error_text());
        assert_int_equal(pm_model_conv_count(model), want.convs);
        got.mean = malloc(want.channels * sizeof *got.mean);
        got.density = malloc(want.convs * sizeof *got.density);
        got.logits = malloc(want.classes * sizeof *got.logits);
        assert_true(got.mean && got.density && got.logits);
        assert_int_equal(pm_oracle_activations_f64(model, input, nets[n].side, nets[n].side,
                                                   got.mean, got.density, got.logits),
                         PM_OK);
        double mean = relative_l2(got.mean, want.mean, want.channels);
        double density = relative_l2(got.density, want.density, want.convs);
        double logits = relative_l2(got.logits, want.logits, want.classes);
        print_message("%s: mean %.1e density %.1e logits %.1e\n", nets[n].arch, mean, density,
                      logits);
        assert_true(mean <= 1e-6 && density <= 1e-6 && logits <= 1e-6);
        drop(&got);
        drop(&want);
        pm_model_free(&model);
        free(input);
    }
}

static void check_isa(const char *isa, size_t n) {
    activations want = expected(n);
    pm_model *model;
    pm_context *context;
    pm_activations got;
    float *input = make_input("input/0", nets[n].side);
    setenv("PARCHMILL_ISA", isa, 1);
    if (pm_case_model_new(nets[n].arch, nets[n].classes, &model) ||
        pm_context_new(model, nets[n].side, nets[n].side, 1, &context) ||
        pm_context_activations(context, input, &got))
        fail_msg("%s", pm_error_text());
    assert_int_equal(got.channels, want.channels);
    double *mean = malloc(want.channels * sizeof *mean), largest = 0, worst = 0;
    assert_non_null(mean);
    for (size_t i = 0; i < want.channels; i++) mean[i] = (double)got.mean[i];
    for (size_t i = 0; i < want.convs; i++) {
        double off = fabs((double)got.density[i] - want.density[i]);
        worst = off > worst ? off : worst;
    }
    double off = relative_l2(mean, want.mean, want.channels), logits = 0;
    for (size_t i = 0; i < want.classes; i++) {
        largest = fmax(largest, fabs(want.logits[i]));
        logits = fmax(logits, fabs((double)got.logits[i] - want.logits[i]));
    }
    print_message("%s %s: mean %.1e density %.1e logits %.1e\n", isa, nets[n].arch, off, worst,
                  logits / largest);
    /* Of 2048 values, the fewest that a convolution here has, one may fall on the other side of 0.
     */
    assert_true(off <= 1e-5 && worst <= 6e-4 && logits / largest <= 1e-5);
    free(mean);
    free(input);
    drop(&want);
    pm_context_free(&context);
    pm_model_free(&model);
    unsetenv("PARCHMILL_ISA");
}

static void every_isa_meets_pytorch(void **state) {
    (void)state;
    static const char *const isas[] = {"avx512", "avx2", "baseline"};
    for (size_t i = 0; i < 3; i++)
        for (size_t n = 0; n < NETS && pm_kernels_named(isas[i])->usable(); n++)
            check_isa(isas[i], n);
}

/* ---- company ---- */

static pm_status keep_sum(void *user, const pm_attribution_result *r) {
    double *sum = user;
    for (size_t i = 0; i < r->height * r->width; i++) *sum += (double)r->heat_map[i];
    return PM_OK;
}

static void numbers_do_not_depend_on_what_ran_before(void **state) {
    (void)state;
    enum { SIDE = 32, CLASSES = 10 };
    pm_model *model;
    pm_configuration *plain;
    pm_attribution attribution;
    pm_context *contexts[2];
    pm_activations a;
    double first = 0, later = 0;
    float *one = make_input("input/0", SIDE), *other = make_input("input/1", SIDE);
    pm_attribution_defaults(&attribution);
    assert_int_equal(pm_case_model_new("cifar_resnet20", CLASSES, &model), PM_OK);
    assert_int_equal(pm_configuration_new(model, &attribution, NULL, &plain), PM_OK);
    assert_int_equal(pm_context_new(model, SIDE, SIDE, 1, &contexts[0]), PM_OK);
    assert_int_equal(pm_context_new(model, SIDE, SIDE, 8, &contexts[1]), PM_OK);
    assert_int_equal(pm_context_activations(contexts[0], one, &a), PM_OK);
    const size_t convs = pm_model_conv_count(model);
    float *mean = malloc(a.channels * sizeof *mean), *density = malloc(convs * sizeof *density);
    assert_true(mean && density);
    memcpy(mean, a.mean, a.channels * sizeof *mean);
    memcpy(density, a.density, convs * sizeof *density);
    pm_request request = {.configuration = plain, .target = PM_TARGET_TOP};
    assert_int_equal(pm_context_attribute(contexts[1], one, &request, 1, keep_sum, &first), PM_OK);
    assert_int_equal(pm_context_activations(contexts[1], other, &a), PM_OK);
    assert_memory_not_equal(a.mean, mean, a.channels * sizeof *mean);
    assert_int_equal(pm_context_activations(contexts[1], one, &a), PM_OK);
    assert_memory_equal(a.mean, mean, a.channels * sizeof *mean);
    assert_memory_equal(a.density, density, convs * sizeof *density);
    assert_int_equal(pm_context_attribute(contexts[1], one, &request, 1, keep_sum, &later), PM_OK);
    assert_true(first == later && first > 0);
    for (size_t i = 0; i < 2; i++) pm_context_free(&contexts[i]);
    pm_configuration_free(&plain);
    pm_model_free(&model);
    free(mean);
    free(density);
    free(one);
    free(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oracle_in_double_meets_pytorch_in_double),
        cmocka_unit_test(every_isa_meets_pytorch),
        cmocka_unit_test(numbers_do_not_depend_on_what_ran_before),
    };
    return cmocka_run_group_tests_name("engine_activation", tests, NULL, NULL);
}
