/* The graph: what a network computes, as nodes in topological order, and its parameters as the
 * state dict has them. Built once a model by worker/engine/arch; read by the oracle and by the
 * fast plan alike. No layout, no fusion, no ISA here. */
#ifndef PM_ENGINE_GRAPH_H
#define PM_ENGINE_GRAPH_H

#include <stddef.h>

#include "parchgrad.h"

typedef enum pm_op {
    PM_OP_INPUT,     /* [3, H, W] */
    PM_OP_CONV,      /* raw output (plus bias, if any): where ParchGrad acts */
    PM_OP_BATCHNORM, /* evaluation mode: s_c v + t_c, s = w / sqrt(var + eps), t = b - mean s */
    PM_OP_RELU,
    PM_OP_RELU6,          /* min(max(v, 0), 6); its derivative at 0 and 6 is 0, as in PyTorch */
    PM_OP_SILU,           /* v sigmoid(v) */
    PM_OP_SIGMOID,        /* 1 / (1 + exp(-v)) */
    PM_OP_GELU,           /* v Phi(v), Phi the normal distribution, by erf */
    PM_OP_ADD,            /* input[0] + input[1] */
    PM_OP_CONCAT,         /* the channels of input[0], then those of input[1] */
    PM_OP_SCALE,          /* channel c of input[0] times value c of input[1], a 1x1 map */
    PM_OP_MAXPOOL,        /* first maximum in row-major order wins, as in PyTorch */
    PM_OP_AVGPOOL_TO,     /* adaptive average pool to out_height x out_width, PyTorch's bins */
    PM_OP_AVGPOOL_WINDOW, /* average of a window; zeros of the padding count, as in PyTorch */
    PM_OP_SUBSAMPLE_PAD,  /* CIFAR shortcut A: every stride-th pixel, zero channels added evenly
                             before and behind */
    PM_OP_LINEAR,         /* on [C, H, W] flattened C-major, as torch.flatten(x, 1) */
    PM_OP_LINEAR_MAP,     /* torch.nn.Linear over the channels of each pixel: a 1x1 convolution that
                             is no Conv2d, so never hooked */
    PM_OP_LAYERNORM,   /* over the channels of each pixel: (v - mean) / sqrt(var + eps) w + b, the
                          variance biased */
    PM_OP_LAYER_SCALE, /* w_c v */
} pm_op;

enum { PM_NODE_NONE = -1 };

typedef struct pm_node {
    pm_op op;
    int input[2];     /* node indices; PM_NODE_NONE where unused */
    const char *name; /* state-dict prefix ("layer1.0.conv1"); "" where it has no parameters */
    size_t channels;  /* of the output */
    /* conv, maxpool, avgpool_window, subsample: */
    size_t kernel[2], stride, pad[2]; /* height, width */
    bool ceil;                        /* maxpool: a last window may reach beyond the padding */
    size_t in_channels;               /* conv, linear: input channels or features */
    size_t out_height, out_width;     /* avgpool_to */
    bool depthwise;                   /* conv: channel c reads channel c of the input alone */
    int conv;                         /* conv: index in registration order; else -1 */
    float eps;                        /* batchnorm, layernorm */
    /* Parameters, row-major, owned by the graph; NULL where the op has none. */
    float *weight;     /* conv [C, in, kh, kw], depthwise [C, 1, kh, kw]; linear [C, in]; norms,
                          layer_scale [C] */
    float *bias;       /* conv or linear [C] or NULL; norms [C] */
    float *mean, *var; /* batchnorm running statistics [C] */
} pm_node;

typedef struct pm_graph {
    const pm_arch_info *arch;
    pm_node *nodes;
    size_t node_count;
    int output; /* the logits node */
    size_t classes;
    size_t conv_count;
    pm_conv_info *convs; /* [conv_count], registration order */
    int *conv_nodes;     /* [conv_count] node of each */
} pm_graph;

/* The graph with its parameters from weights. PM_E_USAGE, PM_E_MISMATCH, PM_E_MEMORY. */
pm_status pm_graph_new(const pm_arch_info *arch, const pm_weights *weights, pm_graph **out);

/* The same with every parameter asked of `read`, in state-dict order: it fills out[] with the
 * product of shape[rank] values, row-major, or returns why not. For tests, whose parameters come
 * from a counter hash. */
typedef pm_status (*pm_parameter_fn)(void *user, const char *name, const size_t *shape, size_t rank,
                                     float *out);
pm_status pm_graph_new_from(const pm_arch_info *arch, size_t classes, pm_parameter_fn read,
                            void *user, pm_graph **out);
void pm_graph_free(pm_graph **graph);

/* The last adaptive average pooling, which stands in front of the head; PM_NODE_NONE. */
int pm_graph_last_pool(const pm_graph *graph);
/* How many nodes read the value of one; the logits are read once more. */
size_t pm_graph_readers(const pm_graph *graph, int node);

/* Layers with weights (convolutions, linear layers), counted from the output on: how many, and the
 * name of one; NULL behind the last. */
size_t pm_graph_layer_count(const pm_graph *graph);
const char *pm_graph_layer_name(const pm_graph *graph, size_t index);
/* Start over as before training from the `layers`-th of them to the output; see
 * pm_model_new_randomized. PM_E_USAGE. */
pm_status pm_graph_randomize(pm_graph *graph, size_t layers, uint64_t seed);

/* Shapes of every node's output for a height x width input: sizes[node][2]. PM_E_USAGE where a
 * map would have no pixel left. */
pm_status pm_graph_sizes(const pm_graph *graph, size_t height, size_t width, size_t (*sizes)[2]);

#endif
