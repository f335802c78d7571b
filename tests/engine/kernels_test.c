/* The kernels of every instruction set that this CPU has, against plain loops in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/kernels_of.h"

/* ---- convolution and epilogue ---- */

typedef struct shape {
    size_t in_blocks, out_blocks, height, width, images, side; /* side x side taps */
    pm_step_kind step;
    bool depthwise; /* in_blocks is out_blocks */
    bool mirrored;  /* taps from the last to the first, as of a backward pass */
    int last;       /* channels of the last input block; 0: all of them */
} shape;

typedef struct arrays {
    float *in, *weights, *add, *scale, *shift, *gradient_scale, *factors, *out, *scaled;
    uint8_t *mask, *rectified;
    ptrdiff_t tap[49];
    size_t in_floats, out_floats;
    pm_conv conv;
} arrays;

static size_t pixels_of(pm_step_kind step) {
    switch (step) {
    case PM_STEP_PIXEL:
    case PM_STEP_RGB: return 1;
    case PM_STEP_TWO_PIXELS:
    case PM_STEP_TWO_RGB: return 2;
    case PM_STEP_ANY:
    case PM_STEP_ANY_RGB:
    case PM_STEP_COUNT: break;
    }
    return 3;
}

static bool is_rgb(pm_step_kind step) {
    return step == PM_STEP_RGB || step == PM_STEP_TWO_RGB || step == PM_STEP_ANY_RGB;
}

static void make(const pm_kernels *k, const shape *s, arrays *a) {
    const size_t v = k->lanes, stride = pixels_of(s->step);
    const size_t pitch = is_rgb(s->step) ? PM_RGB_PITCH : v;
    const size_t channels = is_rgb(s->step) ? PM_RGB : v;
    const size_t row = (stride * (s->width - 1) + s->side) * pitch;
    const size_t plane = row * (stride * (s->height - 1) + s->side);
    const size_t out_plane = s->height * s->width * v;
    a->in_floats = s->images * s->in_blocks * plane;
    a->out_floats = s->images * s->out_blocks * out_plane;
    a->in = filled("in", a->in_floats);
    a->weights = filled("weights", s->out_blocks * v * s->in_blocks * s->side * s->side * channels);
    a->add = filled("add", a->out_floats);
    a->scale = filled("scale", s->out_blocks * v);
    a->shift = filled("shift", s->out_blocks * v);
    a->gradient_scale = filled("gradient", s->out_blocks * v);
    a->factors = filled("factors", s->out_blocks * v);
    a->out = filled("out", a->out_floats);
    a->scaled = filled("scaled", a->out_floats);
    a->mask = (uint8_t *)filled("mask", a->out_floats);
    a->rectified = (uint8_t *)filled("bits", a->out_floats);
    for (size_t q = 0; q < s->side * s->side; q++)
        a->tap[s->mirrored ? s->side * s->side - 1 - q : q] =
            (ptrdiff_t)(q / s->side * row + q % s->side * pitch);
    const pm_const_span add = {a->add, (ptrdiff_t)(s->out_blocks * out_plane), (ptrdiff_t)out_plane,
                               (ptrdiff_t)(s->width * v), (ptrdiff_t)v};
    const pm_mask_span bits = {NULL, 0, (ptrdiff_t)(s->height * s->width), (ptrdiff_t)s->width, 1};
    a->conv = (pm_conv){.in = {a->in, (ptrdiff_t)(s->in_blocks * plane), (ptrdiff_t)plane,
                               (ptrdiff_t)(stride * row), (ptrdiff_t)(stride * pitch)},
                        .step = s->step,
                        .in_blocks = s->in_blocks,
                        .last_channels = s->last,
                        .taps = s->side * s->side,
                        .tap = a->tap,
                        .weights = a->weights,
                        .images = s->images,
                        .out_blocks = s->out_blocks,
                        .height = s->height,
                        .width = s->width};
    pm_epilogue *e = &a->conv.epilogue;
    e->add = add;
    e->out = (pm_span){a->out, add.image, add.plane, add.row, add.pixel};
    e->scaled = (pm_span){a->scaled, add.image, add.plane, add.row, add.pixel};
    e->scale = a->scale;
    e->shift = a->shift;
    e->gradient_scale = a->gradient_scale;
    e->kept = e->mask = bits;
}

static void release(arrays *a) {
    void *all[] = {a->in,      a->weights, a->add,    a->scale, a->shift,    a->gradient_scale,
                   a->factors, a->out,     a->scaled, a->mask,  a->rectified};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static double plain_sum(const pm_kernels *k, const shape *s, const arrays *a, size_t image,
                        size_t out, size_t y, size_t x) {
    const size_t v = k->lanes, channels = is_rgb(s->step) ? PM_RGB : v;
    const size_t pair = out / v / 2 * 2, wide = (s->out_blocks - pair >= 2 ? 2 : 1) * v;
    const float *w = a->weights + pair * v * s->in_blocks * a->conv.taps * channels;
    double sum = 0;
    for (size_t q = 0; q < a->conv.taps && s->depthwise; q++) {
        const float *p = a->in + (ptrdiff_t)image * a->conv.in.image +
                         (ptrdiff_t)(out / v) * a->conv.in.plane + (ptrdiff_t)y * a->conv.in.row +
                         (ptrdiff_t)x * a->conv.in.pixel + a->tap[q] + out % v;
        sum += (double)*p * (double)a->weights[(out / v * a->conv.taps + q) * v + out % v];
    }
    for (size_t b = 0; b < s->in_blocks && !s->depthwise; b++)
        for (size_t q = 0; q < a->conv.taps; q++)
            for (size_t c = 0; c < channels; c++) {
                if (b + 1 == s->in_blocks && s->last != 0 && c >= (size_t)s->last) break;
                const float *p = a->in + (ptrdiff_t)image * a->conv.in.image +
                                 (ptrdiff_t)b * a->conv.in.plane + (ptrdiff_t)y * a->conv.in.row +
                                 (ptrdiff_t)x * a->conv.in.pixel + a->tap[q] + c;
                size_t at = ((b * a->conv.taps + q) * channels + c) * wide + out - pair * v;
                sum += (double)*p * (double)w[at];
            }
    return sum;
}

static bool bit(const pm_kernels *k, const uint8_t *bits, size_t element, size_t lane) {
    return bits[element * k->mask_bytes + lane / 8] >> lane % 8 & 1;
}

static void compare(const pm_kernels *k, const shape *s, const arrays *a, bool forward) {
    const size_t v = k->lanes;
    for (size_t i = 0; i < a->out_floats; i++) {
        const size_t lane = i % v, x = i / v % s->width, y = i / v / s->width % s->height;
        const size_t block = i / v / s->width / s->height % s->out_blocks;
        const size_t image = i / v / s->width / s->height / s->out_blocks;
        const size_t out = block * v + lane;
        const size_t element = (block * s->height + y) * s->width + x;
        double want = plain_sum(k, s, a, image, out, y, x);
        if (forward) want = want * (double)a->scale[out] + (double)a->shift[out];
        want += (double)a->add[i] * (forward ? 1 : (double)a->factors[out]);
        if (forward) {
            bool positive = bit(k, a->rectified, element, lane);
            if (s->images == 1 && fabs(want) > 1e-4) assert_int_equal(positive, want > 0);
            want = want > 0 ? want : 0;
        } else if (!bit(k, a->mask, element, lane)) {
            want = 0;
        }
        if (fabs((double)a->out[i] - want) > 1e-4)
            fail_msg("%s: blocks %zu -> %zu, %zux%zu, step %d: at %zu %g, not %g", k->name,
                     s->in_blocks, s->out_blocks, s->height, s->width, (int)s->step, i,
                     (double)a->out[i], want);
        const double scaled =
            forward ? (double)a->scaled[i]
                    : (double)a->scaled[i] - (double)a->gradient_scale[out] * (double)a->out[i];
        if (!forward)
            assert_true(fabs(scaled) < 1e-5);
        else
            assert_true(scaled == (double)a->out[i]);
    }
}

static void check(const pm_kernels *k, const shape *s) {
    for (int forward = 0; forward < 2; forward++) {
        arrays a;
        make(k, s, &a);
        pm_epilogue *e = &a.conv.epilogue;
        if (forward) {
            e->kept.at = a.rectified;
            e->activation = PM_ACTIVATION_RELU;
            e->channels = s->out_blocks * k->lanes;
            e->gradient_scale = NULL;
        } else {
            e->scale = e->shift = NULL;
            e->mask.at = a.mask;
            e->add_factors = (pm_const_span){a.factors, 0, (ptrdiff_t)k->lanes, 0, 0};
        }
        if (s->depthwise)
            k->depthwise(&a.conv, 1);
        else
            k->conv(&a.conv);
        compare(k, s, &a, forward);
        release(&a);
    }
}

static void convolution_and_epilogue_are_what_plain_loops_say(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        for (size_t step = 0; step < PM_STEP_COUNT; step++)
            for (size_t width = 1; width <= 31; width += width < 16 ? 1 : 7)
                for (size_t blocks = 1; blocks <= 3; blocks++) {
                    shape s = {1 + (width + blocks) % 3,
                               blocks,
                               1 + width % 5,
                               width,
                               1 + width % 2,
                               1 + width % 3,
                               (pm_step_kind)step,
                               false,
                               false,
                               (int)((width + blocks) % k->lanes)};
                    if (is_rgb(s.step)) s.in_blocks = 1;
                    if (is_rgb(s.step)) s.last = 0;
                    check(k, &s);
                }
    }
}

static void depthwise_convolution_is_what_plain_loops_say(void **state) {
    (void)state;
    static const pm_step_kind steps[] = {PM_STEP_PIXEL, PM_STEP_TWO_PIXELS, PM_STEP_ANY};
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        for (size_t step = 0; step < 3; step++)
            for (size_t width = 1; width <= 31; width += width < 16 ? 1 : 7)
                for (size_t side = 1; side <= 7; side += side < 3 ? 1 : 2)
                    for (size_t blocks = 1; blocks <= 3; blocks++)
                        check(k, &(shape){blocks, blocks, 1 + width % 5, width, 1 + width % 2, side,
                                          steps[step], true, width % 3 == 0, 0});
    }
}

static void long_sums_and_wide_maps_are_what_plain_loops_say(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        check(k, &(shape){20, 2, 2, 5, 2, 5, PM_STEP_PIXEL, false, false,
                          0}); /* several running sums */
        check(k, &(shape){2, 2, 40, 300, 1, 1, PM_STEP_PIXEL, false, false,
                          0}); /* more than one band */
        check(k, &(shape){33, 1, 1, 1, 3, 1, PM_STEP_TWO_PIXELS, false, false,
                          0}); /* as of a linear layer */
    }
}

static void no_taps_give_what_the_epilogue_adds(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        shape s = {2, 3, 3, 9, 1, 1, PM_STEP_PIXEL, false, false, 0};
        arrays a;
        make(k, &s, &a);
        a.conv.taps = 0;
        a.conv.epilogue.scale = a.conv.epilogue.shift = NULL;
        k->conv(&a.conv);
        assert_memory_equal(a.out, a.add, a.out_floats * sizeof *a.out);
        release(&a);
    }
}

/* ---- activations ---- */

/* Value and derivative by the definitions. */
static double activated(pm_activation activation, double v, double *slope) {
    const double s = 1 / (1 + exp(-v));
    switch (activation) {
    case PM_ACTIVATION_NONE: break;
    case PM_ACTIVATION_RELU: *slope = v > 0; return v > 0 ? v : 0;
    case PM_ACTIVATION_RELU6: *slope = v > 0 && v < 6; return fmin(fmax(v, 0), 6);
    case PM_ACTIVATION_SILU: *slope = s + v * s * (1 - s); return v * s;
    case PM_ACTIVATION_SIGMOID: *slope = s * (1 - s); return s;
    case PM_ACTIVATION_GELU: {
        const double share = 0.5 * erfc(-v / sqrt(2));
        *slope = share + v * exp(-v * v / 2) / sqrt(2 * acos(-1));
        return v * share;
    }
    }
    *slope = 1;
    return v;
}

enum { ACTIVATED = (1 << 16) + 7, LIVE = 3 }; /* pixels of one block; channels */
enum { NOT_A_NUMBER = 100 };                  /* this pixel's values */

/* Values from -100 to 100, densest around 0, with the corners of RELU6 among them. */
static float activation_input(size_t i) {
    static const float corners[] = {0,      -0.0F, 6,   88,    -88,    90,    -90,   1e30F,
                                    -1e30F, 87,    -87, 13.1F, -13.1F, 3e38F, -3e38F};
    if (i < sizeof corners / sizeof *corners) return corners[i];
    if (i == NOT_A_NUMBER) return NAN;
    const double at = 2.0 * (double)i / ACTIVATED - 1;
    return (float)(100 * at * at * at);
}

static void check_activation(const pm_kernels *k, pm_activation activation) {
    const size_t v = k->lanes, floats = ACTIVATED * v;
    const bool smooth = pm_activation_is_smooth(activation);
    float *in = filled("in", floats), *out = filled("out", floats), *back = filled("back", floats);
    uint8_t *kept = (uint8_t *)filled("kept", floats);
    for (size_t i = 0; i < floats; i++) in[i] = i % v < LIVE ? activation_input(i / v) : 0;
    pm_map m = {.in = {in, 0, 0, 0, (ptrdiff_t)v},
                .images = 1,
                .blocks = 1,
                .height = 1,
                .width = ACTIVATED,
                .epilogue = {.activation = activation,
                             .kept = {kept, 0, 0, 0, 1},
                             .channels = LIVE,
                             .out = {out, 0, 0, 0, (ptrdiff_t)v}}};
    k->pointwise(&m);
    m.epilogue = (pm_epilogue){.out = {back, 0, 0, 0, (ptrdiff_t)v}};
    *(smooth ? &m.epilogue.slope : &m.epilogue.mask) = (pm_mask_span){kept, 0, 0, 0, 1};
    k->pointwise(&m);
    double worst = 0, worst_slope = 0;
    for (size_t i = 0; i < floats; i++) {
        if (i / v == NOT_A_NUMBER && i % v < LIVE) {
            assert_true((isnan(out[i]) != 0) == smooth && (isnan(back[i]) != 0) == smooth);
            continue;
        }
        double slope, value = activated(activation, (double)in[i], &slope);
        if (i % v >= LIVE) {
            assert_true(out[i] == 0 && back[i] == 0);
            continue;
        }
        /* Of values that fp32 holds in full; SILU's derivative has a zero, where only its absolute
         * error means something. */
        if (fabs(value) > 2e-36) worst = fmax(worst, fabs((double)out[i] / value - 1));
        if (fabs(value) <= 2e-36) assert_true(fabs((double)out[i]) <= 3e-36);
        if (fabs((double)in[i]) > 1e-3 && fabs((double)in[i]) < 80)
            worst_slope = fmax(worst_slope,
                               fabs((double)back[i] / (double)in[i] - slope) / fmax(slope, 0.05));
    }
    print_message("%s: activation %d within %.1e, derivative within %.1e\n", k->name,
                  (int)activation, worst, worst_slope);
    assert_true(worst < (smooth ? 4e-7 : 1e-12));
    assert_true(worst_slope < (smooth ? 2e-6 : 1e-6));
    free(in);
    free(out);
    free(back);
    free(kept);
}

static void activations_and_their_derivatives_are_the_definitions(void **state) {
    (void)state;
    static const pm_activation all[] = {PM_ACTIVATION_RELU, PM_ACTIVATION_RELU6, PM_ACTIVATION_SILU,
                                        PM_ACTIVATION_SIGMOID, PM_ACTIVATION_GELU};
    for (size_t i = 0; i < 3; i++)
        for (size_t a = 0; a < sizeof all / sizeof *all; a++)
            if (kernels_of(i) != NULL) check_activation(kernels_of(i), all[a]);
}

/* ---- measures ---- */

static void measures_are_the_plain_sums_and_unbiased_variances(void **state) {
    (void)state;
    enum { HEIGHT = 5, WIDTH = 7, PIXELS = HEIGHT * WIDTH, CHANNELS = 21 };
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        const size_t v = k->lanes, blocks = (CHANNELS + v - 1) / v;
        float *delta = filled("delta", blocks * PIXELS * v), *h = filled("h", blocks * v);
        for (size_t c = 0; c < blocks * v; c++) {
            h[c] = c < CHANNELS && h[c] > 0 ? 1.0F : 0.0F;
            for (size_t p = 0; p < PIXELS && c >= CHANNELS; p++)
                delta[(c / v * PIXELS + p) * v + c % v] = 0;
        }
        double sum_h[PIXELS], sum_l[PIXELS], want_h[PIXELS] = {0}, want_l[PIXELS] = {0};
        float variance[CHANNELS];
        pm_measure m = {
            .delta = {delta, 0, (ptrdiff_t)(PIXELS * v), (ptrdiff_t)(WIDTH * v), (ptrdiff_t)v},
            .channels = CHANNELS,
            .blocks = blocks,
            .height = HEIGHT,
            .width = WIDTH,
            .weight_h = h,
            .sum_h = sum_h,
            .sum_l = sum_l,
            .channel_variance = variance};
        k->measure(&m);
        for (size_t c = 0; c < CHANNELS; c++) {
            double mean = 0, squares = 0;
            for (size_t p = 0; p < PIXELS; p++) {
                const double d = (double)delta[(c / v * PIXELS + p) * v + c % v];
                *(h[c] != 0 ? &want_h[p] : &want_l[p]) += d;
                mean += d / PIXELS;
                squares += d * d;
            }
            const double want = (squares - PIXELS * mean * mean) / (PIXELS - 1);
            assert_true(fabs((double)variance[c] - want) < 1e-6);
        }
        for (size_t p = 0; p < PIXELS; p++) {
            assert_true(fabs(sum_h[p] - want_h[p]) < 1e-12);
            assert_true(fabs(sum_l[p] - want_l[p]) < 1e-12);
        }
        const float before = delta[3];
        for (size_t c = 0; c < blocks * v; c++) h[c] = (float)c;
        k->scale(&m, h);
        assert_true(delta[3] == before * 3.0F);
        free(delta);
        free(h);
    }
}

/* What lies in the lanes behind the last channel must not count. */
static void activity_is_the_mean_of_relu_and_the_count_above_zero(void **state) {
    (void)state;
    enum { HEIGHT = 5, WIDTH = 7, PIXELS = HEIGHT * WIDTH, CHANNELS = 21 };
    for (size_t i = 0; i < 3; i++) {
        const pm_kernels *k = kernels_of(i);
        if (k == NULL) continue;
        const size_t v = k->lanes, blocks = (CHANNELS + v - 1) / v;
        float *raw = filled("raw", blocks * PIXELS * v), mean[CHANNELS];
        pm_activity a = {
            .raw = {raw, 0, (ptrdiff_t)(PIXELS * v), (ptrdiff_t)(WIDTH * v), (ptrdiff_t)v},
            .channels = CHANNELS,
            .blocks = blocks,
            .height = HEIGHT,
            .width = WIDTH,
            .mean = mean};
        raw[5] = 0; /* not above 0 */
        k->activity(&a);
        size_t positive = 0;
        for (size_t c = 0; c < CHANNELS; c++) {
            double want = 0;
            for (size_t p = 0; p < PIXELS; p++) {
                const double r = (double)raw[(c / v * PIXELS + p) * v + c % v];
                if (r > 0) want += r / PIXELS;
                positive += r > 0;
            }
            assert_true(fabs((double)mean[c] - want) < 1e-7);
        }
        assert_int_equal(a.positive, positive);
        free(raw);
    }
}

/* ---- choice ---- */

static void an_unknown_isa_is_one_line(void **state) {
    (void)state;
    const pm_kernels *k = NULL;
    setenv("PARCHMILL_ISA", "avx1024", 1);
    assert_int_equal(pm_kernels_choose(&k), PM_E_USAGE);
    assert_null(k);
    assert_non_null(strstr(pm_error_text(), "avx1024"));
    assert_null(strchr(pm_error_text(), '\n'));
    setenv("PARCHMILL_ISA", "baseline", 1);
    assert_int_equal(pm_kernels_choose(&k), PM_OK);
    assert_string_equal(k->name, "baseline");
    unsetenv("PARCHMILL_ISA");
    assert_int_equal(pm_kernels_choose(&k), PM_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_and_epilogue_are_what_plain_loops_say),
        cmocka_unit_test(depthwise_convolution_is_what_plain_loops_say),
        cmocka_unit_test(long_sums_and_wide_maps_are_what_plain_loops_say),
        cmocka_unit_test(no_taps_give_what_the_epilogue_adds),
        cmocka_unit_test(activations_and_their_derivatives_are_the_definitions),
        cmocka_unit_test(measures_are_the_plain_sums_and_unbiased_variances),
        cmocka_unit_test(activity_is_the_mean_of_relu_and_the_count_above_zero),
        cmocka_unit_test(an_unknown_isa_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
