/* How an architecture file writes its graph down: one call a node, in topological and registration
 * order. A failed call makes every later one a no-op that returns PM_NODE_NONE; the caller looks at
 * `status` once at the end. Nodes carry shapes only; parameters are filled in afterwards. */
#ifndef PM_ENGINE_BUILDER_H
#define PM_ENGINE_BUILDER_H

#include "worker/engine/graph.h"

/* One tensor of the state dict that the graph wants, and where it goes. */
typedef struct pm_parameter {
    char *name; /* owned */
    size_t shape[4], rank, count;
    int node;
    enum { PM_SLOT_WEIGHT, PM_SLOT_BIAS, PM_SLOT_MEAN, PM_SLOT_VAR } slot;
} pm_parameter;

typedef struct pm_builder {
    pm_graph *graph;
    size_t node_capacity, parameter_capacity;
    pm_parameter *parameters; /* [parameter_count] in state-dict order */
    size_t parameter_count;
    pm_status status;
} pm_builder;

int pm_build_input(pm_builder *builder);
int pm_build_conv(pm_builder *builder, int input, const char *name, size_t channels, size_t kernel,
                  size_t stride, size_t pad, bool bias);
/* With kernel and pad as height, width. */
int pm_build_conv_rectangle(pm_builder *builder, int input, const char *name, size_t channels,
                            const size_t kernel[2], size_t stride, const size_t pad[2], bool bias);
/* As many channels out as in, each reading its own (torch's groups = channels). */
int pm_build_depthwise(pm_builder *builder, int input, const char *name, size_t kernel,
                       size_t stride, size_t pad, bool bias);
/* eps 1e-5, PyTorch's default. */
int pm_build_batchnorm(pm_builder *builder, int input, const char *name);
int pm_build_batchnorm_eps(pm_builder *builder, int input, const char *name, float eps);
int pm_build_relu(pm_builder *builder, int input);
int pm_build_relu6(pm_builder *builder, int input);
int pm_build_silu(pm_builder *builder, int input);
int pm_build_sigmoid(pm_builder *builder, int input);
int pm_build_gelu(pm_builder *builder, int input);
int pm_build_add(pm_builder *builder, int a, int b);
int pm_build_concat(pm_builder *builder, int a, int b);
/* factors: a 1x1 map of as many channels. */
int pm_build_scale(pm_builder *builder, int input, int factors);
int pm_build_maxpool(pm_builder *builder, int input, size_t kernel, size_t stride, size_t pad);
/* With PyTorch's ceil_mode. */
int pm_build_maxpool_ceil(pm_builder *builder, int input, size_t kernel, size_t stride, size_t pad);
int pm_build_avgpool(pm_builder *builder, int input, size_t kernel, size_t stride, size_t pad);
int pm_build_avgpool_to(pm_builder *builder, int input, size_t height, size_t width);
int pm_build_subsample_pad(pm_builder *builder, int input, size_t channels, size_t stride);
int pm_build_linear(pm_builder *builder, int input, const char *name, size_t in_features,
                    size_t features);
int pm_build_linear_map(pm_builder *builder, int input, const char *name, size_t features);
int pm_build_layernorm(pm_builder *builder, int input, const char *name, float eps);
/* NAME.layer_scale [C, 1, 1]: its place in the state dict is before the parameters of NAME's own
 * modules, as PyTorch lists them. */
int pm_build_layer_scale(pm_builder *builder, int input, const char *name);

/* The whole skeleton of an architecture for `classes` classes; release with pm_builder_fini, which
 * also frees the graph unless it was taken out (set to NULL). PM_E_MEMORY. */
pm_status pm_builder_init(pm_builder *builder, const pm_arch_info *arch, size_t classes);
void pm_builder_fini(pm_builder *builder);

#endif
