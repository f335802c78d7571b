/* One-sided t-test of two samples given by their moments.
 * Source: Student, Biometrika 6 (1908), pooled; Welch, Biometrika 34 (1947), with the degrees of
 * freedom of Satterthwaite, Biometrics Bulletin 2 (1946). */
#ifndef PM_STATS_TTEST_H
#define PM_STATS_TTEST_H

#include <stdbool.h>

#include "lib/stats/moments.h"

/* p of "the mean of a is not greater than that of b": small where a's mean is greater. welch: each
 * sample has a variance of its own, else they share one. 1 where there is nothing to judge by:
 * fewer than two values in a or in b, or no spread in either (SciPy says NaN, or 0 when two
 * constants differ). */
double pm_t_test_greater(const pm_moments *a, const pm_moments *b, bool welch);

/* P(T > t), t >= 0 or not, of Student's distribution with df degrees of freedom, to 1e-10 relative
 * down to the smallest double. */
double pm_t_upper_tail(double t, double df);

#endif
