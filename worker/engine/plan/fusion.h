/* Groups: nodes that run as one step. A convolution takes the BatchNorm or layer scale, residual
 * addition and activation behind it into its epilogue. Depends on the graph alone, on no size and
 * no ISA. */
#ifndef PM_ENGINE_FUSION_H
#define PM_ENGINE_FUSION_H

#include "worker/engine/activation.h"
#include "worker/engine/graph.h"

typedef enum pm_group_kind {
    PM_GROUP_CONV, /* linear maps, too: 1x1 convolutions without a hook */
    PM_GROUP_LINEAR,
    PM_GROUP_MAXPOOL,
    PM_GROUP_AVGPOOL,
    PM_GROUP_AVGPOOL_WINDOW,
    PM_GROUP_SUBSAMPLE,
    PM_GROUP_CONCAT, /* the channels of `input`, then those of `residual` */
    PM_GROUP_SCALE,
    PM_GROUP_LAYERNORM,
    PM_GROUP_POINTWISE, /* BatchNorm, layer scale, addition or activation with nothing to join */
} pm_group_kind;

enum { PM_GROUP_NONE = -1, PM_GROUP_IMAGE = -2 };

typedef struct pm_group {
    pm_group_kind kind;
    int head;                 /* the node it starts from */
    int affine;               /* node with a factor a channel: BatchNorm, layer scale, the LayerNorm
                                 itself; or PM_NODE_NONE */
    pm_activation activation; /* last of all */
    int last;                 /* the node whose value it gives */
    int input, residual;      /* groups, PM_GROUP_IMAGE or PM_GROUP_NONE; residual is added after
                                 `affine` */
    int factors;              /* SCALE: the group whose 1x1 map multiplies the input's */
} pm_group;

typedef struct pm_fusion {
    pm_group *groups; /* [count] in an order in which they can run */
    size_t count;
    int output; /* the group that gives the logits */
} pm_fusion;

/* PM_E_UNSUPPORTED (a graph that does not start with a convolution, or ends with neither a linear
 * layer nor an average over all pixels), PM_E_MEMORY. */
pm_status pm_fusion_init(const pm_graph *graph, pm_fusion *out);
void pm_fusion_fini(pm_fusion *fusion);

#endif
