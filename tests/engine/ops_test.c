/* Every op's backward against finite differences of its forward, in double. */
#define PM_ORACLE_DOUBLE 1
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "worker/engine/oracle/ops.h"

enum { MOST = 4096 };

static void fill(const char *name, double *out, size_t count) {
    float values[MOST];
    assert_true(count <= MOST);
    pm_synth(name, 0, values, count);
    for (size_t i = 0; i < count; i++) out[i] = (double)values[i];
}

static size_t volume(pm_oracle_shape s) { return s.channels * s.height * s.width; }

static double dot(const double *a, const double *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* <r, f(x)> against its central difference along every input value; what stood in the gradient
 * before must stay in it. */
static void check_pair(const pm_node *node, const pm_oracle_shape shapes[2], pm_oracle_shape os) {
    static double x[2][MOST], g[2][MOST], out[MOST], r[MOST];
    const double step = 1e-5, before = 0.25;
    const size_t inputs = shapes[1].channels ? 2 : 1;
    const double *const in[2] = {x[0], inputs > 1 ? x[1] : NULL};
    double *const grad[2] = {g[0], inputs > 1 ? g[1] : NULL};
    fill("x0", x[0], volume(shapes[0]));
    fill("x1", x[1], volume(shapes[1]));
    fill("r", r, volume(os));
    for (size_t i = 0; i < MOST; i++) g[0][i] = g[1][i] = before;
    pm_oracle_forward_f64(node, shapes, in, os, out);
    pm_oracle_backward_f64(node, shapes, in, os, out, r, grad);
    for (size_t k = 0; k < inputs; k++)
        for (size_t i = 0; i < volume(shapes[k]); i++) {
            double at = x[k][i];
            x[k][i] = at + step;
            pm_oracle_forward_f64(node, shapes, in, os, out);
            double above = dot(r, out, volume(os));
            x[k][i] = at - step;
            pm_oracle_forward_f64(node, shapes, in, os, out);
            double below = dot(r, out, volume(os)), slope = (above - below) / (2 * step);
            x[k][i] = at;
            if (fabs(slope - (g[k][i] - before)) > 1e-8)
                fail_msg("op %d input %zu value %zu: %.9g, finite difference %.9g", (int)node->op,
                         k, i, g[k][i] - before, slope);
        }
}

static void check(const pm_node *node, pm_oracle_shape is, pm_oracle_shape os, size_t inputs) {
    const pm_oracle_shape shapes[2] = {is, inputs > 1 ? is : (pm_oracle_shape){0}};
    check_pair(node, shapes, os);
}

static float weights[MOST], bias[64], mean[64], var[64];

static void make_parameters(void) {
    pm_synth("w", 0, weights, MOST);
    pm_synth("b", 0, bias, 64);
    pm_synth("m", 0, mean, 64);
    pm_synth("v", 0, var, 64);
    for (size_t i = 0; i < 64; i++) var[i] = 1.5f + var[i];
}

static size_t side(size_t n, size_t k, size_t s, size_t p) { return (n + 2 * p - k) / s + 1; }

static void convolution_of_any_kernel_stride_and_pad(void **state) {
    (void)state;
    static const size_t settings[][5] = {/* height, width, stride, pads */
                                         {1, 1, 1, 0, 0}, {1, 1, 2, 0, 0}, {3, 3, 1, 1, 1},
                                         {3, 3, 2, 1, 1}, {3, 3, 1, 0, 0}, {7, 7, 2, 3, 3},
                                         {5, 5, 3, 2, 2}, {1, 7, 1, 0, 3}, {7, 1, 1, 3, 0},
                                         {3, 1, 1, 1, 0}, {2, 5, 2, 1, 0}};
    make_parameters();
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        for (size_t n = 7; n <= 8; n++) {
            size_t kh = settings[i][0], kw = settings[i][1], s = settings[i][2];
            size_t ph = settings[i][3], pw = settings[i][4];
            pm_node node = {.op = PM_OP_CONV,
                            .channels = 3,
                            .in_channels = 2,
                            .kernel = {kh, kw},
                            .stride = s,
                            .pad = {ph, pw},
                            .weight = weights,
                            .bias = i % 2 ? bias : NULL};
            check(&node, (pm_oracle_shape){2, n, n + 2},
                  (pm_oracle_shape){3, side(n, kh, s, ph), side(n + 2, kw, s, pw)}, 1);
        }
}

static void depthwise_convolution_of_any_kernel_and_stride(void **state) {
    (void)state;
    static const size_t settings[][2] = {{1, 1}, {3, 1}, {3, 2}, {5, 1}, {5, 2}, {7, 1}, {4, 3}};
    make_parameters();
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        for (size_t n = 7; n <= 8; n++) {
            size_t k = settings[i][0], s = settings[i][1], p = k / 2;
            pm_node node = {.op = PM_OP_CONV,
                            .channels = 3,
                            .in_channels = 3,
                            .depthwise = true,
                            .kernel = {k, k},
                            .stride = s,
                            .pad = {p, p},
                            .weight = weights,
                            .bias = i % 2 ? bias : NULL};
            check(&node, (pm_oracle_shape){3, n, n + 2},
                  (pm_oracle_shape){3, side(n, k, s, p), side(n + 2, k, s, p)}, 1);
        }
}

/* One value by hand: 3x3 of ones over a 2x2 map, pad 1, sees all of it everywhere. */
static void convolution_forward_by_hand(void **state) {
    (void)state;
    float ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, b = 10;
    double x[4] = {1, 2, 3, 4}, out[4];
    pm_node node = {.op = PM_OP_CONV,
                    .channels = 1,
                    .in_channels = 1,
                    .kernel = {3, 3},
                    .stride = 1,
                    .pad = {1, 1},
                    .weight = ones,
                    .bias = &b};
    const pm_oracle_shape s = {1, 2, 2}, shapes[2] = {s, {0}};
    const double *const in[2] = {x, NULL};
    pm_oracle_forward_f64(&node, shapes, in, s, out);
    for (size_t i = 0; i < 4; i++) assert_true(out[i] == 20);
}

static void batchnorm_activations_and_add(void **state) {
    (void)state;
    const pm_oracle_shape s = {4, 5, 6};
    make_parameters();
    pm_node norm = {.op = PM_OP_BATCHNORM,
                    .channels = 4,
                    .eps = 1e-5f,
                    .weight = weights,
                    .bias = bias,
                    .mean = mean,
                    .var = var};
    check(&norm, s, s, 1);
    static const pm_op activations[] = {PM_OP_RELU, PM_OP_RELU6, PM_OP_SILU, PM_OP_SIGMOID};
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        check(&(pm_node){.op = activations[i], .channels = 4}, s, s, 1);
    check(&(pm_node){.op = PM_OP_ADD, .channels = 4}, s, s, 2);
}

static void scale_by_a_value_a_channel(void **state) {
    (void)state;
    const pm_oracle_shape s = {4, 5, 6};
    const pm_oracle_shape shapes[2] = {s, {4, 1, 1}};
    check_pair(&(pm_node){.op = PM_OP_SCALE, .channels = 4}, shapes, s);
}

static void pools_and_the_cifar_shortcut(void **state) {
    (void)state;
    pm_node pool = {
        .op = PM_OP_MAXPOOL, .channels = 2, .kernel = {3, 3}, .stride = 2, .pad = {1, 1}};
    check(&pool, (pm_oracle_shape){2, 8, 9}, (pm_oracle_shape){2, 4, 5}, 1);
    pool = (pm_node){.op = PM_OP_MAXPOOL, .channels = 2, .kernel = {2, 2}, .stride = 2};
    check(&pool, (pm_oracle_shape){2, 8, 9}, (pm_oracle_shape){2, 4, 4}, 1);
    pm_node average = {.op = PM_OP_AVGPOOL_TO, .channels = 3};
    check(&average, (pm_oracle_shape){3, 7, 5}, (pm_oracle_shape){3, 1, 1}, 1);
    check(&average, (pm_oracle_shape){3, 2, 9}, (pm_oracle_shape){3, 7, 7}, 1); /* both ways */
    pm_node shortcut = {
        .op = PM_OP_SUBSAMPLE_PAD, .channels = 8, .in_channels = 4, .kernel = {1, 1}, .stride = 2};
    check(&shortcut, (pm_oracle_shape){4, 6, 7}, (pm_oracle_shape){8, 3, 4}, 1);
}

static void windows_that_hang_over_or_count_their_padding(void **state) {
    (void)state;
    pm_node pool = {
        .op = PM_OP_MAXPOOL, .channels = 2, .kernel = {3, 3}, .stride = 2, .ceil = true};
    check(&pool, (pm_oracle_shape){2, 8, 6}, (pm_oracle_shape){2, 4, 3}, 1);
    pool.pad[0] = pool.pad[1] = 1;
    check(&pool, (pm_oracle_shape){2, 8, 6}, (pm_oracle_shape){2, 5, 4}, 1);
    pm_node average = {
        .op = PM_OP_AVGPOOL_WINDOW, .channels = 2, .kernel = {3, 3}, .stride = 1, .pad = {1, 1}};
    check(&average, (pm_oracle_shape){2, 5, 6}, (pm_oracle_shape){2, 5, 6}, 1);
    average = (pm_node){.op = PM_OP_AVGPOOL_WINDOW, .channels = 3, .kernel = {2, 2}, .stride = 2};
    check(&average, (pm_oracle_shape){3, 7, 6}, (pm_oracle_shape){3, 3, 3}, 1);
    average.kernel[0] = 3, average.stride = 3, average.pad[0] = 1; /* rows that none sees */
    check(&average, (pm_oracle_shape){3, 6, 9}, (pm_oracle_shape){3, 2, 3}, 1);
    /* By hand: of four ones, the corner window of three sees all, and divides by nine. */
    const double ones[4] = {1, 1, 1, 1}, *const in[2] = {ones, NULL};
    const pm_oracle_shape shapes[2] = {{1, 2, 2}, {0}};
    double out[4];
    average = (pm_node){
        .op = PM_OP_AVGPOOL_WINDOW, .channels = 1, .kernel = {3, 3}, .stride = 1, .pad = {1, 1}};
    pm_oracle_forward_f64(&average, shapes, in, shapes[0], out);
    assert_true(fabs(out[0] - 4.0 / 9) < 1e-15);
}

static void channels_side_by_side(void **state) {
    (void)state;
    const pm_oracle_shape shapes[2] = {{3, 4, 5}, {2, 4, 5}};
    check_pair(&(pm_node){.op = PM_OP_CONCAT, .channels = 5}, shapes, (pm_oracle_shape){5, 4, 5});
    const double first[1] = {1}, second[2] = {2, 3}, *const in[2] = {first, second};
    const pm_oracle_shape small[2] = {{1, 1, 1}, {2, 1, 1}};
    double out[3];
    pm_oracle_forward_f64(&(pm_node){.op = PM_OP_CONCAT}, small, in, (pm_oracle_shape){3, 1, 1},
                          out);
    assert_true(out[0] == 1 && out[1] == 2 && out[2] == 3);
}

static void linear_over_a_flattened_map(void **state) {
    (void)state;
    make_parameters();
    pm_node node = {
        .op = PM_OP_LINEAR, .channels = 7, .in_channels = 24, .weight = weights, .bias = bias};
    check(&node, (pm_oracle_shape){2, 3, 4}, (pm_oracle_shape){7, 1, 1}, 1);
}

static void layernorm_linear_map_layer_scale_and_gelu(void **state) {
    (void)state;
    const pm_oracle_shape s = {6, 3, 4};
    make_parameters();
    pm_node norm = {
        .op = PM_OP_LAYERNORM, .channels = 6, .eps = 1e-6f, .weight = weights, .bias = bias};
    check(&norm, s, s, 1);
    norm.eps = 0.5f;
    check(&norm, s, s, 1);
    pm_node map = {
        .op = PM_OP_LINEAR_MAP, .channels = 5, .in_channels = 6, .weight = weights, .bias = bias};
    check(&map, s, (pm_oracle_shape){5, 3, 4}, 1);
    check(&(pm_node){.op = PM_OP_LAYER_SCALE, .channels = 6, .weight = weights}, s, s, 1);
    check(&(pm_node){.op = PM_OP_GELU, .channels = 6}, s, s, 1);
}

/* Two channels v and -v have mean 0 and variance v^2; Phi(1) and phi(1) from tables. */
static void layernorm_and_gelu_forward_by_hand(void **state) {
    (void)state;
    float w[2] = {1, 10}, b[2] = {0, 3};
    double x[2] = {4, -4}, out[2], one[1] = {1}, g[1] = {1}, slope[1] = {0};
    pm_node norm = {.op = PM_OP_LAYERNORM, .channels = 2, .eps = 0, .weight = w, .bias = b};
    const pm_oracle_shape s = {2, 1, 1}, single = {1, 1, 1};
    const double *const in[2] = {x, NULL}, *const at_one[2] = {one, NULL};
    double *const grad[2] = {slope, NULL};
    pm_oracle_forward_f64(&norm, (pm_oracle_shape[2]){s, {0}}, in, s, out);
    assert_true(out[0] == 1 && out[1] == -7);
    pm_node gelu = {.op = PM_OP_GELU, .channels = 1};
    pm_oracle_forward_f64(&gelu, (pm_oracle_shape[2]){single, {0}}, at_one, single, out);
    assert_true(fabs(out[0] - 0.8413447461) < 1e-10);
    pm_oracle_backward_f64(&gelu, (pm_oracle_shape[2]){single, {0}}, at_one, single, out, g, grad);
    assert_true(fabs(slope[0] - 0.8413447461 - 0.2419707245) < 2e-10);
}

/* The gradient of a tie goes to the first maximum in row-major order; ReLU's at 0 is 0. */
static void ties_go_where_pytorch_sends_them(void **state) {
    (void)state;
    double x[4] = {1, 2, 2, 2}, zero[1] = {0}, out[1] = {2}, r[1] = {5}, g[4] = {0};
    const pm_oracle_shape is = {1, 2, 2}, one = {1, 1, 1}, shapes[2] = {is, {0}};
    const double *const in[2] = {x, NULL}, *const at_zero[2] = {zero, NULL};
    double *const grad[2] = {g, NULL};
    pm_node pool = {.op = PM_OP_MAXPOOL, .channels = 1, .kernel = {2, 2}, .stride = 2};
    pm_oracle_backward_f64(&pool, shapes, in, one, out, r, grad);
    assert_true(g[0] == 0 && g[1] == 5 && g[2] == 0 && g[3] == 0);
    pm_node relu = {.op = PM_OP_RELU, .channels = 1};
    const pm_oracle_shape ones[2] = {one, {0}};
    g[0] = 0;
    pm_oracle_forward_f64(&relu, ones, at_zero, one, out);
    pm_oracle_backward_f64(&relu, ones, at_zero, one, out, r, grad);
    assert_true(g[0] == 0);
    pm_node relu6 = {.op = PM_OP_RELU6, .channels = 1};
    static const double corners[] = {0, 6, -1, 7, 3}, want[] = {0, 6, 0, 6, 3};
    for (size_t i = 0; i < sizeof corners / sizeof *corners; i++) {
        const double *const corner[2] = {&corners[i], NULL};
        g[0] = 0;
        pm_oracle_forward_f64(&relu6, ones, corner, one, out);
        pm_oracle_backward_f64(&relu6, ones, corner, one, out, r, grad);
        assert_true(out[0] == want[i] && g[0] == (i == 4 ? 5 : 0));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_of_any_kernel_stride_and_pad),
        cmocka_unit_test(depthwise_convolution_of_any_kernel_and_stride),
        cmocka_unit_test(convolution_forward_by_hand),
        cmocka_unit_test(batchnorm_activations_and_add),
        cmocka_unit_test(scale_by_a_value_a_channel),
        cmocka_unit_test(pools_and_the_cifar_shortcut),
        cmocka_unit_test(windows_that_hang_over_or_count_their_padding),
        cmocka_unit_test(channels_side_by_side),
        cmocka_unit_test(linear_over_a_flattened_map),
        cmocka_unit_test(layernorm_linear_map_layer_scale_and_gelu),
        cmocka_unit_test(layernorm_and_gelu_forward_by_hand),
        cmocka_unit_test(ties_go_where_pytorch_sends_them),
    };
    return cmocka_run_group_tests_name("engine_ops", tests, NULL, NULL);
}
