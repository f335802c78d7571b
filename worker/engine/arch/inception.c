/* Owns Inception v3 as torchvision writes it (Szegedy et al., arXiv:1512.00567): a stem, three
 * modules A, B, four C with 1x7 and 7x1 filters, D, two E; the branches of a module stand side by
 * side. */
#include "worker/engine/arch/arch.h"

#include <stdio.h>

enum { NAME_BYTES = 64 };

/* A filter of height x width pixels that keeps the map's size; stride 2 takes no padding. */
static int conv(pm_builder *b, int input, const char *module, const char *leaf, size_t channels,
                size_t height, size_t width, size_t stride) {
    char name[NAME_BYTES];
    const size_t kernel[2] = {height, width};
    const size_t pad[2] = {stride == 1 ? height / 2 : 0, stride == 1 ? width / 2 : 0};
    snprintf(name, sizeof name, "%s.%s.conv", module, leaf);
    int x = pm_build_conv_rectangle(b, input, name, channels, kernel, stride, pad, false);
    snprintf(name, sizeof name, "%s.%s.bn", module, leaf);
    return pm_build_relu(b, pm_build_batchnorm_eps(b, x, name, 1e-3f));
}

static int stem_conv(pm_builder *b, int input, const char *module, size_t channels, size_t kernel,
                     size_t stride, size_t pad) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.conv", module);
    int x = pm_build_conv(b, input, name, channels, kernel, stride, pad, false);
    snprintf(name, sizeof name, "%s.bn", module);
    return pm_build_relu(b, pm_build_batchnorm_eps(b, x, name, 1e-3f));
}

static int pooled(pm_builder *b, int x, const char *m, size_t channels) {
    return conv(b, pm_build_avgpool(b, x, 3, 1, 1), m, "branch_pool", channels, 1, 1, 1);
}

static int beside(pm_builder *b, int first, int second, int third) {
    return pm_build_concat(b, pm_build_concat(b, first, second), third);
}

static int module_a(pm_builder *b, int x, const char *m, size_t pool) {
    int one = conv(b, x, m, "branch1x1", 64, 1, 1, 1);
    int five = conv(b, x, m, "branch5x5_1", 48, 1, 1, 1);
    five = conv(b, five, m, "branch5x5_2", 64, 5, 5, 1);
    int twice = conv(b, x, m, "branch3x3dbl_1", 64, 1, 1, 1);
    twice = conv(b, twice, m, "branch3x3dbl_2", 96, 3, 3, 1);
    twice = conv(b, twice, m, "branch3x3dbl_3", 96, 3, 3, 1);
    return pm_build_concat(b, beside(b, one, five, twice), pooled(b, x, m, pool));
}

static int module_b(pm_builder *b, int x, const char *m) {
    int three = conv(b, x, m, "branch3x3", 384, 3, 3, 2);
    int twice = conv(b, x, m, "branch3x3dbl_1", 64, 1, 1, 1);
    twice = conv(b, twice, m, "branch3x3dbl_2", 96, 3, 3, 1);
    twice = conv(b, twice, m, "branch3x3dbl_3", 96, 3, 3, 2);
    return beside(b, three, twice, pm_build_maxpool(b, x, 3, 2, 0));
}

static int module_c(pm_builder *b, int x, const char *m, size_t inner) {
    int one = conv(b, x, m, "branch1x1", 192, 1, 1, 1);
    int seven = conv(b, x, m, "branch7x7_1", inner, 1, 1, 1);
    seven = conv(b, seven, m, "branch7x7_2", inner, 1, 7, 1);
    seven = conv(b, seven, m, "branch7x7_3", 192, 7, 1, 1);
    int twice = conv(b, x, m, "branch7x7dbl_1", inner, 1, 1, 1);
    twice = conv(b, twice, m, "branch7x7dbl_2", inner, 7, 1, 1);
    twice = conv(b, twice, m, "branch7x7dbl_3", inner, 1, 7, 1);
    twice = conv(b, twice, m, "branch7x7dbl_4", inner, 7, 1, 1);
    twice = conv(b, twice, m, "branch7x7dbl_5", 192, 1, 7, 1);
    return pm_build_concat(b, beside(b, one, seven, twice), pooled(b, x, m, 192));
}

static int module_d(pm_builder *b, int x, const char *m) {
    int three = conv(b, x, m, "branch3x3_1", 192, 1, 1, 1);
    three = conv(b, three, m, "branch3x3_2", 320, 3, 3, 2);
    int seven = conv(b, x, m, "branch7x7x3_1", 192, 1, 1, 1);
    seven = conv(b, seven, m, "branch7x7x3_2", 192, 1, 7, 1);
    seven = conv(b, seven, m, "branch7x7x3_3", 192, 7, 1, 1);
    seven = conv(b, seven, m, "branch7x7x3_4", 192, 3, 3, 2);
    return beside(b, three, seven, pm_build_maxpool(b, x, 3, 2, 0));
}

static int module_e(pm_builder *b, int x, const char *m) {
    int one = conv(b, x, m, "branch1x1", 320, 1, 1, 1);
    int three = conv(b, x, m, "branch3x3_1", 384, 1, 1, 1);
    int across = conv(b, three, m, "branch3x3_2a", 384, 1, 3, 1);
    three = pm_build_concat(b, across, conv(b, three, m, "branch3x3_2b", 384, 3, 1, 1));
    int twice = conv(b, x, m, "branch3x3dbl_1", 448, 1, 1, 1);
    twice = conv(b, twice, m, "branch3x3dbl_2", 384, 3, 3, 1);
    across = conv(b, twice, m, "branch3x3dbl_3a", 384, 1, 3, 1);
    twice = pm_build_concat(b, across, conv(b, twice, m, "branch3x3dbl_3b", 384, 3, 1, 1));
    return pm_build_concat(b, beside(b, one, three, twice), pooled(b, x, m, 192));
}

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    (void)arch;
    int x = stem_conv(b, pm_build_input(b), "Conv2d_1a_3x3", 32, 3, 2, 0);
    x = stem_conv(b, x, "Conv2d_2a_3x3", 32, 3, 1, 0);
    x = pm_build_maxpool(b, stem_conv(b, x, "Conv2d_2b_3x3", 64, 3, 1, 1), 3, 2, 0);
    x = stem_conv(b, x, "Conv2d_3b_1x1", 80, 1, 1, 0);
    x = pm_build_maxpool(b, stem_conv(b, x, "Conv2d_4a_3x3", 192, 3, 1, 0), 3, 2, 0);
    x = module_a(b, x, "Mixed_5b", 32);
    x = module_a(b, x, "Mixed_5c", 64);
    x = module_b(b, module_a(b, x, "Mixed_5d", 64), "Mixed_6a");
    x = module_c(b, x, "Mixed_6b", 128);
    x = module_c(b, x, "Mixed_6c", 160);
    x = module_c(b, x, "Mixed_6d", 160);
    x = module_d(b, module_c(b, x, "Mixed_6e", 192), "Mixed_7a");
    x = module_e(b, module_e(b, x, "Mixed_7b"), "Mixed_7c");
    return pm_build_linear(b, pm_build_avgpool_to(b, x, 1, 1), "fc", 2048, classes);
}

static const char *const auxiliary[] = {"AuxLogits.", NULL};

const pm_family pm_family_inception = {
    .head = "fc", .build = build, .ignored = auxiliary, .transforms_input = true};
