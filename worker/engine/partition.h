/* ParchGrad's rule apart from any layout: which channels are H, and by what factors H and L are
 * scaled. Shared by the oracle and the fast engine, so that the rule stands once.
 * Source: docs/ARCHITECTURE.md, "ParchGrad, exactly". */
#ifndef PM_ENGINE_PARTITION_H
#define PM_ENGINE_PARTITION_H

#include "parchgrad.h"

/* The configuration as the engine reads it. */
struct pm_configuration {
    uint64_t serial; /* of all that this process has made; an address may come again */
    pm_attribution attribution;
    const pm_model *model;
    const pm_statistics *statistics; /* NULL for mask off */
    size_t hook_count;
    size_t *hooks; /* [hook_count] ascending conv indices */
    int *hook_of;  /* [conv_count] index into hooks, or -1 */
    int cam_conv;  /* gradcam at a convolution's raw output: which; -1: at what the last pooling
                      reads */
};

/* Resolve "default", "ratio:R" or names and globs into hooked[conv_count]. PM_E_USAGE. */
pm_status pm_layers_select(const pm_model *model, const char *layers, bool *hooked);

/* For mask ins: activations [channels] of one hooked convolution become z = (a - mean) / std, NaN
 * where std is 0. */
void pm_partition_score(const pm_configuration *configuration, size_t conv, double *values);

/* H of one hooked convolution: in_h[channels]; returns |H| in *selected. For mask cls of class
 * `target`; for ins of the scores z[channels] (else NULL). PM_E_NOT_FOUND: no p-values of the
 * class. */
pm_status pm_partition_select(const pm_configuration *configuration, size_t conv, size_t target,
                              const double *z, uint8_t *in_h, size_t *selected);

/* What was measured of the gradient: M = spread(S_H), N = spread(S_L), both with 1e-13 added, and
 * V0 = spread of the sum over all channels with 1e-13 added. */
typedef struct pm_partition_scales {
    double beta, scale_h, scale_l;
} pm_partition_scales;

/* Scales for the inexact rules; H and L are both non-empty. For `exact` scale_h = gamma_hat,
 * scale_l = 1 come back, and the caller multiplies both by sqrt(V0/V1), V1 measured after. */
pm_partition_scales pm_partition_scale(const pm_attribution *attribution, double m, double n);

#endif
