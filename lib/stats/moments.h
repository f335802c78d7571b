/* Count, mean, second moment and range of a stream, mergeable in any order.
 * Source: Welford, Technometrics 4 (1962); merging: Chan, Golub, LeVeque, COMPSTAT 1982. */
#ifndef PM_STATS_MOMENTS_H
#define PM_STATS_MOMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pm_moments {
    uint64_t count;
    uint64_t selected; /* how many of them were marked */
    double mean;
    double m2; /* sum of squared distances from the mean */
    double min, max;
} pm_moments;

/* All zero is empty. */
void pm_moments_add(pm_moments *moments, double value, bool selected);
void pm_moments_merge(pm_moments *into, const pm_moments *other);
/* Each class against all others: rest[k] = all of `classes` but k, of which there are `count`.
 * Merged, never the total less one: that difference has no digits left where one class dominates.
 * In fixed order: those before k from the first on, then those after k from the last on. */
void pm_moments_rest(const pm_moments *classes, size_t count, pm_moments *rest);
/* Sample standard deviation (n - 1); NAN below two values. */
double pm_moments_std(const pm_moments *moments);

#endif
