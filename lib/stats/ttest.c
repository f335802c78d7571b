/* Owns the two-sample t-test. */
#include "lib/stats/ttest.h"

#include <gsl/gsl_cdf.h>
#include <math.h>

/* GSL takes a Cornish-Fisher expansion for df above 30, whose tail is off by 1e-7 there and by less
 * than 1e-13 only from some thousands on; the beta function holds in the tail, and loses digits as
 * df grows. So: beta for tails of moderate df. */
double pm_t_upper_tail(double t, double df) {
    if (t <= 3 || df > 10000) return gsl_cdf_tdist_Q(t, df);
    return gsl_cdf_beta_P(df / (df + t * t), df / 2, 0.5) / 2;
}

double pm_t_test_greater(const pm_moments *a, const pm_moments *b, bool welch) {
    if (a->count < 2 || b->count < 2 || !(a->m2 + b->m2 > 0)) return 1;
    double na = (double)a->count, nb = (double)b->count, square, df;
    if (welch) {
        double sa = a->m2 / (na - 1) / na, sb = b->m2 / (nb - 1) / nb;
        square = sa + sb;
        double share = sa / square;
        df = 1 / (share * share / (na - 1) + (1 - share) * (1 - share) / (nb - 1));
    } else {
        df = na + nb - 2;
        square = (a->m2 + b->m2) / df * (1 / na + 1 / nb);
    }
    return pm_t_upper_tail((a->mean - b->mean) / sqrt(square), df);
}
