/* Owns the DenseNets as torchvision writes them: every layer of a block reads the channels of all
 * layers before it, by way of BatchNorm, ReLU, a 1x1 and a 3x3 convolution; transitions halve
 * channels and sides between blocks (Huang et al., arXiv:1608.06993). */
#include "worker/engine/arch/arch.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 80, BOTTLENECK = 4 }; /* 1x1 filters a channel of growth */

static int norm_relu(pm_builder *b, int input, const char *prefix, const char *leaf) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", prefix, leaf);
    return pm_build_relu(b, pm_build_batchnorm(b, input, name));
}

static int conv(pm_builder *b, int input, const char *prefix, const char *leaf, size_t channels,
                size_t kernel) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", prefix, leaf);
    return pm_build_conv(b, input, name, channels, kernel, 1, kernel / 2, false);
}

static int dense_block(pm_builder *b, int x, size_t number, size_t layers, size_t growth) {
    for (size_t i = 1; i <= layers; i++) {
        char prefix[NAME_BYTES / 2];
        snprintf(prefix, sizeof prefix, "features.denseblock%zu.denselayer%zu.", number, i);
        int y = conv(b, norm_relu(b, x, prefix, "norm1"), prefix, "conv1", BOTTLENECK * growth, 1);
        y = conv(b, norm_relu(b, y, prefix, "norm2"), prefix, "conv2", growth, 3);
        x = pm_build_concat(b, x, y);
    }
    return x;
}

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    const pm_densenet_variant *variant = arch->variant;
    size_t channels = variant->first;
    int x = pm_build_conv(b, pm_build_input(b), "features.conv0", channels, 7, 2, 3, false);
    x = pm_build_maxpool(b, norm_relu(b, x, "features.", "norm0"), 3, 2, 1);
    for (size_t i = 0; i < 4; i++) {
        x = dense_block(b, x, i + 1, variant->layers[i], variant->growth);
        channels += variant->layers[i] * variant->growth;
        if (i == 3) break;
        char prefix[NAME_BYTES / 2];
        snprintf(prefix, sizeof prefix, "features.transition%zu.", i + 1);
        channels /= 2;
        x = conv(b, norm_relu(b, x, prefix, "norm"), prefix, "conv", channels, 1);
        x = pm_build_avgpool(b, x, 2, 2, 0);
    }
    x = norm_relu(b, x, "features.", "norm5");
    return pm_build_linear(b, pm_build_avgpool_to(b, x, 1, 1), "classifier", channels, classes);
}

/* Module names once had dots: torchvision's own files say denselayer1.norm.1 for norm1, and conv.1
 * for conv1, and it renames them as it reads them. */
static bool old_key(const char *key, char *old, size_t size) {
    const char *layer = strstr(key, ".denselayer");
    const char *number = layer ? strpbrk(layer + strlen(".denselayer"), ".") : NULL;
    if (!number) return false;
    number += strcspn(number, "12"); /* behind `norm` or `conv` */
    if (*number == '\0' || number[1] != '.') return false;
    return (size_t)snprintf(old, size, "%.*s.%s", (int)(number - key), key, number) < size;
}

const pm_family pm_family_densenet = {.head = "classifier", .build = build, .old_key = old_key};
