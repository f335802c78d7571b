/* Owns: the passes over maps that are not convolutions. All store through the epilogue. */
#include <math.h>

#include "worker/engine/kernels/vec.h"

/* Works out pixels x .. x + count - 1 of row y of one block. */
typedef void strip_fn(const pm_map *map, size_t image, size_t block, size_t y, size_t x,
                      size_t count, vec *out);

PM_INLINE void each_strip(const pm_map *map, strip_fn *strip) {
    vec pixels[PM_STRIP];
    for (size_t n = 0; n < map->images; n++)
        for (size_t b = 0; b < map->blocks; b++)
            for (size_t y = 0; y < map->height; y++)
                for (size_t x = 0; x < map->width; x += PM_STRIP) {
                    size_t count = map->width - x < PM_STRIP ? map->width - x : PM_STRIP;
                    strip(map, n, b, y, x, count, pixels);
                    PM_ISA_SYMBOL(pm_finish)(&map->epilogue, pixels, n, b, y, x, count);
                }
}

PM_INLINE const float *in_plane(const pm_map *map, size_t image, size_t block) {
    return map->in.at + (ptrdiff_t)image * map->in.image + (ptrdiff_t)block * map->in.plane;
}

PM_INLINE vec in_pixel(const pm_map *map, const float *plane, size_t y, size_t x) {
    return vec_load(plane + (ptrdiff_t)y * map->in.row + (ptrdiff_t)x * map->in.pixel);
}

static void pointwise_strip(const pm_map *map, size_t image, size_t block, size_t y, size_t x,
                            size_t count, vec *out) {
    const float *plane = in_plane(map, image, block);
    for (size_t i = 0; i < count; i++) out[i] = in_pixel(map, plane, y, x + i);
}

void PM_ISA_SYMBOL(pm_pointwise)(const pm_map *map) { each_strip(map, pointwise_strip); }

/* ---- pooling ---- */

/* First and one past the last input index of window `o`, clipped to the map. */
PM_INLINE void window(const pm_map *map, size_t o, size_t size, size_t *first, size_t *last) {
    size_t start = o * map->stride;
    *first = start < map->pad ? 0 : start - map->pad;
    *last = start + map->kernel > map->pad + size ? size : start + map->kernel - map->pad;
}

static void maxpool_strip(const pm_map *map, size_t image, size_t block, size_t y, size_t x,
                          size_t count, vec *out) {
    const float *plane = in_plane(map, image, block);
    uint8_t *winner = map->winner + ((block * map->height + y) * map->width + x) * PM_LANES;
    size_t y0, y1, x0, x1;
    window(map, y, map->in_height, &y0, &y1);
    for (size_t i = 0; i < count; i++) {
        window(map, x + i, map->in_width, &x0, &x1);
        size_t row0 = y * map->stride, column0 = (x + i) * map->stride;
        vec best = (vec){0} - INFINITY;
        int32_t start = (int32_t)((y0 + map->pad - row0) * map->kernel + x0 + map->pad - column0);
        ivec place = (ivec){0} + start;
        for (size_t r = y0; r < y1; r++)
            for (size_t s = x0; s < x1; s++) {
                vec v = in_pixel(map, plane, r, s);
                ivec better = (ivec)(v > best); /* strictly: the first maximum wins */
                int32_t here =
                    (int32_t)((r + map->pad - row0) * map->kernel + s + map->pad - column0);
                best = vec_select(better, v, best);
                place = (better & here) | (~better & place);
            }
        out[i] = best;
        *(bvec *)(winner + i * PM_LANES) = __builtin_convertvector(place, bvec);
    }
}

void PM_ISA_SYMBOL(pm_maxpool)(const pm_map *map) { each_strip(map, maxpool_strip); }

/* The windows that hold index `i`, first to one past the last. */
PM_INLINE void holders(const pm_map *map, size_t i, size_t pooled, size_t *first, size_t *last) {
    size_t p = i + map->pad;
    *first = p < map->kernel ? 0 : (p - map->kernel) / map->stride + 1;
    *last = p / map->stride + 1 > pooled ? pooled : p / map->stride + 1;
}

static void maxpool_backward_strip(const pm_map *map, size_t image, size_t block, size_t y,
                                   size_t x, size_t count, vec *out) {
    const float *plane = in_plane(map, image, block);
    const uint8_t *winner = map->winner + block * map->in_height * map->in_width * PM_LANES;
    size_t y0, y1, x0, x1;
    holders(map, y, map->in_height, &y0, &y1);
    for (size_t i = 0; i < count; i++) {
        holders(map, x + i, map->in_width, &x0, &x1);
        vec sum = {0};
        for (size_t r = y0; r < y1; r++)
            for (size_t s = x0; s < x1; s++) {
                int32_t here = (int32_t)((y + map->pad - r * map->stride) * map->kernel + x + i +
                                         map->pad - s * map->stride);
                const bvec *place = (const bvec *)(winner + (r * map->in_width + s) * PM_LANES);
                ivec won = __builtin_convertvector(*place, ivec) == ((ivec){0} + here);
                sum += (vec)(won & (ivec)in_pixel(map, plane, r, s));
            }
        out[i] = sum;
    }
}

void PM_ISA_SYMBOL(pm_maxpool_backward)(const pm_map *map) {
    each_strip(map, maxpool_backward_strip);
}

/* Adaptive average pooling: bin o of n over size covers floor(o size / n) .. ceil((o+1) size / n),
 * as torch.nn.AdaptiveAvgPool2d. */
PM_INLINE size_t bin_first(size_t o, size_t size, size_t bins) { return o * size / bins; }
PM_INLINE size_t bin_last(size_t o, size_t size, size_t bins) {
    return ((o + 1) * size + bins - 1) / bins;
}

static void avgpool_strip(const pm_map *map, size_t image, size_t block, size_t y, size_t x,
                          size_t count, vec *out) {
    const float *plane = in_plane(map, image, block);
    size_t y0 = bin_first(y, map->in_height, map->height);
    size_t y1 = bin_last(y, map->in_height, map->height);
    for (size_t i = 0; i < count; i++) {
        size_t x0 = bin_first(x + i, map->in_width, map->width);
        size_t x1 = bin_last(x + i, map->in_width, map->width);
        vec sum = {0};
        for (size_t r = y0; r < y1; r++)
            for (size_t s = x0; s < x1; s++) sum += in_pixel(map, plane, r, s);
        out[i] = sum / (float)((y1 - y0) * (x1 - x0));
    }
}

void PM_ISA_SYMBOL(pm_avgpool)(const pm_map *map) { each_strip(map, avgpool_strip); }

/* in_height x in_width are the bins here, height x width the averaged map. */
static void avgpool_backward_strip(const pm_map *map, size_t image, size_t block, size_t y,
                                   size_t x, size_t count, vec *out) {
    const float *plane = in_plane(map, image, block);
    const size_t rows = map->in_height, columns = map->in_width;
    for (size_t i = 0; i < count; i++) {
        vec sum = {0};
        for (size_t r = y * rows / map->height; r < rows; r++) {
            size_t y0 = bin_first(r, map->height, rows), y1 = bin_last(r, map->height, rows);
            if (y0 > y) break;
            if (y1 <= y) continue;
            for (size_t s = (x + i) * columns / map->width; s < columns; s++) {
                size_t x0 = bin_first(s, map->width, columns),
                       x1 = bin_last(s, map->width, columns);
                if (x0 > x + i) break;
                if (x1 <= x + i) continue;
                sum += in_pixel(map, plane, r, s) / (float)((y1 - y0) * (x1 - x0));
            }
        }
        out[i] = sum;
    }
}

void PM_ISA_SYMBOL(pm_avgpool_backward)(const pm_map *map) {
    each_strip(map, avgpool_backward_strip);
}

/* ---- CIFAR shortcut A: every stride-th pixel, channels moved up by half the difference ---- */

static void subsample_strip(const pm_map *map, size_t image, size_t block, size_t y, size_t x,
                            size_t count, vec *out) {
    float *o = (float *)out;
    const size_t before = (map->channels - map->in_channels) / 2;
    for (size_t lane = 0; lane < PM_LANES; lane++) {
        size_t channel = block * PM_LANES + lane, source = channel - before;
        bool there = channel >= before && source < map->in_channels;
        const float *p = there ? in_plane(map, image, source / PM_LANES) +
                                     (ptrdiff_t)(y * map->stride) * map->in.row + source % PM_LANES
                               : NULL;
        for (size_t i = 0; i < count; i++)
            o[i * PM_LANES + lane] =
                there ? p[(ptrdiff_t)((x + i) * map->stride) * map->in.pixel] : 0.0F;
    }
}

void PM_ISA_SYMBOL(pm_subsample)(const pm_map *map) { each_strip(map, subsample_strip); }

/* channels: of the map that was subsampled, in_channels: of the wider one whose gradient comes. */
static void subsample_backward_strip(const pm_map *map, size_t image, size_t block, size_t y,
                                     size_t x, size_t count, vec *out) {
    float *o = (float *)out;
    const size_t before = (map->in_channels - map->channels) / 2, s = map->stride;
    for (size_t lane = 0; lane < PM_LANES; lane++) {
        size_t channel = block * PM_LANES + lane, source = channel + before;
        bool there = channel < map->channels && y % s == 0;
        const float *p = there ? in_plane(map, image, source / PM_LANES) +
                                     (ptrdiff_t)(y / s) * map->in.row + source % PM_LANES
                               : NULL;
        for (size_t i = 0; i < count; i++)
            o[i * PM_LANES + lane] =
                there && (x + i) % s == 0 ? p[(ptrdiff_t)((x + i) / s) * map->in.pixel] : 0.0F;
    }
}

void PM_ISA_SYMBOL(pm_subsample_backward)(const pm_map *map) {
    each_strip(map, subsample_backward_strip);
}

/* ---- the gradient of one logit: a row of the last linear layer ---- */

void PM_ISA_SYMBOL(pm_linear_row)(const pm_map *map, const size_t *rows, const float *values) {
    vec pixels[PM_STRIP];
    float *o = (float *)pixels;
    for (size_t n = 0; n < map->images; n++) {
        /* Weights as pm_conv has them: pairs of output blocks, an odd last one alone. */
        size_t block = rows[n] / PM_LANES / 2 * 2;
        size_t wide = (map->out_blocks - block >= 2 ? 2 : 1) * PM_LANES;
        const float *w = map->weights + block * PM_LANES * map->in_blocks * map->taps * PM_LANES +
                         (rows[n] - block * PM_LANES);
        for (size_t b = 0; b < map->blocks; b++)
            for (size_t y = 0; y < map->height; y++)
                for (size_t x = 0; x < map->width; x += PM_STRIP) {
                    size_t count = map->width - x < PM_STRIP ? map->width - x : PM_STRIP;
                    size_t first = (b * map->taps + y * map->width + x) * PM_LANES;
                    for (size_t i = 0; i < count * PM_LANES; i++)
                        o[i] = values[n] * w[(first + i) * wide];
                    PM_ISA_SYMBOL(pm_finish)(&map->epilogue, pixels, n, b, y, x, count);
                }
    }
}
