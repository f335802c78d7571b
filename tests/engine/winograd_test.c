/* Winograd's kernel of every instruction set that this CPU has, against plain sums in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "worker/engine/kernels/kernels.h"

typedef struct scene {
    const pm_kernels *k;
    size_t taps;
    ptrdiff_t first;
    size_t in_blocks, out_blocks, images, height, width, in_height, in_width;
    size_t last; /* channels in the last input block; half of the shapes have fewer than v */
    float *in, *filters, *weights, *out, *scratch; /* filters [out][in][taps][taps] */
    size_t in_floats, out_floats;
    pm_winograd work;
} scene;

static float *room(size_t count) {
    float *p = aligned_alloc(64, (count * sizeof *p / 64 + 1) * 64);
    assert_non_null(p);
    return p;
}

/* As packed.c lays weights out: pairs of output blocks, an odd last one alone. */
static void pack(scene *s) {
    const size_t v = s->k->lanes, ins = s->in_blocks * v, outs = s->out_blocks * v;
    for (size_t o = 0; o < outs; o++)
        for (size_t i = 0; i < ins; i++) {
            float point[36];
            s->k->winograd_weights(s->taps, s->filters + (o * ins + i) * s->taps * s->taps, point);
            const size_t pair = o / v / 2 * 2, wide = (s->out_blocks - pair >= 2 ? 2 : 1) * v;
            for (size_t p = 0; p < 36; p++)
                s->weights[p * ins * outs + pair * v * ins + i * wide + o - pair * v] = point[p];
        }
}

static void make(scene *s, size_t chunk_tiles) {
    const size_t v = s->k->lanes, ins = s->in_blocks * v, outs = s->out_blocks * v;
    const size_t row = (s->in_width + 2) * v, plane = row * (s->in_height + 2);
    const size_t filters = ins * outs * s->taps * s->taps;
    const size_t out_plane = s->height * s->width * v;
    s->in_floats = s->images * s->in_blocks * plane;
    s->out_floats = s->images * s->out_blocks * out_plane;
    s->in = room(s->in_floats);
    s->filters = room(filters);
    s->weights = room(ins * outs * 36);
    s->out = room(s->out_floats);
    const size_t scratch = s->k->winograd_scratch(s->in_blocks, s->out_blocks, chunk_tiles);
    s->scratch = room(scratch);
    pm_synth("in", 0, s->in, s->in_floats);
    s->last = s->height % 2 != 0 ? 3 * v / 4 : v;
    pm_synth("filters", 0, s->filters, filters);
    /* Nothing outside the map may be read: what lies there would show. */
    for (size_t n = 0; n < s->images * s->in_blocks; n++)
        for (size_t y = 0; y < s->in_height + 2; y++)
            for (size_t x = 0; x < s->in_width + 2; x++)
                if (y == 0 || x == 0 || y == s->in_height + 1 || x == s->in_width + 1)
                    for (size_t c = 0; c < v; c++) s->in[n * plane + y * row + x * v + c] = NAN;
    for (size_t i = 0; i < scratch; i++) s->scratch[i] = NAN;
    pack(s);
    s->work = (pm_winograd){.in = {s->in + row + v, (ptrdiff_t)(s->in_blocks * plane),
                                   (ptrdiff_t)plane, (ptrdiff_t)row, (ptrdiff_t)v},
                            .taps = s->taps,
                            .first = s->first,
                            .last_channels = (int)(s->last % v),
                            .weights = s->weights,
                            .scratch = s->scratch,
                            .chunk_tiles = chunk_tiles,
                            .images = s->images,
                            .in_blocks = s->in_blocks,
                            .out_blocks = s->out_blocks,
                            .height = s->height,
                            .width = s->width,
                            .in_height = s->in_height,
                            .in_width = s->in_width,
                            .epilogue.out = {s->out, (ptrdiff_t)(s->out_blocks * out_plane),
                                             (ptrdiff_t)out_plane, (ptrdiff_t)(s->width * v),
                                             (ptrdiff_t)v}};
}

static void release(scene *s) {
    free(s->in);
    free(s->filters);
    free(s->weights);
    free(s->out);
    free(s->scratch);
}

static double plain_sum(const scene *s, size_t image, size_t o, size_t y, size_t x) {
    const size_t v = s->k->lanes, ins = s->in_blocks * v;
    double sum = 0;
    for (size_t i = 0; i < ins - v + s->last; i++)
        for (size_t r = 0; r < s->taps; r++)
            for (size_t q = 0; q < s->taps; q++) {
                const ptrdiff_t iy = (ptrdiff_t)(y + r) + s->first;
                const ptrdiff_t ix = (ptrdiff_t)(x + q) + s->first;
                if (iy < 0 || ix < 0 || iy >= (ptrdiff_t)s->in_height ||
                    ix >= (ptrdiff_t)s->in_width)
                    continue;
                const float *p = s->work.in.at + (ptrdiff_t)image * s->work.in.image +
                                 (ptrdiff_t)(i / v) * s->work.in.plane + iy * s->work.in.row +
                                 ix * s->work.in.pixel + i % v;
                sum += (double)*p * (double)s->filters[((o * ins + i) * s->taps + r) * s->taps + q];
            }
    return sum;
}

static void check(const scene *s) {
    const size_t v = s->k->lanes;
    double worst = 0, largest = 0;
    for (size_t n = 0; n < s->images; n++)
        for (size_t o = 0; o < s->out_blocks * v; o++)
            for (size_t y = 0; y < s->height; y++)
                for (size_t x = 0; x < s->width; x++) {
                    const size_t plane = (n * s->out_blocks + o / v) * s->height + y;
                    double want = plain_sum(s, n, o, y, x);
                    double got = (double)s->out[(plane * s->width + x) * v + o % v];
                    if (isnan(got)) fail_msg("read outside the map");
                    worst = fmax(worst, fabs(got - want));
                    largest = fmax(largest, fabs(want));
                }
    if (worst > 4e-6 * largest)
        fail_msg("%s %zux%zu, %zu taps: off by %g of %g", s->k->name, s->height, s->width, s->taps,
                 worst, largest);
}

#define SHAPE(t, f, ins, outs, n, h, w, ih, iw)                                                    \
    {                                                                                              \
        .taps = t, .first = f, .in_blocks = ins, .out_blocks = outs, .images = n, .height = h,     \
        .width = w, .in_height = ih, .in_width = iw                                                \
    }
static const scene shapes[] = {
    SHAPE(3, -1, 1, 1, 1, 1, 1, 1, 1),     SHAPE(3, -1, 2, 2, 1, 4, 4, 4, 4),
    SHAPE(3, -1, 1, 3, 2, 7, 7, 7, 7),     SHAPE(3, -1, 3, 2, 3, 5, 18, 5, 18),
    SHAPE(3, -1, 2, 4, 1, 23, 9, 23, 9),   SHAPE(4, -1, 1, 1, 1, 1, 1, 1, 1),
    SHAPE(4, -1, 4, 1, 2, 13, 19, 13, 19), SHAPE(4, -1, 1, 3, 1, 6, 15, 6, 15),
    SHAPE(4, -1, 2, 2, 3, 8, 7, 9, 6),     SHAPE(4, -3, 1, 1, 1, 9, 17, 6, 14),
    SHAPE(4, -2, 1, 2, 2, 3, 2, 1, 1),     SHAPE(3, 0, 1, 1, 1, 5, 6, 7, 8),
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static const char *const names[] = {"avx512", "avx2", "baseline"};

static void sums_are_the_plain_ones(void **state) {
    (void)state;
    for (size_t i = 0; i < 3 * SHAPES; i++) {
        scene s = shapes[i / 3];
        s.k = pm_kernels_named(names[i % 3]);
        if (!s.k->usable()) continue;
        make(&s, 17);
        s.k->winograd(&s.work);
        check(&s);
        release(&s);
    }
}

/* The chunk that a tile is in, and the images beside it, change no bit. */
static void a_tile_does_not_depend_on_its_company(void **state) {
    (void)state;
    for (size_t i = 0; i < 3 * SHAPES; i++) {
        scene s = shapes[i / 3];
        s.k = pm_kernels_named(names[i % 3]);
        if (!s.k->usable()) continue;
        make(&s, 64);
        s.k->winograd(&s.work);
        float *together = s.out;
        s.out = room(s.out_floats);
        const ptrdiff_t image = s.work.epilogue.out.image;
        s.work.images = 1;
        for (size_t chunk = 1; chunk < 64; chunk = chunk * 3 + 1)
            for (size_t n = 0; n < s.images; n++) {
                pm_winograd one = s.work;
                one.chunk_tiles = chunk;
                one.in.at += (ptrdiff_t)n * s.work.in.image;
                one.epilogue.out.at = s.out + (ptrdiff_t)n * image;
                s.k->winograd(&one);
                assert_memory_equal(s.out + (ptrdiff_t)n * image, together + (ptrdiff_t)n * image,
                                    (size_t)image * sizeof(float));
            }
        free(together);
        release(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_the_plain_ones),
        cmocka_unit_test(a_tile_does_not_depend_on_its_company),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
