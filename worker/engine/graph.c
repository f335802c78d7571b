/* Owns a finished graph: its parameters, its sizes, its end. Knows no architecture by name. */
#include "worker/engine/graph.h"

#include <stdlib.h>

#include "worker/engine/arch/arch.h"

static float **slot_of(pm_graph *graph, const pm_parameter *parameter) {
    pm_node *node = &graph->nodes[parameter->node];
    switch (parameter->slot) {
    case PM_SLOT_WEIGHT: return &node->weight;
    case PM_SLOT_BIAS: return &node->bias;
    case PM_SLOT_MEAN: return &node->mean;
    case PM_SLOT_VAR: return &node->var;
    }
    abort();
}

pm_status pm_graph_new_from(const pm_arch_info *arch, size_t classes, pm_parameter_fn read,
                            void *user, pm_graph **out) {
    pm_builder b;
    pm_status status = pm_builder_init(&b, arch, classes);
    if (status) return status;
    for (size_t i = 0; i < b.parameter_count && !status; i++) {
        const pm_parameter *p = &b.parameters[i];
        float *values = malloc(p->count * sizeof *values);
        if (!values) {
            status = pm_fail(PM_E_MEMORY, "no memory for %s of %s: %zu values", p->name, arch->name,
                             p->count);
            break;
        }
        *slot_of(b.graph, p) = values;
        status = read(user, p->name, p->shape, p->rank, values);
    }
    if (!status) {
        *out = b.graph;
        b.graph = NULL;
    }
    pm_builder_fini(&b);
    return status;
}

typedef struct source {
    const pm_arch_info *arch;
    const pm_weights *weights;
} source;

static pm_status read_tensor(void *user, const char *name, const size_t *shape, size_t rank,
                             float *out) {
    const source *from = user;
    (void)shape, (void)rank; /* compared by pm_arch_check */
    return pm_weights_read(from->weights, pm_arch_tensor(from->arch, from->weights, name), out);
}

pm_status pm_graph_new(const pm_arch_info *arch, const pm_weights *weights, pm_graph **out) {
    size_t classes;
    pm_status status = pm_arch_check(arch, weights);
    if (!status) status = pm_arch_classes(arch, weights, &classes);
    if (status) return status;
    source from = {arch, weights};
    return pm_graph_new_from(arch, classes, read_tensor, &from, out);
}

void pm_graph_free(pm_graph **graph) {
    pm_graph *g = graph ? *graph : NULL;
    if (!g) return;
    for (size_t i = 0; i < g->node_count; i++) {
        pm_node *node = &g->nodes[i];
        free((void *)(uintptr_t)node->name);
        free(node->weight);
        free(node->bias);
        free(node->mean);
        free(node->var);
    }
    free(g->nodes);
    free(g->convs);
    free(g->conv_nodes);
    free(g);
    *graph = NULL;
}

int pm_graph_last_pool(const pm_graph *graph) {
    size_t i = graph->node_count;
    while (i > 0 && graph->nodes[i - 1].op != PM_OP_AVGPOOL_TO) i--;
    return (int)i - 1;
}

size_t pm_graph_readers(const pm_graph *graph, int node) {
    size_t readers = graph->output == node;
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t k = 0; k < 2; k++) readers += graph->nodes[i].input[k] == node;
    return readers;
}

/* Output pixels of a sliding window along one side (0 height, 1 width); 0 where it does not fit.
 * With `ceil` the last window may hang over, but must start inside the map or the padding before
 * it: torch.nn.MaxPool2d. */
static size_t windows(size_t size, const pm_node *node, int side) {
    size_t over = node->ceil ? node->stride - 1 : 0;
    size_t padded = size + 2 * node->pad[side] + over, kernel = node->kernel[side];
    if (padded < kernel) return 0;
    size_t count = (padded - kernel) / node->stride + 1;
    bool outside = (count - 1) * node->stride >= size + node->pad[side];
    return node->ceil && outside ? count - 1 : count;
}

static pm_status node_size(const pm_graph *graph, const pm_node *node, const size_t (*sizes)[2],
                           size_t out[2]) {
    const size_t *in = sizes[node->input[0]];
    switch (node->op) {
    case PM_OP_INPUT: return PM_OK; /* set by the caller */
    case PM_OP_CONV:
    case PM_OP_MAXPOOL:
    case PM_OP_AVGPOOL_WINDOW:
    case PM_OP_SUBSAMPLE_PAD:
        out[0] = windows(in[0], node, 0);
        out[1] = windows(in[1], node, 1);
        return PM_OK;
    case PM_OP_BATCHNORM:
    case PM_OP_RELU:
    case PM_OP_RELU6:
    case PM_OP_SILU:
    case PM_OP_SIGMOID:
    case PM_OP_GELU:
    case PM_OP_SCALE:
    case PM_OP_ADD:
    case PM_OP_LINEAR_MAP:
    case PM_OP_LAYERNORM:
    case PM_OP_LAYER_SCALE: out[0] = in[0], out[1] = in[1]; return PM_OK;
    case PM_OP_CONCAT: {
        const size_t *other = sizes[node->input[1]];
        out[0] = in[0], out[1] = in[1];
        if (in[0] == other[0] && in[1] == other[1]) return PM_OK;
        return pm_fail(PM_E_INTERNAL, "%s: maps of %zux%zu and %zux%zu pixels side by side",
                       graph->arch->name, in[1], in[0], other[1], other[0]);
    }
    case PM_OP_AVGPOOL_TO: out[0] = node->out_height, out[1] = node->out_width; return PM_OK;
    case PM_OP_LINEAR:
        out[0] = out[1] = 1;
        if (graph->nodes[node->input[0]].channels * in[0] * in[1] == node->in_channels)
            return PM_OK;
        return pm_fail(PM_E_INTERNAL, "%s: layer '%s' does not fit what comes before it",
                       graph->arch->name, node->name);
    }
    abort();
}

pm_status pm_graph_sizes(const pm_graph *graph, size_t height, size_t width, size_t (*sizes)[2]) {
    for (size_t i = 0; i < graph->node_count; i++) {
        const pm_node *node = &graph->nodes[i];
        if (node->op == PM_OP_INPUT) sizes[i][0] = height, sizes[i][1] = width;
        pm_status status = node_size(graph, node, (const size_t(*)[2])sizes, sizes[i]);
        if (status) return status;
        if (sizes[i][0] == 0 || sizes[i][1] == 0)
            return pm_fail(PM_E_USAGE,
                           "%s cannot take %zux%zu pixels: a map inside would have "
                           "none left; take a larger crop",
                           graph->arch->name, width, height);
    }
    return PM_OK;
}
