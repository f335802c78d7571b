/* The kernels of linear layers of every instruction set that this CPU has, against plain loops in
 * double: forward, backward over the same weights, one row; alone and in company. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/kernels_of.h"

typedef struct shape {
    size_t in_blocks, height, width, out_blocks, images;
} shape;

enum { GAP = 32 }; /* floats between the rows of a map, as of a border */

/* Maps of the features and vectors of the outputs, both ways. */
typedef struct arrays {
    const shape *s;
    size_t v, features, outs, map_floats, vector_floats;
    float *map, *vector, *weights, *sums, *map_add, *map_out, *vector_out, *scale, *shift;
    pm_const_span map_span, vector_span;
} arrays;

static pm_span writable(pm_const_span s, float *at) {
    return (pm_span){at, s.image, s.plane, s.row, s.pixel};
}

static pm_const_span of(pm_const_span s, const float *at) {
    s.at = at;
    return s;
}

static arrays make(const pm_kernels *k, const shape *s) {
    arrays a = {.s = s, .v = k->lanes};
    const size_t row = s->width * a.v + GAP, plane = s->height * row;
    a.features = s->in_blocks * s->height * s->width * a.v;
    a.outs = s->out_blocks * a.v;
    a.map_floats = s->images * s->in_blocks * plane;
    a.vector_floats = s->images * s->out_blocks * 16;
    a.map = filled("map", a.map_floats);
    a.vector = filled("vector", a.vector_floats);
    a.weights = filled("weights", a.features * a.outs);
    a.sums = filled("sums", s->images * a.features);
    a.map_add = filled("map add", a.map_floats);
    a.map_out = filled("map out", a.map_floats);
    a.vector_out = filled("vector out", a.vector_floats);
    a.scale = filled("scale", a.outs);
    a.shift = filled("shift", a.outs);
    a.map_span = (pm_const_span){NULL, (ptrdiff_t)(s->in_blocks * plane), (ptrdiff_t)plane,
                                 (ptrdiff_t)row, (ptrdiff_t)a.v};
    a.vector_span = (pm_const_span){NULL, (ptrdiff_t)(s->out_blocks * 16), 16, 0, 0};
    return a;
}

static void release(arrays *a) {
    float *all[] = {a->map,     a->vector,     a->weights, a->sums, a->map_add,
                    a->map_out, a->vector_out, a->scale,   a->shift};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static pm_linear layer(const arrays *a) {
    return (pm_linear){.weights = a->weights,
                       .sums = a->sums,
                       .images = a->s->images,
                       .in_blocks = a->s->in_blocks,
                       .height = a->s->height,
                       .width = a->s->width,
                       .out_blocks = a->s->out_blocks};
}

/* Feature f = (block, y, x, lane) of a map from its image's start. */
static size_t place(const arrays *a, size_t f) {
    const size_t lane = f % a->v, pixel = f / a->v % (a->s->height * a->s->width);
    return f / a->v / (a->s->height * a->s->width) * (size_t)a->map_span.plane +
           pixel / a->s->width * (size_t)a->map_span.row + pixel % a->s->width * a->v + lane;
}

static double weight(const arrays *a, size_t feature, size_t out) {
    const size_t pair = out / a->v / 2 * 2, wide = (a->s->out_blocks - pair >= 2 ? 2 : 1) * a->v;
    return (double)a->weights[pair * a->v * a->features + feature * wide + out - pair * a->v];
}

static size_t output(const arrays *a, size_t out) { return out / a->v * 16 + out % a->v; }

static void check_forward(const pm_kernels *k, const shape *s) {
    arrays a = make(k, s);
    pm_linear l = layer(&a);
    l.in = of(a.map_span, a.map);
    l.epilogue.out = writable(a.vector_span, a.vector_out);
    l.epilogue.scale = a.scale;
    l.epilogue.shift = a.shift;
    k->linear(&l);
    for (size_t n = 0; n < s->images; n++)
        for (size_t o = 0; o < a.outs; o++) {
            const float *map = a.map + n * (size_t)a.map_span.image;
            double want = 0, all = 0;
            for (size_t f = 0; f < a.features; f++) {
                const double product = weight(&a, f, o) * (double)map[place(&a, f)];
                want += product;
                all += fabs(product);
            }
            want = want * (double)a.scale[o] + (double)a.shift[o];
            const float got = a.vector_out[n * (size_t)a.vector_span.image + output(&a, o)];
            assert_true(fabs((double)got - want) < 2e-7 * (all + 8));
        }
    /* The last image alone. */
    const size_t last = (s->images - 1) * (size_t)a.vector_span.image;
    float *together = malloc(a.vector_floats * sizeof *together);
    assert_non_null(together);
    memcpy(together, a.vector_out, a.vector_floats * sizeof *together);
    l.images = 1;
    l.in.at = a.map + (s->images - 1) * (size_t)a.map_span.image;
    k->linear(&l);
    for (size_t o = 0; o < a.outs; o++)
        assert_true(a.vector_out[output(&a, o)] == together[last + output(&a, o)]);
    free(together);
    release(&a);
}

static void check_backward(const pm_kernels *k, const shape *s) {
    arrays a = make(k, s);
    pm_linear l = layer(&a);
    l.in = of(a.vector_span, a.vector);
    l.epilogue.add = of(a.map_span, a.map_add);
    l.epilogue.out = writable(a.map_span, a.map_out);
    k->linear_backward(&l);
    for (size_t n = 0; n < s->images; n++)
        for (size_t f = 0; f < a.features; f++) {
            const float *gradient = a.vector + n * (size_t)a.vector_span.image;
            double want = 0, all = 0;
            for (size_t o = 0; o < a.outs; o++) {
                const double product = weight(&a, f, o) * (double)gradient[output(&a, o)];
                want += product;
                all += fabs(product);
            }
            const size_t at = n * (size_t)a.map_span.image + place(&a, f);
            want += (double)a.map_add[at];
            assert_true(fabs((double)a.map_out[at] - want) < 2e-7 * (all + 8));
        }
    const size_t last = (s->images - 1) * (size_t)a.map_span.image;
    float *together = malloc(a.map_floats * sizeof *together);
    assert_non_null(together);
    memcpy(together, a.map_out, a.map_floats * sizeof *together);
    l.images = 1;
    l.in.at = a.vector + (s->images - 1) * (size_t)a.vector_span.image;
    l.epilogue.add.at = a.map_add + last;
    k->linear_backward(&l);
    for (size_t f = 0; f < a.features; f++)
        assert_true(a.map_out[place(&a, f)] == together[last + place(&a, f)]);
    free(together);
    release(&a);
}

static void check_row(const pm_kernels *k, const shape *s) {
    arrays a = make(k, s);
    size_t rows[32];
    float values[32];
    for (size_t n = 0; n < s->images; n++) {
        rows[n] = (7 * n + 5) % a.outs;
        values[n] = 0.5F + (float)n;
    }
    pm_linear l = layer(&a);
    l.epilogue.out = writable(a.map_span, a.map_out);
    k->linear_row(&l, rows, values);
    for (size_t n = 0; n < s->images; n++)
        for (size_t f = 0; f < a.features; f++)
            assert_true(a.map_out[n * (size_t)a.map_span.image + place(&a, f)] ==
                        values[n] * (float)weight(&a, f, rows[n]));
    release(&a);
}

/* Single pixels and maps, runs that end inside a chunk and beyond it, odd last blocks, images
 * beyond what one pass of the kernels takes. */
static const shape shapes[] = {{1, 1, 1, 1, 1},   {1, 1, 1, 2, 3},   {2, 1, 1, 3, 5},
                               {3, 2, 1, 5, 2},   {1, 3, 5, 2, 8},   {2, 7, 7, 4, 9},
                               {5, 3, 3, 33, 4},  {40, 1, 1, 17, 7}, {1, 2, 19, 65, 6},
                               {9, 3, 3, 66, 16}, {2, 2, 2, 7, 19}};

static void each_shape(void (*check)(const pm_kernels *, const shape *)) {
    for (size_t i = 0; i < 3; i++)
        for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++)
            if (kernels_of(i) != NULL) check(kernels_of(i), &shapes[n]);
}

static void forward_is_what_plain_loops_say(void **state) {
    (void)state;
    each_shape(check_forward);
}

static void backward_is_what_plain_loops_say(void **state) {
    (void)state;
    each_shape(check_backward);
}

static void a_row_is_its_weights_times_the_seed(void **state) {
    (void)state;
    each_shape(check_row);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_what_plain_loops_say),
        cmocka_unit_test(backward_is_what_plain_loops_say),
        cmocka_unit_test(a_row_is_its_weights_times_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
