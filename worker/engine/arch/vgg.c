/* Owns the VGGs as torchvision writes them: `features` numbered through convolutions,
 * batch norms, ReLUs and pools; average pool to 7x7; three linear layers (dropout does nothing). */
#include "worker/engine/arch/arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int build(pm_builder *b, const pm_arch *arch, size_t classes) {
    const pm_vgg_variant *variant = arch->variant;
    int x = pm_build_input(b);
    size_t index = 0;
    for (const char *step = variant->plan; *step; step++) {
        if (*step == 'M') {
            x = pm_build_maxpool(b, x, 2, 2, 0);
            index++;
            continue;
        }
        char name[64];
        snprintf(name, sizeof name, "features.%zu", index++);
        x = pm_build_conv(b, x, name, (size_t)64 << (*step - '1'), 3, 1, 1, true);
        if (variant->batchnorm) {
            snprintf(name, sizeof name, "features.%zu", index++);
            x = pm_build_batchnorm(b, x, name);
        }
        x = pm_build_relu(b, x);
        index++;
    }
    x = pm_build_avgpool_to(b, x, 7, 7);
    x = pm_build_relu(b, pm_build_linear(b, x, "classifier.0", (size_t)512 * 7 * 7, 4096));
    x = pm_build_relu(b, pm_build_linear(b, x, "classifier.3", 4096, 4096));
    return pm_build_linear(b, x, "classifier.6", 4096, classes);
}

/* Convolutions in the upper half of `features`, counted in modules. */
static bool hooks(const pm_arch *arch, const char *conv) {
    const pm_vgg_variant *variant = arch->variant;
    size_t modules = 0;
    for (const char *step = variant->plan; *step; step++)
        modules += *step == 'M' ? 1u : variant->batchnorm ? 3u : 2u;
    return strtoul(conv + strlen("features."), NULL, 10) >= modules / 2;
}

const pm_family pm_family_vgg = {.head = "classifier.6", .build = build, .hooks = hooks};
