/* Shapiro-Wilk test of normality: W and its p-value.
 * Source: Royston, algorithm AS R94, Applied Statistics 44 (1995), for complete samples.
 *
 * All in double. Published programs in single precision differ from it through their own rounding:
 * SciPy 1.10 by 1e-6 at 12 values, 1e-3 of p at 2,000, 15 percent at 20,000. */
#ifndef PM_STATS_SHAPIRO_H
#define PM_STATS_SHAPIRO_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/status.h"

typedef struct pm_shapiro {
    double w;         /* 0 to 1, 1 is a straight normal plot */
    double p;         /* 0 to 1, small: not normal */
    bool approximate; /* more than 5,000 values: p is beyond the range it was fitted for */
} pm_shapiro;

/* What depends on the number of values alone. Made once, read by any number of threads. */
typedef struct pm_shapiro_plan pm_shapiro_plan;

/* PM_E_USAGE below three values, PM_E_MEMORY. */
pm_status pm_shapiro_plan_new(size_t n, pm_shapiro_plan **out);
void pm_shapiro_plan_free(pm_shapiro_plan **plan);

/* sorted [n of the plan], ascending and finite, else PM_E_USAGE. Allocates nothing. Equal values
 * have no shape to judge: w = 1, p = 1. */
pm_status pm_shapiro_run(const pm_shapiro_plan *plan, const float *sorted, pm_shapiro *out);

/* The same for one sample, with a plan of its own. */
pm_status pm_shapiro_wilk(const float *sorted, size_t n, pm_shapiro *out);

#endif
