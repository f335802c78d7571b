/* Owns: the passes over maps that are neither convolutions nor max-pooling. All store through the
 * epilogue. */
#include <math.h>
#include <string.h>

#include "worker/engine/kernels/vec.h"

/* Pixels x .. x + count - 1 of row y of one block, to be worked out into `out`. What is read for
 * row y: rows y0 .. y1 - 1; for pixel x + i: columns x0[i] .. x1[i] - 1. */
typedef struct strip {
    const float *plane; /* of the input, this image and block */
    size_t image, block, y, x, count;
    size_t y0, y1, x0[PM_STRIP], x1[PM_STRIP];
    vec out[PM_STRIP];
} strip;

typedef void strip_fn(const pm_map *map, strip *s);
/* The range of input that output o depends on; in, out: the sizes along this axis. */
typedef void range_fn(const pm_map *map, size_t o, size_t in, size_t out, size_t *first,
                      size_t *last);

PM_INLINE void one_strip(const pm_map *map, strip *s, strip_fn *work) {
    work(map, s);
    PM_ISA_SYMBOL(pm_finish)(&map->epilogue, s->out, s->image, s->block, s->y, s->x, s->count);
}

PM_INLINE void set_x(const pm_map *map, strip *s, size_t x) {
    s->x = x;
    s->count = map->width - x < PM_STRIP ? map->width - x : PM_STRIP;
}

/* Down the columns, so that a range of them is worked out once; without ranges along the rows. */
PM_INLINE void each_strip(const pm_map *map, strip_fn *work, range_fn *range) {
    strip s;
    for (s.image = map->first; s.image < map->first + map->images; s.image++)
        for (s.block = 0; s.block < map->blocks; s.block++) {
            s.plane = map->in.at + (ptrdiff_t)s.image * map->in.image +
                      (ptrdiff_t)s.block * map->in.plane;
            for (s.y = 0; s.y < map->height && range == NULL; s.y++)
                for (size_t x = 0; x < map->width; x += PM_STRIP) {
                    set_x(map, &s, x);
                    one_strip(map, &s, work);
                }
            for (size_t x = 0; x < map->width && range != NULL; x += PM_STRIP) {
                set_x(map, &s, x);
                for (size_t i = 0; i < s.count; i++)
                    range(map, x + i, map->in_width, map->width, &s.x0[i], &s.x1[i]);
                for (s.y = 0; s.y < map->height; s.y++) {
                    range(map, s.y, map->in_height, map->height, &s.y0, &s.y1);
                    one_strip(map, &s, work);
                }
            }
        }
}

PM_INLINE vec in_pixel(const pm_map *map, const strip *s, size_t y, size_t x) {
    return vec_load(s->plane + (ptrdiff_t)y * map->in.row + (ptrdiff_t)x * map->in.pixel);
}

static void pointwise(const pm_map *map, strip *s) {
    for (size_t i = 0; i < s->count; i++) s->out[i] = in_pixel(map, s, s->y, s->x + i);
}

void PM_ISA_SYMBOL(pm_pointwise)(const pm_map *map) { each_strip(map, pointwise, NULL); }

/* ---- squeeze and excitation ---- */

static void scale_map(const pm_map *map, strip *s) {
    const vec factor = vec_load(map->factors.at + (ptrdiff_t)s->image * map->factors.image +
                                (ptrdiff_t)s->block * map->factors.plane);
    for (size_t i = 0; i < s->count; i++) s->out[i] = in_pixel(map, s, s->y, s->x + i) * factor;
}

void PM_ISA_SYMBOL(pm_scale_map)(const pm_map *map) { each_strip(map, scale_map, NULL); }

/* `count` pixels of a row, times those of another where there is one. In four parts: they run side
 * by side, and short sums lose less. */
PM_INLINE vec row_sum(const float *p, ptrdiff_t step, const float *factors, ptrdiff_t factor_step,
                      size_t count) {
    vec part[4] = {{0}};
    for (size_t i = 0; i < count; i += 4) PM_UNROLL for (size_t k = 0; k < 4; k++) {
            if (i + k >= count) break;
            vec v = vec_load(p + (ptrdiff_t)(i + k) * step);
            if (factors != NULL) v *= vec_load(factors + (ptrdiff_t)(i + k) * factor_step);
            part[k] += v;
        }
    return (part[0] + part[1]) + (part[2] + part[3]);
}

static void scale_sum(const pm_map *map, strip *s) {
    const float *factors = map->factors.at + (ptrdiff_t)s->image * map->factors.image +
                           (ptrdiff_t)s->block * map->factors.plane;
    vec sum = {0};
    for (size_t r = 0; r < map->in_height; r++)
        sum +=
            row_sum(s->plane + (ptrdiff_t)r * map->in.row, map->in.pixel,
                    factors + (ptrdiff_t)r * map->factors.row, map->factors.pixel, map->in_width);
    s->out[0] = sum;
}

void PM_ISA_SYMBOL(pm_scale_sum)(const pm_map *map) { each_strip(map, scale_sum, NULL); }

/* ---- pooling ---- */

/* Window `o`, clipped to the map. */
PM_INLINE void window(const pm_map *map, size_t o, size_t in, size_t out, size_t *first,
                      size_t *last) {
    (void)out;
    size_t start = o * map->stride;
    *first = start < map->pad ? 0 : start - map->pad;
    *last = start + map->kernel > map->pad + in ? in : start + map->kernel - map->pad;
}

/* The windows that hold index o; in: how many windows there are. */
PM_INLINE void holders(const pm_map *map, size_t o, size_t in, size_t out, size_t *first,
                       size_t *last) {
    (void)out;
    const size_t p = o + map->pad;
    *first = p < map->kernel ? 0 : (p - map->kernel) / map->stride + 1;
    *last = p / map->stride + 1 > in ? in : p / map->stride + 1;
}

/* Adaptive average pooling: bin o of n over size covers floor(o size / n) .. ceil((o+1) size / n),
 * as torch.nn.AdaptiveAvgPool2d. */
PM_INLINE void bin(const pm_map *map, size_t o, size_t size, size_t bins, size_t *first,
                   size_t *last) {
    (void)map;
    *first = o * size / bins;
    *last = ((o + 1) * size + bins - 1) / bins;
}

static void avgpool(const pm_map *map, strip *s) {
    for (size_t i = 0; i < s->count; i++) {
        vec sum = {0};
        for (size_t r = s->y0; r < s->y1; r++)
            sum +=
                row_sum(s->plane + (ptrdiff_t)r * map->in.row + (ptrdiff_t)s->x0[i] * map->in.pixel,
                        map->in.pixel, NULL, 0, s->x1[i] - s->x0[i]);
        s->out[i] = sum / (float)((s->y1 - s->y0) * (s->x1[i] - s->x0[i]));
    }
}

void PM_ISA_SYMBOL(pm_avgpool)(const pm_map *map) { each_strip(map, avgpool, bin); }

/* The bins that hold index o: `bins` of them over `size`. */
PM_INLINE void bins_of(const pm_map *map, size_t o, size_t bins, size_t size, size_t *first,
                       size_t *last) {
    size_t low, high;
    *first = o * bins / size;
    for (*last = *first; *last < bins; ++*last) {
        bin(map, *last, size, bins, &low, &high);
        if (low > o) break;
    }
    for (; *first < *last; ++*first) {
        bin(map, *first, size, bins, &low, &high);
        if (high > o) break;
    }
}

static void avgpool_backward(const pm_map *map, strip *s) {
    size_t y0, y1, x0, x1;
    for (size_t i = 0; i < s->count; i++) {
        vec sum = {0};
        for (size_t r = s->y0; r < s->y1; r++)
            for (size_t c = s->x0[i]; c < s->x1[i]; c++) {
                bin(map, r, map->height, map->in_height, &y0, &y1);
                bin(map, c, map->width, map->in_width, &x0, &x1);
                sum += in_pixel(map, s, r, c) / (float)((y1 - y0) * (x1 - x0));
            }
        s->out[i] = sum;
    }
}

/* Of the mean over the whole map. */
static void mean_backward(const pm_map *map, strip *s) {
    const vec share = vec_load(s->plane) / (float)(map->height * map->width);
    for (size_t i = 0; i < s->count; i++) s->out[i] = share;
}

void PM_ISA_SYMBOL(pm_avgpool_backward)(const pm_map *map) {
    if (map->in_height == 1 && map->in_width == 1)
        each_strip(map, mean_backward, NULL);
    else
        each_strip(map, avgpool_backward, bins_of);
}

/* Windows as max-pooling has them; each divides by its whole area, as torch.nn.AvgPool2d. */
static void avgpool_window(const pm_map *map, strip *s) {
    const float area = (float)(map->kernel * map->kernel);
    for (size_t i = 0; i < s->count; i++) {
        vec sum = {0};
        for (size_t r = s->y0; r < s->y1; r++)
            for (size_t c = s->x0[i]; c < s->x1[i]; c++) sum += in_pixel(map, s, r, c);
        s->out[i] = sum / area;
    }
}

void PM_ISA_SYMBOL(pm_avgpool_window)(const pm_map *map) {
    each_strip(map, avgpool_window, window);
}

void PM_ISA_SYMBOL(pm_avgpool_window_backward)(const pm_map *map) {
    each_strip(map, avgpool_window, holders);
}

/* ---- every stride-th pixel, channels moved up: CIFAR shortcut A, unaligned concatenation ---- */

/* Row y of one channel of the input. */
PM_INLINE const float *channel_row(const pm_map *map, const strip *s, size_t channel, size_t y) {
    return map->in.at + (ptrdiff_t)s->image * map->in.image +
           (ptrdiff_t)(channel / PM_LANES) * map->in.plane + (ptrdiff_t)y * map->in.row +
           channel % PM_LANES;
}

static void subsample(const pm_map *map, strip *s) {
    float *out = (float *)s->out;
    const size_t before = map->before, step = map->stride;
    memset(s->out, 0, sizeof s->out);
    for (size_t lane = 0; lane < PM_LANES; lane++) {
        const size_t channel = s->block * PM_LANES + lane;
        if (channel < before || channel - before >= map->in_channels) continue;
        const float *p = channel_row(map, s, channel - before, s->y * step);
        for (size_t i = 0; i < s->count; i++)
            out[i * PM_LANES + lane] = p[(ptrdiff_t)((s->x + i) * step) * map->in.pixel];
    }
}

void PM_ISA_SYMBOL(pm_subsample)(const pm_map *map) { each_strip(map, subsample, NULL); }

static void subsample_backward(const pm_map *map, strip *s) {
    float *out = (float *)s->out;
    const size_t before = map->before, step = map->stride;
    memset(s->out, 0, sizeof s->out);
    if (s->y % step != 0) return;
    for (size_t lane = 0; lane < PM_LANES; lane++) {
        const size_t channel = s->block * PM_LANES + lane;
        if (channel >= map->channels) continue;
        const float *p = channel_row(map, s, channel + before, s->y / step);
        for (size_t i = (step - s->x % step) % step; i < s->count; i += step)
            out[i * PM_LANES + lane] = p[(ptrdiff_t)((s->x + i) / step) * map->in.pixel];
    }
}

void PM_ISA_SYMBOL(pm_subsample_backward)(const pm_map *map) {
    each_strip(map, subsample_backward, NULL);
}
