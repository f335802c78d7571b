/* Owns the CIFAR ResNets (He et al., arXiv:1512.03385, section 4.2) with the keys of the
 * checkpoints that the community ships: shortcut A, which has no parameters, and a last layer
 * `linear`. */
#include "worker/engine/arch/arch.h"

#include <stdio.h>

static int conv_bn(pm_builder *b, int input, const char *prefix, int number, size_t channels,
                   size_t stride) {
    char name[64];
    snprintf(name, sizeof name, "%sconv%d", prefix, number);
    int x = pm_build_conv(b, input, name, channels, 3, stride, 1, false);
    snprintf(name, sizeof name, "%sbn%d", prefix, number);
    return pm_build_batchnorm(b, x, name);
}

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    const pm_cifar_resnet_variant *variant = arch->variant;
    int x = pm_build_relu(b, conv_bn(b, pm_build_input(b), "", 1, 16, 1));
    for (size_t stage = 0; stage < 3; stage++) {
        size_t channels = (size_t)16 << stage;
        for (size_t i = 0; i < variant->blocks; i++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "layer%zu.%zu.", stage + 1, i);
            bool halves = stage > 0 && i == 0;
            int y = pm_build_relu(b, conv_bn(b, x, prefix, 1, channels, halves ? 2 : 1));
            y = conv_bn(b, y, prefix, 2, channels, 1);
            int shortcut = halves ? pm_build_subsample_pad(b, x, channels, 2) : x;
            x = pm_build_relu(b, pm_build_add(b, y, shortcut));
        }
    }
    return pm_build_linear(b, pm_build_avgpool_to(b, x, 1, 1), "linear", 64, classes);
}

const pm_family pm_family_cifar_resnet = {.head = "linear", .build = build};
