/* Owns the SqueezeNets as torchvision writes them: a stem, Fire modules (squeeze to few channels,
 * expand by 1x1 and 3x3 filters side by side) with max-pools that hang over, and a convolution
 * whose average over all pixels gives the logits (Iandola et al., arXiv:1602.07360). */
#include "worker/engine/arch/arch.h"

#include <stdio.h>

static int conv_relu(pm_builder *b, int input, const char *name, size_t channels, size_t kernel) {
    return pm_build_relu(b, pm_build_conv(b, input, name, channels, kernel, 1, kernel / 2, true));
}

static int fire(pm_builder *b, int input, size_t index, size_t squeeze) {
    char name[64];
    snprintf(name, sizeof name, "features.%zu.squeeze", index);
    int x = conv_relu(b, input, name, squeeze, 1);
    snprintf(name, sizeof name, "features.%zu.expand1x1", index);
    int narrow = conv_relu(b, x, name, 4 * squeeze, 1);
    snprintf(name, sizeof name, "features.%zu.expand3x3", index);
    int wide = conv_relu(b, x, name, 4 * squeeze, 3);
    return pm_build_concat(b, narrow, wide);
}

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    const pm_squeezenet_variant *variant = arch->variant;
    int x = pm_build_conv(b, pm_build_input(b), "features.0", variant->channels, variant->kernel, 2,
                          0, true);
    x = pm_build_relu(b, x);
    size_t index = 2;
    for (const char *step = variant->plan; *step; step++, index++) {
        if (*step == 'M')
            x = pm_build_maxpool_ceil(b, x, 3, 2, 0);
        else
            x = fire(b, x, index, 16 * (size_t)(*step - '0'));
    }
    return pm_build_avgpool_to(b, conv_relu(b, x, "classifier.1", classes, 1), 1, 1);
}

const pm_family pm_family_squeezenet = {
    .head = "classifier.1", .head_is_conv = true, .build = build};
