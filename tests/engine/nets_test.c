/* Small networks of odd shapes, whole, against the oracle in double: what the plan makes of
 * filters, strides, borders, pools, shared values and additions in unusual places, on every
 * instruction set that this CPU has. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "tests/engine/cases.h"
#include "worker/engine/arch/arch.h"
#include "worker/engine/kernels/kernels.h"
#include "worker/engine/model.h"
#include "worker/engine/plan/context.h"

/* Two convolutions between the image and two linear layers. */
typedef struct chain {
    size_t channels, kernel, stride, pad;     /* of the first */
    size_t channels2, kernel2, stride2, pad2; /* of the second */
    size_t bins_high, bins_wide;
} chain;

static int build_chain(pm_builder *b, const pm_arch *arch, size_t classes) {
    const chain *c = arch->variant;
    int x =
        pm_build_conv(b, pm_build_input(b), "a", c->channels, c->kernel, c->stride, c->pad, true);
    x = pm_build_relu(b, pm_build_batchnorm(b, x, "an"));
    x = pm_build_conv(b, x, "b", c->channels2, c->kernel2, c->stride2, c->pad2, false);
    x = pm_build_avgpool_to(b, pm_build_relu(b, x), c->bins_high, c->bins_wide);
    size_t features = c->channels2 * c->bins_high * c->bins_wide;
    x = pm_build_relu(b, pm_build_linear(b, x, "c", features, 37));
    return pm_build_linear(b, x, "d", 37, classes);
}

/* Values that are read twice, so that little can fuse; additions of anything with anything. */
static int build_knot(pm_builder *b, const pm_arch *arch, size_t classes) {
    (void)arch;
    int x = pm_build_conv(b, pm_build_input(b), "a", 20, 3, 1, 1, false);
    int pooled = pm_build_maxpool(b, x, 3, 2, 1); /* of negative values, too */
    int shared = pm_build_conv(b, pooled, "b", 20, 3, 1, 1, true);
    int normed = pm_build_batchnorm(b, shared, "bn"); /* shared is read again below */
    int twice = pm_build_add(b, normed, normed);
    int y = pm_build_relu(b, pm_build_add(b, shared, pooled));
    y = pm_build_add(b, pm_build_relu(b, twice), y);
    int z = pm_build_conv(b, y, "c", 33, 1, 2, 0, false);
    z = pm_build_add(b, pm_build_subsample_pad(b, y, 33, 2), pm_build_batchnorm(b, z, "cn"));
    z = pm_build_maxpool(b, pm_build_relu(b, z), 2, 2, 0);
    int w = pm_build_conv(b, z, "d", 33, 3, 1, 1, false);
    int v = pm_build_conv(b, z, "e", 33, 1, 1, 0, true);
    w = pm_build_relu(b, pm_build_add(b, w, v));
    return pm_build_linear(b, pm_build_avgpool_to(b, w, 1, 1), "f", 33, classes);
}

/* Each activation behind a convolution, an addition, a linear layer and on its own. */
static int build_bend(pm_builder *b, const pm_arch *arch, size_t classes) {
    int (*const *bends)(pm_builder *, int) = arch->variant;
    int x = pm_build_conv(b, pm_build_input(b), "a", 20, 3, 2, 1, false);
    x = bends[0](b, pm_build_batchnorm(b, x, "an"));
    int y = bends[1](b, pm_build_maxpool(b, x, 3, 1, 1)); /* nothing to join */
    y = pm_build_add(b, pm_build_conv(b, y, "b", 20, 3, 1, 1, true), x);
    y = pm_build_conv(b, bends[2](b, y), "c", 21, 3, 2, 1, true);
    y = bends[3](b, bends[0](b, y)); /* one behind the other */
    y = pm_build_linear(b, pm_build_avgpool_to(b, y, 2, 1), "d", 42, 23);
    y = bends[2](b, pm_build_linear(b, bends[1](b, y), "e", 23, 18));
    return pm_build_linear(b, y, "f", 18, classes);
}

static const pm_family bend_family = {.head = "f", .build = build_bend};
/* Filters that are not square, the first one included. */
static int build_rectangles(pm_builder *b, const pm_arch *arch, size_t classes) {
    (void)arch;
    int x = pm_build_input(b);
    x = pm_build_conv_rectangle(b, x, "a", 20, (size_t[]){3, 5}, 2, (size_t[]){0, 1}, false);
    x = pm_build_relu(b, pm_build_batchnorm(b, x, "an"));
    x = pm_build_conv_rectangle(b, x, "b", 33, (size_t[]){1, 7}, 1, (size_t[]){0, 3}, true);
    x = pm_build_conv_rectangle(b, pm_build_relu(b, x), "c", 20, (size_t[]){7, 1}, 1,
                                (size_t[]){3, 0}, false);
    x = pm_build_conv_rectangle(b, pm_build_relu(b, x), "d", 17, (size_t[]){2, 3}, 2,
                                (size_t[]){1, 0}, false);
    x = pm_build_conv_rectangle(b, x, "e", 16, (size_t[]){3, 1}, 1, (size_t[]){1, 0}, true);
    return pm_build_linear(b, pm_build_avgpool_to(b, pm_build_relu(b, x), 1, 1), "f", 16, classes);
}

/* Depthwise filters between pointwise ones, forward and backward at any stride. */
static int build_separable(pm_builder *b, const pm_arch *arch, size_t classes) {
    const size_t *v = arch->variant; /* channels, then kernel, stride, pad of the two */
    int x = pm_build_conv(b, pm_build_input(b), "a", v[0], 3, 1, 1, false);
    x = pm_build_relu(b, pm_build_batchnorm_eps(b, x, "an", 1e-3F));
    x = pm_build_depthwise(b, x, "b", v[1], v[2], v[3], true);
    int y = pm_build_relu(b, pm_build_batchnorm(b, x, "bn"));
    x = pm_build_add(b, pm_build_depthwise(b, y, "c", 3, 1, 1, false), y);
    x = pm_build_depthwise(b, pm_build_relu6(b, x), "d", v[4], v[5], v[6], false);
    x = pm_build_relu(b, pm_build_conv(b, x, "e", 18, 1, 1, 0, true));
    return pm_build_linear(b, pm_build_avgpool_to(b, x, 1, 1), "f", 18, classes);
}

/* Norms over channels behind everything that can come before one, scales with and without a
 * convolution to join, linear maps; a patch as the first convolution. */
static int build_patches(pm_builder *b, const pm_arch *arch, size_t classes) {
    const size_t *v = arch->variant; /* channels, patch, kernel and pad of the depthwise filter */
    int x = pm_build_conv(b, pm_build_input(b), "a", v[0], v[1], v[1], 0, true);
    x = pm_build_layernorm(b, x, "an", 1e-6F);
    int y = pm_build_depthwise(b, x, "m.b", v[2], 1, v[3], true);
    y = pm_build_layernorm(b, y, "m.bn", 1e-2F);
    y = pm_build_gelu(b, pm_build_linear_map(b, y, "m.c", 50));
    y = pm_build_layer_scale(b, pm_build_linear_map(b, y, "m.d", v[0]), "m");
    x = pm_build_relu(b, pm_build_layernorm(b, pm_build_add(b, y, x), "cn", 1e-6F));
    y = pm_build_layernorm(b, pm_build_maxpool(b, x, 3, 1, 1), "dn", 1e-6F);
    x = pm_build_layer_scale(b, pm_build_add(b, x, y), "n"); /* nothing to join */
    x = pm_build_gelu(b, pm_build_conv(b, x, "e", 19, 2, 2, 0, true));
    y = pm_build_layernorm(b, x, "en", 1e-6F);
    x = pm_build_layernorm(b, pm_build_add(b, x, pm_build_gelu(b, y)), "fn", 1e-6F);
    x = pm_build_layernorm(b, pm_build_avgpool_to(b, x, 1, 1), "gn", 1e-6F);
    return pm_build_linear(b, x, "f", 19, classes);
}

static const pm_family patches_family = {.head = "f", .build = build_patches};
static const pm_family separable_family = {.head = "f", .build = build_separable};
/* Concatenations of every kind: chains that grow, parts read elsewhere, parts that are
 * concatenations, one value twice; pools that hang over and that average; an average as the head.
 */
typedef struct joined {
    size_t channels, growth, branch;
} joined;

static int build_joined(pm_builder *b, const pm_arch *arch, size_t classes) {
    const joined *c = arch->variant;
    int x = pm_build_conv(b, pm_build_input(b), "a", c->channels, 3, 1, 0, false);
    x = pm_build_maxpool_ceil(b, pm_build_relu(b, pm_build_batchnorm(b, x, "an")), 3, 2, 0);
    for (int i = 0; i < 3; i++) {
        char name[2][8];
        snprintf(name[0], sizeof name[0], "g%dn", i);
        snprintf(name[1], sizeof name[1], "g%d", i);
        int y = pm_build_relu(b, pm_build_batchnorm(b, x, name[0]));
        x = pm_build_concat(b, x, pm_build_conv(b, y, name[1], c->growth, 3, 1, 1, false));
    }
    x = pm_build_avgpool(b, pm_build_conv(b, pm_build_relu(b, x), "t", 24, 1, 1, 0, false), 2, 2,
                         0);
    int p = pm_build_relu(b, pm_build_conv(b, x, "p", c->branch, 1, 1, 0, true));
    int q = pm_build_relu(b, pm_build_conv(b, p, "q", c->branch, 3, 1, 1, true));
    int r = pm_build_conv(b, pm_build_avgpool(b, x, 3, 1, 1), "r", c->branch, 1, 1, 0, false);
    int s = pm_build_maxpool_ceil(b, x, 3, 1, 1);
    x = pm_build_concat(b, pm_build_concat(b, p, q), pm_build_concat(b, r, s));
    x = pm_build_concat(b, pm_build_concat(b, x, p), p);
    x = pm_build_concat(b, pm_build_relu(b, pm_build_add(b, p, q)), x);
    x = pm_build_relu(b, pm_build_conv(b, x, "f", classes, 1, 1, 0, true));
    return pm_build_avgpool_to(b, x, 1, 1);
}

static const pm_family joined_family = {.head = "f", .build = build_joined};

/* Squeeze and excitation of a map that is also read elsewhere, and of one whose factors are. */
static int build_excited(pm_builder *b, const pm_arch *arch, size_t classes) {
    const size_t channels = *(const size_t *)arch->variant;
    int x = pm_build_conv(b, pm_build_input(b), "a", channels, 3, 2, 1, false);
    x = pm_build_silu(b, pm_build_batchnorm(b, x, "an"));
    int s = pm_build_avgpool_to(b, x, 1, 1);
    s = pm_build_silu(b, pm_build_conv(b, s, "b", 7, 1, 1, 0, true));
    s = pm_build_sigmoid(b, pm_build_conv(b, s, "c", channels, 1, 1, 0, true));
    int y = pm_build_scale(b, pm_build_scale(b, x, s), s);
    y = pm_build_add(
        b, y, pm_build_batchnorm(b, pm_build_conv(b, y, "d", channels, 3, 1, 1, false), "dn"));
    int t = pm_build_relu(b, pm_build_conv(b, s, "e", channels, 1, 1, 0, true));
    y = pm_build_scale(b, pm_build_relu(b, pm_build_add(b, y, x)), t);
    return pm_build_linear(b, pm_build_avgpool_to(b, y, 1, 1), "f", channels, classes);
}

static const pm_family excited_family = {.head = "f", .build = build_excited};
static const pm_family chain_family = {.head = "d", .build = build_chain};
static const pm_family knot_family = {.head = "f", .build = build_knot};
static const pm_family rectangles_family = {.head = "f", .build = build_rectangles};

static pm_status parameter(void *user, const char *name, const size_t *shape, size_t rank,
                           float *out) {
    (void)user;
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) count *= shape[i];
    pm_synth(name, 0, out, count);
    const float fan = (float)sqrt(4.0 * (double)shape[0] / (double)count);
    for (size_t i = 0; i < count; i++)
        out[i] = rank > 1 ? out[i] * fan : strstr(name, "var") ? 1 + 0.5F * out[i] : out[i];
    return PM_OK;
}

/* In a batch of two: together, in a second round, guided apart from plain, and Grad-CAM in the
 * middle of the network, which stops there. */
enum { REQUESTS = 6, FORMS = 3 };
static const int targets[REQUESTS] = {3, 11, 7, 3, 5, 7};
static const size_t form_of[REQUESTS] = {0, 0, 0, 1, 1, 2};

static void make_forms(const pm_model *model, pm_configuration **forms) {
    pm_attribution a;
    pm_attribution_defaults(&a);
    strcpy(a.layers, "*");
    for (size_t i = 0; i < FORMS; i++) {
        a.guided = i == 1;
        if (i == 2) {
            a.method = PM_METHOD_GRADCAM;
            strcpy(a.cam_layer, pm_model_conv(model, pm_model_conv_count(model) / 2)->name);
            strcpy(a.layers, a.cam_layer);
        }
        if (pm_configuration_new(model, &a, NULL, &forms[i])) fail_msg("%s", pm_error_text());
    }
}

typedef struct kept {
    size_t classes;
    pm_oracle_result *result[REQUESTS];
} kept;

static pm_status keep(void *user, const pm_attribution_result *result) {
    kept *k = user;
    return pm_case_copy_result(result, k->classes, &k->result[result->request]);
}

static double relative(const double *a, const double *b, size_t count) {
    double off = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        off += (a[i] - b[i]) * (a[i] - b[i]);
        all += b[i] * b[i];
    }
    return all > 0 ? sqrt(off / all) : sqrt(off);
}

enum { CLASSES = 19 };

static void compare(const pm_oracle_result *got, const pm_oracle_result *want) {
    assert_true(relative(got->logits, want->logits, CLASSES) < 1e-5);
    assert_true(relative(got->heat_map, want->heat_map, want->height * want->width) < 1e-5);
    assert_int_equal(got->layer_count, want->layer_count);
    for (size_t i = 0; i < got->layer_count; i++) {
        const pm_oracle_layer *a = &got->layers[i], *b = &want->layers[i];
        double parts = 0;
        for (size_t c = 0; c < b->channels; c++) parts += b->channel_variance[c];
        if (b->variance_before < 1e-30 && parts < 1e-30) {
            assert_true(a->variance_before < 1e-12); /* constant, but for the oracle's roundings */
            continue;
        }
        /* In front of a LayerNorm the parts cancel, and only rounding is left. */
        assert_true(fabs(a->variance_before - b->variance_before) <=
                    1e-4 * b->variance_before + 1e-11 * parts);
        assert_true(relative(a->channel_variance, b->channel_variance, b->channels) < 1e-4);
    }
}

/* Raw outputs are kept under additions, pools and shared values as anywhere. */
static void compare_activations(pm_context *context, const pm_model *model, const float *input,
                                size_t height, size_t width) {
    pm_activations got;
    double mean[512], wide[512], density[16], logits[CLASSES];
    assert_int_equal(pm_context_activations(context, input, &got), PM_OK);
    assert_true(got.channels <= 512 && pm_model_conv_count(model) <= 16);
    assert_int_equal(pm_oracle_activations_f64(model, input, height, width, mean, density, logits),
                     PM_OK);
    for (size_t i = 0; i < got.channels; i++) wide[i] = (double)got.mean[i];
    assert_true(relative(wide, mean, got.channels) < 1e-5);
    for (size_t i = 0; i < pm_model_conv_count(model); i++)
        assert_true(fabs((double)got.density[i] - density[i]) < 2e-3); /* one in 500 on the edge */
}

static void check(const pm_arch *arch, size_t height, size_t width) {
    for (size_t isa = 0; isa < 3; isa++) {
        static const char *const names[] = {"avx512", "avx2", "baseline"};
        if (!pm_kernels_named(names[isa])->usable()) continue;
        setenv("PARCHMILL_ISA", names[isa], 1);
        pm_graph *graph = NULL;
        pm_model *model = NULL;
        pm_configuration *forms[FORMS] = {NULL};
        pm_context *context = NULL;
        float *input = malloc(3 * height * width * sizeof *input);
        assert_non_null(input);
        pm_synth("input/0", 0, input, 3 * height * width);
        if (pm_graph_new_from(&arch->info, CLASSES, parameter, NULL, &graph) ||
            pm_model_new_from(graph, &model) ||
            pm_context_new_points(model, height, width, 2, 2, &context))
            fail_msg("%s: %s", arch->info.name, pm_error_text());
        make_forms(model, forms);
        kept k = {CLASSES, {NULL}};
        pm_request requests[REQUESTS];
        for (size_t r = 0; r < REQUESTS; r++)
            requests[r] = (pm_request){.configuration = forms[form_of[r]], .target = targets[r]};
        if (pm_context_attribute(context, input, requests, REQUESTS, keep, &k))
            fail_msg("%s: %s", arch->info.name, pm_error_text());
        for (size_t r = 0; r < REQUESTS; r++) {
            pm_oracle_result *want = NULL;
            if (pm_oracle_attribute_f64(&requests[r], input, height, width, &want))
                fail_msg("%s: %s", arch->info.name, pm_error_text());
            print_message("%s %s %zux%zu: logits %.1e heat map %.1e\n", names[isa], arch->info.name,
                          height, width, relative(k.result[r]->logits, want->logits, CLASSES),
                          relative(k.result[r]->heat_map, want->heat_map, height * width));
            compare(k.result[r], want);
            pm_oracle_result_free(&k.result[r]);
            pm_oracle_result_free(&want);
        }
        compare_activations(context, model, input, height, width);
        pm_context_free(&context);
        for (size_t i = 0; i < FORMS; i++) pm_configuration_free(&forms[i]);
        pm_model_free(&model);
        free(input);
    }
    unsetenv("PARCHMILL_ISA");
}

static void chains_of_any_filter_and_stride_are_what_the_oracle_says(void **state) {
    (void)state;
    static const chain chains[] = {
        {5, 7, 2, 3, 17, 3, 2, 1, 1, 1},  {33, 3, 1, 1, 7, 3, 1, 1, 2, 3},
        {16, 5, 3, 2, 40, 1, 2, 0, 1, 1}, {24, 11, 4, 2, 9, 5, 1, 2, 3, 2},
        {8, 1, 1, 0, 64, 3, 3, 1, 1, 1},  {12, 2, 2, 0, 20, 3, 1, 0, 5, 4},
        {48, 3, 2, 0, 31, 5, 2, 2, 1, 2}, {3, 4, 1, 3, 16, 2, 2, 1, 7, 7},
        {32, 3, 1, 1, 32, 7, 4, 3, 1, 1},
    };
    static const size_t sizes[][2] = {{29, 41}, {32, 32}, {23, 18}};
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) {
        char name[32];
        snprintf(name, sizeof name, "chain %zu", i);
        const pm_arch arch = {.info = {.name = name, .family = "test"},
                              .family = &chain_family,
                              .variant = &chains[i]};
        check(&arch, sizes[i % 3][0], sizes[i % 3][1]);
        check(&arch, sizes[(i + 1) % 3][0], sizes[(i + 1) % 3][1]);
    }
}

static void values_read_twice_are_what_the_oracle_says(void **state) {
    (void)state;
    const pm_arch arch = {.info = {.name = "knot", .family = "test"}, .family = &knot_family};
    check(&arch, 20, 20);
    check(&arch, 19, 33);
}

static void depthwise_filters_are_what_the_oracle_says(void **state) {
    (void)state;
    static const size_t variants[][7] = {
        {16, 3, 1, 1, 5, 2, 2}, {5, 3, 2, 1, 7, 1, 3},  {33, 5, 2, 2, 3, 2, 1},
        {20, 7, 1, 3, 5, 1, 2}, {48, 1, 2, 0, 2, 2, 0}, {17, 4, 3, 1, 3, 1, 0},
    };
    static const size_t sizes[][2] = {{29, 41}, {32, 32}, {23, 18}};
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        char name[32];
        snprintf(name, sizeof name, "separable %zu", i);
        const pm_arch arch = {.info = {.name = name, .family = "test"},
                              .family = &separable_family,
                              .variant = variants[i]};
        check(&arch, sizes[i % 3][0], sizes[i % 3][1]);
        check(&arch, sizes[(i + 1) % 3][0], sizes[(i + 1) % 3][1]);
    }
}

static void norms_over_channels_and_linear_maps_are_what_the_oracle_says(void **state) {
    (void)state;
    static const size_t variants[][4] = {{16, 4, 7, 3}, {21, 2, 5, 2}, {32, 4, 3, 1}, {7, 1, 7, 3}};
    static const size_t sizes[][2] = {{33, 45}, {32, 32}, {23, 18}};
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        char name[32];
        snprintf(name, sizeof name, "patches %zu", i);
        const pm_arch arch = {.info = {.name = name, .family = "test"},
                              .family = &patches_family,
                              .variant = variants[i]};
        check(&arch, sizes[i % 3][0], sizes[i % 3][1]);
    }
}

static void squeeze_and_excitation_is_what_the_oracle_says(void **state) {
    (void)state;
    static const size_t channels[] = {16, 21, 40};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        const pm_arch arch = {.info = {.name = "excited", .family = "test"},
                              .family = &excited_family,
                              .variant = &channels[i]};
        check(&arch, 21, 30);
        check(&arch, 2, 46);
    }
}

static void every_activation_is_what_the_oracle_says(void **state) {
    (void)state;
    int (*const bends[])(pm_builder *, int) = {pm_build_silu,   pm_build_relu6, pm_build_sigmoid,
                                               pm_build_relu,   pm_build_silu,  pm_build_relu6,
                                               pm_build_sigmoid};
    for (size_t i = 0; i < 4; i++) {
        const pm_arch arch = {.info = {.name = "bend", .family = "test"},
                              .family = &bend_family,
                              .variant = &bends[i]};
        check(&arch, 21, 30);
    }
}

static void filters_that_are_not_square_are_what_the_oracle_says(void **state) {
    (void)state;
    const pm_arch arch = {.info = {.name = "rectangles", .family = "test"},
                          .family = &rectangles_family};
    check(&arch, 20, 20);
    check(&arch, 19, 33);
}

static void concatenations_of_any_width_are_what_the_oracle_says(void **state) {
    (void)state;
    static const joined widths[] = {{16, 16, 16}, {32, 16, 48}, {20, 7, 5},
                                    {16, 5, 33},  {8, 24, 12},  {4, 12, 20}};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        char name[32];
        snprintf(name, sizeof name, "joined %zu", i);
        const pm_arch arch = {.info = {.name = name, .family = "test"},
                              .family = &joined_family,
                              .variant = &widths[i]};
        check(&arch, 20, 31);
        check(&arch, 19, 24);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_of_any_filter_and_stride_are_what_the_oracle_says),
        cmocka_unit_test(depthwise_filters_are_what_the_oracle_says),
        cmocka_unit_test(norms_over_channels_and_linear_maps_are_what_the_oracle_says),
        cmocka_unit_test(squeeze_and_excitation_is_what_the_oracle_says),
        cmocka_unit_test(every_activation_is_what_the_oracle_says),
        cmocka_unit_test(values_read_twice_are_what_the_oracle_says),
        cmocka_unit_test(filters_that_are_not_square_are_what_the_oracle_says),
        cmocka_unit_test(concatenations_of_any_width_are_what_the_oracle_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
