/* Owns the skeleton of a graph while it is written down: node array, names, wanted parameters. */
#include "worker/engine/builder.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine/arch/arch.h"

static pm_status no_memory(pm_builder *b) {
    b->status = pm_fail(PM_E_MEMORY, "no memory for the graph of %s", b->graph->arch->name);
    return b->status;
}

/* Room for one more of `size` bytes in *array. */
static pm_status reserve(pm_builder *b, void **array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return PM_OK;
    size_t more = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(*array, more * size);
    if (!grown) return no_memory(b);
    *array = grown;
    *capacity = more;
    return PM_OK;
}

static int add_node(pm_builder *b, pm_node node, const char *name) {
    void *nodes = b->graph->nodes;
    if (b->status) return PM_NODE_NONE;
    pm_status status = reserve(b, &nodes, b->graph->node_count, &b->node_capacity, sizeof node);
    b->graph->nodes = nodes;
    if (status) return PM_NODE_NONE;
    node.name = strdup(name);
    if (!node.name) {
        no_memory(b);
        return PM_NODE_NONE;
    }
    b->graph->nodes[b->graph->node_count] = node;
    return (int)b->graph->node_count++;
}

static size_t channels_of(const pm_builder *b, int node) {
    return b->status ? 0 : b->graph->nodes[node].channels;
}

static void want(pm_builder *b, int node, const char *leaf, int slot, const size_t *shape,
                 size_t rank) {
    void *parameters = b->parameters;
    if (b->status) return;
    pm_status status =
        reserve(b, &parameters, b->parameter_count, &b->parameter_capacity, sizeof *b->parameters);
    b->parameters = parameters;
    if (status) return;
    pm_parameter *p = &b->parameters[b->parameter_count];
    *p = (pm_parameter){.rank = rank, .count = 1, .node = node, .slot = (unsigned)slot};
    for (size_t i = 0; i < rank; i++) p->shape[i] = shape[i], p->count *= shape[i];
    size_t size = strlen(b->graph->nodes[node].name) + strlen(leaf) + 2;
    p->name = malloc(size);
    if (!p->name) {
        no_memory(b);
        return;
    }
    snprintf(p->name, size, "%s.%s", b->graph->nodes[node].name, leaf);
    b->parameter_count++;
}

static pm_node plain(pm_op op, int input, size_t channels) {
    return (pm_node){
        .op = op, .input = {input, PM_NODE_NONE}, .channels = channels, .stride = 1, .conv = -1};
}

int pm_build_input(pm_builder *b) { return add_node(b, plain(PM_OP_INPUT, PM_NODE_NONE, 3), ""); }

static void set_window(pm_node *node, const size_t kernel[2], size_t stride, const size_t pad[2]) {
    for (int side = 0; side < 2; side++) {
        node->kernel[side] = kernel[side];
        node->pad[side] = pad[side];
    }
    node->stride = stride;
}

int pm_build_conv(pm_builder *b, int input, const char *name, size_t channels, size_t kernel,
                  size_t stride, size_t pad, bool bias) {
    return pm_build_conv_rectangle(b, input, name, channels, (size_t[2]){kernel, kernel}, stride,
                                   (size_t[2]){pad, pad}, bias);
}

/* fan_in: input channels that one output channel reads. */
static int add_conv(pm_builder *b, pm_node node, const char *name, size_t fan_in, bool bias) {
    node.conv = (int)b->graph->conv_count;
    int at = add_node(b, node, name);
    want(b, at, "weight", PM_SLOT_WEIGHT,
         (size_t[]){node.channels, fan_in, node.kernel[0], node.kernel[1]}, 4);
    if (bias) want(b, at, "bias", PM_SLOT_BIAS, &node.channels, 1);
    if (!b->status) b->graph->conv_count++;
    return at;
}

int pm_build_conv_rectangle(pm_builder *b, int input, const char *name, size_t channels,
                            const size_t kernel[2], size_t stride, const size_t pad[2], bool bias) {
    pm_node node = plain(PM_OP_CONV, input, channels);
    node.in_channels = channels_of(b, input);
    set_window(&node, kernel, stride, pad);
    return add_conv(b, node, name, node.in_channels, bias);
}

int pm_build_depthwise(pm_builder *b, int input, const char *name, size_t kernel, size_t stride,
                       size_t pad, bool bias) {
    pm_node node = plain(PM_OP_CONV, input, channels_of(b, input));
    node.in_channels = node.channels;
    node.depthwise = true;
    set_window(&node, (size_t[2]){kernel, kernel}, stride, (size_t[2]){pad, pad});
    return add_conv(b, node, name, 1, bias);
}

int pm_build_batchnorm(pm_builder *b, int input, const char *name) {
    return pm_build_batchnorm_eps(b, input, name, 1e-5f);
}

int pm_build_batchnorm_eps(pm_builder *b, int input, const char *name, float eps) {
    size_t channels = channels_of(b, input);
    pm_node node = plain(PM_OP_BATCHNORM, input, channels);
    node.eps = eps;
    int at = add_node(b, node, name);
    want(b, at, "weight", PM_SLOT_WEIGHT, &channels, 1);
    want(b, at, "bias", PM_SLOT_BIAS, &channels, 1);
    want(b, at, "running_mean", PM_SLOT_MEAN, &channels, 1);
    want(b, at, "running_var", PM_SLOT_VAR, &channels, 1);
    return at;
}

static int add_activation(pm_builder *b, pm_op op, int input) {
    return add_node(b, plain(op, input, channels_of(b, input)), "");
}

int pm_build_relu(pm_builder *b, int input) { return add_activation(b, PM_OP_RELU, input); }
int pm_build_relu6(pm_builder *b, int input) { return add_activation(b, PM_OP_RELU6, input); }
int pm_build_silu(pm_builder *b, int input) { return add_activation(b, PM_OP_SILU, input); }
int pm_build_sigmoid(pm_builder *b, int input) { return add_activation(b, PM_OP_SIGMOID, input); }
int pm_build_gelu(pm_builder *b, int input) { return add_activation(b, PM_OP_GELU, input); }

int pm_build_add(pm_builder *b, int first, int second) {
    pm_node node = plain(PM_OP_ADD, first, channels_of(b, first));
    node.input[1] = second;
    assert(b->status || channels_of(b, second) == node.channels);
    return add_node(b, node, "");
}

int pm_build_scale(pm_builder *b, int input, int factors) {
    pm_node node = plain(PM_OP_SCALE, input, channels_of(b, input));
    node.input[1] = factors;
    assert(b->status || channels_of(b, factors) == node.channels);
    return add_node(b, node, "");
}

int pm_build_concat(pm_builder *b, int first, int second) {
    pm_node node = plain(PM_OP_CONCAT, first, channels_of(b, first) + channels_of(b, second));
    node.input[1] = second;
    return add_node(b, node, "");
}

static pm_node pool(pm_builder *b, pm_op op, int input, size_t kernel, size_t stride, size_t pad) {
    pm_node node = plain(op, input, channels_of(b, input));
    set_window(&node, (size_t[2]){kernel, kernel}, stride, (size_t[2]){pad, pad});
    return node;
}

int pm_build_maxpool(pm_builder *b, int input, size_t kernel, size_t stride, size_t pad) {
    return add_node(b, pool(b, PM_OP_MAXPOOL, input, kernel, stride, pad), "");
}

int pm_build_maxpool_ceil(pm_builder *b, int input, size_t kernel, size_t stride, size_t pad) {
    pm_node node = pool(b, PM_OP_MAXPOOL, input, kernel, stride, pad);
    node.ceil = true;
    return add_node(b, node, "");
}

int pm_build_avgpool(pm_builder *b, int input, size_t kernel, size_t stride, size_t pad) {
    return add_node(b, pool(b, PM_OP_AVGPOOL_WINDOW, input, kernel, stride, pad), "");
}

int pm_build_avgpool_to(pm_builder *b, int input, size_t height, size_t width) {
    pm_node node = plain(PM_OP_AVGPOOL_TO, input, channels_of(b, input));
    node.out_height = height;
    node.out_width = width;
    return add_node(b, node, "");
}

int pm_build_subsample_pad(pm_builder *b, int input, size_t channels, size_t stride) {
    pm_node node = plain(PM_OP_SUBSAMPLE_PAD, input, channels);
    node.in_channels = channels_of(b, input);
    set_window(&node, (size_t[2]){1, 1}, stride, (size_t[2]){0, 0});
    return add_node(b, node, "");
}

int pm_build_linear(pm_builder *b, int input, const char *name, size_t in_features,
                    size_t features) {
    pm_node node = plain(PM_OP_LINEAR, input, features);
    node.in_channels = in_features;
    int at = add_node(b, node, name);
    want(b, at, "weight", PM_SLOT_WEIGHT, (size_t[]){features, in_features}, 2);
    want(b, at, "bias", PM_SLOT_BIAS, &features, 1);
    return at;
}

int pm_build_linear_map(pm_builder *b, int input, const char *name, size_t features) {
    pm_node node = plain(PM_OP_LINEAR_MAP, input, features);
    node.in_channels = channels_of(b, input);
    node.kernel[0] = node.kernel[1] = 1;
    int at = add_node(b, node, name);
    want(b, at, "weight", PM_SLOT_WEIGHT, (size_t[]){features, node.in_channels}, 2);
    want(b, at, "bias", PM_SLOT_BIAS, &features, 1);
    return at;
}

int pm_build_layernorm(pm_builder *b, int input, const char *name, float eps) {
    size_t channels = channels_of(b, input);
    pm_node node = plain(PM_OP_LAYERNORM, input, channels);
    node.eps = eps;
    int at = add_node(b, node, name);
    want(b, at, "weight", PM_SLOT_WEIGHT, &channels, 1);
    want(b, at, "bias", PM_SLOT_BIAS, &channels, 1);
    return at;
}

/* A module's own parameters come before its modules': move the last one of `node` there. */
static void move_before_modules(pm_builder *b, int node) {
    if (b->status) return;
    const char *name = b->graph->nodes[node].name;
    size_t length = strlen(name), at = b->parameter_count - 1;
    const pm_parameter own = b->parameters[at];
    for (; at > 0 && strncmp(b->parameters[at - 1].name, name, length) == 0 &&
           b->parameters[at - 1].name[length] == '.';
         at--)
        b->parameters[at] = b->parameters[at - 1];
    b->parameters[at] = own;
}

int pm_build_layer_scale(pm_builder *b, int input, const char *name) {
    size_t channels = channels_of(b, input);
    int at = add_node(b, plain(PM_OP_LAYER_SCALE, input, channels), name);
    want(b, at, "layer_scale", PM_SLOT_WEIGHT, (size_t[]){channels, 1, 1}, 3);
    move_before_modules(b, at);
    return at;
}

/* The tables of convolutions, once every node's place is final. */
static pm_status list_convolutions(pm_builder *b) {
    pm_graph *graph = b->graph;
    graph->convs = calloc(graph->conv_count, sizeof *graph->convs);
    graph->conv_nodes = calloc(graph->conv_count, sizeof *graph->conv_nodes);
    if (!graph->convs || !graph->conv_nodes) return no_memory(b);
    for (size_t i = 0; i < graph->node_count; i++) {
        const pm_node *node = &graph->nodes[i];
        if (node->op != PM_OP_CONV) continue;
        graph->convs[node->conv] = (pm_conv_info){node->name, node->channels};
        graph->conv_nodes[node->conv] = (int)i;
    }
    return PM_OK;
}

pm_status pm_builder_init(pm_builder *b, const pm_arch_info *arch, size_t classes) {
    *b = (pm_builder){.graph = calloc(1, sizeof *b->graph)};
    if (!b->graph) return pm_fail(PM_E_MEMORY, "no memory for the graph of %s", arch->name);
    b->graph->arch = arch;
    b->graph->classes = classes;
    const pm_arch *entry = pm_arch_of(arch);
    b->graph->output = entry->family->build(b, entry, classes);
    if (!b->status) b->status = list_convolutions(b);
    pm_status status = b->status;
    if (status) pm_builder_fini(b);
    return status;
}

void pm_builder_fini(pm_builder *b) {
    for (size_t i = 0; i < b->parameter_count; i++) free(b->parameters[i].name);
    free(b->parameters);
    pm_graph_free(&b->graph);
    *b = (pm_builder){0};
}
