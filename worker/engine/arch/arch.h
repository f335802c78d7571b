/* Architectures: a table of names, each a family's description with its variant. To add a family:
 * one file with its `pm_family`, one declaration here, its lines in table.c. */
#ifndef PM_ENGINE_ARCH_H
#define PM_ENGINE_ARCH_H

#include "worker/engine/builder.h"

typedef struct pm_arch pm_arch;

typedef struct pm_family {
    const char *head; /* the last layer with weights: their rows are the classes */
    /* Write the graph down and return the logits node. */
    int (*build)(pm_builder *builder, const pm_arch *arch, size_t classes);
    /* Whether "default" hooks this convolution; NULL: the last half, as ratio:0.5. */
    bool (*hooks)(const pm_arch *arch, const char *conv);
    bool head_is_conv;          /* the head is a 1x1 convolution, no linear layer */
    bool transforms_input;      /* torchvision has its flag `transform_input` for it */
    const char *const *ignored; /* NULL-terminated: tensors with these prefixes (auxiliary heads)
                                   may be in a file or not; NULL: none */
    /* The key under which older files have a tensor; false: they have no other. NULL: none has. */
    bool (*old_key)(const char *key, char *old, size_t size);
} pm_family;

struct pm_arch {
    pm_arch_info info; /* first: a pm_arch_info handed out is a pm_arch */
    const pm_family *family;
    const void *variant; /* the family's own description, e.g. depths */
};

extern const pm_family pm_family_resnet, pm_family_vgg, pm_family_cifar_resnet, pm_family_convnext;
extern const pm_family pm_family_mobilenet;
extern const pm_family pm_family_efficientnet, pm_family_efficientnet_b0; /* differ in hooks */
extern const pm_family pm_family_squeezenet, pm_family_densenet, pm_family_googlenet,
    pm_family_inception;

/* Variants; meaning in the family's file. */
typedef struct pm_resnet_variant {
    bool bottleneck;
    size_t blocks[4];
} pm_resnet_variant;

typedef struct pm_vgg_variant {
    const char *plan; /* a digit: a convolution of 64 << (digit - 1) channels; M: a 2x2 max-pool */
    bool batchnorm;
} pm_vgg_variant;

typedef struct pm_cifar_resnet_variant {
    size_t blocks; /* in each of the three stages */
} pm_cifar_resnet_variant;

typedef struct pm_convnext_variant {
    size_t channels; /* of the first stage; each later one has twice as many */
    size_t blocks[4];
} pm_convnext_variant;

typedef struct pm_efficientnet_variant {
    double width, depth; /* factors on channels and blocks */
    float eps;           /* of BatchNorm */
} pm_efficientnet_variant;

typedef struct pm_squeezenet_variant {
    size_t channels, kernel; /* of the first convolution */
    const char *plan; /* a digit: a Fire module of 16 times as many squeezed channels; M: a pool */
} pm_squeezenet_variant;

typedef struct pm_densenet_variant {
    size_t growth, first; /* channels of a layer; of the first convolution */
    size_t layers[4];     /* in each block */
} pm_densenet_variant;

/* `info` must come from pm_arch_at or pm_arch_find. */
const pm_arch *pm_arch_of(const pm_arch_info *info);

/* The tensor of the state-dict key, or the one under its old key; NULL where there is neither. */
const pm_tensor_info *pm_arch_tensor(const pm_arch_info *arch, const pm_weights *weights,
                                     const char *key);

/* Class count: rows of the head's weight. PM_E_MISMATCH where it is missing or of another rank. */
pm_status pm_arch_classes(const pm_arch_info *arch, const pm_weights *weights, size_t *classes);

#endif
