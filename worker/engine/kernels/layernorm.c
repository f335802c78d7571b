/* Owns: normalisation over the channels of each pixel, forward and backward. Weight and bias are
 * the epilogue's. Sums run over the blocks in order, lane by lane, then over the lanes. */
#include <string.h>

#include "worker/engine/kernels/vec.h"

/* Up to PM_STRIP pixels of one row of one image. */
typedef struct strip {
    const float *in; /* the first pixel's, block 0 */
    size_t image, y, x, count;
} strip;

typedef void strip_fn(const pm_map *map, const strip *s);

PM_INLINE void each_strip(const pm_map *map, strip_fn *work) {
    strip s;
    for (s.image = map->first; s.image < map->first + map->images; s.image++)
        for (s.y = 0; s.y < map->height; s.y++)
            for (s.x = 0; s.x < map->width; s.x += PM_STRIP) {
                s.count = map->width - s.x < PM_STRIP ? map->width - s.x : PM_STRIP;
                s.in = map->in.at + (ptrdiff_t)s.image * map->in.image +
                       (ptrdiff_t)s.y * map->in.row + (ptrdiff_t)s.x * map->in.pixel;
                work(map, &s);
            }
}

PM_INLINE vec in_pixel(const pm_map *map, const strip *s, size_t block, size_t i) {
    return vec_load(s->in + (ptrdiff_t)block * map->in.plane + (ptrdiff_t)i * map->in.pixel);
}

/* The strip's pixels of one block of the normalised map. */
PM_INLINE float *normal_at(const pm_map *map, const strip *s, size_t block) {
    return map->normal + ((block * map->height + s->y) * map->width + s->x) * PM_LANES;
}

/* Ones in the lanes of a block that hold channels. */
PM_INLINE ivec live_lanes(const pm_map *map, size_t block) {
    const ivec lanes = PM_LANE_NUMBERS;
    const size_t left = map->channels - block * PM_LANES;
    return lanes < (int32_t)(left < PM_LANES ? left : PM_LANES);
}

/* Sums over lanes, over the number of channels: out [PM_STRIP]. */
PM_INLINE void means(const pm_map *map, const vec *sums, size_t count, float *out) {
    const float channels = (float)map->channels;
    memset(out, 0, PM_STRIP * sizeof *out);
    for (size_t i = 0; i < count; i++) out[i] = vec_sum(sums[i]);
    for (size_t i = 0; i < PM_STRIP; i += PM_LANES)
        vec_store(out + i, vec_load(out + i) / channels);
}

static void normalise(const pm_map *map, const strip *s) {
    vec pixels[PM_STRIP], sums[PM_STRIP] = {{0}}, squares[PM_STRIP] = {{0}};
    _Alignas(64) float mean[PM_STRIP], inverse[PM_STRIP];
    for (size_t b = 0; b < map->blocks; b++)
        for (size_t i = 0; i < s->count; i++) sums[i] += in_pixel(map, s, b, i);
    means(map, sums, s->count, mean);
    for (size_t b = 0; b < map->blocks; b++) {
        const ivec live = live_lanes(map, b);
        for (size_t i = 0; i < s->count; i++) {
            const vec d = (vec)(live & (ivec)(in_pixel(map, s, b, i) - mean[i]));
            squares[i] += d * d;
        }
    }
    means(map, squares, s->count, inverse);
    for (size_t i = 0; i < PM_STRIP; i += PM_LANES)
        vec_store(inverse + i, 1.0F / vec_sqrt(vec_load(inverse + i) + map->eps));
    memcpy(map->inverse + s->y * map->width + s->x, inverse, s->count * sizeof *inverse);
    for (size_t b = 0; b < map->blocks; b++) {
        const ivec live = live_lanes(map, b);
        float *normal = normal_at(map, s, b);
        for (size_t i = 0; i < s->count; i++) {
            pixels[i] = (vec)(live & (ivec)((in_pixel(map, s, b, i) - mean[i]) * inverse[i]));
            vec_store(normal + i * PM_LANES, pixels[i]);
        }
        PM_ISA_SYMBOL(pm_finish)(&map->epilogue, pixels, s->image, b, s->y, s->x, s->count);
    }
}

void PM_ISA_SYMBOL(pm_layernorm)(const pm_map *map) { each_strip(map, normalise); }

/* With u the normalised value and h the gradient there: (h - mean(h) - u mean(h u)) / std. */
static void backward(const pm_map *map, const strip *s) {
    vec pixels[PM_STRIP], sums[PM_STRIP] = {{0}}, alongs[PM_STRIP] = {{0}};
    _Alignas(64) float mean[PM_STRIP], along[PM_STRIP];
    const float *inverse = map->inverse + s->y * map->width + s->x;
    for (size_t b = 0; b < map->blocks; b++) {
        const float *normal = normal_at(map, s, b);
        for (size_t i = 0; i < s->count; i++) {
            const vec h = in_pixel(map, s, b, i);
            sums[i] += h;
            alongs[i] += h * vec_load(normal + i * PM_LANES);
        }
    }
    means(map, sums, s->count, mean);
    means(map, alongs, s->count, along);
    for (size_t b = 0; b < map->blocks; b++) {
        const ivec live = live_lanes(map, b);
        const float *normal = normal_at(map, s, b);
        for (size_t i = 0; i < s->count; i++) {
            const vec u = vec_load(normal + i * PM_LANES);
            const vec off = in_pixel(map, s, b, i) - mean[i] - u * along[i];
            pixels[i] = (vec)(live & (ivec)(off * inverse[i]));
        }
        PM_ISA_SYMBOL(pm_finish)(&map->epilogue, pixels, s->image, b, s->y, s->x, s->count);
    }
}

void PM_ISA_SYMBOL(pm_layernorm_backward)(const pm_map *map) { each_strip(map, backward); }
