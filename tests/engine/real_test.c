/* Real weights and photographs, where env PARCHMILL_DATA points at them: the oracle in double
 * against what PyTorch said of ResNet18 over them, and that shipped checkpoints fit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/data_file.h"
#include "worker/engine/model.h"
#include "worker/engine/oracle/oracle.h"

static void shipped_cifar_checkpoint_is_cifar_resnet20_only(void **state) {
    (void)state;
    pm_weights *weights = open_data("weights/cifar_resnet20.th");
    for (size_t i = 0; i < pm_arch_count(); i++) {
        const pm_arch_info *info = pm_arch_at(i);
        bool fits = pm_arch_check(info, weights) == PM_OK;
        assert_int_equal(fits, strcmp(info->name, "cifar_resnet20") == 0);
    }
    pm_weights_free(&weights);
}

static void compare_layers(const pm_model *model, const pm_weights *want,
                           const pm_oracle_result *r) {
    for (size_t i = 0; i < r->layer_count; i++) {
        const pm_oracle_layer *layer = &r->layers[i];
        char name[160];
        const char *conv = pm_model_conv(model, layer->conv)->name;
        snprintf(name, sizeof name, "layer/%s/h_double", conv);
        float *h = read_tensor(want, name, layer->channels);
        snprintf(name, sizeof name, "layer/%s/m_n_numh_scaleh_scalel_double", conv);
        float *scales = read_tensor(want, name, 5);
        for (size_t c = 0; c < layer->channels; c++) assert_int_equal(layer->in_h[c], h[c] != 0);
        assert_int_equal(layer->selected, (size_t)scales[2]);
        assert_int_equal(layer->partitioned, !isnan(scales[0]));
        if (layer->partitioned) {
            assert_true(fabs(layer->m / (double)scales[0] - 1) < 1e-6);
            assert_true(fabs(layer->n / (double)scales[1] - 1) < 1e-6);
            assert_true(fabs(layer->scale_h / (double)scales[3] - 1) < 1e-6);
            assert_true(fabs(layer->scale_l - (double)scales[4]) < 1e-6);
        }
        free(h);
        free(scales);
    }
}

enum { SIDE = 224, CLASSES = 1000 };

static void check_one(const pm_model *model, const pm_statistics *statistics, const char *folder,
                      const char *image, const pm_attribution *attribution) {
    char path[256];
    snprintf(path, sizeof path, "expected/resnet18_tiny/off/%s.safetensors", image);
    pm_weights *source = open_data(path);
    snprintf(path, sizeof path, "expected/resnet18_tiny/%s/%s.safetensors", folder, image);
    pm_weights *want = open_data(path);
    float *input = read_tensor(source, "input", 3 * SIDE * SIDE);
    float *heat = read_tensor(want, "heatmap_double", SIDE * SIDE);
    float *logits = read_tensor(want, "logits", CLASSES);
    pm_configuration *c = NULL;
    pm_oracle_result *r = NULL;
    if (pm_configuration_new(model, attribution, statistics, &c) ||
        pm_oracle_attribute_f64(&(pm_request){.configuration = c, .target = 69}, input, SIDE, SIDE,
                                &r))
        fail_msg("%s", pm_error_text());
    double off = 0, all = 0, largest = 0, logit_off = 0;
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        off += pow(r->heat_map[i] - (double)heat[i], 2);
        all += pow((double)heat[i], 2);
    }
    for (size_t i = 0; i < CLASSES; i++) {
        largest = fmax(largest, fabs((double)logits[i]));
        logit_off = fmax(logit_off, fabs(r->logits[i] - (double)logits[i]));
    }
    printf("%s %s: heat %.1e logits %.1e\n", folder, image, sqrt(off / all), logit_off / largest);
    assert_true(sqrt(off / all) <= 1e-6);
    assert_true(logit_off / largest <= 1e-5);
    if (attribution->mask != PM_MASK_OFF) compare_layers(model, want, r);
    pm_oracle_result_free(&r);
    pm_configuration_free(&c);
    free(input);
    free(heat);
    free(logits);
    pm_weights_free(&source);
    pm_weights_free(&want);
}

static void resnet18_over_photographs_meets_pytorch_in_double(void **state) {
    (void)state;
    static const char image[] = "n01768244_n01768244_0"; /* class 69 */
    pm_weights *weights = open_data("weights/resnet18.pth");
    pm_weights *tensors = open_data("expected/resnet18_tiny_stats.safetensors");
    const pm_arch_info *arch = NULL;
    pm_graph *graph = NULL;
    pm_model *model = NULL;
    pm_statistics *statistics = NULL;
    if (pm_arch_find("resnet18", &arch) || pm_graph_new(arch, weights, &graph) ||
        pm_model_new_from(graph, &model) || pm_statistics_new(model, tensors, &statistics))
        fail_msg("%s", pm_error_text());
    pm_weights_free(&weights);
    pm_weights_free(&tensors);
    pm_attribution a;
    pm_attribution_defaults(&a);
    check_one(model, statistics, "off", image, &a);
    a.mask = PM_MASK_CLS;
    check_one(model, statistics, "cls_q0.1", image, &a);
    a.method = PM_METHOD_IG;
    check_one(model, statistics, "cls_q0.1_ig", image, &a);
    a.method = PM_METHOD_GRAD;
    a.mask = PM_MASK_INS;
    check_one(model, statistics, "ins_q0.1", image, &a);
    a.mask = PM_MASK_CLS;
    a.threshold = 0.05;
    a.variance_conservation = false;
    strcpy(a.layers, "ratio:0.5");
    check_one(model, statistics, "cls_q0.05_novc_ratio0.5", image, &a);
    pm_statistics_free(&statistics);
    pm_model_free(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_cifar_checkpoint_is_cifar_resnet20_only),
        cmocka_unit_test(resnet18_over_photographs_meets_pytorch_in_double),
    };
    return cmocka_run_group_tests_name("engine_real", tests, NULL, NULL);
}
