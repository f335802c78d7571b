/* Owns: linear layers on a flattened map: forward, backward, and the gradient of one output. Must
 * not know what the outputs mean.
 *
 * Large layers are bound by memory, so forward and backward read the same weights, each of them
 * once for all images. A tile of weights is one pixel of one block of the map (v features) times
 * one or two blocks of outputs; a run is PM_RUN products of a sum, added to the total when done. */
#include "worker/engine/kernels/vec.h"

enum { IMAGES = 16 };                       /* whose sums are kept at a time */
enum { TILES_OF_RUN = PM_RUN / PM_LANES };  /* forward: a run is that many features */
enum { BLOCKS_OF_RUN = PM_RUN / PM_LANES }; /* backward: or that many blocks of outputs */
enum { CHUNK_TILES = 256 / PM_LANES };      /* backward: read of one pair before the next */

static size_t tiles_of(const pm_linear *l) { return l->in_blocks * l->height * l->width; }

static size_t blocks_at(const pm_linear *l, size_t block) {
    return l->out_blocks - block >= 2 ? 2 : 1;
}

/* Weights of the pair of output blocks from `block` on. */
static const float *weights_at(const pm_linear *l, size_t block) {
    return l->weights + block * PM_LANES * tiles_of(l) * PM_LANES;
}

/* ---- forward ---- */

#if PM_LANES == 16
#define EACH_IMAGES(F, blocks)                                                                     \
    F(blocks, 1)                                                                                   \
    F(blocks, 2) F(blocks, 3) F(blocks, 4) F(blocks, 5) F(blocks, 6) F(blocks, 7) F(blocks, 8)
enum { FORWARD_IMAGES = 8 }; /* two sums each stay in registers */
#else
#define EACH_IMAGES(F, blocks) F(blocks, 1) F(blocks, 2) F(blocks, 3) F(blocks, 4)
enum { FORWARD_IMAGES = 4 };
#endif
/* The next run, on its way from memory while other images read this one. */
enum { FORWARD_AHEAD = PM_RUN * 2 * PM_LANES, LINE_FLOATS = 16 };

/* sums[images][2] += one run; at: [tiles] floats from an image's first feature. */
PM_INLINE void forward_run(const float *in, ptrdiff_t image, const ptrdiff_t *at, size_t tiles,
                           const float *weights, vec (*sums)[2], int blocks, int images) {
    vec a[FORWARD_IMAGES][2];
    PM_UNROLL for (int n = 0; n < images; n++) a[n][0] = a[n][1] = (vec){0};
    for (size_t t = 0; t < tiles; t++) {
        const float *p = in + at[t];
        for (int c = 0; c < PM_LANES; c++, weights += blocks * PM_LANES) {
            for (int line = 0; line < blocks * PM_LANES; line += LINE_FLOATS)
                __builtin_prefetch(weights + FORWARD_AHEAD + line);
            const vec u0 = vec_load(weights);
            const vec u1 = blocks == 2 ? vec_load(weights + PM_LANES) : (vec){0};
            PM_UNROLL for (int n = 0; n < images; n++) {
                a[n][0] += p[n * image + c] * u0;
                if (blocks == 2) a[n][1] += p[n * image + c] * u1;
            }
        }
    }
    PM_UNROLL for (int n = 0; n < images; n++) {
        sums[n][0] += a[n][0];
        sums[n][1] += a[n][1];
    }
}

typedef void run_fn(const float *in, ptrdiff_t image, const ptrdiff_t *at, size_t tiles,
                    const float *weights, vec (*sums)[2]);

#define RUN(blocks, images)                                                                        \
    static void run_##blocks##_##images(const float *in, ptrdiff_t image, const ptrdiff_t *at,     \
                                        size_t tiles, const float *weights, vec(*sums)[2]) {       \
        forward_run(in, image, at, tiles, weights, sums, blocks, images);                          \
    }
#define RUN_OF(blocks, images) run_##blocks##_##images,
EACH_IMAGES(RUN, 1)
EACH_IMAGES(RUN, 2)
static run_fn *const runs[2][FORWARD_IMAGES] = {{EACH_IMAGES(RUN_OF, 1)}, {EACH_IMAGES(RUN_OF, 2)}};

/* The outputs of one pair of blocks, of `images` images from `first` on. */
static void forward_pair(const pm_linear *l, size_t block, size_t first, size_t images) {
    const size_t blocks = blocks_at(l, block), tiles = tiles_of(l), pixels = l->height * l->width;
    const float *weights = weights_at(l, block);
    vec sums[IMAGES][2];
    for (size_t n = 0; n < images; n++) sums[n][0] = sums[n][1] = (vec){0};
    for (size_t t = 0; t < tiles; t += TILES_OF_RUN) {
        const size_t count = tiles - t < TILES_OF_RUN ? tiles - t : TILES_OF_RUN;
        ptrdiff_t at[TILES_OF_RUN];
        for (size_t i = 0; i < count; i++)
            at[i] = (ptrdiff_t)((t + i) / pixels) * l->in.plane +
                    (ptrdiff_t)((t + i) % pixels / l->width) * l->in.row +
                    (ptrdiff_t)((t + i) % l->width) * l->in.pixel;
        for (size_t n = 0; n < images; n += FORWARD_IMAGES) { /* the weights are in cache now */
            const size_t some = images - n < FORWARD_IMAGES ? images - n : FORWARD_IMAGES;
            runs[blocks - 1][some - 1](l->in.at + (ptrdiff_t)(first + n) * l->in.image, l->in.image,
                                       at, count, weights, sums + n);
        }
        weights += count * PM_LANES * blocks * PM_LANES;
    }
    for (size_t n = 0; n < images; n++)
        for (size_t b = 0; b < blocks; b++)
            PM_ISA_SYMBOL(pm_finish)(&l->epilogue, &sums[n][b], first + n, block + b, 0, 0, 1);
}

void PM_ISA_SYMBOL(pm_linear)(const pm_linear *l) {
    for (size_t first = 0; first < l->images; first += IMAGES) {
        const size_t images = l->images - first < IMAGES ? l->images - first : IMAGES;
        for (size_t block = 0; block < l->out_blocks; block += 2)
            forward_pair(l, block, first, images);
    }
}

/* ---- backward ---- */

#if PM_LANES == 16
#define WIDE(name) _mm512_##name
typedef __m512d vec_d;
typedef __m512 vec_s;
#elif PM_LANES == 8
#define WIDE(name) _mm256_##name
typedef __m256d vec_d;
typedef __m256 vec_s;
#else
#define WIDE(name) _mm_##name
typedef __m128d vec_d;
typedef __m128 vec_s;
#endif

/* Rows and columns exchanged within each 128 bits of four rows. */
PM_INLINE void transpose_four(vec r[4]) {
    const vec_d a = (vec_d)WIDE(unpacklo_ps)((vec_s)r[0], (vec_s)r[1]);
    const vec_d b = (vec_d)WIDE(unpackhi_ps)((vec_s)r[0], (vec_s)r[1]);
    const vec_d c = (vec_d)WIDE(unpacklo_ps)((vec_s)r[2], (vec_s)r[3]);
    const vec_d d = (vec_d)WIDE(unpackhi_ps)((vec_s)r[2], (vec_s)r[3]);
    r[0] = (vec)WIDE(unpacklo_pd)(a, c);
    r[1] = (vec)WIDE(unpackhi_pd)(a, c);
    r[2] = (vec)WIDE(unpacklo_pd)(b, d);
    r[3] = (vec)WIDE(unpackhi_pd)(b, d);
}

/* r: [v] rows of v floats. */
PM_INLINE void transpose(vec r[PM_LANES]) {
    PM_UNROLL for (int i = 0; i < PM_LANES; i += 4) transpose_four(r + i);
#if PM_LANES == 16
    PM_UNROLL for (int i = 0; i < 4; i++) { /* 128 bits each, as elements of a 4x4 */
        const vec_s a = (vec_s)r[i], b = (vec_s)r[i + 4], c = (vec_s)r[i + 8], d = (vec_s)r[i + 12];
        const vec_s ab = _mm512_shuffle_f32x4(a, b, 0x44), cd = _mm512_shuffle_f32x4(c, d, 0x44);
        const vec_s ba = _mm512_shuffle_f32x4(a, b, 0xee), dc = _mm512_shuffle_f32x4(c, d, 0xee);
        r[i] = (vec)_mm512_shuffle_f32x4(ab, cd, 0x88);
        r[i + 4] = (vec)_mm512_shuffle_f32x4(ab, cd, 0xdd);
        r[i + 8] = (vec)_mm512_shuffle_f32x4(ba, dc, 0x88);
        r[i + 12] = (vec)_mm512_shuffle_f32x4(ba, dc, 0xdd);
    }
#elif PM_LANES == 8
    PM_UNROLL for (int i = 0; i < 4; i++) {
        const vec_s a = (vec_s)r[i], b = (vec_s)r[i + 4];
        r[i] = (vec)_mm256_permute2f128_ps(a, b, 0x20);
        r[i + 4] = (vec)_mm256_permute2f128_ps(a, b, 0x31);
    }
#endif
}

/* The sum over v outputs; two chains of multiply-adds. */
PM_INLINE vec weigh(const vec column[PM_LANES], const float *gradient) {
    vec even = column[0] * gradient[0], odd = column[1] * gradient[1];
    PM_UNROLL for (int k = 2; k < PM_LANES; k += 2) {
        even += column[k] * gradient[k];
        odd += column[k + 1] * gradient[k + 1];
    }
    return even + odd;
}

/* sums[tile][image] += the products with one pair of output blocks. ahead: weights of the tiles
 * that come next. */
PM_INLINE void backward_tiles(const float *gradient, ptrdiff_t image, ptrdiff_t plane,
                              size_t images, const float *weights, const float *ahead, size_t tiles,
                              vec (*sums)[IMAGES], int blocks) {
    const ptrdiff_t row = blocks * PM_LANES;
    for (size_t t = 0; t < tiles; t++, weights += PM_LANES * row, ahead += PM_LANES * row) {
        for (ptrdiff_t line = 0; line < PM_LANES * row; line += LINE_FLOATS)
            __builtin_prefetch(ahead + line);
        PM_UNROLL for (int b = 0; b < blocks; b++) {
            vec column[PM_LANES];
            PM_UNROLL for (int c = 0; c < PM_LANES; c++) column[c] =
                vec_load(weights + c * row + b * PM_LANES);
            transpose(column);
            const float *g = gradient + b * plane;
            for (size_t n = 0; n < images; n++, g += image) sums[t][n] += weigh(column, g);
        }
    }
}

/* Output blocks block .. end - 1 for some tiles: one run of each of their features. */
static void backward_run(const pm_linear *l, size_t first, size_t images, size_t block, size_t end,
                         size_t tile, size_t tiles) {
    vec sums[CHUNK_TILES][IMAGES];
    const float *gradient = l->in.at + (ptrdiff_t)first * l->in.image;
    float *totals = l->sums + (first * tiles_of(l) + tile) * PM_LANES;
    for (size_t t = 0; t < tiles; t++)
        for (size_t n = 0; n < images; n++) sums[t][n] = (vec){0};
    for (size_t b = block; b < end; b += 2) {
        const size_t blocks = blocks_at(l, b), floats = PM_LANES * blocks * PM_LANES;
        const float *weights = weights_at(l, b) + tile * floats;
        const float *ahead =
            b + 2 < end
                ? weights_at(l, b + 2) + tile * PM_LANES * PM_LANES * blocks_at(l, b + 2)
                : weights_at(l, block) + (tile + tiles) * PM_LANES * PM_LANES * blocks_at(l, block);
        const float *g = gradient + (ptrdiff_t)b * l->in.plane;
        if (blocks == 2)
            backward_tiles(g, l->in.image, l->in.plane, images, weights, ahead, tiles, sums, 2);
        else
            backward_tiles(g, l->in.image, l->in.plane, images, weights, ahead, tiles, sums, 1);
    }
    for (size_t n = 0; n < images; n++, totals += tiles_of(l) * PM_LANES)
        for (size_t t = 0; t < tiles; t++) {
            float *total = totals + t * PM_LANES;
            if (block > 0) sums[t][n] += vec_load(total);
            vec_store(total, sums[t][n]);
        }
}

static void backward_finish(const pm_linear *l) {
    vec pixels[PM_STRIP];
    const float *p = l->sums;
    for (size_t n = 0; n < l->images; n++)
        for (size_t b = 0; b < l->in_blocks; b++)
            for (size_t y = 0; y < l->height; y++)
                for (size_t x = 0; x < l->width; x += PM_STRIP) {
                    const size_t count = l->width - x < PM_STRIP ? l->width - x : PM_STRIP;
                    for (size_t i = 0; i < count; i++, p += PM_LANES) pixels[i] = vec_load(p);
                    PM_ISA_SYMBOL(pm_finish)(&l->epilogue, pixels, n, b, y, x, count);
                }
}

void PM_ISA_SYMBOL(pm_linear_backward)(const pm_linear *l) {
    const size_t tiles = tiles_of(l);
    for (size_t first = 0; first < l->images; first += IMAGES) {
        const size_t images = l->images - first < IMAGES ? l->images - first : IMAGES;
        for (size_t block = 0; block < l->out_blocks; block += BLOCKS_OF_RUN) {
            const size_t end =
                l->out_blocks - block < BLOCKS_OF_RUN ? l->out_blocks : block + BLOCKS_OF_RUN;
            for (size_t tile = 0; tile < tiles; tile += CHUNK_TILES)
                backward_run(l, first, images, block, end, tile,
                             tiles - tile < CHUNK_TILES ? tiles - tile : CHUNK_TILES);
        }
    }
    backward_finish(l);
}

/* ---- the gradient of one output: a row of the weights ---- */

void PM_ISA_SYMBOL(pm_linear_row)(const pm_linear *l, const size_t *rows, const float *values) {
    vec pixels[PM_STRIP];
    float *o = (float *)pixels;
    for (size_t n = 0; n < l->images; n++) {
        const size_t block = rows[n] / PM_LANES / 2 * 2, wide = blocks_at(l, block) * PM_LANES;
        const float *w = weights_at(l, block) + (rows[n] - block * PM_LANES);
        for (size_t b = 0; b < l->in_blocks; b++)
            for (size_t y = 0; y < l->height; y++)
                for (size_t x = 0; x < l->width; x += PM_STRIP) {
                    const size_t count = l->width - x < PM_STRIP ? l->width - x : PM_STRIP;
                    for (size_t i = 0; i < count * PM_LANES; i++, w += wide) o[i] = values[n] * *w;
                    PM_ISA_SYMBOL(pm_finish)(&l->epilogue, pixels, n, b, y, x, count);
                }
    }
}
