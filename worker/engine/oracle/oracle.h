/* The whole attribution by naive loops, in float or in double: what the fast engine is measured
 * against. Linked into tests only. It keeps every value and gradient of the graph in memory. */
#ifndef PM_ORACLE_H
#define PM_ORACLE_H

#include "worker/engine/partition.h"

/* As pm_layer_gradient, in double; m and n are NaN where nothing is partitioned. */
typedef struct pm_oracle_layer {
    size_t conv, channels, selected;
    bool partitioned;
    double m, n, beta, scale_h, scale_l;
    double variance_before, variance_after;
    double *channel_variance; /* [channels] */
    uint8_t *in_h;            /* [channels] */
} pm_oracle_layer;

typedef struct pm_oracle_result {
    int target, predicted;
    double p_target, p_predicted;
    size_t classes, height, width, layer_count;
    double *logits;          /* [classes] */
    double *heat_map;        /* [height][width] */
    pm_oracle_layer *layers; /* [layer_count] in hook order; of the last pass */
    double ig_sum, ig_expected;
} pm_oracle_result;

/* input [3][height][width], normalised. PM_E_USAGE, PM_E_NOT_FOUND (no statistics of the target),
 * PM_E_MEMORY. */
pm_status pm_oracle_attribute_f32(const pm_request *request, const float *input, size_t height,
                                  size_t width, pm_oracle_result **out);
pm_status pm_oracle_attribute_f64(const pm_request *request, const float *input, size_t height,
                                  size_t width, pm_oracle_result **out);
/* mean: [channels of all convolutions], density: [convolutions], logits: [classes], as
 * pm_activations has them. PM_E_USAGE, PM_E_MEMORY. */
pm_status pm_oracle_activations_f32(const pm_model *model, const float *input, size_t height,
                                    size_t width, double *mean, double *density, double *logits);
pm_status pm_oracle_activations_f64(const pm_model *model, const float *input, size_t height,
                                    size_t width, double *mean, double *density, double *logits);
void pm_oracle_result_free(pm_oracle_result **result);

#endif
