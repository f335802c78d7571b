/* A mean with its interval, and the paired t-test: is the mean of differences 0?
 * Source: Student, Biometrika 6 (1908). */
#ifndef PM_STATS_PAIRED_H
#define PM_STATS_PAIRED_H

#include "lib/stats/moments.h"

/* Half the width of the 95 % interval of the mean: t of n - 1 degrees of freedom at 0.975, times
 * the standard error. NAN below two values. */
double pm_ci95(const pm_moments *moments);

typedef struct pm_paired {
    uint64_t n;
    double mean; /* NAN without a value */
    double ci95; /* as pm_ci95 */
    double t;    /* mean over its standard error; NAN: below two values, or all of them 0; infinite
                    where all are equal and not 0 */
    double p;    /* two-sided, to 1e-10 relative; 1 where t is NAN, 0 where it is infinite */
} pm_paired;

/* Of the differences b - a of pairs. */
pm_paired pm_paired_test(const pm_moments *differences);

#endif
