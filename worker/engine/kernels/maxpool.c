/* Owns: max-pooling and its way back. Stores through the epilogue. The usual windows are compiled
 * with constant sizes, the rest share one copy without. */
#include <math.h>

#include "worker/engine/kernels/vec.h"

/* One image and block. */
typedef struct plane {
    const pm_map *map;
    const float *in;
    uint8_t *winner;
    size_t image, block;
} plane;

typedef void row_fn(const plane *p, size_t y, size_t x, size_t count, vec *out);

/* height, width: of the pooled map. */
PM_INLINE void each_row(const pm_map *map, size_t height, size_t width, row_fn *work) {
    vec out[PM_STRIP];
    plane p = {.map = map};
    for (p.image = map->first; p.image < map->first + map->images; p.image++)
        for (p.block = 0; p.block < map->blocks; p.block++) {
            p.in = map->in.at + (ptrdiff_t)p.image * map->in.image +
                   (ptrdiff_t)p.block * map->in.plane;
            p.winner = map->winner + p.block * height * width * PM_LANES;
            for (size_t y = 0; y < map->height; y++)
                for (size_t x = 0; x < map->width; x += PM_STRIP) {
                    const size_t left = map->width - x, count = left < PM_STRIP ? left : PM_STRIP;
                    work(&p, y, x, count, out);
                    PM_ISA_SYMBOL(pm_finish)
                    (&map->epilogue, out, p.image, p.block, y, x, count);
                }
        }
}

/* ---- forward ---- */

/* Rows r0 .. r1 - 1 and columns c0 .. c1 - 1 of the window with its corner at `corner`, which may
 * lie outside. Places count from the corner. The first maximum wins. */
PM_INLINE vec largest(const float *corner, ptrdiff_t row, ptrdiff_t pixel, size_t kernel, size_t r0,
                      size_t r1, size_t c0, size_t c1, uint8_t *winner) {
    vec best = vec_load(corner + (ptrdiff_t)r0 * row + (ptrdiff_t)c0 * pixel);
    ivec place = (ivec){0} + (int32_t)(r0 * kernel + c0);
    for (size_t r = r0; r < r1; r++) {
        for (size_t c = c0; c < c1; c++) {
            const vec v = vec_load(corner + (ptrdiff_t)r * row + (ptrdiff_t)c * pixel);
            const ivec better = (ivec)(v > best), here = (ivec){0} + (int32_t)(r * kernel + c);
            best = vec_select(better, v, best);
            place = (better & here) | (~better & place);
        }
    }
    *(bvec *)winner = __builtin_convertvector(place, bvec);
    return best;
}

/* The part of window `o` that lies on a map of `size`. */
PM_INLINE void clip(size_t o, size_t kernel, size_t stride, size_t pad, size_t size, size_t *first,
                    size_t *last) {
    const size_t at = o * stride;
    *first = at < pad ? pad - at : 0;
    *last = at + kernel > size + pad ? size + pad - at : kernel;
}

PM_INLINE void forward(const plane *p, size_t y, size_t x, size_t count, vec *out, size_t kernel,
                       size_t stride, size_t pad) {
    const pm_map *map = p->map;
    const ptrdiff_t row = map->in.row, pixel = map->in.pixel;
    const float *corner = p->in + ((ptrdiff_t)(y * stride) - (ptrdiff_t)pad) * row +
                          ((ptrdiff_t)(x * stride) - (ptrdiff_t)pad) * pixel;
    uint8_t *winner = p->winner + (y * map->width + x) * PM_LANES;
    size_t r0, r1, c0, c1;
    clip(y, kernel, stride, pad, map->in_height, &r0, &r1);
    for (size_t i = 0; i < count; i++) {
        clip(x + i, kernel, stride, pad, map->in_width, &c0, &c1);
        if (r1 - r0 == kernel && c1 - c0 == kernel)
            out[i] = largest(corner, row, pixel, kernel, 0, kernel, 0, kernel, winner);
        else
            out[i] = largest(corner, row, pixel, kernel, r0, r1, c0, c1, winner);
        corner += (ptrdiff_t)stride * pixel;
        winner += PM_LANES;
    }
}

/* ---- back ---- */

/* Where the winner is `here`, v; else 0. */
PM_INLINE vec won(const uint8_t *winner, size_t here, vec v) {
#if PM_LANES == 16
    const __m128i places = _mm_loadu_si128((const __m128i *)winner);
    return vec_keep(_mm_cmpeq_epi8_mask(places, _mm_set1_epi8((char)here)), v);
#else
    const ivec places = __builtin_convertvector(*(const bvec *)winner, ivec);
    return (vec)((ivec)(places == (ivec){0} + (int32_t)here) & (ivec)v);
#endif
}

/* The windows that hold index o of the map, of `windows`. */
PM_INLINE void holders(size_t o, size_t kernel, size_t stride, size_t pad, size_t windows,
                       size_t *first, size_t *last) {
    const size_t p = o + pad;
    *first = p < kernel ? 0 : (p - kernel) / stride + 1;
    *last = p / stride + 1 > windows ? windows : p / stride + 1;
}

/* A pixel of the map, from windows (first_row, first_column) on, rows x columns of them; place: of
 * the pixel in the first. */
PM_INLINE vec gather(const plane *p, size_t first_row, size_t rows, size_t first_column,
                     size_t columns, size_t place, size_t kernel, size_t stride) {
    const pm_map *map = p->map;
    const float *in =
        p->in + (ptrdiff_t)first_row * map->in.row + (ptrdiff_t)first_column * map->in.pixel;
    const uint8_t *winner = p->winner + (first_row * map->in_width + first_column) * PM_LANES;
    vec sum = {0};
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++)
            sum +=
                won(winner + (r * map->in_width + c) * PM_LANES, place - (r * kernel + c) * stride,
                    vec_load(in + (ptrdiff_t)r * map->in.row + (ptrdiff_t)c * map->in.pixel));
    }
    return sum;
}

/* Pixels x .. x + stride - 1 where all windows that may hold them are there; x a multiple of the
 * stride. */
PM_INLINE void whole_step(const plane *p, size_t first_row, size_t rows, size_t down, size_t x,
                          vec *out, size_t kernel, size_t stride, size_t pad) {
    PM_UNROLL for (size_t j = 0; j < stride; j++) {
        const size_t phase = (j + pad) % stride, columns = (kernel - phase + stride - 1) / stride;
        out[j] = gather(p, first_row, rows, x / stride + (j + pad) / stride + 1 - columns, columns,
                        down * kernel + phase + (columns - 1) * stride, kernel, stride);
    }
}

PM_INLINE void backward(const plane *p, size_t y, size_t x, size_t count, vec *out, size_t kernel,
                        size_t stride, size_t pad) {
    const pm_map *map = p->map;
    const size_t most = (kernel + stride - 1) / stride;
    size_t y0, y1, x0, x1;
    holders(y, kernel, stride, pad, map->in_height, &y0, &y1);
    const size_t down = y + pad - y0 * stride, rows = y1 > y0 ? y1 - y0 : 0;
    for (size_t i = 0; i < count;) {
        const size_t at = x + i;
        if (at % stride == 0 && i + stride <= count && at + pad + 1 >= kernel &&
            (at + stride - 1 + pad) / stride < map->in_width) {
            if (rows == most)
                whole_step(p, y0, most, down, at, out + i, kernel, stride, pad);
            else
                whole_step(p, y0, rows, down, at, out + i, kernel, stride, pad);
            i += stride;
            continue;
        }
        holders(at, kernel, stride, pad, map->in_width, &x0, &x1);
        out[i++] = gather(p, y0, rows, x0, x1 > x0 ? x1 - x0 : 0,
                          down * kernel + at + pad - x0 * stride, kernel, stride);
    }
}

/* ---- by window ---- */

#define WINDOW(name, kernel, stride, pad)                                                          \
    static void forward_##name(const plane *p, size_t y, size_t x, size_t count, vec *out) {       \
        forward(p, y, x, count, out, kernel, stride, pad);                                         \
    }                                                                                              \
    static void backward_##name(const plane *p, size_t y, size_t x, size_t count, vec *out) {      \
        backward(p, y, x, count, out, kernel, stride, pad);                                        \
    }
WINDOW(2_2_0, 2, 2, 0)
WINDOW(3_2_0, 3, 2, 0)
WINDOW(3_2_1, 3, 2, 1)
WINDOW(3_1_1, 3, 1, 1)
WINDOW(any, p->map->kernel, p->map->stride, p->map->pad)

typedef struct window {
    size_t kernel, stride, pad;
    row_fn *forward, *backward;
} window;

static const window windows[] = {
    {2, 2, 0, forward_2_2_0, backward_2_2_0}, {3, 2, 0, forward_3_2_0, backward_3_2_0},
    {3, 2, 1, forward_3_2_1, backward_3_2_1}, {3, 1, 1, forward_3_1_1, backward_3_1_1},
    {0, 0, 0, forward_any, backward_any},
};

static const window *window_of(const pm_map *map) {
    const window *w = windows;
    while (w->kernel != 0 &&
           (w->kernel != map->kernel || w->stride != map->stride || w->pad != map->pad))
        w++;
    return w;
}

void PM_ISA_SYMBOL(pm_maxpool)(const pm_map *map) {
    each_row(map, map->height, map->width, window_of(map)->forward);
}

void PM_ISA_SYMBOL(pm_maxpool_backward)(const pm_map *map) {
    each_row(map, map->in_height, map->in_width, window_of(map)->backward);
}
