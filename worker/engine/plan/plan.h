/* The plan of one input size and batch: tensors with their places in one arena, and the steps that
 * read and write them, forward (up to `points` images at once) and backward (up to `batch`
 * gradients at once, each at one of the points). A plan for logits alone has forward steps only and
 * keeps nothing of them.
 *
 * Made from a model's fusion and packed weights; nothing here is written by hand for a network.
 * Steps are cut into stretches. Each image goes through a stretch on its own, so that its maps stay
 * in cache from step to step; a step alone in its stretch may also be for all images at once, where
 * its weights are so many for so few pixels that they had better share the trip.
 *
 * Immutable once made, but for the arena's contents. Times: step i of `steps` runs at time i. */
#ifndef PM_ENGINE_PLAN_H
#define PM_ENGINE_PLAN_H

#include "worker/engine/plan/packed.h"

enum { PM_TENSOR_NONE = -1, PM_BATCH_MAX = 16 };

/* Maps of some images in the arena: [image][blocks][border + height + border][...][v]. */
typedef struct pm_tensor {
    size_t images, blocks, height, width, border;
    ptrdiff_t image, plane, row, pixel; /* strides, floats; image 0: one image's at a time */
    size_t floats;                      /* of all images */
    ptrdiff_t origin;                   /* of pixel (0, 0) of the first image */
    size_t first, last;                 /* times between which it holds something */
    size_t offset;                      /* in the arena, floats */
    int base; /* the tensor that this one is blocks `block` .. of, or PM_TENSOR_NONE */
    size_t block;
} pm_tensor;

/* Where a group's forward value lies: a tensor of its own, or blocks `block` .. of the value of a
 * concatenation that it is part of. */
typedef struct pm_home {
    int concat; /* group, or PM_GROUP_NONE */
    size_t block;
    size_t border; /* zeros that the readers of what lies there want around it */
} pm_home;

typedef enum pm_step_op {
    PM_DO_CONV,
    PM_DO_WINOGRAD, /* a convolution's backward; its forward for logits alone */
    PM_DO_POINTWISE,
    PM_DO_MAXPOOL,
    PM_DO_MAXPOOL_BACKWARD,
    PM_DO_SCALE,     /* times `factors`: forward, and backward to the map */
    PM_DO_SCALE_SUM, /* backward to the factors: times the map, summed over space */
    PM_DO_AVGPOOL,
    PM_DO_AVGPOOL_BACKWARD,
    PM_DO_AVGPOOL_WINDOW,
    PM_DO_AVGPOOL_WINDOW_BACKWARD,
    PM_DO_SUBSAMPLE, /* also a concatenation's parts whose channels begin inside a block */
    PM_DO_SUBSAMPLE_BACKWARD,
    PM_DO_LAYERNORM,
    PM_DO_LAYERNORM_BACKWARD,
    PM_DO_LINEAR,
    PM_DO_LINEAR_BACKWARD,
    PM_DO_LINEAR_ROW, /* a last linear layer's backward */
    PM_DO_SEED,       /* the gradient of the logits themselves, where no linear layer gives them */
    PM_DO_HOOK,       /* the gradient at a convolution's output stands in `in`: measure, scale */
} pm_step_op;

typedef struct pm_step {
    pm_step_op op;
    int group;                   /* the group whose forward or backward this is */
    int target;                  /* backward: the group whose gradient is written, or
                                    PM_GROUP_IMAGE; forward: the group itself, or the part of a
                                    concatenation that is copied */
    bool together;               /* all images at once; else each goes through the steps */
    size_t stretch, stretch_end; /* .. stretch to stretch_end - 1 on its own */
    bool forward, final;         /* final: all of the target's gradient is in, mask and scale */
    int in, add, out, scaled;    /* tensors */
    int factors, add_factors;    /* tensors: what `in` and `add` are multiplied with */
    size_t before;               /* concatenation: channels in front of the part's */
    int scratch;                 /* tensor: floats that only this step uses */
    int raw;                     /* tensor: a convolution's raw output, of this step only */
    pm_conv *convs;              /* [conv_count] made ready */
    size_t conv_count;
    pm_winograd winograd;
    pm_map map;
    pm_linear linear;
} pm_step;

typedef struct pm_plan {
    const pm_packed *packed;
    size_t height, width, points, batch;
    bool logits_only;
    uint8_t *point_of; /* [batch] of each gradient of the next backward pass: the caller's to set */
    size_t (*sizes)[2]; /* [nodes] */
    pm_tensor *tensors;
    size_t tensor_count, tensor_room;
    pm_step *steps; /* [step_count]: forward_count forward ones, then the backward ones */
    size_t step_count, step_room, forward_count;
    size_t pool_step; /* the backward step of the last adaptive pooling, whose input stays for all
                         rounds; step_count where there is none */
    pm_conv *convs;   /* all steps' */
    size_t conv_count;
    ptrdiff_t *taps;  /* all convs' */
    size_t subpixels; /* 0, or the input is read as logits_filters say, subpixels^2 to a pixel */
    int image;        /* tensor: the input; PM_RGB_PITCH floats a pixel, or sub-pixels */
    int logits;       /* tensor */
    int gradient;     /* tensor: the input's gradient in sub-pixels, [batch] */
    pm_home *homes;   /* [groups] */
    int *value;       /* [groups] tensors: forward value, */
    int *mask;        /* the activation's derivative: bits, or floats where it is smooth, */
    int *winner;      /* pooling winners, */
    int *normal;      /* a LayerNorm's normalised map and 1 / std, */
    int *grad;        /* gradient behind the mask, where a residual needs it, */
    int *delta;       /* gradient at the head's output */
    float *arena;
    size_t arena_floats;
    bool borrowed; /* the arena is another plan's */
} pm_plan;

/* PM_E_USAGE: sizes that the network cannot take; PM_E_MEMORY. */
pm_status pm_plan_init(const pm_packed *packed, size_t height, size_t width, size_t points,
                       size_t batch, pm_plan *out);
/* For logits alone, of inputs as large as the other plan's, in its arena where that is large
 * enough; then a pass of either leaves nothing of the other's. pm_packed_for_logits must have been
 * called, and `other` outlives it. */
pm_status pm_plan_init_logits(const pm_plan *other, size_t points, pm_plan *out);
void pm_plan_fini(pm_plan *plan);
/* scale x + shift of input x [3, height, width]; `image` the place in the batch. For logits alone:
 * after the steps before have run for the images before. */
void pm_plan_load(pm_plan *plan, size_t image, const float *input, const float scale[3],
                  const float shift[3]);
/* The logits [classes] of one image, after the last forward step. */
void pm_plan_read_logits(const pm_plan *plan, size_t image, float *logits);

/* Run step `index` for images first .. first + images - 1: points (forward) or gradients
 * (backward). Not for hooks. rows, values: [images of the pass] class and seed, for the step that
 * starts backward. A step of `together` is for all images of the pass. */
void pm_plan_run(pm_plan *plan, size_t index, size_t first, size_t images, const size_t *rows,
                 const float *values);

/* Whether the next backward passes clamp the gradient to >= 0 at every ReLU and ReLU6. */
void pm_plan_guide(pm_plan *plan, bool guided);

/* Whether the next runs of a convolution's forward step fill its raw tensor. */
void pm_plan_keep_raw(pm_plan *plan, size_t index, bool keep);

/* Views of a tensor in the arena. */
pm_span pm_plan_span(const pm_plan *plan, int tensor);

/* ---- for the plan's own sources ---- */

/* A new tensor [images][channels][height][width] with `border` pixels of zeros around each map,
 * alive from `first` on. PM_TENSOR_NONE where there is no room: rooms are counted beforehand. */
int pm_plan_tensor(pm_plan *plan, size_t images, size_t blocks, size_t height, size_t width,
                   size_t border, size_t first);
/* `floats` of room at the time of `step` alone. */
int pm_plan_scratch(pm_plan *plan, const pm_step *step, size_t floats);
/* Blocks first .. first + blocks - 1 of a tensor. */
int pm_plan_view(pm_plan *plan, int tensor, size_t first, size_t blocks);
void pm_plan_use(pm_plan *plan, int tensor, size_t time);
pm_step *pm_plan_step(pm_plan *plan, pm_step_op op, int group, int target);
size_t pm_plan_blocks(const pm_plan *plan, size_t channels);
/* Tiles that a Winograd step takes through the cache together; for `images` of them. */
size_t pm_plan_chunk_tiles(const pm_plan *plan, const pm_step *step, size_t images);
/* What a kept derivative takes for one pixel of one block. */
size_t pm_plan_mask_bytes(const pm_plan *plan, pm_activation activation);
const pm_node *pm_plan_head(const pm_plan *plan, int group);
/* Zeros around the maps of some images. */
void pm_plan_clear_border(const pm_plan *plan, int tensor, size_t first, size_t images);
/* Size of a group's value; of the image for PM_GROUP_IMAGE. */
const size_t *pm_plan_size(const pm_plan *plan, int group);
pm_status pm_plan_add_backward(pm_plan *plan);
/* Cut the steps into stretches and make the arena. */
pm_status pm_plan_place(pm_plan *plan);
pm_status pm_plan_resolve(pm_plan *plan);

#endif
