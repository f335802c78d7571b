/* The kernels as the plan sees them: one table of function pointers an instruction set.
 *
 * Owns: the loops over pixels and channels. Knows nothing of graphs, lifetimes or requests.
 * Layout: [C/v][H][W][v], v = pm_kernels.lanes, with whatever strides a span gives; lanes behind
 * the last channel hold zeros. Borders around a map are the caller's to allot and to clear.
 * Numbers: every output is one sum in a fixed order (input block, tap, channel), whatever the tile
 * that computes it and however many images run together. */
#ifndef PM_ENGINE_KERNELS_H
#define PM_ENGINE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "worker/engine/activation.h"

/* Where the maps of some images lie: strides in floats between images, channel blocks, rows and
 * pixels. `at` is pixel (0, 0) of the first, inside the border. */
typedef struct pm_span {
    float *at; /* NULL: absent */
    ptrdiff_t image, plane, row, pixel;
} pm_span;

typedef struct pm_const_span {
    const float *at;
    ptrdiff_t image, plane, row, pixel;
} pm_const_span;

/* A derivative, one element a pixel and block: either one bit a channel (pm_kernels.mask_bytes) or
 * v floats. Strides in elements; `image` between the points of a forward pass. */
typedef struct pm_mask_span {
    void *at; /* NULL: absent */
    ptrdiff_t image, plane, row, pixel;
} pm_mask_span;

/* What happens to a raw sum v before it is stored, in this order. Images of a backward pass read
 * what the forward pass has left for the point that they are of. */
typedef struct pm_epilogue {
    const uint8_t *point_of; /* [images] add_factors, kept, mask and slope are those of that
                                image of the forward pass; NULL: of the image itself */
    bool keep_raw;           /* v + bias is stored in raw; v goes on as it was */
    pm_span raw;
    const float *bias;           /* [blocks v]; NULL: none */
    const float *scale, *shift;  /* [blocks v]: v = scale v + shift; both or neither */
    pm_const_span add;           /* v += add, */
    pm_const_span add_factors;   /* times these, a pixel a block, where they are */
    pm_activation activation;    /* v = activation(v); kept = its derivative there: bits, */
    pm_mask_span kept;           /* floats where it is smooth */
    size_t channels;             /* with an activation: lanes behind them stay 0 */
    bool guided;                 /* with a mask: v = max(v, 0) first */
    pm_mask_span mask;           /* v = 0 where the bit is 0 */
    pm_mask_span slope;          /* v *= slope */
    pm_span out;                 /* v is stored here */
    pm_span scaled;              /* and gradient_scale v here; v itself where that is NULL */
    const float *gradient_scale; /* [blocks v] */
} pm_epilogue;

/* From one output pixel to the next, the input moves by ... */
typedef enum pm_step_kind {
    PM_STEP_PIXEL,      /* one pixel of v lanes */
    PM_STEP_TWO_PIXELS, /* two of them */
    PM_STEP_RGB,        /* one pixel of PM_RGB_PITCH floats, three of them used */
    PM_STEP_TWO_RGB,
    PM_STEP_ANY, /* in.pixel floats, v lanes: one pixel at a time, slow */
    PM_STEP_ANY_RGB,
    PM_STEP_COUNT
} pm_step_kind;

enum { PM_RGB = 3, PM_RGB_PITCH = 4, PM_WINOGRAD_POINTS = 36 };

/* out[k][y][x] = sum over input blocks, taps, channels of weight * in[y row + x step + tap]. Any
 * convolution and its backward pass by parities are of this form. */
typedef struct pm_conv {
    pm_const_span in; /* row: between the input rows of two output rows */
    pm_step_kind step;
    size_t in_blocks, taps;
    int last_channels;    /* conv: so many channels are in the last input block; 0: v of them */
    const ptrdiff_t *tap; /* [taps] floats from an output pixel's input pixel */
    const float *weights; /* [pairs of output blocks][in_blocks][taps][channels][2 v]; an odd last
                             block: [...][v] */
    const char *ahead;    /* what pm_conv_tile asks for meanwhile, ahead_step bytes a channel */
    size_t ahead_step;
    size_t first, images;             /* images `first` .. first + images - 1 */
    size_t out_blocks, height, width; /* of the output */
    pm_epilogue epilogue;
} pm_conv;

/* A convolution of stride 1 by Winograd's F(4x4, 3x3) or F(3x3, 4x4): a quarter of the products.
 * Outside the map that is read are zeros, nothing there is touched. Its numbers differ from the
 * direct sum's by about 1e-6 of the largest; a backward pass takes that well, a forward pass that a
 * gradient depends on does not. */
typedef struct pm_winograd {
    pm_const_span in;     /* pixel: one pixel of v lanes */
    size_t taps;          /* a side: 3 or 4, */
    ptrdiff_t first;      /* the first this far down and right of the output pixel */
    int last_channels;    /* as pm_conv has it */
    const float *weights; /* [36 points] as pm_conv has them with one tap */
    float *scratch;       /* [winograd_scratch(in_blocks, out_blocks, chunk_tiles)], aligned */
    size_t from;          /* images `from` .. from + images - 1 */
    size_t chunk_tiles;   /* tiles of outputs that go through the cache together */
    size_t images, in_blocks, out_blocks, height, width; /* of what is written */
    size_t in_height, in_width;
    pm_epilogue epilogue;
} pm_winograd;

/* Everything else that walks over a map. height, width: of what is written. */
typedef struct pm_map {
    pm_const_span in;
    size_t first, images; /* images `first` .. first + images - 1 */
    size_t blocks, height, width;
    size_t in_height, in_width;
    pm_const_span factors; /* scale_map: a pixel a block; scale_sum: a map as `in` */
    size_t kernel, stride, pad;
    uint8_t *winner;    /* pooling: [blocks][pooled height][pooled width][v], place in the window */
    size_t before;      /* subsample: channels of the wider map in front of the narrower one's */
    size_t in_channels; /* subsample: of the map that is read */
    size_t channels;    /* subsample_backward: of the map that is written; layernorm: of its map */
    float eps;          /* layernorm */
    float *normal;      /* [blocks][height][width][v]: (v - mean) / std of the forward pass, */
    float *inverse;     /* [height][width]: 1 / std */
    pm_epilogue epilogue;
} pm_map;

/* A linear layer on a map that is flattened, all its pixels and channels. */
typedef struct pm_linear {
    pm_const_span in;     /* forward: the map; backward: the gradient of the outputs, one pixel */
    const float *weights; /* for both: as pm_conv has them, a tap a pixel of the map */
    float *sums;          /* backward: scratch [images][in_blocks][height][width][v], aligned */
    size_t images, in_blocks, height, width; /* of the map */
    size_t out_blocks;
    pm_epilogue epilogue; /* forward: outputs are one pixel; backward: the map's gradient */
} pm_linear;

/* The gradient at a convolution's output, of one image. */
typedef struct pm_measure {
    pm_span delta;
    size_t channels, blocks, height, width;
    const float *weight_h;   /* [blocks v]: 1 for the channels of H, else 0; aligned */
    double *sum_h, *sum_l;   /* out: [height width], sums over the channels of H and of the rest */
    float *channel_variance; /* out: [channels], unbiased over space, 0 for 1x1; or NULL */
} pm_measure;

/* The raw output of a convolution, of one image. */
typedef struct pm_activity {
    pm_const_span raw;
    size_t channels, blocks, height, width;
    float *mean;     /* out: [channels], mean over space of max(raw, 0) */
    size_t positive; /* out: how many values are above 0 */
} pm_activity;

typedef struct pm_kernels {
    const char *name; /* "avx512", "avx2", "baseline" */
    size_t lanes;     /* v */
    size_t mask_bytes;
    bool (*usable)(void);
    void (*conv)(const pm_conv *conv);
    void (*winograd)(const pm_winograd *work);
    size_t (*winograd_scratch)(size_t in_blocks, size_t out_blocks, size_t tiles); /* floats */
    /* One filter [taps][taps] at the 36 points. */
    void (*winograd_weights)(size_t taps, const float *filter, float out[PM_WINOGRAD_POINTS]);
    /* channel by channel: out[k] = sum over taps of weight[k] in[k]; weights [out_blocks][taps][v].
     * `count` of them over the same images and blocks, row by row in turn. */
    void (*depthwise)(const pm_conv *convs, size_t count);
    void (*pointwise)(const pm_map *map);
    void (*maxpool)(const pm_map *map);
    /* in: the gradient of the pooled map, in_height x in_width its size */
    void (*maxpool_backward)(const pm_map *map);
    void (*scale_map)(const pm_map *map); /* in times factors */
    void (*scale_sum)(const pm_map *map); /* the sum over space of in times factors, 1x1 */
    void (*avgpool)(const pm_map *map);
    void (*avgpool_backward)(const pm_map *map);
    void (*avgpool_window)(const pm_map *map); /* zeros of the padding count */
    void (*avgpool_window_backward)(const pm_map *map);
    void (*subsample)(const pm_map *map);
    void (*subsample_backward)(const pm_map *map);
    /* over the channels of each pixel; keeps `normal` and `inverse` for the backward pass */
    void (*layernorm)(const pm_map *map);
    /* in: the gradient of the normalised map (w taken in already) */
    void (*layernorm_backward)(const pm_map *map);
    void (*linear)(const pm_linear *linear);
    void (*linear_backward)(const pm_linear *linear);
    /* The gradient of one output each: values[n] times row rows[n] of the weights for image n;
     * `in` is not read. */
    void (*linear_row)(const pm_linear *linear, const size_t *rows, const float *values);
    void (*measure)(const pm_measure *measure);
    /* delta *= factor of its channel, in place; factors [blocks v] */
    void (*scale)(const pm_measure *measure, const float *factors);
    void (*activity)(pm_activity *activity);
} pm_kernels;

/* The best set that this CPU runs, or the one that PARCHMILL_ISA names. PM_E_USAGE where that is
 * unknown or not usable here. */
pm_status pm_kernels_choose(const pm_kernels **out);
/* By name; NULL where unknown. */
const pm_kernels *pm_kernels_named(const char *name);

#endif
