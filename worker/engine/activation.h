/* What a value passes through at the end of a group: named once for fusion, plan and kernels. */
#ifndef PM_ENGINE_ACTIVATION_H
#define PM_ENGINE_ACTIVATION_H

#include <stdbool.h>
#include <stdlib.h>

typedef enum pm_activation {
    PM_ACTIVATION_NONE,
    PM_ACTIVATION_RELU,    /* max(v, 0) */
    PM_ACTIVATION_RELU6,   /* min(max(v, 0), 6) */
    PM_ACTIVATION_SILU,    /* v / (1 + exp(-v)) */
    PM_ACTIVATION_SIGMOID, /* 1 / (1 + exp(-v)) */
    PM_ACTIVATION_GELU,    /* v Phi(v), Phi the normal distribution */
} pm_activation;

/* Whether its derivative takes more values than 0 and 1, so that a bit does not hold it. */
static inline bool pm_activation_is_smooth(pm_activation activation) {
    switch (activation) {
    case PM_ACTIVATION_NONE:
    case PM_ACTIVATION_RELU:
    case PM_ACTIVATION_RELU6: return false;
    case PM_ACTIVATION_SILU:
    case PM_ACTIVATION_SIGMOID:
    case PM_ACTIVATION_GELU: return true;
    }
    abort();
}

#endif
