/* Owns: the direct convolution, a register tile of pixels x output blocks. Must not know what the
 * sums mean.
 *
 * The tile keeps up to PM_TILE pixels times two output blocks in registers; each weight vector is
 * loaded once for all its pixels, each input float is broadcast to both blocks. The input is read
 * where it lies (borders are real zeros), so there is no edge case in the inner loop. */
#include "worker/engine/kernels/vec.h"

#if PM_LANES == 16
enum { PM_TILE = 14, PM_TILE_SINGLE = 14 }; /* 28 of 32 registers are sums */
#else
enum { PM_TILE = 6, PM_TILE_SINGLE = 12 }; /* 12 of 16 */
#endif
enum { PM_TILE_TWO_ROWS = PM_TILE / 2 };
/* Input that should stay in the second-level cache while the output blocks go by. */
enum { PM_BAND_BYTES = 384 * 1024 };

/* Weights are read once from memory and then from the cache; they are asked for so many floats
 * before their turn, so that the first tile does not wait for them either. */
enum { PM_AHEAD = 128 * PM_LANES, PM_LINE = 16 };

typedef void tile_fn(const pm_conv *conv, const float *in, const float *weights, vec *out);

PM_INLINE size_t run_blocks(const pm_conv *conv, size_t channels) {
    const size_t products = conv->taps * channels;
    return products == 0 || products >= PM_RUN ? 1 : PM_RUN / products;
}

/* out: [blocks][rows * pixels], sums of one tile. All but conv, in, weights, out are constants.
 * point: one tap, and conv->ahead is asked for instead of what follows in weights. */
PM_INLINE void tile_sum(const pm_conv *conv, const float *in, const float *weights, vec *out,
                        int blocks, int rows, int pixels, ptrdiff_t step, int channels,
                        bool point) {
    vec a[2][PM_TILE_SINGLE > PM_TILE ? PM_TILE_SINGLE : PM_TILE];
    const int count = rows * pixels;
    const ptrdiff_t row = conv->in.row;
    const size_t run = run_blocks(conv, (size_t)channels), taps = point ? 1 : conv->taps;
    const char *ahead = conv->ahead;
    for (size_t first = 0; first < conv->in_blocks; first += run) {
        const size_t left = conv->in_blocks - first, end = left < run ? left : run;
        PM_UNROLL for (int t = 0; t < count; t++) {
            a[0][t] = (vec){0};
            if (blocks == 2) a[1][t] = (vec){0};
        }
        for (size_t b = 0; b < end; b++, in += conv->in.plane) {
            const bool last = first + b + 1 == conv->in_blocks && conv->last_channels != 0;
            const int live = last && channels == PM_LANES ? conv->last_channels : channels;
            for (size_t q = 0; q < taps; q++, weights += (channels - live) * blocks * PM_LANES) {
                const float *p = point ? in : in + conv->tap[q];
                const float *p2 = p + row;
                for (int c = 0; c < live; c++) {
                    vec u0 = vec_load(weights), u1 = (vec){0};
                    if (blocks == 2) u1 = vec_load(weights + PM_LANES);
                    const float *soon = point ? (const float *)ahead : weights + PM_AHEAD;
                    PM_UNROLL for (int k = 0; k < blocks * PM_LANES; k += PM_LINE)
                        __builtin_prefetch(soon + k, 0, 2);
                    weights += blocks * PM_LANES;
                    if (point) ahead += conv->ahead_step;
                    PM_UNROLL for (int t = 0; t < pixels; t++) {
                        a[0][t] += p[t * step + c] * u0;
                        if (blocks == 2) a[1][t] += p[t * step + c] * u1;
                    }
                    if (rows == 2) {
                        PM_UNROLL for (int t = 0; t < pixels; t++) {
                            a[0][pixels + t] += p2[t * step + c] * u0;
                            if (blocks == 2) a[1][pixels + t] += p2[t * step + c] * u1;
                        }
                    }
                }
            }
        }
        if (first == 0) {
            PM_UNROLL for (int t = 0; t < count; t++) {
                out[t] = a[0][t];
                if (blocks == 2) out[count + t] = a[1][t];
            }
        } else {
            PM_UNROLL for (int t = 0; t < count; t++) {
                out[t] += a[0][t];
                if (blocks == 2) out[count + t] += a[1][t];
            }
        }
    }
}

#define TILE(blocks, rows, pixels, kind, step, channels)                                           \
    static __attribute__((noinline)) void tile_##blocks##_##rows##_##pixels##_##kind(              \
        const pm_conv *conv, const float *in, const float *weights, vec *out) {                    \
        tile_sum(conv, in, weights, out, blocks, rows, pixels, step, channels, false);             \
    }
#define TILE_POINT(blocks, pixels)                                                                 \
    static __attribute__((noinline)) void tile_##blocks##_1_##pixels##_point(                      \
        const pm_conv *conv, const float *in, const float *weights, vec *out) {                    \
        tile_sum(conv, in, weights, out, blocks, 1, pixels, PM_LANES, PM_LANES, true);             \
    }
#define TILE_KINDS(blocks, rows, pixels)                                                           \
    TILE(blocks, rows, pixels, one, PM_LANES, PM_LANES)                                            \
    TILE(blocks, rows, pixels, two, 2 * PM_LANES, PM_LANES)
#define TILE_RGB(blocks, pixels)                                                                   \
    TILE(blocks, 1, pixels, rgb, PM_RGB_PITCH, PM_RGB)                                             \
    TILE(blocks, 1, pixels, two_rgb, 2 * PM_RGB_PITCH, PM_RGB)
#define TILE_ALL(blocks, pixels) TILE_KINDS(blocks, 1, pixels) TILE_RGB(blocks, pixels)

#if PM_LANES == 16
#define EACH_PAIR(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14)
#define EACH_SINGLE(F) EACH_PAIR(F)
#define EACH_TWO_ROWS(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#else
#define EACH_PAIR(F) F(1) F(2) F(3) F(4) F(5) F(6)
#define EACH_SINGLE(F) EACH_PAIR(F) F(7) F(8) F(9) F(10) F(11) F(12)
#define EACH_TWO_ROWS(F) F(1) F(2) F(3)
#endif

#define MAKE_SINGLE(n) TILE_ALL(1, n)
#define MAKE_PAIR(n) TILE_ALL(2, n) TILE_POINT(1, n) TILE_POINT(2, n)
#define MAKE_TWO_ROWS(n) TILE_KINDS(1, 2, n) TILE_KINDS(2, 2, n)
EACH_SINGLE(MAKE_SINGLE)
EACH_PAIR(MAKE_PAIR)
EACH_TWO_ROWS(MAKE_TWO_ROWS)

#define SINGLE_one(n) tile_1_1_##n##_one,
#define SINGLE_point(n) tile_1_1_##n##_point,
#define SINGLE_two(n) tile_1_1_##n##_two,
#define SINGLE_rgb(n) tile_1_1_##n##_rgb,
#define SINGLE_two_rgb(n) tile_1_1_##n##_two_rgb,
#define PAIR_one(n) tile_2_1_##n##_one,
#define PAIR_point(n) tile_2_1_##n##_point,
#define PAIR_two(n) tile_2_1_##n##_two,
#define PAIR_rgb(n) tile_2_1_##n##_rgb,
#define PAIR_two_rgb(n) tile_2_1_##n##_two_rgb,
#define ROWS_1_one(n) tile_1_2_##n##_one,
#define ROWS_1_two(n) tile_1_2_##n##_two,
#define ROWS_2_one(n) tile_2_2_##n##_one,
#define ROWS_2_two(n) tile_2_2_##n##_two,

/* [blocks - 1][kind][pixels - 1]; the kinds without a step of their own take pixels one by one */
static tile_fn *const tiles[2][PM_STEP_COUNT][PM_TILE_SINGLE] = {
    {{EACH_SINGLE(SINGLE_one)},
     {EACH_SINGLE(SINGLE_two)},
     {EACH_SINGLE(SINGLE_rgb)},
     {EACH_SINGLE(SINGLE_two_rgb)},
     {tile_1_1_1_one},
     {tile_1_1_1_rgb}},
    {{EACH_PAIR(PAIR_one)},
     {EACH_PAIR(PAIR_two)},
     {EACH_PAIR(PAIR_rgb)},
     {EACH_PAIR(PAIR_two_rgb)},
     {tile_2_1_1_one},
     {tile_2_1_1_rgb}},
};
static tile_fn *const point_tiles[2][PM_TILE] = {{EACH_PAIR(SINGLE_point)},
                                                 {EACH_PAIR(PAIR_point)}};
static tile_fn *const two_row_tiles[2][2][PM_TILE_TWO_ROWS] = {
    {{EACH_TWO_ROWS(ROWS_1_one)}, {EACH_TWO_ROWS(ROWS_1_two)}},
    {{EACH_TWO_ROWS(ROWS_2_one)}, {EACH_TWO_ROWS(ROWS_2_two)}},
};

void PM_ISA_SYMBOL(pm_conv_tile)(const pm_conv *conv, size_t blocks, size_t pixels, const float *in,
                                 const float *weights, vec *out) {
    point_tiles[blocks - 1][pixels - 1](conv, in, weights, out);
}

static ptrdiff_t step_floats(const pm_conv *conv) {
    switch (conv->step) {
    case PM_STEP_PIXEL: return PM_LANES;
    case PM_STEP_TWO_PIXELS: return 2 * PM_LANES;
    case PM_STEP_RGB: return PM_RGB_PITCH;
    case PM_STEP_TWO_RGB: return 2 * PM_RGB_PITCH;
    case PM_STEP_ANY:
    case PM_STEP_ANY_RGB:
    case PM_STEP_COUNT: break;
    }
    return conv->in.pixel;
}

/* Two rows at once where one row is too short to fill the registers. */
static void rows_pair(const pm_conv *conv, size_t image, size_t block, size_t blocks, size_t y,
                      const float *in, const float *weights) {
    vec sums[2 * PM_TILE];
    const size_t width = conv->width;
    two_row_tiles[blocks - 1][conv->step][width - 1](conv, in, weights, sums);
    for (size_t b = 0; b < blocks; b++)
        for (size_t r = 0; r < 2; r++) PM_ISA_SYMBOL(pm_finish)
    (&conv->epilogue, sums + (2 * b + r) * width, image, block + b, y + r, 0, width);
}

static void one_row(const pm_conv *conv, size_t image, size_t block, size_t blocks, size_t y,
                    const float *in, const float *weights) {
    vec sums[2 * PM_TILE > PM_TILE_SINGLE ? 2 * PM_TILE : PM_TILE_SINGLE];
    size_t longest = blocks == 2 ? PM_TILE : PM_TILE_SINGLE;
    if (conv->step == PM_STEP_ANY || conv->step == PM_STEP_ANY_RGB) longest = 1;
    const ptrdiff_t step = step_floats(conv);
    const size_t parts = (conv->width + longest - 1) / longest;
    for (size_t i = 0; i < parts; i++) {
        size_t x = conv->width * i / parts, n = conv->width * (i + 1) / parts - x;
        tiles[blocks - 1][conv->step][n - 1](conv, in + (ptrdiff_t)x * step, weights, sums);
        for (size_t b = 0; b < blocks; b++)
            PM_ISA_SYMBOL(pm_finish)(&conv->epilogue, sums + b * n, image, block + b, y, x, n);
    }
}

/* Rows first .. last - 1 of one pair of output blocks (or the odd last one). */
static void band(const pm_conv *conv, size_t image, size_t block, size_t first, size_t last) {
    const size_t blocks = conv->out_blocks - block >= 2 ? 2 : 1;
    const bool rgb =
        conv->step == PM_STEP_RGB || conv->step == PM_STEP_TWO_RGB || conv->step == PM_STEP_ANY_RGB;
    const float *weights =
        conv->weights + block * PM_LANES * conv->in_blocks * conv->taps * (rgb ? PM_RGB : PM_LANES);
    const bool narrow = conv->width <= PM_TILE_TWO_ROWS && conv->step <= PM_STEP_TWO_PIXELS;
    for (size_t y = first; y < last; y++) {
        const float *in =
            conv->in.at + (ptrdiff_t)image * conv->in.image + (ptrdiff_t)y * conv->in.row;
        if (narrow && y + 1 < last) {
            rows_pair(conv, image, block, blocks, y, in, weights);
            y++;
        } else {
            one_row(conv, image, block, blocks, y, in, weights);
        }
    }
}

void PM_ISA_SYMBOL(pm_conv)(const pm_conv *conv) {
    ptrdiff_t row = conv->in.row < 0 ? -conv->in.row : conv->in.row;
    size_t row_bytes = (size_t)row * conv->in_blocks * sizeof(float);
    size_t rows = row_bytes == 0 ? conv->height : PM_BAND_BYTES / row_bytes;
    const size_t end = conv->first + conv->images;
    if (rows >= conv->height) {
        /* Small maps: the weights of a pair of blocks stay in cache for all images. */
        for (size_t block = 0; block < conv->out_blocks; block += 2)
            for (size_t image = conv->first; image < end; image++)
                band(conv, image, block, 0, conv->height);
        return;
    }
    if (rows < 4) rows = 4;
    for (size_t image = conv->first; image < end; image++)
        for (size_t y = 0; y < conv->height; y += rows) {
            size_t last = y + rows < conv->height ? y + rows : conv->height;
            for (size_t block = 0; block < conv->out_blocks; block += 2)
                band(conv, image, block, y, last);
        }
}
