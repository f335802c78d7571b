/* Owns the measuring of a result against a case's vectors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/engine/cases.h"
#include "worker/engine/model.h"

/* A tensor as doubles from malloc; PM_E_MISMATCH where it is missing or of another size. */
static pm_status tensor(const pm_case *c, const char *layer, const char *leaf, size_t count,
                        double **out) {
    char name[160];
    snprintf(name, sizeof name, "%s%s%s", layer, *layer ? "/" : "", leaf);
    const pm_tensor_info *info = pm_weights_find(c->vectors, name);
    if (!info || info->count != count)
        return pm_fail(PM_E_MISMATCH, "%s: no tensor %s of %zu values", c->name, name, count);
    float *values = malloc(count * sizeof *values);
    double *wide = malloc(count * sizeof *wide);
    if (!values || !wide) abort();
    pm_status status = pm_weights_read(c->vectors, info, values);
    for (size_t i = 0; i < count; i++) wide[i] = (double)values[i];
    free(values);
    if (status)
        free(wide);
    else
        *out = wide;
    return status;
}

static double relative_l2(const double *a, const double *want, size_t count) {
    double off = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        off += (a[i] - want[i]) * (a[i] - want[i]);
        all += want[i] * want[i];
    }
    return all > 0 ? sqrt(off / all) : sqrt(off);
}

static void worst(double *so_far, double value) {
    if (!(value <= *so_far)) *so_far = value; /* a NaN stays */
}

/* Relative difference of two that should agree; NaN agrees with NaN. */
static double relative(double a, double want) {
    if (isnan(a) && isnan(want)) return 0;
    return want == 0 ? fabs(a) : fabs(a - want) / fabs(want);
}

/* The spread of a sum over all channels. Where it cancels, as it does in front of a LayerNorm, it
 * is rounding alone, and held to that of its parts. */
static double relative_spread(double a, double want, double part) {
    return fabs(want) < part ? fabs(a - want) / part : relative(a, want);
}

static pm_status compare_maps(const pm_case *c, const pm_oracle_result *r, pm_case_distance *out) {
    size_t count = r->height * r->width;
    double *exact = NULL, *torch = NULL, *logits = NULL, largest = 0;
    pm_status status = tensor(c, "", "heatmap_double", count, &exact);
    if (!status) status = tensor(c, "", "heatmap", count, &torch);
    if (!status) status = tensor(c, "", "logits_double", r->classes, &logits);
    if (!status) {
        out->heat_map = relative_l2(r->heat_map, exact, count);
        out->torch = relative_l2(torch, exact, count);
        out->from_torch = relative_l2(r->heat_map, torch, count);
        for (size_t i = 0; i < r->classes; i++) largest = fmax(largest, fabs(logits[i]));
        for (size_t i = 0; i < r->classes; i++)
            worst(&out->logits, fabs(r->logits[i] - logits[i]) / largest);
    }
    free(exact);
    free(torch);
    free(logits);
    return status;
}

static pm_status compare_ig(const pm_case *c, const pm_oracle_result *r, pm_case_distance *out) {
    double *want = NULL;
    if (c->method != PM_METHOD_IG) {
        if (!isnan(r->ig_sum) || !isnan(r->ig_expected)) out->ig = INFINITY;
        return PM_OK;
    }
    pm_status status = tensor(c, "", "ig_double", 2, &want);
    if (status) return status;
    worst(&out->ig, relative(r->ig_sum, want[0]));
    worst(&out->ig, relative(r->ig_expected, want[1]));
    free(want);
    return PM_OK;
}

/* Largest relative difference of M, N (where they are measured) and the two scales. */
static void worst_of_four(double *so_far, const double *scales, const double *want) {
    for (size_t i = isnan(want[0]) ? 2 : 0; i < 4; i++) worst(so_far, relative(scales[i], want[i]));
}

static pm_status compare_layer(const pm_case *c, const pm_oracle_layer *layer,
                               pm_case_distance *out) {
    const char *name = pm_model_conv(c->model, layer->conv)->name;
    double *h = NULL, *scales = NULL, *torch = NULL, *spread = NULL, *variance = NULL;
    pm_status status = tensor(c, name, "h", layer->channels, &h);
    if (!status) status = tensor(c, name, "scales_double", 4, &scales);
    if (!status) status = tensor(c, name, "scales", 4, &torch);
    if (!status) status = tensor(c, name, "spread_double", 2, &spread);
    if (status) goto done;
    size_t selected = 0;
    for (size_t i = 0; i < layer->channels; i++) {
        if ((h[i] != 0) != (layer->in_h[i] != 0)) out->h_equal = false;
        selected += h[i] != 0;
    }
    if (selected != layer->selected || layer->partitioned == isnan(scales[0])) out->h_equal = false;
    worst_of_four(&out->scales, (double[]){layer->m, layer->n, layer->scale_h, layer->scale_l},
                  scales);
    worst_of_four(&out->torch_scales, torch, scales);
    const double part = layer->partitioned ? scales[0] : 0;
    worst(&out->spread, relative_spread(layer->variance_before, spread[0], part));
    worst(&out->spread, relative_spread(layer->variance_after, spread[1], part));
    char leaf[160];
    snprintf(leaf, sizeof leaf, "%s/channel_variance_double", name);
    if (pm_weights_find(c->vectors, leaf)) {
        status = tensor(c, name, "channel_variance_double", layer->channels, &variance);
        if (status) goto done;
        worst(&out->channels, relative_l2(layer->channel_variance, variance, layer->channels));
    }
done:
    free(h);
    free(scales);
    free(torch);
    free(spread);
    free(variance);
    return status;
}

pm_status pm_case_compare(const pm_case *c, const pm_oracle_result *result, pm_case_distance *out) {
    size_t layers = 0;
    for (size_t i = 0; i < pm_weights_count(c->vectors); i++) {
        const char *leaf = strrchr(pm_weights_at(c->vectors, i)->name, '/');
        layers += leaf && strcmp(leaf, "/h") == 0;
    }
    if (layers != result->layer_count || result->target != c->target)
        return pm_fail(PM_E_MISMATCH, "%s: %zu layers and target %d, expected %zu and %d", c->name,
                       result->layer_count, result->target, layers, c->target);
    pm_case_distance distance = {.h_equal = true};
    pm_status status = compare_maps(c, result, &distance);
    if (!status) status = compare_ig(c, result, &distance);
    for (size_t i = 0; i < result->layer_count && !status; i++)
        status = compare_layer(c, &result->layers[i], &distance);
    if (!status) *out = distance;
    return status;
}

static double *widen(const float *values, size_t count) {
    double *out = malloc((count ? count : 1) * sizeof *out);
    for (size_t i = 0; out && i < count; i++) out[i] = (double)values[i];
    return out;
}

pm_status pm_case_copy_result(const pm_attribution_result *result, size_t classes,
                              pm_oracle_result **out) {
    pm_oracle_result *r = calloc(1, sizeof *r);
    if (!r) abort();
    r->target = result->target;
    r->predicted = result->predicted;
    r->p_target = (double)result->p_target;
    r->p_predicted = (double)result->p_predicted;
    r->height = result->height;
    r->width = result->width;
    r->ig_sum = result->ig_sum;
    r->ig_expected = result->ig_expected;
    r->layer_count = result->layer_count;
    r->layers = calloc(r->layer_count + 1, sizeof *r->layers);
    r->heat_map = widen(result->heat_map, r->height * r->width);
    r->classes = classes;
    r->logits = widen(result->logits, classes);
    if (!r->layers || !r->heat_map || !r->logits) abort();
    for (size_t i = 0; i < r->layer_count; i++) {
        const pm_layer_gradient *from = &result->layers[i];
        r->layers[i] = (pm_oracle_layer){from->conv,
                                         from->channels,
                                         from->selected,
                                         from->partitioned,
                                         from->m,
                                         from->n,
                                         from->beta,
                                         from->scale_h,
                                         from->scale_l,
                                         from->variance_before,
                                         from->variance_after,
                                         widen(from->channel_variance, from->channels),
                                         malloc(from->channels)};
        if (!r->layers[i].channel_variance || !r->layers[i].in_h) abort();
        memcpy(r->layers[i].in_h, from->in_h, from->channels);
    }
    *out = r;
    return PM_OK;
}

typedef struct kept {
    size_t classes;
    pm_oracle_result *result;
} kept;

static pm_status keep(void *user, const pm_attribution_result *result) {
    kept *k = user;
    return pm_case_copy_result(result, k->classes, &k->result);
}

/* The input transform as a BatchNorm behind the input, which is what it is: scale x + shift before
 * any zero is put around it. The oracle then has nothing to know of it. */
static pm_status attribute_transformed(const pm_case *c, pm_oracle_result **out) {
    const pm_graph *plain = c->model->graph;
    float scale[3], shift[3], mean[3] = {0}, var[3] = {1, 1, 1};
    pm_status status = pm_arch_transform_input(plain->arch, scale, shift);
    if (status) return status;
    pm_graph graph = *plain;
    graph.nodes = calloc(plain->node_count + 1, sizeof *graph.nodes);
    graph.conv_nodes = calloc(plain->conv_count, sizeof *graph.conv_nodes);
    if (!graph.nodes || !graph.conv_nodes) abort();
    for (size_t i = 0; i < plain->node_count; i++) {
        pm_node *node = &graph.nodes[i ? i + 1 : 0];
        *node = plain->nodes[i];
        for (size_t k = 0; k < 2; k++) node->input[k] += node->input[k] != PM_NODE_NONE;
    }
    graph.nodes[1] = (pm_node){.op = PM_OP_BATCHNORM,
                               .input = {0, PM_NODE_NONE},
                               .name = "transform",
                               .channels = 3,
                               .conv = -1,
                               .weight = scale,
                               .bias = shift,
                               .mean = mean,
                               .var = var};
    for (size_t i = 0; i < plain->conv_count; i++) graph.conv_nodes[i] = plain->conv_nodes[i] + 1;
    graph.node_count++;
    graph.output++;
    const pm_model model = {.graph = &graph};
    pm_configuration configuration = *c->configuration;
    configuration.model = &model;
    pm_request request = c->request;
    request.configuration = &configuration;
    status = pm_oracle_attribute_f64(&request, c->input, c->height, c->width, out);
    free(graph.nodes);
    free(graph.conv_nodes);
    return status;
}

pm_status pm_case_oracle(const pm_case *c, pm_oracle_result **out) {
    if (c->transform) return attribute_transformed(c, out);
    return pm_oracle_attribute_f64(&c->request, c->input, c->height, c->width, out);
}

pm_status pm_case_run(const pm_case *c, pm_case_distance *out) {
    pm_context *context = NULL;
    kept k = {pm_model_classes(c->model), NULL};
    float scale[3], shift[3];
    pm_status status = pm_context_new(c->model, c->height, c->width, 1, &context);
    if (!status && c->transform) {
        status = pm_arch_transform_input(pm_model_arch(c->model), scale, shift);
        if (!status) pm_context_set_input_transform(context, scale, shift);
    }
    if (!status) status = pm_context_attribute(context, c->input, &c->request, 1, keep, &k);
    if (!status) status = pm_case_compare(c, k.result, out);
    pm_oracle_result_free(&k.result);
    pm_context_free(&context);
    return status;
}
