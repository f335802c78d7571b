/* Owns: the depthwise convolution, a register tile of pixels of one channel block, and by the same
 * loops its backward pass. Must not know what the sums mean. */
#include "worker/engine/kernels/vec.h"

enum { PM_TILE = 12 }; /* sums in registers, of 16 or 32 */

typedef void tile_fn(const pm_conv *conv, const float *in, const float *weights, vec *out);

/* out: [pixels]. `pixels` is a constant, and so is `step` where it matters. */
PM_INLINE void tile_sum(const pm_conv *conv, const float *in, const float *weights, vec *out,
                        int pixels, ptrdiff_t step) {
    vec a[PM_TILE];
    PM_UNROLL for (int t = 0; t < pixels; t++) a[t] = (vec){0};
    for (size_t q = 0; q < conv->taps; q++, weights += PM_LANES) {
        const float *p = in + conv->tap[q];
        const vec w = vec_load(weights);
        PM_UNROLL for (int t = 0; t < pixels; t++) a[t] += vec_load(p + t * step) * w;
    }
    PM_UNROLL for (int t = 0; t < pixels; t++) out[t] = a[t];
}

#define TILE(pixels, kind, step)                                                                   \
    static __attribute__((noinline)) void tile_##pixels##_##kind(                                  \
        const pm_conv *conv, const float *in, const float *weights, vec *out) {                    \
        tile_sum(conv, in, weights, out, pixels, step);                                            \
    }
#define TILE_KINDS(pixels)                                                                         \
    TILE(pixels, one, PM_LANES) TILE(pixels, two, 2 * PM_LANES) TILE(pixels, any, conv->in.pixel)
#define EACH(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12)
EACH(TILE_KINDS)
#define TILE_one(n) tile_##n##_one,
#define TILE_two(n) tile_##n##_two,
#define TILE_any(n) tile_##n##_any,

static tile_fn *const tiles[3][PM_TILE] = {{EACH(TILE_one)}, {EACH(TILE_two)}, {EACH(TILE_any)}};

static tile_fn *const *tiles_of(pm_step_kind step) {
    switch (step) {
    case PM_STEP_PIXEL: return tiles[0];
    case PM_STEP_TWO_PIXELS: return tiles[1];
    case PM_STEP_ANY:
    case PM_STEP_RGB:
    case PM_STEP_TWO_RGB:
    case PM_STEP_ANY_RGB:
    case PM_STEP_COUNT: break;
    }
    return tiles[2];
}

void PM_ISA_SYMBOL(pm_depthwise)(const pm_conv *conv) {
    tile_fn *const *const tile = tiles_of(conv->step);
    const size_t parts = (conv->width + PM_TILE - 1) / PM_TILE;
    vec sums[PM_TILE];
    for (size_t image = 0; image < conv->images; image++)
        for (size_t block = 0; block < conv->out_blocks; block++) {
            const float *weights = conv->weights + block * conv->taps * PM_LANES;
            const float *in =
                conv->in.at + (ptrdiff_t)image * conv->in.image + (ptrdiff_t)block * conv->in.plane;
            for (size_t y = 0; y < conv->height; y++, in += conv->in.row)
                for (size_t i = 0; i < parts; i++) {
                    size_t x = conv->width * i / parts, n = conv->width * (i + 1) / parts - x;
                    tile[n - 1](conv, in + (ptrdiff_t)x * conv->in.pixel, weights, sums);
                    PM_ISA_SYMBOL(pm_finish)(&conv->epilogue, sums, image, block, y, x, n);
                }
        }
}
