/* The kernels that walk over maps, pools and norms, of every instruction set that this CPU has,
 * against plain loops in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/kernels_of.h"

/* ---- pooling ---- */

static void first_maximum_in_row_major_order_wins(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        enum { SIDE = 5, POOLED = 3 };
        const ptrdiff_t v = (ptrdiff_t)k->lanes;
        float *in = filled("in", SIDE * SIDE * k->lanes), *out = filled("o", POOLED * POOLED * 16);
        uint8_t winner[POOLED * POOLED * 16];
        for (size_t p = 0; p < SIDE * SIDE * k->lanes; p++) in[p] = p % 2 ? -INFINITY : -1.0F;
        pm_map m = {.in = {in, 0, 0, SIDE * v, v},
                    .images = 1,
                    .blocks = 1,
                    .height = POOLED,
                    .width = POOLED,
                    .in_height = SIDE,
                    .in_width = SIDE,
                    .kernel = 3,
                    .stride = 2,
                    .pad = 1,
                    .winner = winner};
        m.epilogue.out = (pm_span){out, 0, 0, POOLED * v, v};
        k->maxpool(&m);
        for (size_t o = 0; o < POOLED * POOLED * k->lanes; o++) {
            const size_t pixel = o / k->lanes, y = pixel / POOLED, x = pixel % POOLED;
            assert_int_equal(winner[o], (y == 0 ? 3 : 0) + (x == 0 ? 1 : 0));
            assert_true(out[o] == in[o % k->lanes]); /* never the zero of a border */
        }
        free(in);
        free(out);
    }
}

/* A map of `blocks` blocks with nothing around it. */
static pm_span dense(float *at, const pm_kernels *k, size_t blocks, size_t height, size_t width) {
    const size_t plane = height * width * k->lanes;
    return (pm_span){at, (ptrdiff_t)(blocks * plane), (ptrdiff_t)plane,
                     (ptrdiff_t)(width * k->lanes), (ptrdiff_t)k->lanes};
}

static double at(const pm_kernels *k, const pm_span *s, size_t image, size_t channel, size_t y,
                 size_t x) {
    return (double)
        s->at[(ptrdiff_t)image * s->image + (ptrdiff_t)(channel / k->lanes) * s->plane +
              (ptrdiff_t)y * s->row + (ptrdiff_t)x * s->pixel + (ptrdiff_t)(channel % k->lanes)];
}

/* The place in the window of the first maximum, and where that is on the map. */
static size_t winner_of(const pm_kernels *k, const pm_map *m, const pm_span *map, size_t n,
                        size_t c, size_t y, size_t x, size_t *iy, size_t *ix) {
    double best = 0;
    size_t found = SIZE_MAX;
    for (size_t place = 0; place < m->kernel * m->kernel; place++) {
        const size_t py = y * m->stride + place / m->kernel, px = x * m->stride + place % m->kernel;
        if (py < m->pad || px < m->pad || py - m->pad >= m->in_height || px - m->pad >= m->in_width)
            continue;
        const double v = at(k, map, n, c, py - m->pad, px - m->pad);
        if (found != SIZE_MAX && v <= best) continue;
        best = v;
        found = place;
        *iy = py - m->pad;
        *ix = px - m->pad;
    }
    return found;
}

/* windows: how many along each side; with ceil_mode the last may reach over the edge. */
static void check_maxpool(const pm_kernels *k, size_t kernel, size_t stride, size_t pad,
                          size_t height, size_t width, size_t high, size_t wide) {
    enum { BLOCKS = 2 };
    const size_t pixels = BLOCKS * k->lanes * height * width;
    const size_t pooled_pixels = BLOCKS * k->lanes * high * wide;
    float *in = filled("large", pixels), *out = filled("out", pooled_pixels);
    float *delta = filled("small", pooled_pixels), *back = filled("back", pixels);
    double *want = calloc(pixels, sizeof *want);
    uint8_t *winner = calloc(pooled_pixels, 1);
    for (size_t i = 0; i < pixels; i++) in[i] = roundf(in[i] * 2); /* many are equal */
    const pm_span map = dense(in, k, BLOCKS, height, width),
                  to = dense(back, k, BLOCKS, height, width);
    const pm_span pooled = dense(out, k, BLOCKS, high, wide),
                  from = dense(delta, k, BLOCKS, high, wide);
    pm_map m = {.in = {map.at, map.image, map.plane, map.row, map.pixel},
                .images = 1,
                .blocks = BLOCKS,
                .height = high,
                .width = wide,
                .in_height = height,
                .in_width = width,
                .kernel = kernel,
                .stride = stride,
                .pad = pad,
                .winner = winner,
                .epilogue.out = pooled};
    k->maxpool(&m);
    for (size_t o = 0; o < pooled_pixels; o++) {
        const size_t x = o / k->lanes % wide, y = o / k->lanes / wide % high;
        const size_t c = o / k->lanes / wide / high * k->lanes + o % k->lanes;
        size_t iy = 0, ix = 0;
        assert_int_equal(winner[o], winner_of(k, &m, &map, 0, c, y, x, &iy, &ix));
        assert_true(at(k, &pooled, 0, c, y, x) == at(k, &map, 0, c, iy, ix));
        want[((c / k->lanes * height + iy) * width + ix) * k->lanes + c % k->lanes] +=
            at(k, &from, 0, c, y, x);
    }
    m = (pm_map){.in = {from.at, from.image, from.plane, from.row, from.pixel},
                 .images = 1,
                 .blocks = BLOCKS,
                 .height = height,
                 .width = width,
                 .in_height = high,
                 .in_width = wide,
                 .kernel = kernel,
                 .stride = stride,
                 .pad = pad,
                 .winner = winner,
                 .epilogue.out = to};
    k->maxpool_backward(&m);
    for (size_t i = 0; i < pixels; i++) assert_true(fabs((double)back[i] - want[i]) < 1e-5);
    free(in);
    free(out);
    free(delta);
    free(back);
    free(want);
    free(winner);
}

static void maxima_and_their_gradients_are_those_of_plain_loops(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        check_maxpool(k, 3, 2, 1, 37, 39, 19, 20);
        check_maxpool(k, 3, 2, 1, 6, 34, 3, 17);
        check_maxpool(k, 3, 2, 1, 1, 1, 1, 1);
        check_maxpool(k, 2, 2, 0, 8, 36, 4, 18);
        check_maxpool(k, 2, 2, 0, 5, 19, 2, 9);  /* pixels that no window sees */
        check_maxpool(k, 2, 2, 0, 5, 19, 3, 10); /* windows over the edge */
        check_maxpool(k, 3, 2, 0, 9, 35, 4, 17);
        check_maxpool(k, 3, 2, 0, 8, 34, 4, 17);
        check_maxpool(k, 3, 1, 1, 5, 21, 5, 21);
        check_maxpool(k, 3, 1, 1, 1, 2, 1, 2);
        check_maxpool(k, 3, 3, 1, 10, 19, 4, 7); /* of no special make */
        check_maxpool(k, 5, 2, 2, 9, 20, 5, 10);
        check_maxpool(k, 2, 3, 0, 7, 20, 2, 7);
    }
}

/* Average of windows: what out(y, x) takes of in(iy, ix), forward. */
static double share(const pm_map *m, size_t y, size_t x, size_t iy, size_t ix) {
    const size_t dy = iy + m->pad - y * m->stride, dx = ix + m->pad - x * m->stride; /* wrap */
    return dy < m->kernel && dx < m->kernel ? 1.0 / (double)(m->kernel * m->kernel) : 0;
}

static void check_window(const pm_kernels *k, size_t kernel, size_t stride, size_t pad,
                         size_t height, size_t width) {
    enum { IMAGES = 2, BLOCKS = 2 };
    const size_t high = (height + 2 * pad - kernel) / stride + 1;
    const size_t wide = (width + 2 * pad - kernel) / stride + 1;
    float *large = filled("large", IMAGES * BLOCKS * height * width * k->lanes);
    float *small = filled("small", IMAGES * BLOCKS * high * wide * k->lanes);
    const pm_span map = dense(large, k, BLOCKS, height, width);
    const pm_span pooled = dense(small, k, BLOCKS, high, wide);
    for (int forward = 0; forward < 2; forward++) {
        const pm_span *from = forward ? &map : &pooled, *to = forward ? &pooled : &map;
        const size_t ih = forward ? height : high, iw = forward ? width : wide;
        const size_t oh = forward ? high : height, ow = forward ? wide : width;
        pm_map m = {.in = {from->at, from->image, from->plane, from->row, from->pixel},
                    .images = IMAGES,
                    .blocks = BLOCKS,
                    .height = oh,
                    .width = ow,
                    .in_height = ih,
                    .in_width = iw,
                    .kernel = kernel,
                    .stride = stride,
                    .pad = pad};
        m.epilogue.out = *to;
        (forward ? k->avgpool_window : k->avgpool_window_backward)(&m);
        for (size_t o = 0; o < IMAGES * BLOCKS * k->lanes * oh * ow; o++) {
            const size_t x = o % ow, y = o / ow % oh, c = o / ow / oh % (BLOCKS * k->lanes);
            const size_t n = o / ow / oh / (BLOCKS * k->lanes);
            double want = 0;
            for (size_t iy = 0; iy < ih; iy++)
                for (size_t ix = 0; ix < iw; ix++)
                    want += at(k, from, n, c, iy, ix) *
                            (forward ? share(&m, y, x, iy, ix) : share(&m, iy, ix, y, x));
            assert_true(fabs(at(k, to, n, c, y, x) - want) < 1e-6);
        }
    }
    free(large);
    free(small);
}

static void windows_average_as_plain_loops_say(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        check_window(k, 3, 1, 1, 5, 21);
        check_window(k, 2, 2, 0, 7, 8);
        check_window(k, 3, 2, 1, 6, 9);
        check_window(k, 2, 3, 0, 7, 5); /* pixels that no window sees */
        check_window(k, 1, 1, 0, 1, 1);
    }
}

/* PyTorch's adaptive bins: whether bin o of n over `size` holds i, and how many it holds. */
static size_t bin_share(size_t o, size_t n, size_t size, size_t i) {
    const size_t first = o * size / n, last = ((o + 1) * size + n - 1) / n;
    return i >= first && i < last ? last - first : 0;
}

static void check_bins(const pm_kernels *k, size_t height, size_t width, size_t high, size_t wide) {
    enum { IMAGES = 2, BLOCKS = 2 };
    float *large = filled("large", IMAGES * BLOCKS * height * width * k->lanes);
    float *small = filled("small", IMAGES * BLOCKS * high * wide * k->lanes);
    const pm_span map = dense(large, k, BLOCKS, height, width);
    const pm_span pooled = dense(small, k, BLOCKS, high, wide);
    for (int forward = 0; forward < 2; forward++) {
        const pm_span *from = forward ? &map : &pooled, *to = forward ? &pooled : &map;
        const size_t ih = forward ? height : high, iw = forward ? width : wide;
        const size_t oh = forward ? high : height, ow = forward ? wide : width;
        pm_map m = {.in = {from->at, from->image, from->plane, from->row, from->pixel},
                    .images = IMAGES,
                    .blocks = BLOCKS,
                    .height = oh,
                    .width = ow,
                    .in_height = ih,
                    .in_width = iw};
        m.epilogue.out = *to;
        (forward ? k->avgpool : k->avgpool_backward)(&m);
        for (size_t o = 0; o < IMAGES * BLOCKS * k->lanes * oh * ow; o++) {
            const size_t x = o % ow, y = o / ow % oh, c = o / ow / oh % (BLOCKS * k->lanes);
            const size_t n = o / ow / oh / (BLOCKS * k->lanes);
            double want = 0;
            for (size_t iy = 0; iy < ih; iy++)
                for (size_t ix = 0; ix < iw; ix++) {
                    const size_t area =
                        forward ? bin_share(y, high, height, iy) * bin_share(x, wide, width, ix)
                                : bin_share(iy, high, height, y) * bin_share(ix, wide, width, x);
                    if (area != 0) want += at(k, from, n, c, iy, ix) / (double)area;
                }
            assert_true(fabs(at(k, to, n, c, y, x) - want) < 1e-6);
        }
    }
    free(large);
    free(small);
}

static void bins_average_as_plain_loops_say(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        check_bins(k, 7, 21, 1, 1);
        check_bins(k, 1, 1, 1, 1);
        check_bins(k, 6, 18, 1, 3);
        check_bins(k, 10, 9, 7, 7); /* bins overlap */
        check_bins(k, 2, 5, 7, 3);  /* and repeat */
    }
}

/* ---- squeeze and excitation ---- */

static void check_scale(const pm_kernels *k, size_t height, size_t width) {
    enum { IMAGES = 2, BLOCKS = 3 };
    const size_t channels = BLOCKS * k->lanes, pixels = height * width;
    float *in = filled("in", IMAGES * channels * pixels), *map = filled("map", channels * pixels);
    float *out = filled("out", IMAGES * channels * pixels), *factors = filled("f", channels);
    float *sums = filled("sums", IMAGES * channels);
    const pm_span from = dense(in, k, BLOCKS, height, width),
                  to = dense(out, k, BLOCKS, height, width);
    const pm_span other = dense(map, k, BLOCKS, height, width),
                  one = dense(factors, k, BLOCKS, 1, 1);
    pm_map m = {.in = {from.at, from.image, from.plane, from.row, from.pixel},
                .factors = {one.at, 0, one.plane, one.row, one.pixel}, /* all images' */
                .images = IMAGES,
                .blocks = BLOCKS,
                .height = height,
                .width = width,
                .in_height = height,
                .in_width = width,
                .epilogue = {.out = to}};
    k->scale_map(&m);
    m.factors = (pm_const_span){other.at, 0, other.plane, other.row, other.pixel};
    m.height = m.width = 1;
    m.epilogue.out = dense(sums, k, BLOCKS, 1, 1);
    k->scale_sum(&m);
    for (size_t n = 0; n < IMAGES; n++)
        for (size_t c = 0; c < channels; c++) {
            double want = 0;
            for (size_t p = 0; p < pixels; p++) {
                const size_t y = p / width, x = p % width;
                want += at(k, &from, n, c, y, x) * at(k, &other, 0, c, y, x);
                const double product = at(k, &from, n, c, y, x) * at(k, &one, 0, c, 0, 0);
                assert_true(fabs(at(k, &to, n, c, y, x) - product) < 1e-7);
            }
            assert_true(fabs(at(k, &m.epilogue.out, n, c, 0, 0) - want) < 1e-5);
        }
    void *all[] = {in, map, out, factors, sums};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void products_and_their_sums_are_what_plain_loops_say(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (size_t width = 1; width < 40; width += 1 + width / 4)
            if (kernels_of(i) != NULL) check_scale(kernels_of(i), 1 + width % 5, width);
}

/* Channels that move up by `before` and every stride-th pixel; and the way back. */
static void check_moved(const pm_kernels *k, size_t before, size_t channels, size_t stride) {
    enum { HEIGHT = 5, WIDTH = 19 };
    const size_t high = (HEIGHT - 1) / stride + 1, wide = (WIDTH - 1) / stride + 1;
    const size_t all = before + channels + 3, blocks = (all + k->lanes - 1) / k->lanes;
    const size_t few = (channels + k->lanes - 1) / k->lanes;
    float *large = filled("large", few * HEIGHT * WIDTH * k->lanes);
    float *small = filled("small", blocks * high * wide * k->lanes);
    pm_span narrow = dense(large, k, few, HEIGHT, WIDTH),
            moved = dense(small, k, blocks, high, wide);
    pm_map m = {.in = {narrow.at, narrow.image, narrow.plane, narrow.row, narrow.pixel},
                .images = 1,
                .blocks = blocks,
                .height = high,
                .width = wide,
                .in_height = HEIGHT,
                .in_width = WIDTH,
                .stride = stride,
                .before = before,
                .in_channels = channels};
    m.epilogue.out = moved;
    k->subsample(&m);
    for (size_t c = 0; c < blocks * k->lanes; c++)
        for (size_t y = 0; y < high; y++)
            for (size_t x = 0; x < wide; x++) {
                bool there = c >= before && c < before + channels;
                double want = there ? at(k, &narrow, 0, c - before, y * stride, x * stride) : 0;
                assert_true(at(k, &moved, 0, c, y, x) == want);
            }
    m.in = (pm_const_span){moved.at, moved.image, moved.plane, moved.row, moved.pixel};
    m.blocks = few, m.height = HEIGHT, m.width = WIDTH, m.in_height = high, m.in_width = wide;
    m.channels = channels;
    m.epilogue.out = narrow;
    k->subsample_backward(&m);
    for (size_t c = 0; c < few * k->lanes; c++)
        for (size_t y = 0; y < HEIGHT; y++)
            for (size_t x = 0; x < WIDTH; x++) {
                bool there = c < channels && y % stride == 0 && x % stride == 0;
                double want = there ? at(k, &moved, 0, c + before, y / stride, x / stride) : 0;
                assert_true(at(k, &narrow, 0, c, y, x) == want);
            }
    free(large);
    free(small);
}

static void channels_move_lane_by_lane(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        check_moved(k, 0, 21, 1);
        check_moved(k, 21, 13, 1);
        check_moved(k, 7, 33, 1);
        check_moved(k, 8, 16, 2);
        check_moved(k, 5, 20, 3);
    }
}

/* ---- layernorm ---- */

typedef struct norm_shape {
    size_t channels, height, width, images;
} norm_shape;

/* One pixel's channels, `stride` floats between blocks. */
static void gather(const pm_kernels *k, const float *at, size_t plane, size_t channels,
                   double *out) {
    for (size_t c = 0; c < channels; c++) out[c] = (double)at[c / k->lanes * plane + c % k->lanes];
}

static void check_near(const pm_kernels *k, const norm_shape *s, const char *what, double got,
                       double want) {
    if (fabs(got - want) > 2e-5 * fmax(1, fabs(want)))
        fail_msg("%s: %zu channels, %zux%zu, %s: %g, not %g", k->name, s->channels, s->height,
                 s->width, what, got, want);
}

/* Forward from the first image, backward of all of them, against the definition in double. */
static void check_layernorm(const pm_kernels *k, const norm_shape *s) {
    enum { MOST = 200 };
    const size_t v = k->lanes, blocks = (s->channels + v - 1) / v, pixels = s->height * s->width;
    const size_t plane = pixels * v, floats = blocks * plane;
    const ptrdiff_t row = (ptrdiff_t)(s->width * v);
    float *in = filled("in", s->images * floats), *out = filled("out", s->images * floats);
    float *grad = filled("grad", s->images * floats), *back = filled("back", s->images * floats);
    float *normal = filled("normal", floats), *inverse = filled("inverse", pixels);
    float *scale = filled("scale", blocks * v), *shift = filled("shift", blocks * v);
    for (size_t i = 0; i < s->images * floats; i++) {
        const bool live = i / plane % blocks * v + i % v < s->channels;
        in[i] = live ? in[i] + 3 : 0; /* a mean well off 0 */
        if (!live) grad[i] = 0;
    }
    for (size_t c = s->channels; c < blocks * v; c++) scale[c] = shift[c] = 0;
    pm_map m = {.in = {in, (ptrdiff_t)floats, (ptrdiff_t)plane, row, (ptrdiff_t)v},
                .images = 1,
                .blocks = blocks,
                .height = s->height,
                .width = s->width,
                .channels = s->channels,
                .eps = 1e-3F,
                .normal = normal,
                .inverse = inverse,
                .epilogue = {.scale = scale, .shift = shift}};
    m.epilogue.out = (pm_span){out, m.in.image, m.in.plane, row, m.in.pixel};
    k->layernorm(&m);
    m.images = s->images;
    m.in.at = grad;
    m.epilogue = (pm_epilogue){.out = m.epilogue.out};
    m.epilogue.out.at = back;
    k->layernorm_backward(&m);
    for (size_t p = 0; p < pixels; p++) {
        double x[MOST], h[MOST], mean = 0, var = 0;
        gather(k, in + p * v, plane, s->channels, x);
        for (size_t c = 0; c < s->channels; c++) mean += x[c] / (double)s->channels;
        for (size_t c = 0; c < s->channels; c++)
            var += (x[c] - mean) * (x[c] - mean) / (double)s->channels;
        const double std = sqrt(var + 1e-3);
        for (size_t c = 0; c < blocks * v; c++) {
            const size_t at = c / v * plane + p * v + c % v;
            const double u = c < s->channels ? (x[c] - mean) / std : 0;
            check_near(k, s, "forward", (double)out[at], u * (double)scale[c] + (double)shift[c]);
        }
        for (size_t n = 0; n < s->images; n++) {
            double sum = 0, along = 0;
            gather(k, grad + n * floats + p * v, plane, s->channels, h);
            for (size_t c = 0; c < s->channels; c++) {
                sum += h[c] / (double)s->channels;
                along += h[c] * (x[c] - mean) / std / (double)s->channels;
            }
            for (size_t c = 0; c < blocks * v; c++) {
                const size_t at = n * floats + c / v * plane + p * v + c % v;
                const double want =
                    c < s->channels ? (h[c] - sum - (x[c] - mean) / std * along) / std : 0;
                check_near(k, s, "backward", (double)back[at], want);
            }
        }
    }
    void *all[] = {in, out, grad, back, normal, inverse, scale, shift};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void layernorm_and_its_backward_are_the_definition(void **state) {
    (void)state;
    static const norm_shape shapes[] = {{1, 2, 3, 1},   {2, 1, 1, 2},  {16, 3, 16, 1},
                                        {17, 2, 17, 3}, {96, 5, 7, 2}, {200, 1, 33, 2}};
    for (size_t i = 0; i < 3; i++)
        for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++)
            if (kernels_of(i) != NULL) check_layernorm(kernels_of(i), &shapes[n]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_maximum_in_row_major_order_wins),
        cmocka_unit_test(maxima_and_their_gradients_are_those_of_plain_loops),
        cmocka_unit_test(windows_average_as_plain_loops_say),
        cmocka_unit_test(bins_average_as_plain_loops_say),
        cmocka_unit_test(products_and_their_sums_are_what_plain_loops_say),
        cmocka_unit_test(channels_move_lane_by_lane),
        cmocka_unit_test(layernorm_and_its_backward_are_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
