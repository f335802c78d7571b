/* A model's weights in the order in which the kernels of one ISA read them, forward and backward.
 * Made once a model, immutable, shared by threads. */
#ifndef PM_ENGINE_PACKED_H
#define PM_ENGINE_PACKED_H

#include <pthread.h>

#include "worker/engine/graph.h"
#include "worker/engine/kernels/kernels.h"
#include "worker/engine/plan/fusion.h"

/* A weight's place relative to an output pixel's place in the map that is read, in pixels. */
typedef struct pm_tap {
    int dy, dx;
} pm_tap;

/* Outputs whose sums run over the same taps. */
typedef struct pm_tap_class {
    size_t taps;
    const pm_tap *tap;    /* [taps] */
    const float *weights; /* as pm_conv has them */
} pm_tap_class;

typedef struct pm_packed_group {
    pm_tap_class forward;  /* conv; linear: one tap a pixel, tap NULL; read backward as well */
    size_t backward_count; /* conv: stride^2 parities of the input pixel, row-major;
                              first conv: one; linear: 0 */
    pm_tap_class *backward;
    const float *winograd; /* conv 3x3, stride 1, pad 1, and a first conv whose sub-pixels have 3x3
                              or 4x4 taps: the backward's filters at 36 points, as pm_winograd has
                              them; then there are no backward taps */
    size_t winograd_taps;  /* of them along a side; 0: none */
    int winograd_first;    /* where the first of them lies */
    size_t subpixels;      /* first conv: its backward gives blocks of subpixels^2 pixels, channel
                              (a subpixels + b) 3 + c for pixel (a, b), color c; else 0 */
    float *scale, *shift;  /* [blocks v] of `affine` and bias; NULL where there is neither */
    float *gradient_scale; /* [blocks v]; NULL without `affine` */
    float *bias;           /* conv: [blocks v], already part of shift; NULL without */
    float *memory;         /* all weights of the group */
    pm_tap *taps;
} pm_packed_group;

typedef struct pm_packed {
    const pm_kernels *kernels;
    const pm_graph *graph; /* the model's; its convolution and linear weights are not read again */
    pm_fusion fusion;
    pm_packed_group *groups; /* [fusion.count] */
    pthread_mutex_t logits_lock;
    float **logits_filters; /* [fusion.count] for forward passes of which only the logits count: as
                               `winograd`, forward; NULL until pm_packed_for_logits. A first conv's
                               read sub-pixels: channel (a subpixels + b) 3 + c of pixel (i, j) is
                               color c of pixel (subpixels i + a, subpixels j + b) */
} pm_packed;

/* The ISA is chosen here. spend: the graph's convolution and linear weights are freed one by one as
 * they are packed (some of them also on failure). PM_E_USAGE (PARCHMILL_ISA), PM_E_UNSUPPORTED,
 * PM_E_MEMORY. */
pm_status pm_packed_new(pm_graph *graph, bool spend, pm_packed **out);
void pm_packed_free(pm_packed **packed);
/* A filter [taps][taps] from input channel `in` to output channel `out`, at Winograd's points, into
 * its place in weights as pm_winograd has them. in_lanes: input channels rounded up to whole
 * blocks. */
void pm_packed_put_points(const pm_kernels *kernels, size_t taps, const float *filter, size_t out,
                          size_t out_blocks, size_t in, size_t in_lanes, float *weights);
/* Where the first tap of logits_filters lies. */
ptrdiff_t pm_packed_logits_first(const pm_packed_group *group);
/* Add the filters of logits-only passes, once; any thread may ask. PM_E_MEMORY. */
pm_status pm_packed_for_logits(pm_packed *packed);
const char *pm_packed_isa(const pm_packed *packed);
/* A layer's weights that no second-level cache holds, floats. */
enum { PM_WIDE_FLOATS = 2 << 20 };
/* Floats of all wide layers' weights that images of a batch can read together: Winograd's filters
 * of a backward pass and linear layers. */
size_t pm_packed_shared_floats(const pm_packed *packed);

#endif
