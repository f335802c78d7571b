/* Rank correlation. Source: Spearman, American Journal of Psychology 15 (1904). */
#ifndef PM_STATS_RANKS_H
#define PM_STATS_RANKS_H

#include <stddef.h>

#include "lib/base/status.h"

/* Spearman's correlation of a [n] and b [n]: that of their ranks, equal values sharing the mean of
 * theirs. -1 to 1. *out = NAN where there is none: n below two, or all values of a or of b equal.
 * PM_E_USAGE for a NaN in a or b, which has no rank; PM_E_MEMORY. */
pm_status pm_spearman(const float *a, const float *b, size_t n, double *out);

#endif
