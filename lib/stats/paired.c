/* Owns the paired t-test and the interval of a mean. */
#include "lib/stats/paired.h"

#include <gsl/gsl_cdf.h>
#include <math.h>

#include "lib/stats/ttest.h"

static double standard_error(const pm_moments *moments) {
    return pm_moments_std(moments) / sqrt((double)moments->count);
}

double pm_ci95(const pm_moments *moments) {
    if (moments->count < 2) return NAN;
    return gsl_cdf_tdist_Pinv(0.975, (double)(moments->count - 1)) * standard_error(moments);
}

pm_paired pm_paired_test(const pm_moments *differences) {
    pm_paired out = {.n = differences->count, .mean = NAN, .ci95 = NAN, .t = NAN, .p = 1};
    if (differences->count) out.mean = differences->mean;
    if (differences->count < 2) return out;
    out.ci95 = pm_ci95(differences);
    if (!(differences->m2 > 0)) {
        if (differences->mean > 0 || differences->mean < 0) {
            out.t = differences->mean > 0 ? INFINITY : -INFINITY;
            out.p = 0;
        }
        return out;
    }
    out.t = differences->mean / standard_error(differences);
    out.p = fmin(1, 2 * pm_t_upper_tail(fabs(out.t), (double)(differences->count - 1)));
    return out;
}
