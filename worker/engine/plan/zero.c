/* Owns what is remembered of the point where ig from zeros begins: it is the same for every image,
 * so a configuration's gradient for a class there is computed once, as long as it is among the last
 * ones used. Must not know paths. */
#include <string.h>

#include "worker/engine/partition.h"
#include "worker/engine/plan/context.h"

static size_t values_of(const pm_context *c) { return PM_RGB * c->plan.height * c->plan.width; }

const pm_zero *pm_context_find_zero(pm_context *c, const pm_job *job) {
    for (size_t i = 0; i < PM_JOBS; i++) {
        pm_zero *zero = &c->zeros[i];
        if (zero->configuration != job->configuration->serial || zero->target != job->target)
            continue;
        zero->used = ++c->zero_clock;
        return zero;
    }
    return NULL;
}

void pm_context_keep_zero(pm_context *c, const pm_job *job, double p, double logit) {
    size_t oldest = 0;
    if (pm_context_find_zero(c, job) != NULL) return;
    for (size_t i = 1; i < PM_JOBS; i++)
        if (c->zeros[i].used < c->zeros[oldest].used) oldest = i;
    float *gradient = c->zero_gradients + oldest * values_of(c);
    memcpy(gradient, c->gradient, values_of(c) * sizeof *gradient);
    c->zeros[oldest] = (pm_zero){.configuration = job->configuration->serial,
                                 .target = job->target,
                                 .used = ++c->zero_clock,
                                 .p = p,
                                 .logit = logit,
                                 .gradient = gradient};
}

void pm_context_forget_zeros(pm_context *c) { memset(c->zeros, 0, sizeof c->zeros); }
