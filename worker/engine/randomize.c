/* Owns the drawing of parameters anew, for sanity checks. Knows no plan and no layout. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/draw.h"
#include "worker/engine/model.h"

static bool is_layer(const pm_node *node) {
    return node->op == PM_OP_CONV || node->op == PM_OP_LINEAR || node->op == PM_OP_LINEAR_MAP;
}

size_t pm_graph_layer_count(const pm_graph *graph) {
    size_t count = 0;
    for (size_t i = 0; i < graph->node_count; i++) count += is_layer(&graph->nodes[i]);
    return count;
}

/* The node of layer `index`, from the output on. */
static size_t layer_node(const pm_graph *graph, size_t index) {
    size_t i = graph->node_count;
    for (size_t left = index + 1; left > 0; left -= is_layer(&graph->nodes[i])) i--;
    return i;
}

const char *pm_graph_layer_name(const pm_graph *graph, size_t index) {
    return index < pm_graph_layer_count(graph) ? graph->nodes[layer_node(graph, index)].name : NULL;
}

static void fill(float *values, size_t count, float value) {
    if (values == NULL) return;
    for (size_t i = 0; i < count; i++) values[i] = value;
}

/* Normal of deviation sqrt(2 / fan-in). */
static void draw_weight(pm_node *node, uint64_t seed) {
    char name[256];
    pm_draw stream;
    size_t fan = node->in_channels;
    if (node->op == PM_OP_CONV)
        fan = (node->depthwise ? 1 : node->in_channels) * node->kernel[0] * node->kernel[1];
    const float deviation = (float)sqrt(2.0 / (double)fan);
    const int length = snprintf(name, sizeof name, "%s.weight", node->name);
    const pm_sha256 hash = pm_sha256_of(name, (size_t)length);
    pm_draw_begin(&stream, seed, &hash, PM_DRAW_WEIGHTS, 0);
    pm_draw_normal(&stream, node->weight, node->channels * fan);
    for (size_t i = 0; i < node->channels * fan; i++) node->weight[i] *= deviation;
}

/* As before training: norms do nothing, layer scales are torchvision's 1e-6. */
static void start_over(pm_node *node, uint64_t seed) {
    if (is_layer(node))
        draw_weight(node, seed);
    else
        fill(node->weight, node->channels, node->op == PM_OP_LAYER_SCALE ? 1e-6F : 1.0F);
    fill(node->bias, node->channels, 0);
    fill(node->mean, node->channels, 0);
    fill(node->var, node->channels, 1);
}

pm_status pm_graph_randomize(pm_graph *graph, size_t layers, uint64_t seed) {
    const size_t count = pm_graph_layer_count(graph);
    if (layers > count)
        return pm_fail(PM_E_USAGE, "%s has %zu layers with weights, not %zu", graph->arch->name,
                       count, layers);
    if (layers == 0) return PM_OK;
    for (size_t i = layer_node(graph, layers - 1); i < graph->node_count; i++)
        start_over(&graph->nodes[i], seed);
    return PM_OK;
}
