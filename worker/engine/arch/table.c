/* Owns the list of architectures. Knows no layer of any of them. */
#include "worker/engine/arch/arch.h"

#include <stdint.h>
#include <string.h>

#define IMAGENET_AT(RESIZE, CROP, FILTER)                                                          \
    .resize = RESIZE, .crop = CROP, .filter = FILTER, .mean = {0.485f, 0.456f, 0.406f},            \
    .std = {0.229f, 0.224f, 0.225f}
#define IMAGENET IMAGENET_AT(256, 224, PM_FILTER_BILINEAR)
#define INCEPTION IMAGENET_AT(342, 299, PM_FILTER_BILINEAR)
/* The published CIFAR checkpoints were trained with ImageNet's mean and std. */
#define CIFAR                                                                                      \
    .resize = 0, .crop = 32, .filter = PM_FILTER_BILINEAR, .mean = {0.485f, 0.456f, 0.406f},       \
    .std = {0.229f, 0.224f, 0.225f}

#define RESNET(NAME, BOTTLENECK, ...)                                                              \
    {                                                                                              \
        {.name = NAME, .family = "resnet", IMAGENET}, &pm_family_resnet,                           \
            &(const pm_resnet_variant) {                                                           \
            BOTTLENECK, { __VA_ARGS__ }                                                            \
        }                                                                                          \
    }
#define VGG(NAME, BATCHNORM, PLAN)                                                                 \
    {                                                                                              \
        {.name = NAME, .family = "vgg", IMAGENET}, &pm_family_vgg, &(const pm_vgg_variant) {       \
            PLAN, BATCHNORM                                                                        \
        }                                                                                          \
    }
#define CIFAR_RESNET(NAME, BLOCKS)                                                                 \
    {                                                                                              \
        {.name = NAME, .family = "cifar_resnet", CIFAR}, &pm_family_cifar_resnet,                  \
            &(const pm_cifar_resnet_variant) {                                                     \
            BLOCKS                                                                                 \
        }                                                                                          \
    }
/* Each at the sizes of torchvision's IMAGENET1K_V1 weights. */
#define EFFICIENTNET_OF(FAMILY, NAME, WIDTH, DEPTH, RESIZE, CROP, EPS)                             \
    {                                                                                              \
        {.name = NAME, .family = "efficientnet", IMAGENET_AT(RESIZE, CROP, PM_FILTER_BICUBIC)},    \
            &FAMILY, &(const pm_efficientnet_variant) {                                            \
            WIDTH, DEPTH, EPS                                                                      \
        }                                                                                          \
    }
#define EFFICIENTNET(...) EFFICIENTNET_OF(pm_family_efficientnet, __VA_ARGS__)

#define CONVNEXT(NAME, RESIZE, CHANNELS, ...)                                                      \
    {                                                                                              \
        {.name = NAME, .family = "convnext", IMAGENET_AT(RESIZE, 224, PM_FILTER_BILINEAR)},        \
            &pm_family_convnext, &(const pm_convnext_variant) {                                    \
            CHANNELS, { __VA_ARGS__ }                                                              \
        }                                                                                          \
    }

#define SQUEEZENET(NAME, CHANNELS, KERNEL, PLAN)                                                   \
    {                                                                                              \
        {.name = NAME, .family = "squeezenet", IMAGENET}, &pm_family_squeezenet,                   \
            &(const pm_squeezenet_variant) {                                                       \
            CHANNELS, KERNEL, PLAN                                                                 \
        }                                                                                          \
    }
#define DENSENET(NAME, GROWTH, FIRST, ...)                                                         \
    {                                                                                              \
        {.name = NAME, .family = "densenet", IMAGENET}, &pm_family_densenet,                       \
            &(const pm_densenet_variant) {                                                         \
            GROWTH, FIRST, { __VA_ARGS__ }                                                         \
        }                                                                                          \
    }

/* Configurations A, B, D, E of Simonyan and Zisserman, arXiv:1409.1556, table 1. */
#define VGG_A "1M2M33M44M44M"
#define VGG_B "11M22M33M44M44M"
#define VGG_D "11M22M333M444M444M"
#define VGG_E "11M22M3333M4444M4444M"

/* ResNets: He et al., arXiv:1512.03385, tables 1 and 6. ConvNeXts: Liu et al., arXiv:2201.03545,
 * section 3. DenseNets: Huang et al., arXiv:1608.06993, table 1. */
static const pm_arch table[] = {
    RESNET("resnet18", false, 2, 2, 2, 2),
    RESNET("resnet34", false, 3, 4, 6, 3),
    RESNET("resnet50", true, 3, 4, 6, 3),
    RESNET("resnet101", true, 3, 4, 23, 3),
    RESNET("resnet152", true, 3, 8, 36, 3),
    VGG("vgg11", false, VGG_A),
    VGG("vgg13", false, VGG_B),
    VGG("vgg16", false, VGG_D),
    VGG("vgg19", false, VGG_E),
    VGG("vgg11_bn", true, VGG_A),
    VGG("vgg13_bn", true, VGG_B),
    VGG("vgg16_bn", true, VGG_D),
    VGG("vgg19_bn", true, VGG_E),
    SQUEEZENET("squeezenet1_0", 96, 7, "M112M2334M4"),
    SQUEEZENET("squeezenet1_1", 64, 3, "M11M22M3344"),
    DENSENET("densenet121", 32, 64, 6, 12, 24, 16),
    DENSENET("densenet161", 48, 96, 6, 12, 36, 24),
    DENSENET("densenet169", 32, 64, 6, 12, 32, 32),
    DENSENET("densenet201", 32, 64, 6, 12, 48, 32),
    {{.name = "googlenet", .family = "googlenet", IMAGENET}, &pm_family_googlenet, NULL},
    {{.name = "inception_v3", .family = "inception", INCEPTION}, &pm_family_inception, NULL},
    CIFAR_RESNET("cifar_resnet20", 3),
    CIFAR_RESNET("cifar_resnet32", 5),
    CIFAR_RESNET("cifar_resnet44", 7),
    CIFAR_RESNET("cifar_resnet56", 9),
    CONVNEXT("convnext_tiny", 236, 96, 3, 3, 9, 3),
    CONVNEXT("convnext_small", 230, 96, 3, 3, 27, 3),
    CONVNEXT("convnext_base", 232, 128, 3, 3, 27, 3),
    CONVNEXT("convnext_large", 232, 192, 3, 3, 27, 3),
    {{.name = "mobilenet_v2", .family = "mobilenet", IMAGENET}, &pm_family_mobilenet, NULL},
    EFFICIENTNET_OF(pm_family_efficientnet_b0, "efficientnet_b0", 1.0, 1.0, 256, 224, 1e-5f),
    EFFICIENTNET("efficientnet_b1", 1.0, 1.1, 256, 240, 1e-5f),
    EFFICIENTNET("efficientnet_b2", 1.1, 1.2, 288, 288, 1e-5f),
    EFFICIENTNET("efficientnet_b3", 1.2, 1.4, 320, 300, 1e-5f),
    EFFICIENTNET("efficientnet_b4", 1.4, 1.8, 384, 380, 1e-5f),
    EFFICIENTNET("efficientnet_b5", 1.6, 2.2, 456, 456, 1e-3f),
    EFFICIENTNET("efficientnet_b6", 1.8, 2.6, 528, 528, 1e-3f),
    EFFICIENTNET("efficientnet_b7", 2.0, 3.1, 600, 600, 1e-3f),
};
enum { TABLE_COUNT = sizeof table / sizeof table[0], NAME_MAX_BYTES = 64 };

size_t pm_arch_count(void) { return TABLE_COUNT; }

const pm_arch_info *pm_arch_at(size_t index) {
    return index < TABLE_COUNT ? &table[index].info : NULL;
}

/* Constants and order of operations as in torchvision's _transform_input. */
pm_status pm_arch_transform_input(const pm_arch_info *arch, float scale[3], float shift[3]) {
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    if (!pm_arch_of(arch)->family->transforms_input)
        return pm_fail(PM_E_USAGE,
                       "%s takes its input as it is: only googlenet and inception_v3 can transform "
                       "it",
                       arch->name);
    for (size_t i = 0; i < 3; i++) {
        scale[i] = (float)(std[i] / 0.5);
        shift[i] = (float)((mean[i] - 0.5) / 0.5);
    }
    return PM_OK;
}

const pm_arch *pm_arch_of(const pm_arch_info *info) { return (const pm_arch *)(const void *)info; }

/* Levenshtein's distance; `b` is a table name, `a` is cut to NAME_MAX_BYTES. */
static size_t distance(const char *a, const char *b) {
    size_t row[NAME_MAX_BYTES + 1], an = strnlen(a, NAME_MAX_BYTES), bn = strlen(b);
    for (size_t i = 0; i <= an; i++) row[i] = i;
    for (size_t j = 1; j <= bn; j++) {
        size_t corner = row[0];
        row[0] = j;
        for (size_t i = 1; i <= an; i++) {
            size_t best = corner + (a[i - 1] != b[j - 1]);
            if (row[i] + 1 < best) best = row[i] + 1;
            if (row[i - 1] + 1 < best) best = row[i - 1] + 1;
            corner = row[i];
            row[i] = best;
        }
    }
    return row[an];
}

pm_status pm_arch_find(const char *name, const pm_arch_info **out) {
    size_t near[3] = {0}, count = 0, far[3] = {0};
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (strcmp(table[i].info.name, name) == 0) {
            *out = &table[i].info;
            return PM_OK;
        }
        size_t d = distance(name, table[i].info.name), at = count < 3 ? count++ : 3;
        for (; at > 0 && d < far[at - 1]; at--) {
            if (at < 3) near[at] = near[at - 1], far[at] = far[at - 1];
        }
        if (at < 3) near[at] = i, far[at] = d;
    }
    return pm_fail(PM_E_USAGE, "architecture '%.60s' is not known; near: %s, %s, %s", name,
                   table[near[0]].info.name, table[near[1]].info.name, table[near[2]].info.name);
}
