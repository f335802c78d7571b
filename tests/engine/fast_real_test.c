/* Real weights and photographs, where env PARCHMILL_DATA points at them: the fast engine against
 * what PyTorch said of ResNet18 in double, five configurations of each image in one batch, on
 * every instruction set that this CPU has. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parchgrad.h"
#include "tests/engine/data_file.h"
#include "worker/engine/kernels/kernels.h"

enum { SIDE = 224, PIXELS = SIDE * SIDE, CLASSES = 1000, FORMS = 5, IMAGES = 3 };

static const char *const folders[FORMS] = {"off", "cls_q0.1", "ins_q0.1", "cls_q0.1_ig",
                                           "cls_q0.05_novc_ratio0.5"};
static const struct {
    const char *name;
    int label;
} images[IMAGES] = {{"n01768244_n01768244_0", 69},
                    {"n02364673_n02364673_17", 338},
                    {"n02999410_n02999410_34", 488}};

typedef struct expected {
    const pm_model *model;
    const char *image;
    size_t given;
    double distance[FORMS];
} expected;

static void compare_layers(const pm_model *model, const pm_weights *want,
                           const pm_attribution_result *r, double heat) {
    const double limit = 20 * (heat > 1e-6 ? heat : 1e-6);
    for (size_t i = 0; i < r->layer_count; i++) {
        const pm_layer_gradient *l = &r->layers[i];
        const char *conv = pm_model_conv(model, l->conv)->name;
        char name[160];
        snprintf(name, sizeof name, "layer/%s/h_double", conv);
        float *h = read_tensor(want, name, l->channels);
        snprintf(name, sizeof name, "layer/%s/m_n_numh_scaleh_scalel_double", conv);
        float *scales = read_tensor(want, name, 5);
        for (size_t c = 0; c < l->channels; c++) assert_int_equal(l->in_h[c], h[c] != 0);
        assert_int_equal(l->partitioned, !isnan(scales[0]));
        if (l->partitioned) {
            assert_true(fabs(l->m / (double)scales[0] - 1) < limit);
            assert_true(fabs(l->n / (double)scales[1] - 1) < limit);
            assert_true(fabs(l->scale_h / (double)scales[3] - 1) < limit);
        }
        free(h);
        free(scales);
    }
}

static pm_status compare(void *user, const pm_attribution_result *r) {
    expected *e = user;
    char path[256];
    snprintf(path, sizeof path, "expected/resnet18_tiny/%s/%s.safetensors", folders[r->request],
             e->image);
    pm_weights *want = open_data(path);
    float *heat = read_tensor(want, "heatmap_double", PIXELS);
    float *logits = read_tensor(want, "logits", CLASSES);
    double off = 0, all = 0, largest = 0, logit_off = 0;
    for (size_t i = 0; i < PIXELS; i++) {
        off += pow((double)r->heat_map[i] - (double)heat[i], 2);
        all += pow((double)heat[i], 2);
    }
    for (size_t i = 0; i < CLASSES; i++) {
        largest = fmax(largest, fabs((double)logits[i]));
        logit_off = fmax(logit_off, fabs((double)r->logits[i] - (double)logits[i]));
    }
    const double distance = sqrt(off / all);
    e->distance[r->request] = distance;
    assert_true(distance <= 5e-2);
    assert_true(logit_off / largest <= 1e-5);
    if (r->request > 0) compare_layers(e->model, want, r, distance);
    free(heat);
    free(logits);
    pm_weights_free(&want);
    e->given++;
    return PM_OK;
}

static void make_configurations(const pm_model *model, pm_statistics *statistics,
                                pm_configuration **forms) {
    pm_attribution a;
    pm_attribution_defaults(&a);
    for (size_t i = 0; i < FORMS; i++) {
        a.mask = i == 0 ? PM_MASK_OFF : i == 2 ? PM_MASK_INS : PM_MASK_CLS;
        a.method = i == 3 ? PM_METHOD_IG : PM_METHOD_GRAD;
        if (i == 4) {
            a.threshold = 0.05;
            a.variance_conservation = false;
            strcpy(a.layers, "ratio:0.5");
        }
        if (pm_configuration_new(model, &a, statistics, &forms[i])) fail_msg("%s", pm_error_text());
    }
}

static void run_isa(const char *isa, const pm_weights *weights, const pm_weights *tensors) {
    pm_model *model = NULL;
    pm_statistics *statistics = NULL;
    pm_configuration *forms[FORMS];
    pm_context *context;
    setenv("PARCHMILL_ISA", isa, 1);
    if (pm_model_new("resnet18", weights, &model) || pm_statistics_new(model, tensors, &statistics))
        fail_msg("%s", pm_error_text());
    make_configurations(model, statistics, forms);
    assert_int_equal(pm_context_new(model, SIDE, SIDE, FORMS, &context), PM_OK);
    for (size_t i = 0; i < IMAGES; i++) {
        char path[256];
        snprintf(path, sizeof path, "expected/resnet18_tiny/off/%s.safetensors", images[i].name);
        pm_weights *source = open_data(path);
        float *input = read_tensor(source, "input", 3 * PIXELS);
        expected e = {.model = model, .image = images[i].name};
        pm_request requests[FORMS];
        for (size_t k = 0; k < FORMS; k++)
            requests[k] = (pm_request){.configuration = forms[k], .target = images[i].label};
        if (pm_context_attribute(context, input, requests, FORMS, compare, &e))
            fail_msg("%s", pm_error_text());
        assert_int_equal(e.given, FORMS);
        print_message("%s %s: %.1e %.1e %.1e %.1e %.1e\n", isa, images[i].name, e.distance[0],
                      e.distance[1], e.distance[2], e.distance[3], e.distance[4]);
        free(input);
        pm_weights_free(&source);
    }
    pm_context_free(&context);
    for (size_t i = 0; i < FORMS; i++) pm_configuration_free(&forms[i]);
    pm_statistics_free(&statistics);
    pm_model_free(&model);
    unsetenv("PARCHMILL_ISA");
}

static void photographs_meet_pytorch_on_every_isa(void **state) {
    (void)state;
    if (getenv("PARCHMILL_DATA") == NULL) skip();
    static const char *const isas[] = {"avx512", "avx2", "baseline"};
    pm_weights *weights = open_data("weights/resnet18.pth");
    pm_weights *tensors = open_data("expected/resnet18_tiny_stats.safetensors");
    for (size_t i = 0; i < 3; i++)
        if (pm_kernels_named(isas[i])->usable()) run_isa(isas[i], weights, tensors);
    pm_weights_free(&weights);
    pm_weights_free(&tensors);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(photographs_meet_pytorch_on_every_isa)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
