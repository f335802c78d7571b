/* Models that are not all of a file. Cascading randomisation: what starts over, by how much, and
 * that nothing else does. Outlines: what they answer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/draw.h"
#include "lib/base/random.h"
#include "tests/engine/tensor_file.h"
#include "worker/engine/arch/arch.h"
#include "worker/engine/model.h"

enum { CLASSES = 10, SIDE = 32, PIXELS = SIDE * SIDE };

static pm_status synth(void *user, const char *name, const size_t *shape, size_t rank, float *out) {
    size_t count = 1;
    (void)user;
    for (size_t i = 0; i < rank; i++) count *= shape[i];
    pm_synth(name, 0, out, count);
    for (size_t i = 0; i < count; i++)
        out[i] = rank > 1 ? 0.2F * out[i] : strstr(name, "var") ? 1 + 0.5F * out[i] : out[i];
    return PM_OK;
}

static pm_graph *graph_of(const char *name) {
    const pm_arch_info *arch;
    pm_graph *graph = NULL;
    if (pm_arch_find(name, &arch) || pm_graph_new_from(arch, CLASSES, synth, NULL, &graph))
        fail_msg("%s", pm_error_text());
    return graph;
}

/* ---- layers ---- */

static void layers_are_counted_from_the_output(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        size_t count;
        const char *names[3], *last;
    } nets[] = {
        {"resnet18", 21, {"fc", "layer4.1.conv2", "layer4.1.conv1"}, "conv1"},
        {"vgg16", 16, {"classifier.6", "classifier.3", "classifier.0"}, "features.0"},
        {"cifar_resnet20", 20, {"linear", "layer3.2.conv2", "layer3.2.conv1"}, "conv1"},
    };
    for (size_t n = 0; n < sizeof nets / sizeof *nets; n++) {
        pm_graph *graph = graph_of(nets[n].arch);
        assert_int_equal(pm_graph_layer_count(graph), nets[n].count);
        for (size_t i = 0; i < 3; i++)
            assert_string_equal(pm_graph_layer_name(graph, i), nets[n].names[i]);
        assert_string_equal(pm_graph_layer_name(graph, nets[n].count - 1), nets[n].last);
        assert_null(pm_graph_layer_name(graph, nets[n].count));
        assert_int_equal(pm_graph_randomize(graph, nets[n].count + 1, 1), PM_E_USAGE);
        assert_non_null(strstr(pm_error_text(), nets[n].arch));
        pm_graph_free(&graph);
    }
}

/* ---- values ---- */

static const pm_node *node_of(const pm_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->node_count; i++)
        if (strcmp(graph->nodes[i].name, name) == 0) return &graph->nodes[i];
    fail_msg("no node %s", name);
    return NULL;
}

/* He et al.: normal of variance 2 / fan-in; four deviations of the estimate are allowed. */
static void assert_he_normal(const float *w, size_t count, double fan) {
    double mean = 0, square = 0, beyond = 0;
    for (size_t i = 0; i < count; i++) {
        double z = (double)w[i] * sqrt(fan / 2);
        mean += z / (double)count;
        square += z * z / (double)count;
        beyond += fabs(z) > 1.959963984540054 ? 1.0 / (double)count : 0;
    }
    const double n = sqrt((double)count);
    assert_true(fabs(mean) < 4 / n);
    assert_true(fabs(square - 1) < 4 * sqrt(2) / n);
    assert_true(fabs(beyond - 0.05) < 4 * sqrt(0.05 * 0.95) / n);
}

static void the_last_layers_start_over_and_nothing_else(void **state) {
    (void)state;
    pm_graph *before = graph_of("cifar_resnet20"), *after = graph_of("cifar_resnet20");
    assert_int_equal(pm_graph_randomize(after, 3, 7), PM_OK); /* linear, layer3.2.conv2, .conv1 */
    const pm_node *linear = node_of(after, "linear"), *conv = node_of(after, "layer3.2.conv1");
    assert_he_normal(linear->weight, CLASSES * 64, 64);
    assert_he_normal(conv->weight, 64 * 64 * 9, 64 * 9);
    assert_he_normal(node_of(after, "layer3.2.conv2")->weight, 64 * 64 * 9, 64 * 9);
    for (size_t i = 0; i < CLASSES; i++) assert_true(linear->bias[i] == 0);
    static const char *const norms[] = {"layer3.2.bn1", "layer3.2.bn2"};
    for (size_t n = 0; n < 2; n++) {
        const pm_node *bn = node_of(after, norms[n]);
        for (size_t c = 0; c < 64; c++)
            assert_true(bn->weight[c] == 1 && bn->bias[c] == 0 && bn->mean[c] == 0 &&
                        bn->var[c] == 1);
    }
    for (const pm_node *a = after->nodes, *b = before->nodes; a < conv; a++, b++) {
        const size_t kernel = a->op == PM_OP_CONV ? a->in_channels * 9 : 1;
        if (a->weight)
            assert_memory_equal(a->weight, b->weight, a->channels * kernel * sizeof(float));
        if (a->bias) assert_memory_equal(a->bias, b->bias, a->channels * sizeof(float));
        if (a->var) assert_memory_equal(a->var, b->var, a->channels * sizeof(float));
    }
    pm_graph_free(&before);
    pm_graph_free(&after);
}

static void a_depthwise_filter_has_few_inputs(void **state) {
    (void)state;
    pm_graph *graph = graph_of("mobilenet_v2");
    assert_int_equal(pm_graph_randomize(graph, pm_graph_layer_count(graph), 7), PM_OK);
    assert_he_normal(node_of(graph, "features.17.conv.1.0")->weight, 960 * 9, 9);
    assert_he_normal(node_of(graph, "features.18.0")->weight, 1280 * 320, 320);
    pm_graph_free(&graph);
}

static void draws_depend_on_seed_and_name_alone(void **state) {
    (void)state;
    enum { COUNT = CLASSES * 64 };
    float want[COUNT];
    const pm_sha256 hash = pm_sha256_of("linear.weight", strlen("linear.weight"));
    pm_draw stream;
    pm_draw_begin(&stream, 7, &hash, PM_DRAW_WEIGHTS, 0);
    pm_draw_normal(&stream, want, COUNT);
    for (size_t i = 0; i < COUNT; i++) want[i] *= (float)sqrt(2.0 / 64);
    for (size_t layers = 1; layers <= 20; layers += 19) {
        pm_graph *graph = graph_of("cifar_resnet20");
        assert_int_equal(pm_graph_randomize(graph, layers, 7), PM_OK);
        assert_memory_equal(node_of(graph, "linear")->weight, want, sizeof want);
        assert_int_equal(pm_graph_randomize(graph, 1, 8), PM_OK);
        assert_memory_not_equal(node_of(graph, "linear")->weight, want, sizeof want);
        pm_graph_free(&graph);
    }
}

/* ---- models ---- */

/* A file with every parameter of the architecture, as synth has them. */
static pm_weights *weights_of(const char *name) {
    const pm_arch_info *arch;
    pm_builder b;
    assert_int_equal(pm_arch_find(name, &arch), PM_OK);
    assert_int_equal(pm_builder_init(&b, arch, CLASSES), PM_OK);
    pm_file_tensor *tensors = calloc(b.parameter_count, sizeof *tensors);
    float **values = calloc(b.parameter_count, sizeof *values);
    assert_true(tensors && values);
    for (size_t i = 0; i < b.parameter_count; i++) {
        const pm_parameter *p = &b.parameters[i];
        values[i] = malloc(p->count * sizeof **values);
        assert_non_null(values[i]);
        assert_int_equal(synth(NULL, p->name, p->shape, p->rank, values[i]), PM_OK);
        tensors[i] = (pm_file_tensor){.rank = p->rank, .values = values[i]};
        snprintf(tensors[i].name, sizeof tensors[i].name, "%s", p->name);
        memcpy(tensors[i].shape, p->shape, sizeof tensors[i].shape);
    }
    pm_weights *weights = pm_tensor_file(tensors, b.parameter_count);
    for (size_t i = 0; i < b.parameter_count; i++) free(values[i]);
    free(values);
    free(tensors);
    pm_builder_fini(&b);
    return weights;
}

static pm_status keep(void *user, const pm_attribution_result *r) {
    memcpy(user, r->heat_map, PIXELS * sizeof(float));
    return PM_OK;
}

static void heat_map_of(const pm_model *model, float *out) {
    pm_context *context;
    pm_configuration *plain = NULL;
    pm_attribution a;
    static float input[3 * PIXELS];
    pm_synth("input/0", 0, input, 3 * PIXELS);
    pm_attribution_defaults(&a);
    if (pm_context_new(model, SIDE, SIDE, 1, &context) ||
        pm_configuration_new(model, &a, NULL, &plain))
        fail_msg("%s", pm_error_text());
    const pm_request request = {.configuration = plain, .target = 3};
    assert_int_equal(pm_context_attribute(context, input, &request, 1, keep, out), PM_OK);
    pm_configuration_free(&plain);
    pm_context_free(&context);
}

static void randomized_models_run_and_none_of_it_is_the_model(void **state) {
    (void)state;
    static float maps[4][PIXELS];
    pm_weights *weights = weights_of("cifar_resnet20");
    pm_model *model = NULL;
    assert_int_equal(pm_model_new_randomized("cifar_resnet20", weights, 21, 7, &model), PM_E_USAGE);
    assert_null(model);
    static const size_t layers[] = {0, 1, 1, 20};
    for (size_t i = 0; i < 4; i++) {
        if (pm_model_new_randomized("cifar_resnet20", weights, layers[i], 7, &model))
            fail_msg("%s", pm_error_text());
        assert_int_equal(pm_model_layer_count(model), 20);
        assert_string_equal(pm_model_layer_name(model, 19), "conv1");
        heat_map_of(model, maps[i]);
        for (size_t k = 0; k < PIXELS; k++) assert_true(isfinite(maps[i][k]));
        pm_model_free(&model);
    }
    float plain[PIXELS];
    assert_int_equal(pm_model_new("cifar_resnet20", weights, &model), PM_OK);
    heat_map_of(model, plain);
    pm_model_free(&model);
    assert_memory_equal(maps[0], plain, sizeof plain);
    assert_memory_not_equal(maps[1], plain, sizeof plain);
    assert_memory_equal(maps[1], maps[2], sizeof plain);
    assert_memory_not_equal(maps[3], maps[1], sizeof plain);
    pm_weights_free(&weights);
}

/* ---- outlines ---- */

static void outline_answers_as_the_model_and_runs_nothing(void **state) {
    (void)state;
    pm_weights *weights = weights_of("cifar_resnet20");
    pm_model *model = NULL, *outline = NULL;
    pm_configuration *whole = NULL, *sketch = NULL;
    pm_context *context = NULL;
    pm_attribution a;
    pm_attribution_defaults(&a);
    assert_int_equal(pm_model_new("cifar_resnet20", weights, &model), PM_OK);
    assert_int_equal(pm_model_new_outline("cifar_resnet20", weights, &outline), PM_OK);
    assert_int_equal(pm_model_classes(outline), pm_model_classes(model));
    assert_int_equal(pm_model_conv_count(outline), pm_model_conv_count(model));
    for (size_t i = 0; i < pm_model_conv_count(model); i++) {
        assert_string_equal(pm_model_conv(outline, i)->name, pm_model_conv(model, i)->name);
        assert_int_equal(pm_model_conv(outline, i)->channels, pm_model_conv(model, i)->channels);
    }
    assert_int_equal(pm_configuration_new(model, &a, NULL, &whole), PM_OK);
    assert_int_equal(pm_configuration_new(outline, &a, NULL, &sketch), PM_OK);
    assert_int_equal(pm_configuration_hook_count(sketch), pm_configuration_hook_count(whole));
    assert_int_equal(pm_context_new(outline, SIDE, SIDE, 1, &context), PM_E_USAGE);
    assert_null(context);
    pm_configuration_free(&whole);
    pm_configuration_free(&sketch);
    pm_model_free(&outline);
    assert_int_equal(pm_model_new_outline("cifar_resnet32", weights, &outline), PM_E_MISMATCH);
    assert_null(outline);
    pm_model_free(&model);
    pm_weights_free(&weights);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outline_answers_as_the_model_and_runs_nothing),
        cmocka_unit_test(layers_are_counted_from_the_output),
        cmocka_unit_test(the_last_layers_start_over_and_nothing_else),
        cmocka_unit_test(a_depthwise_filter_has_few_inputs),
        cmocka_unit_test(draws_depend_on_seed_and_name_alone),
        cmocka_unit_test(randomized_models_run_and_none_of_it_is_the_model),
    };
    return cmocka_run_group_tests_name("engine_randomize", tests, NULL, NULL);
}
