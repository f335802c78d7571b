/* Owns: which nodes run together. Must not know layouts or kernels. */
#include "worker/engine/plan/fusion.h"

#include <stdlib.h>

typedef struct builder {
    const pm_graph *graph;
    pm_group *groups;
    size_t count;
    int *uses;  /* [nodes] how many nodes read this one */
    int *tails; /* [nodes] group that this node is the last of, or PM_GROUP_NONE */
} builder;

static int tail_of(const builder *b, int node) {
    return b->graph->nodes[node].op == PM_OP_INPUT ? PM_GROUP_IMAGE : b->tails[node];
}

/* The group that ends in `node`, if nobody else needs that node's value. */
static pm_group *joinable(const builder *b, int node) {
    if (b->uses[node] != 1 || b->tails[node] < 0) return NULL;
    pm_group *group = &b->groups[b->tails[node]];
    return group->activation == PM_ACTIVATION_NONE ? group : NULL;
}

static void join(builder *b, pm_group *group, int node) {
    b->tails[group->last] = PM_GROUP_NONE;
    group->last = node;
    b->tails[node] = (int)(group - b->groups);
}

static pm_group *start(builder *b, pm_group_kind kind, int node) {
    pm_group *group = &b->groups[b->count];
    *group = (pm_group){.kind = kind,
                        .head = node,
                        .affine = PM_NODE_NONE,
                        .last = node,
                        .input = tail_of(b, b->graph->nodes[node].input[0]),
                        .residual = PM_GROUP_NONE,
                        .factors = PM_GROUP_NONE};
    b->tails[node] = (int)b->count++;
    return group;
}

static void take_affine(builder *b, int node) {
    pm_group *group = joinable(b, b->graph->nodes[node].input[0]);
    bool joins = group != NULL && group->kind == PM_GROUP_CONV && group->affine == PM_NODE_NONE &&
                 group->residual == PM_GROUP_NONE;
    if (joins)
        join(b, group, node);
    else
        group = start(b, PM_GROUP_POINTWISE, node);
    group->affine = node;
}

static void take_activation(builder *b, int node, pm_activation activation) {
    pm_group *group = joinable(b, b->graph->nodes[node].input[0]);
    bool joins = group != NULL && (group->kind == PM_GROUP_CONV || group->kind == PM_GROUP_LINEAR ||
                                   group->kind == PM_GROUP_POINTWISE);
    if (joins)
        join(b, group, node);
    else
        group = start(b, PM_GROUP_POINTWISE, node);
    group->activation = activation;
}

/* The addition joins the convolution that ends last, so that the other operand is at hand. */
static void take_add(builder *b, int node) {
    const int *input = b->graph->nodes[node].input;
    pm_group *best = NULL;
    int other = PM_NODE_NONE;
    for (int i = 0; i < 2 && input[0] != input[1]; i++) {
        pm_group *group = joinable(b, input[i]);
        if (group == NULL || group->kind != PM_GROUP_CONV || group->residual != PM_GROUP_NONE)
            continue;
        if (best != NULL && group->last < best->last) continue;
        best = group;
        other = input[1 - i];
    }
    if (best != NULL) {
        best->residual = tail_of(b, other);
        join(b, best, node);
    } else {
        pm_group *group = start(b, PM_GROUP_POINTWISE, node);
        group->residual = tail_of(b, input[1]);
    }
}

static void take_scale(builder *b, int node) {
    pm_group *group = start(b, PM_GROUP_SCALE, node);
    group->factors = tail_of(b, b->graph->nodes[node].input[1]);
}

static void take(builder *b, int node) {
    switch (b->graph->nodes[node].op) {
    case PM_OP_INPUT: return;
    case PM_OP_CONV:
    case PM_OP_LINEAR_MAP: (void)start(b, PM_GROUP_CONV, node); return;
    case PM_OP_LAYERNORM: start(b, PM_GROUP_LAYERNORM, node)->affine = node; return;
    case PM_OP_LINEAR: (void)start(b, PM_GROUP_LINEAR, node); return;
    case PM_OP_MAXPOOL: (void)start(b, PM_GROUP_MAXPOOL, node); return;
    case PM_OP_CONCAT:
        start(b, PM_GROUP_CONCAT, node)->residual = tail_of(b, b->graph->nodes[node].input[1]);
        return;
    case PM_OP_AVGPOOL_WINDOW: (void)start(b, PM_GROUP_AVGPOOL_WINDOW, node); return;
    case PM_OP_AVGPOOL_TO: (void)start(b, PM_GROUP_AVGPOOL, node); return;
    case PM_OP_SUBSAMPLE_PAD: (void)start(b, PM_GROUP_SUBSAMPLE, node); return;
    case PM_OP_BATCHNORM:
    case PM_OP_LAYER_SCALE: take_affine(b, node); return;
    case PM_OP_RELU: take_activation(b, node, PM_ACTIVATION_RELU); return;
    case PM_OP_RELU6: take_activation(b, node, PM_ACTIVATION_RELU6); return;
    case PM_OP_SILU: take_activation(b, node, PM_ACTIVATION_SILU); return;
    case PM_OP_SIGMOID: take_activation(b, node, PM_ACTIVATION_SIGMOID); return;
    case PM_OP_GELU: take_activation(b, node, PM_ACTIVATION_GELU); return;
    case PM_OP_ADD: take_add(b, node); return;
    case PM_OP_SCALE: take_scale(b, node); return;
    }
}

static int by_last(const void *a, const void *b) {
    const pm_group *x = a, *y = b;
    return (x->last > y->last) - (x->last < y->last);
}

static int renamed(const int *place, int group) { return group < 0 ? group : place[group]; }

/* Order by the last node: then each group comes behind all that it reads. place: [count] scratch */
static void order(builder *b, int *place) {
    int *at_node = b->tails; /* of last nodes only: survives the sort */
    pm_group *groups = b->groups;
    size_t nodes = b->graph->node_count;
    qsort(groups, b->count, sizeof *groups, by_last);
    for (size_t i = 0; i < b->count; i++) place[at_node[groups[i].last]] = (int)i;
    for (size_t i = 0; i < b->count; i++) {
        groups[i].input = renamed(place, groups[i].input);
        groups[i].residual = renamed(place, groups[i].residual);
        groups[i].factors = renamed(place, groups[i].factors);
    }
    for (size_t i = 0; i < nodes; i++) at_node[i] = renamed(place, at_node[i]);
}

/* A value that nobody reads would wait for its gradient for ever. */
static bool is_read(const pm_fusion *fusion, size_t group) {
    bool read = (int)group == fusion->output;
    for (size_t i = 0; i < fusion->count; i++)
        read |= fusion->groups[i].input == (int)group || fusion->groups[i].residual == (int)group ||
                fusion->groups[i].factors == (int)group;
    return read;
}

static pm_status check(const pm_graph *graph, const pm_fusion *fusion) {
    size_t readers = 0; /* of the image */
    for (size_t i = 0; i < fusion->count; i++) {
        const pm_group *group = &fusion->groups[i];
        if (group->residual == PM_GROUP_IMAGE || group->factors == PM_GROUP_IMAGE ||
            !is_read(fusion, i))
            readers += 2;
        if (group->input != PM_GROUP_IMAGE) continue;
        readers += group->kind == PM_GROUP_CONV ? 1 : 2;
    }
    const pm_group *output = &fusion->groups[fusion->output];
    const pm_node *last = &graph->nodes[output->last];
    bool ends = (output->kind == PM_GROUP_LINEAR && output->activation == PM_ACTIVATION_NONE) ||
                (output->kind == PM_GROUP_AVGPOOL && last->out_height == 1 && last->out_width == 1);
    if (readers != 1 || !ends)
        return pm_fail(PM_E_UNSUPPORTED,
                       "%s: the engine runs networks from one first convolution to one last linear "
                       "layer or average over all pixels",
                       graph->arch->name);
    return PM_OK;
}

pm_status pm_fusion_init(const pm_graph *graph, pm_fusion *out) {
    pm_status status = PM_OK;
    builder b = {.graph = graph};
    int *place = NULL;
    b.groups = calloc(graph->node_count, sizeof *b.groups);
    b.uses = calloc(graph->node_count, sizeof *b.uses);
    b.tails = calloc(graph->node_count, sizeof *b.tails);
    place = malloc(graph->node_count * sizeof *place);
    if (b.groups == NULL || b.uses == NULL || b.tails == NULL || place == NULL) {
        status = pm_fail(PM_E_MEMORY, "no memory for the plan of %s", graph->arch->name);
        goto done;
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        b.tails[i] = PM_GROUP_NONE;
        for (int k = 0; k < 2; k++)
            if (graph->nodes[i].input[k] != PM_NODE_NONE) b.uses[graph->nodes[i].input[k]]++;
    }
    b.uses[graph->output]++;
    for (size_t i = 0; i < graph->node_count; i++) take(&b, (int)i);
    order(&b, place);
    pm_fusion fusion = {b.groups, b.count, b.tails[graph->output]};
    status = check(graph, &fusion);
    if (status == PM_OK) {
        *out = fusion;
        b.groups = NULL;
    }
done:
    free(place);
    free(b.tails);
    free(b.uses);
    free(b.groups);
    return status;
}

void pm_fusion_fini(pm_fusion *fusion) {
    free(fusion->groups);
    *fusion = (pm_fusion){0};
}
