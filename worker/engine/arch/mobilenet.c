/* Owns MobileNetV2 (Sandler et al., arXiv:1801.04381, table 2) as torchvision writes it: a stem,
 * inverted residuals (expand, depthwise, project), a last 1x1 convolution, global average,
 * classifier (dropout does nothing). */
#include "worker/engine/arch/arch.h"

#include <stdio.h>

enum { NAME_BYTES = 64 };

/* PREFIX.0 and PREFIX.1, with ReLU6 behind them. depthwise: `channels` are those of the input. */
static int conv_bn_relu6(pm_builder *b, int input, const char *prefix, bool depthwise,
                         size_t channels, size_t kernel, size_t stride) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.0", prefix);
    int x = depthwise ? pm_build_depthwise(b, input, name, kernel, stride, kernel / 2, false)
                      : pm_build_conv(b, input, name, channels, kernel, stride, kernel / 2, false);
    snprintf(name, sizeof name, "%s.1", prefix);
    return pm_build_relu6(b, pm_build_batchnorm(b, x, name));
}

static int inverted_residual(pm_builder *b, int input, size_t feature, size_t in_channels,
                             size_t expansion, size_t channels, size_t stride) {
    char name[NAME_BYTES / 2];
    size_t index = 0, hidden = expansion * in_channels;
    int x = input;
    if (expansion != 1) {
        snprintf(name, sizeof name, "features.%zu.conv.%zu", feature, index++);
        x = conv_bn_relu6(b, x, name, false, hidden, 1, 1);
    }
    snprintf(name, sizeof name, "features.%zu.conv.%zu", feature, index++);
    x = conv_bn_relu6(b, x, name, true, hidden, 3, stride);
    snprintf(name, sizeof name, "features.%zu.conv.%zu", feature, index++);
    x = pm_build_conv(b, x, name, channels, 1, 1, 0, false);
    snprintf(name, sizeof name, "features.%zu.conv.%zu", feature, index);
    x = pm_build_batchnorm(b, x, name);
    return stride == 1 && in_channels == channels ? pm_build_add(b, input, x) : x;
}

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    static const struct {
        size_t expansion, channels, blocks, stride;
    } stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                  {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    size_t feature = 1, channels = 32;
    (void)arch;
    int x = conv_bn_relu6(b, pm_build_input(b), "features.0", false, channels, 3, 2);
    for (size_t s = 0; s < sizeof stages / sizeof *stages; s++)
        for (size_t i = 0; i < stages[s].blocks; i++) {
            x = inverted_residual(b, x, feature++, channels, stages[s].expansion,
                                  stages[s].channels, i == 0 ? stages[s].stride : 1);
            channels = stages[s].channels;
        }
    x = conv_bn_relu6(b, x, "features.18", false, 1280, 1, 1);
    return pm_build_linear(b, pm_build_avgpool_to(b, x, 1, 1), "classifier.1", 1280, classes);
}

const pm_family pm_family_mobilenet = {.head = "classifier.1", .build = build};
