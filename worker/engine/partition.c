/* Owns ParchGrad's rule: the choice of H and the two factors. Knows no layout and no precision of
 * the gradient. Source: docs/ARCHITECTURE.md, "ParchGrad, exactly". */
#include "worker/engine/partition.h"

#include <math.h>
#include <string.h>

#include "worker/engine/model.h"
#include "worker/engine/statistics.h"

static uint32_t bits_of(float p) {
    uint32_t bits;
    memcpy(&bits, &p, sizeof bits);
    return bits;
}

/* The k-th smallest (k from 1) of count values in [+0, 1]: their bits are ordered as they are, so
 * bisecting on bits needs no memory and finds the value itself. p: [count] */
static float kth_smallest(const float *p, size_t count, size_t k) {
    uint32_t low = 0, high = bits_of(1.0f);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        size_t below = 0;
        for (size_t i = 0; i < count; i++) below += bits_of(p[i]) <= middle;
        if (below >= k)
            high = middle;
        else
            low = middle + 1;
    }
    float value;
    memcpy(&value, &low, sizeof value);
    return value;
}

static float alpha_of(const pm_attribution *attribution, const float *p, size_t count) {
    switch (attribution->threshold_kind) {
    case PM_THRESHOLD_ALPHA: return (float)attribution->threshold;
    case PM_THRESHOLD_QUANTILE: break;
    }
    size_t k = (size_t)((double)count * attribution->threshold);
    return kth_smallest(p, count, k ? k : 1);
}

pm_status pm_partition_select(const pm_configuration *configuration, size_t conv, size_t target,
                              uint8_t *in_h, size_t *selected) {
    const pm_attribution *attribution = &configuration->attribution;
    size_t count = configuration->model->graph->convs[conv].channels, hits = 0;
    if (attribution->mask == PM_MASK_CLS) {
        const float *p, *shapiro = pm_statistics_shapiro(configuration->statistics, conv);
        pm_status status =
            pm_statistics_class(configuration->statistics, conv, attribution->test, target, &p);
        if (status) return status;
        /* Both thresholds are compared in float32, as the p-values are. */
        float alpha = alpha_of(attribution, p, count);
        float t = (float)attribution->p_value_threshold;
        for (size_t c = 0; c < count; c++) {
            in_h[c] = p[c] <= alpha && shapiro[c] < t;
            hits += in_h[c];
        }
    }
    if (hits == 0) { /* mask off, or nobody passed: H is everything */
        memset(in_h, 1, count);
        hits = count;
    }
    *selected = hits;
    return PM_OK;
}

pm_partition_scales pm_partition_scale(const pm_attribution *attribution, double m, double n) {
    bool conserve = attribution->variance_conservation;
    if (isinf(attribution->gamma)) {
        double beta = conserve ? sqrt((m + n) / m) : 1;
        return (pm_partition_scales){.beta = beta, .scale_h = beta, .scale_l = 0};
    }
    double gamma_hat = attribution->gamma * sqrt(n / m);
    if (attribution->exact)
        return (pm_partition_scales){.beta = 1, .scale_h = gamma_hat, .scale_l = 1};
    double beta = conserve ? sqrt((m + n) / (m * gamma_hat * gamma_hat + n)) : 1;
    return (pm_partition_scales){.beta = beta, .scale_h = gamma_hat * beta, .scale_l = beta};
}
