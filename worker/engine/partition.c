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

/* A channel passes where its Shapiro-Wilk p is below t, in float32 as the p-values are. */
static bool not_normal(const pm_configuration *c, const float *shapiro, size_t channel) {
    return shapiro[channel] < (float)c->attribution.p_value_threshold;
}

static pm_status select_by_class(const pm_configuration *c, size_t conv, size_t target,
                                 uint8_t *in_h, size_t *selected) {
    const size_t count = c->model->graph->convs[conv].channels;
    const float *p, *shapiro = pm_statistics_shapiro(c->statistics, conv);
    pm_status status = pm_statistics_class(c->statistics, conv, c->attribution.test, target, &p);
    if (status) return status;
    float alpha = alpha_of(&c->attribution, p, count);
    size_t hits = 0;
    for (size_t i = 0; i < count; i++) hits += in_h[i] = p[i] <= alpha && not_normal(c, shapiro, i);
    if (hits == 0) { /* nobody passed: H is everything */
        memset(in_h, 1, count);
        hits = count;
    }
    *selected = hits;
    return PM_OK;
}

/* ---- mask ins ---- */

void pm_partition_score(const pm_configuration *c, size_t conv, double *values) {
    const float *mean = pm_statistics_mean(c->statistics, conv);
    const float *std = pm_statistics_std(c->statistics, conv);
    for (size_t i = 0; i < c->model->graph->convs[conv].channels; i++)
        values[i] = std[i] > 0 ? (values[i] - (double)mean[i]) / (double)std[i] : (double)NAN;
}

/* Ordered as -z is, a NaN behind everything. */
static uint64_t key_of(double z) {
    if (isnan(z)) return UINT64_MAX;
    const double value = -z + 0.0; /* -0 is 0 */
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

/* A bound above the keys that are smaller than the k-th smallest (k from 1) and not above that, by
 * bisection as above; it ends early, as soon as a bound parts them. z: [count] */
static uint64_t limit_key(const double *z, size_t count, size_t k) {
    uint64_t low = 0, high = UINT64_MAX;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        size_t below = 0;
        for (size_t i = 0; i < count; i++) below += key_of(z[i]) <= middle;
        if (below == k - 1) return middle + 1;
        if (below >= k)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* 1 - Phi(z) */
static double upper_tail(double z) { return 0.5 * erfc(z / sqrt(2.0)); }

/* By rank strictly: tails that underflow to 0 would tie. */
static size_t select_by_score(const pm_configuration *c, size_t conv, const double *z,
                              uint8_t *in_h) {
    const pm_attribution *a = &c->attribution;
    const size_t count = c->model->graph->convs[conv].channels;
    const float *shapiro = pm_statistics_shapiro(c->statistics, conv);
    const bool rank = a->threshold_kind == PM_THRESHOLD_QUANTILE;
    const size_t k = (size_t)((double)count * a->threshold);
    const uint64_t limit = rank ? limit_key(z, count, k ? k : 1) : 0;
    size_t hits = 0;
    for (size_t i = 0; i < count; i++) {
        bool in = rank ? key_of(z[i]) < limit : upper_tail(z[i]) < a->threshold;
        hits += in_h[i] = in && not_normal(c, shapiro, i);
    }
    return hits;
}

pm_status pm_partition_select(const pm_configuration *configuration, size_t conv, size_t target,
                              const double *z, uint8_t *in_h, size_t *selected) {
    switch (configuration->attribution.mask) {
    case PM_MASK_CLS: return select_by_class(configuration, conv, target, in_h, selected);
    case PM_MASK_INS: *selected = select_by_score(configuration, conv, z, in_h); return PM_OK;
    case PM_MASK_OFF:
    case PM_MASK_COUNT: break;
    }
    *selected = configuration->model->graph->convs[conv].channels;
    memset(in_h, 1, *selected);
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
