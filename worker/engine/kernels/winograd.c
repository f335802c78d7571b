/* Owns: Winograd's F(4x4, 3x3) and F(3x3, 4x4) for convolutions of stride 1, from blocked maps to
 * blocked maps by way of the epilogue. Must not know what the sums mean.
 *
 * Source: Lavin and Gray, arXiv:1509.09308, with the points 0, 1, -1, 1/2, -2 and infinity: the
 * usual 0, 1, -1, 2, -2 lose three times as much in fp32. For finite points p_j: A[j][i] = p_j^i,
 * G[j][k] = p_j^k / prod (p_j - p_l), B[j] = coefficients of prod (x - p_l), l != j. B depends on
 * the points alone: both kinds share it, and the products.
 *
 * Tiles of outputs are taken in chunks, over image borders; each step of a chunk (transform,
 * 36 products, transform back) finds in the second-level cache what the step before has left
 * there. A tile's numbers do not depend on the chunk that it is in. */
#include "worker/engine/kernels/vec.h"

enum { SIDE = 6, POINTS = PM_WINOGRAD_POINTS, TAPS_MOST = 4 };

typedef struct chunk {
    const pm_winograd *work;
    size_t tile;              /* its side: SIDE + 1 - taps */
    size_t across, per_image; /* tiles */
    size_t first, count;      /* tiles of this chunk */
    size_t parts;             /* of the chunk, each as wide as the products' register tile */
    float *input, *output;    /* transformed: [POINTS][...], see below */
    size_t input_point, output_point; /* floats between points */
} chunk;

/* B^T d: six values along one axis. */
PM_INLINE void transform_input(const vec d[SIDE], vec o[SIDE]) {
    const vec q = d[4] - d[2];
    o[0] = d[0] + d[4] - 2.0F * d[2] + 1.5F * (d[3] - d[1]);
    o[1] = d[4] - d[1] + 2.5F * d[3] + 0.5F * d[2];
    o[2] = d[4] + d[1] + 0.5F * d[3] - 2.5F * d[2];
    o[3] = q + 2.0F * (d[3] - d[1]);
    o[4] = q - 0.5F * (d[3] - d[1]);
    o[5] = d[1] + d[5] - 2.0F * d[3] + 1.5F * (d[4] - d[2]);
}

/* A^T m: `tile` values along one axis, three or four. */
PM_INLINE void transform_output(const vec m[SIDE], vec *o, int tile) {
    const vec s = m[1] + m[2], d = m[1] - m[2];
    o[0] = m[0] + s + (m[3] + m[4]);
    o[1] = d + (0.5F * m[3] - 2.0F * m[4]);
    o[2] = s + (0.25F * m[3] + 4.0F * m[4]);
    if (tile == 4)
        o[3] = d + (0.125F * m[3] - 8.0F * m[4]) + m[5];
    else
        o[2] += m[5];
}

/* G[j][k] times w[k], w[k] `step` apart. */
PM_INLINE double filter_point(int j, int taps, const double *w, int step) {
    static const double point[SIDE] = {0, 1, -1, 0.5, -2, 0};
    static const double factor[SIDE] = {1, 1.0 / 3, -1.0 / 3, -16.0 / 15, 1.0 / 15, 0};
    if (j == SIDE - 1) return w[(taps - 1) * step];
    double sum = 0;
    PM_UNROLL for (int k = taps - 1; k >= 0; k--) sum = sum * point[j] + w[k * step];
    return sum * factor[j];
}

PM_INLINE void filter_points(const float *w, float *out, int taps) {
    double filter[TAPS_MOST * TAPS_MOST], rows[SIDE * TAPS_MOST];
    PM_UNROLL for (int i = 0; i < taps * taps; i++) filter[i] = (double)w[i];
    PM_UNROLL for (int i = 0; i < SIDE; i++) PM_UNROLL for (int j = 0; j < taps; j++)
        rows[i * taps + j] = filter_point(i, taps, filter + j, taps);
    PM_UNROLL for (int i = 0; i < SIDE; i++) PM_UNROLL for (int j = 0; j < SIDE; j++)
        out[i * SIDE + j] = (float)filter_point(j, taps, rows + i * taps, 1);
}

/* The filter's transform, in double: out[POINTS] from w[taps][taps]. */
void PM_ISA_SYMBOL(pm_winograd_weights)(size_t taps, const float *w,
                                        float out[PM_WINOGRAD_POINTS]) {
    if (taps == 3)
        filter_points(w, out, 3);
    else
        filter_points(w, out, 4);
}

/* ---- forward transform: input [POINTS][in_blocks][count][v] ---- */

/* rows: [SIDE] pointers to the tile's rows, NULL where the row lies outside; columns from x0 to
 * before x1 of it are inside. */
PM_INLINE void load_tile(const float *const rows[SIDE], ptrdiff_t pixel, int x0, int x1, bool whole,
                         float *out, size_t point) {
    vec t[SIDE][SIDE];
    PM_UNROLL for (int j = 0; j < SIDE; j++) {
        vec d[SIDE], o[SIDE];
        PM_UNROLL for (int i = 0; i < SIDE; i++) {
            if (whole)
                d[i] = vec_load(rows[i] + j * pixel);
            else
                d[i] =
                    rows[i] != NULL && j >= x0 && j < x1 ? vec_load(rows[i] + j * pixel) : (vec){0};
        }
        transform_input(d, o);
        PM_UNROLL for (int i = 0; i < SIDE; i++) t[i][j] = o[i];
    }
    PM_UNROLL for (int i = 0; i < SIDE; i++) {
        vec o[SIDE];
        transform_input(t[i], o);
        PM_UNROLL for (int j = 0; j < SIDE; j++)
            vec_store(out + (size_t)(i * SIDE + j) * point, o[j]);
    }
}

static void transform_tile(const chunk *c, size_t tile, size_t block, float *out) {
    const pm_winograd *w = c->work;
    const size_t image = w->from + tile / c->per_image, at = tile % c->per_image;
    const ptrdiff_t y = (ptrdiff_t)(at / c->across * c->tile) + w->first,
                    x = (ptrdiff_t)(at % c->across * c->tile) + w->first;
    const ptrdiff_t height = (ptrdiff_t)w->in_height, width = (ptrdiff_t)w->in_width;
    const float *plane = w->in.at + (ptrdiff_t)image * w->in.image + (ptrdiff_t)block * w->in.plane;
    const float *rows[SIDE];
    for (ptrdiff_t i = 0; i < SIDE; i++)
        rows[i] =
            y + i >= 0 && y + i < height ? plane + (y + i) * w->in.row + x * w->in.pixel : NULL;
    if (y >= 0 && x >= 0 && y + SIDE <= height && x + SIDE <= width)
        load_tile(rows, w->in.pixel, 0, SIDE, true, out, c->input_point);
    else
        load_tile(rows, w->in.pixel, x < 0 ? (int)-x : 0,
                  x + SIDE > width ? (int)(width - x) : SIDE, false, out, c->input_point);
}

static void transform_chunk(const chunk *c) {
    for (size_t block = 0; block < c->work->in_blocks; block++)
        for (size_t t = 0; t < c->count; t++)
            transform_tile(c, c->first + t, block, c->input + (block * c->count + t) * PM_LANES);
}

/* ---- products: output [POINTS][pairs of blocks][parts][blocks of the pair][tiles][v] ---- */

static size_t part_at(const chunk *c, size_t part) { return c->count * part / c->parts; }

static void multiply_chunk(const chunk *c) {
    const pm_winograd *w = c->work;
    pm_conv product = {.in = {.plane = (ptrdiff_t)(c->count * PM_LANES)},
                       .in_blocks = w->in_blocks,
                       .last_channels = w->last_channels,
                       .taps = 1};
    const size_t pair = w->in_blocks * PM_LANES * PM_LANES; /* weights of one output block */
    for (size_t point = 0; point < POINTS; point++) {
        const float *in = c->input + point * c->input_point;
        const float *weights = w->weights + point * pair * w->out_blocks;
        float *out = c->output + point * c->output_point;
        for (size_t block = 0; block < w->out_blocks; block += 2) {
            const size_t blocks = w->out_blocks - block >= 2 ? 2 : 1;
            for (size_t p = 0; p < c->parts; p++) {
                const size_t a = part_at(c, p), n = part_at(c, p + 1) - a;
                /* The next pair's weights, or the next point's, each part a share: memory is busy
                 * all the time. */
                product.ahead =
                    (const char *)(weights + blocks * pair + blocks * pair * p / c->parts);
                product.ahead_step = blocks * PM_LANES * sizeof(float) / c->parts;
                PM_ISA_SYMBOL(pm_conv_tile)
                (&product, blocks, n, in + a * PM_LANES, weights,
                 (vec *)(out + (block * c->count + blocks * a) * PM_LANES));
            }
            weights += blocks * pair;
        }
    }
}

/* ---- back ---- */

/* Where tile t of an output block stands among the products of a point, floats. */
static size_t product_at(const chunk *c, size_t block, size_t t) {
    const size_t first = block / 2 * 2, blocks = c->work->out_blocks - first >= 2 ? 2 : 1;
    size_t part = t * c->parts / c->count;
    while (part_at(c, part + 1) <= t) part++;
    const size_t a = part_at(c, part), n = part_at(c, part + 1) - a;
    return (first * c->count + blocks * a + (block - first) * n + (t - a)) * PM_LANES;
}

/* rows: [tile][PM_STRIP] */
PM_INLINE void store_tile(const float *m, size_t point, vec (*rows)[PM_STRIP], size_t at,
                          int tile) {
    vec t[SIDE][SIDE];
    PM_UNROLL for (int j = 0; j < SIDE; j++) {
        vec column[SIDE], o[SIDE];
        PM_UNROLL for (int i = 0; i < SIDE; i++) column[i] =
            vec_load(m + (size_t)(i * SIDE + j) * point);
        transform_output(column, o, tile);
        PM_UNROLL for (int i = 0; i < tile; i++) t[i][j] = o[i];
    }
    PM_UNROLL for (int i = 0; i < tile; i++) {
        vec o[SIDE];
        transform_output(t[i], o, tile);
        PM_UNROLL for (int j = 0; j < tile; j++) rows[i][at + (size_t)j] = o[j];
    }
}

/* Tiles first .. first + count - 1 of the chunk, neighbours in one row of one image. */
PM_INLINE void store_run(const chunk *c, size_t block, size_t first, size_t count, size_t side) {
    const pm_winograd *w = c->work;
    const size_t tile = c->first + first, at = tile % c->per_image;
    const size_t image = w->from + tile / c->per_image;
    const size_t y = at / c->across * side, x = at % c->across * side;
    const size_t rows = w->height - y < side ? w->height - y : side;
    const size_t pixels = w->width - x < count * side ? w->width - x : count * side;
    vec strip[SIDE][PM_STRIP];
    for (size_t t = 0; t < count; t++)
        store_tile(c->output + product_at(c, block, first + t), c->output_point, strip, t * side,
                   (int)side);
    for (size_t r = 0; r < rows; r++)
        PM_ISA_SYMBOL(pm_finish)(&w->epilogue, strip[r], image, block, y + r, x, pixels);
}

static void store_chunk(const chunk *c) {
    for (size_t block = 0; block < c->work->out_blocks; block++)
        for (size_t t = 0; t < c->count;) {
            const size_t left = c->across - (c->first + t) % c->across;
            size_t run = PM_STRIP / c->tile; /* side by side, so that rows are stored in strips */
            if (c->count - t < run) run = c->count - t;
            if (left < run) run = left;
            if (c->tile == 4)
                store_run(c, block, t, run, 4);
            else
                store_run(c, block, t, run, 3);
            t += run;
        }
}

/* A stride that is no multiple of 4 KB, so that 36 points do not meet in the same cache sets. */
enum { SPREAD = 80 };
static size_t spread(size_t floats) { return floats % 1024 < 16 ? floats + SPREAD : floats; }

size_t PM_ISA_SYMBOL(pm_winograd_scratch)(size_t in_blocks, size_t out_blocks, size_t tiles) {
    return PM_WINOGRAD_POINTS * ((in_blocks + out_blocks) * tiles * PM_LANES + 2 * (size_t)SPREAD);
}

void PM_ISA_SYMBOL(pm_winograd)(const pm_winograd *work) {
    chunk c = {.work = work, .tile = SIDE + 1 - work->taps};
    c.across = (work->width + c.tile - 1) / c.tile;
    c.per_image = c.across * ((work->height + c.tile - 1) / c.tile);
    const size_t tiles = work->images * c.per_image;
    const size_t chunks = (tiles + work->chunk_tiles - 1) / work->chunk_tiles;
    for (size_t i = 0; i < chunks; i++) {
        c.first = tiles * i / chunks;
        c.count = tiles * (i + 1) / chunks - c.first;
        c.parts =
            (c.count + PM_ISA_SYMBOL(pm_conv_tile_pixels) - 1) / PM_ISA_SYMBOL(pm_conv_tile_pixels);
        c.input_point = spread(work->in_blocks * c.count * PM_LANES);
        c.output_point = spread(work->out_blocks * c.count * PM_LANES);
        c.input = work->scratch;
        c.output = work->scratch + POINTS * c.input_point;
        transform_chunk(&c);
        multiply_chunk(&c);
        store_chunk(&c);
    }
}
