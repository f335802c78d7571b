/* The vectors of the experiment gradient-sum, and how their sums lie. Inside tools/experiment.
 *
 * H: few vectors, tall in v; L: many small ones. Drawn as u of H, v of H, u of L, v of L, each from
 * NumPy's legacy generator: with seed 21 and the uniform distribution the sums are the published
 * ones (docs/EXPERIMENTS.md). */
#ifndef PM_TOOLS_EXPERIMENT_GRADIENT_SUM_H
#define PM_TOOLS_EXPERIMENT_GRADIENT_SUM_H

#include "lib/base/text.h"
#include "lib/stats/mt19937.h"

typedef enum pm_spread {
    PM_SPREAD_UNIFORM, /* H in +-0.05 x +-0.5, L in +-0.05 x +-0.05: the published code */
    PM_SPREAD_NORMAL,  /* standard deviations H (0.1, 1), L (0.1, 0.1): the text */
    PM_SPREAD_COUNT
} pm_spread;

const char *pm_spread_name(pm_spread spread);

enum { PM_GRADIENT_H = 10, PM_GRADIENT_L = 100, PM_GRADIENT_L_MAX = 1000 };

typedef struct pm_vectors {
    size_t l_count;
    double h_u[PM_GRADIENT_H], h_v[PM_GRADIENT_H];
    double l_u[PM_GRADIENT_L_MAX], l_v[PM_GRADIENT_L_MAX];
} pm_vectors;

/* l_count up to PM_GRADIENT_L_MAX. */
void pm_vectors_draw(pm_mt *generator, pm_spread spread, size_t l_count, pm_vectors *out);

typedef struct pm_sums {
    double h_u, h_v, l_u, l_v;
} pm_sums;

/* Of H and of the first l_count of L. */
pm_sums pm_vectors_sum(const pm_vectors *vectors, size_t l_count);
/* Degrees between the sum of H and that of all, 0 .. 180. */
double pm_sums_angle(const pm_sums *sums);

enum { PM_GRADIENT_DRAWS = 10000, PM_GRADIENT_BINS = 36, PM_GRADIENT_STEPS = 41 };

/* Everything that one distribution's files are made of. */
typedef struct pm_gradient {
    pm_spread spread;
    uint32_t seed;
    pm_vectors first; /* the first draw, the one of the figure */
    pm_sums sums;
    double angle;
    double edges[PM_GRADIENT_BINS + 1], counts[PM_GRADIENT_BINS]; /* of all draws, |L| = 100 */
    double mean, median, beyond;                                  /* share of angles above 45 */
    /* By |L|, 0 .. 1000 */
    double l[PM_GRADIENT_STEPS], means[PM_GRADIENT_STEPS], medians[PM_GRADIENT_STEPS];
} pm_gradient;

/* Draw and count. PM_E_MEMORY. */
pm_status pm_gradient_compute(pm_spread spread, uint32_t seed, pm_gradient *out);
/* Write its data and figures into dir; `say`: with a line for each. */
pm_status pm_gradient_write(const pm_gradient *of, const char *dir, bool say);

#endif
