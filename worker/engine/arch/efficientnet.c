/* Owns EfficientNet B0 to B7 (Tan and Le, arXiv:1905.11946, table 1) as torchvision writes them: a
 * stem, inverted residuals with squeeze and excitation, a last 1x1 convolution, global average,
 * classifier (dropout and stochastic depth do nothing). */
#include "worker/engine/arch/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 64 };

/* torchvision's _make_divisible by 8: the nearest multiple, not more than a tenth below. */
static size_t rounded(double channels) {
    size_t out = (size_t)(channels + 4) / 8 * 8;
    if (out < 8) out = 8;
    return (double)out < 0.9 * channels ? out + 8 : out;
}

typedef struct block {
    char prefix[NAME_BYTES / 2]; /* "features.2.0.block" */
    size_t kernel, stride, in_channels, expanded, channels;
    float eps;
} block;

/* PREFIX.INDEX.0 and PREFIX.INDEX.1. */
static int norm(pm_builder *b, int conv, const char *prefix, float eps) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.1", prefix);
    return pm_build_batchnorm_eps(b, conv, name, eps);
}

static int pointwise(pm_builder *b, int input, const char *prefix, size_t channels, float eps) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.0", prefix);
    return norm(b, pm_build_conv(b, input, name, channels, 1, 1, 0, false), prefix, eps);
}

static int squeeze_excite(pm_builder *b, int input, const char *prefix, size_t expanded,
                          size_t squeezed) {
    char name[NAME_BYTES];
    int s = pm_build_avgpool_to(b, input, 1, 1);
    snprintf(name, sizeof name, "%s.fc1", prefix);
    s = pm_build_silu(b, pm_build_conv(b, s, name, squeezed, 1, 1, 0, true));
    snprintf(name, sizeof name, "%s.fc2", prefix);
    s = pm_build_sigmoid(b, pm_build_conv(b, s, name, expanded, 1, 1, 0, true));
    return pm_build_scale(b, input, s);
}

static int inverted_residual(pm_builder *b, int input, const block *v) {
    char prefix[NAME_BYTES - 8], name[NAME_BYTES];
    size_t index = 0;
    int x = input;
    if (v->expanded != v->in_channels) {
        snprintf(prefix, sizeof prefix, "%s.%zu", v->prefix, index++);
        x = pm_build_silu(b, pointwise(b, x, prefix, v->expanded, v->eps));
    }
    snprintf(prefix, sizeof prefix, "%s.%zu", v->prefix, index++);
    snprintf(name, sizeof name, "%s.0", prefix);
    x = pm_build_depthwise(b, x, name, v->kernel, v->stride, v->kernel / 2, false);
    x = pm_build_silu(b, norm(b, x, prefix, v->eps));
    snprintf(prefix, sizeof prefix, "%s.%zu", v->prefix, index++);
    x = squeeze_excite(b, x, prefix, v->expanded, v->in_channels < 4 ? 1 : v->in_channels / 4);
    snprintf(prefix, sizeof prefix, "%s.%zu", v->prefix, index);
    x = pointwise(b, x, prefix, v->channels, v->eps);
    return v->stride == 1 && v->in_channels == v->channels ? pm_build_add(b, x, input) : x;
}

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    static const struct {
        size_t expansion, kernel, stride, channels, blocks;
    } stages[] = {{1, 3, 1, 16, 1},  {6, 3, 2, 24, 2},  {6, 5, 2, 40, 2}, {6, 3, 2, 80, 3},
                  {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1}};
    const pm_efficientnet_variant *variant = arch->variant;
    size_t channels = rounded(32 * variant->width);
    int x = pm_build_conv(b, pm_build_input(b), "features.0.0", channels, 3, 2, 1, false);
    x = pm_build_silu(b, norm(b, x, "features.0", variant->eps));
    for (size_t s = 0; s < sizeof stages / sizeof *stages; s++) {
        const size_t out = rounded((double)stages[s].channels * variant->width);
        const size_t blocks = (size_t)ceil((double)stages[s].blocks * variant->depth);
        for (size_t i = 0; i < blocks; i++) {
            block v = {.kernel = stages[s].kernel,
                       .stride = i == 0 ? stages[s].stride : 1,
                       .in_channels = channels,
                       .expanded = stages[s].expansion * channels,
                       .channels = out,
                       .eps = variant->eps};
            snprintf(v.prefix, sizeof v.prefix, "features.%zu.%zu.block", s + 1, i);
            x = inverted_residual(b, x, &v);
            channels = out;
        }
    }
    x = pm_build_silu(b, pointwise(b, x, "features.8", 4 * channels, variant->eps));
    x = pm_build_avgpool_to(b, x, 1, 1);
    return pm_build_linear(b, x, "classifier.1", 4 * channels, classes);
}

static bool hooks_b0(const pm_arch *arch, const char *conv) {
    (void)arch;
    return strcmp(conv, "features.6.0.block.1.0") == 0 ||
           strcmp(conv, "features.7.0.block.1.0") == 0 || strcmp(conv, "features.8.0") == 0;
}

const pm_family pm_family_efficientnet = {.head = "classifier.1", .build = build};
const pm_family pm_family_efficientnet_b0 = {
    .head = "classifier.1", .build = build, .hooks = hooks_b0};
