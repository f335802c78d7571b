/* All that statistics say of one channel: mean, standard deviation, Shapiro-Wilk, and each class
 * against the rest. What the tests mean: shapiro.h, ttest.h. */
#ifndef PM_STATS_CHANNEL_H
#define PM_STATS_CHANNEL_H

#include "lib/stats/moments.h"
#include "lib/stats/shapiro.h"

/* Which class each value belongs to, and what depends on their number alone. Made once, read by
 * any number of threads. */
typedef struct pm_channel_plan pm_channel_plan;

/* column [n]: 0 .. class_count - 1, or -1 for a value in no class: it is left out of the class
 * tests, and of the rest as well. PM_E_USAGE without a value, PM_E_MEMORY. */
pm_status pm_channel_plan_new(const int *column, size_t n, size_t class_count,
                              pm_channel_plan **out);
void pm_channel_plan_free(pm_channel_plan **plan);

typedef struct pm_channel_summary {
    double mean;
    double std; /* n - 1; NAN below two values */
    double w;   /* Shapiro-Wilk; NAN below three values */
    double p;   /* of it; 1 below three values */
} pm_channel_summary;

/* Memory that one thread works in. */
typedef struct pm_channel_scratch pm_channel_scratch;
pm_status pm_channel_scratch_new(const pm_channel_plan *plan, pm_channel_scratch **out);
void pm_channel_scratch_free(pm_channel_scratch **scratch);

/* values [n of the plan], finite, else PM_E_USAGE. welch, student [class_count]: p of "not greater
 * in this class than in all others". The order of the values is part of the result's last bits. */
pm_status pm_channel_run(const pm_channel_plan *plan, pm_channel_scratch *scratch,
                         const float *values, pm_channel_summary *out, float *welch,
                         float *student);

#endif
