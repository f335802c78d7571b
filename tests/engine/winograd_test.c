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
    size_t in_blocks, out_blocks, images, height, width;
    float *in, *filters, *weights, *out, *scratch; /* filters [out][in][3][3] */
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
            s->k->winograd_weights(s->filters + (o * ins + i) * 9, point);
            const size_t pair = o / v / 2 * 2, wide = (s->out_blocks - pair >= 2 ? 2 : 1) * v;
            for (size_t p = 0; p < 36; p++)
                s->weights[p * ins * outs + pair * v * ins + i * wide + o - pair * v] = point[p];
        }
}

static void make(scene *s, size_t chunk_tiles) {
    const size_t v = s->k->lanes, ins = s->in_blocks * v, outs = s->out_blocks * v;
    const size_t row = (s->width + 2) * v, plane = row * (s->height + 2);
    const size_t out_plane = s->height * s->width * v;
    s->in_floats = s->images * s->in_blocks * plane;
    s->out_floats = s->images * s->out_blocks * out_plane;
    s->in = room(s->in_floats);
    s->filters = room(ins * outs * 9);
    s->weights = room(ins * outs * 36);
    s->out = room(s->out_floats);
    const size_t scratch = s->k->winograd_scratch(s->in_blocks, s->out_blocks, chunk_tiles);
    s->scratch = room(scratch);
    pm_synth("in", 0, s->in, s->in_floats);
    pm_synth("filters", 0, s->filters, ins * outs * 9);
    /* Nothing outside the map may be read: what lies there would show. */
    for (size_t n = 0; n < s->images * s->in_blocks; n++)
        for (size_t y = 0; y < s->height + 2; y++)
            for (size_t x = 0; x < s->width + 2; x++)
                if (y == 0 || x == 0 || y == s->height + 1 || x == s->width + 1)
                    for (size_t c = 0; c < v; c++) s->in[n * plane + y * row + x * v + c] = NAN;
    for (size_t i = 0; i < scratch; i++) s->scratch[i] = NAN;
    pack(s);
    s->work = (pm_winograd){.in = {s->in + row + v, (ptrdiff_t)(s->in_blocks * plane),
                                   (ptrdiff_t)plane, (ptrdiff_t)row, (ptrdiff_t)v},
                            .weights = s->weights,
                            .scratch = s->scratch,
                            .chunk_tiles = chunk_tiles,
                            .images = s->images,
                            .in_blocks = s->in_blocks,
                            .out_blocks = s->out_blocks,
                            .height = s->height,
                            .width = s->width,
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
    for (size_t i = 0; i < ins; i++)
        for (size_t r = 0; r < 3; r++)
            for (size_t q = 0; q < 3; q++) {
                if (y + r < 1 || x + q < 1 || y + r > s->height || x + q > s->width) continue;
                const float *p = s->work.in.at + (ptrdiff_t)image * s->work.in.image +
                                 (ptrdiff_t)(i / v) * s->work.in.plane +
                                 ((ptrdiff_t)(y + r) - 1) * s->work.in.row +
                                 ((ptrdiff_t)(x + q) - 1) * s->work.in.pixel + i % v;
                sum += (double)*p * (double)s->filters[(o * ins + i) * 9 + r * 3 + q];
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
        fail_msg("%s %zux%zu: off by %g of %g", s->k->name, s->height, s->width, worst, largest);
}

static const scene shapes[] = {
    {.in_blocks = 1, .out_blocks = 1, .images = 1, .height = 1, .width = 1},
    {.in_blocks = 2, .out_blocks = 2, .images = 1, .height = 4, .width = 4},
    {.in_blocks = 1, .out_blocks = 3, .images = 2, .height = 7, .width = 7},
    {.in_blocks = 3, .out_blocks = 2, .images = 3, .height = 5, .width = 18},
    {.in_blocks = 2, .out_blocks = 4, .images = 1, .height = 23, .width = 9},
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
