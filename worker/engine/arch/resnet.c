/* Owns the ImageNet ResNets as torchvision writes them: stem, four stages of basic or bottleneck
 * blocks (stride in the middle convolution of a bottleneck), global average, fc. */
#include "worker/engine/arch/arch.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 64 };

static int conv_bn(pm_builder *b, int input, const char *prefix, const char *conv, const char *bn,
                   size_t channels, size_t kernel, size_t stride) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", prefix, conv);
    int x = pm_build_conv(b, input, name, channels, kernel, stride, kernel / 2, false);
    snprintf(name, sizeof name, "%s%s", prefix, bn);
    return pm_build_batchnorm(b, x, name);
}

static int block(pm_builder *b, int input, const char *prefix, bool bottleneck, size_t width,
                 size_t stride, bool downsample) {
    size_t out = bottleneck ? 4 * width : width;
    int x;
    if (bottleneck) {
        x = pm_build_relu(b, conv_bn(b, input, prefix, "conv1", "bn1", width, 1, 1));
        x = pm_build_relu(b, conv_bn(b, x, prefix, "conv2", "bn2", width, 3, stride));
        x = conv_bn(b, x, prefix, "conv3", "bn3", out, 1, 1);
    } else {
        x = pm_build_relu(b, conv_bn(b, input, prefix, "conv1", "bn1", width, 3, stride));
        x = conv_bn(b, x, prefix, "conv2", "bn2", out, 3, 1);
    }
    int shortcut = input;
    if (downsample)
        shortcut = conv_bn(b, input, prefix, "downsample.0", "downsample.1", out, 1, stride);
    return pm_build_relu(b, pm_build_add(b, x, shortcut));
}

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    const pm_resnet_variant *variant = arch->variant;
    int x = conv_bn(b, pm_build_input(b), "", "conv1", "bn1", 64, 7, 2);
    x = pm_build_maxpool(b, pm_build_relu(b, x), 3, 2, 1);
    for (size_t stage = 0; stage < 4; stage++) {
        for (size_t i = 0; i < variant->blocks[stage]; i++) {
            char prefix[NAME_BYTES / 2];
            snprintf(prefix, sizeof prefix, "layer%zu.%zu.", stage + 1, i);
            size_t stride = stage > 0 && i == 0 ? 2 : 1;
            bool downsample = i == 0 && (stage > 0 || variant->bottleneck);
            x = block(b, x, prefix, variant->bottleneck, (size_t)64 << stage, stride, downsample);
        }
    }
    size_t features = variant->bottleneck ? 2048 : 512;
    return pm_build_linear(b, pm_build_avgpool_to(b, x, 1, 1), "fc", features, classes);
}

static bool hooks(const pm_arch *arch, const char *conv) {
    (void)arch;
    bool late = strncmp(conv, "layer3.", 7) == 0 || strncmp(conv, "layer4.", 7) == 0;
    return late && strstr(conv, ".conv");
}

const pm_family pm_family_resnet = {.head = "fc", .build = build, .hooks = hooks};
