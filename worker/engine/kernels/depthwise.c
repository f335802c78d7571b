/* Owns: the depthwise convolution, a register tile of pixels of one channel block, and by the same
 * loops its backward pass. Must not know what the sums mean.
 *
 * Where the taps are rows of neighbours, as they nearly always are, a tile holds a row's weights in
 * registers and loads each pixel of the input once for all of them. */
#include "worker/engine/kernels/vec.h"

enum { PM_TILE = PM_LANES == 16 ? 14 : 8 }; /* sums in registers, of 32 or 16 */
enum { PM_TOGETHER = 4 };                   /* convolutions: the parities of stride 2 */

/* The taps: rows of `columns` neighbours, from left to right or from right to left. */
typedef struct grid {
    size_t columns;  /* 0: any taps */
    ptrdiff_t first; /* of a row's taps, the leftmost: 0 or columns - 1 */
    ptrdiff_t next;  /* from a tap's weights to those of the tap to the right of it, floats */
} grid;

typedef void tile_fn(const pm_conv *conv, const grid *g, const float *in, const float *weights,
                     vec *out);

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

/* The same of a grid; step: pixels, 1 or 2. pixels, step and columns are constants. */
PM_INLINE void grid_sum(const pm_conv *conv, const grid *g, const float *in, const float *weights,
                        vec *out, int pixels, int step, int columns) {
    vec a[PM_TILE], w[7];
    PM_UNROLL for (int t = 0; t < pixels; t++) a[t] = (vec){0};
    weights += g->first * PM_LANES;
    for (size_t q = 0; q < conv->taps; q += (size_t)columns, weights += columns * PM_LANES) {
        const float *p = in + conv->tap[q + (size_t)g->first];
        PM_UNROLL for (int j = 0; j < columns; j++) w[j] = vec_load(weights + j * g->next);
        PM_UNROLL for (int x = 0; x < (pixels - 1) * step + columns; x++) {
            const vec u = vec_load(p + x * PM_LANES);
            PM_UNROLL for (int j = 0; j < columns; j++) {
                const int t = (x - j) / step;
                if (x >= j && (x - j) % step == 0 && t < pixels) a[t] += u * w[j];
            }
        }
    }
    PM_UNROLL for (int t = 0; t < pixels; t++) out[t] = a[t];
}

#define TILE(pixels, kind, work)                                                                   \
    static __attribute__((noinline)) void tile_##pixels##_##kind(                                  \
        const pm_conv *conv, const grid *g, const float *in, const float *weights, vec *out) {     \
        (void)g;                                                                                   \
        work;                                                                                      \
    }
#define ANY(pixels, kind, step) TILE(pixels, kind, tile_sum(conv, in, weights, out, pixels, step))
#define GRID(pixels, kind, step, columns)                                                          \
    TILE(pixels, kind, grid_sum(conv, g, in, weights, out, pixels, step, columns))
#define TILE_KINDS(pixels)                                                                         \
    ANY(pixels, one, PM_LANES)                                                                     \
    ANY(pixels, any, conv->in.pixel)                                                               \
    GRID(pixels, one_2, 1, 2)                                                                      \
    GRID(pixels, one_3, 1, 3)                                                                      \
    GRID(pixels, one_5, 1, 5)                                                                      \
    GRID(pixels, one_7, 1, 7) GRID(pixels, two_3, 2, 3) GRID(pixels, two_5, 2, 5)
#if PM_LANES == 16
#define EACH(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14)
#else
#define EACH(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8)
#endif
EACH(TILE_KINDS)
#define TILE_one(n) tile_##n##_one,
#define TILE_any(n) tile_##n##_any,
#define TILE_one_2(n) tile_##n##_one_2,
#define TILE_one_3(n) tile_##n##_one_3,
#define TILE_one_5(n) tile_##n##_one_5,
#define TILE_one_7(n) tile_##n##_one_7,
#define TILE_two_3(n) tile_##n##_two_3,
#define TILE_two_5(n) tile_##n##_two_5,

/* step: pixels, 0 for any; columns: 0 for any taps */
static const struct {
    size_t step, columns;
    tile_fn *tile[PM_TILE];
} kinds[] = {
    {1, 2, {EACH(TILE_one_2)}}, {1, 3, {EACH(TILE_one_3)}}, {1, 5, {EACH(TILE_one_5)}},
    {1, 7, {EACH(TILE_one_7)}}, {2, 3, {EACH(TILE_two_3)}}, {2, 5, {EACH(TILE_two_5)}},
    {1, 0, {EACH(TILE_one)}},   {0, 0, {EACH(TILE_any)}},
};

static grid grid_of(const pm_conv *conv) {
    const grid none = {0};
    const ptrdiff_t *tap = conv->tap;
    if (conv->taps < 2) return none;
    const ptrdiff_t next = tap[1] - tap[0];
    if (next != PM_LANES && next != -PM_LANES) return none;
    size_t columns = 2;
    while (columns < conv->taps && tap[columns] - tap[columns - 1] == next) columns++;
    if (conv->taps % columns != 0) return none;
    for (size_t q = 1; q < conv->taps; q++)
        if (q % columns != 0 && tap[q] - tap[q - 1] != next) return none;
    return (grid){columns, next > 0 ? 0 : (ptrdiff_t)columns - 1, next};
}

/* What a whole call has in common. */
typedef struct kernel {
    const pm_conv *conv;
    grid grid;
    tile_fn *const *tile;
} kernel;

static kernel kernel_of(const pm_conv *conv) {
    kernel k = {.conv = conv, .grid = grid_of(conv)};
    const size_t step = conv->step == PM_STEP_PIXEL ? 1 : conv->step == PM_STEP_TWO_PIXELS ? 2 : 0;
    for (size_t i = 0; k.tile == NULL; i++) /* the last takes everything */
        if ((kinds[i].step == step || kinds[i].step == 0) &&
            (kinds[i].columns == k.grid.columns || kinds[i].columns == 0))
            k.tile = kinds[i].tile;
    return k;
}

static void row(const kernel *k, size_t image, size_t block, size_t y) {
    const pm_conv *conv = k->conv;
    const size_t parts = (conv->width + PM_TILE - 1) / PM_TILE;
    const float *weights = conv->weights + block * conv->taps * PM_LANES;
    const float *in = conv->in.at + (ptrdiff_t)image * conv->in.image +
                      (ptrdiff_t)block * conv->in.plane + (ptrdiff_t)y * conv->in.row;
    vec sums[PM_TILE];
    for (size_t i = 0; i < parts; i++) {
        size_t x = conv->width * i / parts, n = conv->width * (i + 1) / parts - x;
        k->tile[n - 1](conv, &k->grid, in + (ptrdiff_t)x * conv->in.pixel, weights, sums);
        PM_ISA_SYMBOL(pm_finish)(&conv->epilogue, sums, image, block, y, x, n);
    }
}

/* Row by row: the parities of a backward pass fill each other's gaps while the rows are in cache.
 */
static void together(const pm_conv *convs, size_t count) {
    kernel kernels[PM_TOGETHER];
    size_t height = 0;
    for (size_t i = 0; i < count; i++) {
        kernels[i] = kernel_of(&convs[i]);
        height = convs[i].height > height ? convs[i].height : height;
    }
    for (size_t image = convs->first; image < convs->first + convs->images; image++)
        for (size_t block = 0; block < convs->out_blocks; block++)
            for (size_t y = 0; y < height; y++)
                for (size_t i = 0; i < count; i++)
                    if (y < convs[i].height) row(&kernels[i], image, block, y);
}

void PM_ISA_SYMBOL(pm_depthwise)(const pm_conv *convs, size_t count) {
    for (size_t i = 0; i < count; i += PM_TOGETHER)
        together(convs + i, count - i < PM_TOGETHER ? count - i : PM_TOGETHER);
}
