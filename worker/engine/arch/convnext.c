/* Owns the ConvNeXts (Liu et al., arXiv:2201.03545) as torchvision writes them: a stem of 4x4
 * patches, four stages of blocks (depthwise 7x7, norm, two linear layers over channels, a scale a
 * channel) with a norm and a 2x2 convolution between them, global average, norm, linear. */
#include "worker/engine/arch/arch.h"

#include <stdio.h>

enum { NAME_BYTES = 48 };
static const float eps = 1e-6f;

static int block(pm_builder *b, int input, const char *prefix, size_t channels) {
    char name[NAME_BYTES + 16];
    snprintf(name, sizeof name, "%s.block.0", prefix);
    int x = pm_build_depthwise(b, input, name, 7, 1, 3, true);
    snprintf(name, sizeof name, "%s.block.2", prefix);
    x = pm_build_layernorm(b, x, name, eps);
    snprintf(name, sizeof name, "%s.block.3", prefix);
    x = pm_build_gelu(b, pm_build_linear_map(b, x, name, 4 * channels));
    snprintf(name, sizeof name, "%s.block.5", prefix);
    x = pm_build_linear_map(b, x, name, channels);
    return pm_build_add(b, pm_build_layer_scale(b, x, prefix), input);
}

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    const pm_convnext_variant *variant = arch->variant;
    size_t channels = variant->channels;
    char name[NAME_BYTES];
    int x = pm_build_conv(b, pm_build_input(b), "features.0.0", channels, 4, 4, 0, true);
    x = pm_build_layernorm(b, x, "features.0.1", eps);
    for (size_t stage = 0; stage < 4; stage++) {
        if (stage > 0) {
            channels *= 2;
            snprintf(name, sizeof name, "features.%zu.0", 2 * stage);
            x = pm_build_layernorm(b, x, name, eps);
            snprintf(name, sizeof name, "features.%zu.1", 2 * stage);
            x = pm_build_conv(b, x, name, channels, 2, 2, 0, true);
        }
        for (size_t i = 0; i < variant->blocks[stage]; i++) {
            snprintf(name, sizeof name, "features.%zu.%zu", 2 * stage + 1, i);
            x = block(b, x, name, channels);
        }
    }
    x = pm_build_layernorm(b, pm_build_avgpool_to(b, x, 1, 1), "classifier.0", eps);
    return pm_build_linear(b, x, "classifier.2", channels, classes);
}

const pm_family pm_family_convnext = {.head = "classifier.2", .build = build};
