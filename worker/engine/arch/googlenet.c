/* Owns GoogLeNet as torchvision writes it (Szegedy et al., arXiv:1409.4842): BatchNorm everywhere,
 * and 3x3 filters where the paper has 5x5, as torchvision's weights were trained. */
#include "worker/engine/arch/arch.h"

#include <stdio.h>

enum { NAME_BYTES = 64 };

static int conv_bn(pm_builder *b, int input, const char *prefix, const char *leaf, size_t channels,
                   size_t kernel, size_t stride) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s.conv", prefix, leaf);
    int x = pm_build_conv(b, input, name, channels, kernel, stride, kernel / 2, false);
    snprintf(name, sizeof name, "%s%s.bn", prefix, leaf);
    return pm_build_relu(b, pm_build_batchnorm_eps(b, x, name, 1e-3f));
}

/* Table 1 of the paper; the last column is the projection behind the pool. */
typedef struct module {
    const char *name;
    size_t one, three_before, three, five_before, five, pool;
    bool pool_behind;
} module;

static const module modules[] = {
    {"inception3a.", 64, 96, 128, 16, 32, 32, false},
    {"inception3b.", 128, 128, 192, 32, 96, 64, true},
    {"inception4a.", 192, 96, 208, 16, 48, 64, false},
    {"inception4b.", 160, 112, 224, 24, 64, 64, false},
    {"inception4c.", 128, 128, 256, 24, 64, 64, false},
    {"inception4d.", 112, 144, 288, 32, 64, 64, false},
    {"inception4e.", 256, 160, 320, 32, 128, 128, true},
    {"inception5a.", 256, 160, 320, 32, 128, 128, false},
    {"inception5b.", 384, 192, 384, 48, 128, 128, false},
};

static int inception(pm_builder *b, int x, const module *m) {
    int one = conv_bn(b, x, m->name, "branch1", m->one, 1, 1);
    int three = conv_bn(b, x, m->name, "branch2.0", m->three_before, 1, 1);
    three = conv_bn(b, three, m->name, "branch2.1", m->three, 3, 1);
    int five = conv_bn(b, x, m->name, "branch3.0", m->five_before, 1, 1);
    five = conv_bn(b, five, m->name, "branch3.1", m->five, 3, 1);
    int pool = pm_build_maxpool_ceil(b, x, 3, 1, 1);
    pool = conv_bn(b, pool, m->name, "branch4.1", m->pool, 1, 1);
    x = pm_build_concat(b, pm_build_concat(b, one, three), five);
    return pm_build_concat(b, x, pool);
}

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    (void)arch;
    int x = conv_bn(b, pm_build_input(b), "", "conv1", 64, 7, 2);
    x = conv_bn(b, pm_build_maxpool_ceil(b, x, 3, 2, 0), "", "conv2", 64, 1, 1);
    x = pm_build_maxpool_ceil(b, conv_bn(b, x, "", "conv3", 192, 3, 1), 3, 2, 0);
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        x = inception(b, x, &modules[i]);
        if (modules[i].pool_behind) x = pm_build_maxpool_ceil(b, x, i == 1 ? 3 : 2, 2, 0);
    }
    return pm_build_linear(b, pm_build_avgpool_to(b, x, 1, 1), "fc", 1024, classes);
}

static const char *const auxiliary[] = {"aux1.", "aux2.", NULL};

const pm_family pm_family_googlenet = {
    .head = "fc", .build = build, .ignored = auxiliary, .transforms_input = true};
