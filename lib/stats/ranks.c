/* Owns ranks and their correlation. */
#include "lib/stats/ranks.h"

#include <math.h>
#include <stdlib.h>

typedef struct placed_value {
    float value;
    size_t index;
} placed_value;

static int by_value(const void *a, const void *b) {
    float x = ((const placed_value *)a)->value, y = ((const placed_value *)b)->value;
    return (x > y) - (x < y);
}

/* ranks[i] = twice the distance of the rank of values[i] from the mean rank: an integer, so that
 * sums of products are exact up to 300,000 values. `scratch` [n]. */
static void centered_ranks(const float *values, size_t n, placed_value *scratch, double *ranks) {
    for (size_t i = 0; i < n; i++) scratch[i] = (placed_value){values[i], i};
    qsort(scratch, n, sizeof *scratch, by_value);
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && scratch[end].value == scratch[first].value;) end++;
        double rank = (double)(first + end) - (double)n;
        for (size_t i = first; i < end; i++) ranks[scratch[i].index] = rank;
    }
}

static double correlation(const double *a, const double *b, size_t n) {
    double aa = 0, bb = 0, ab = 0;
    for (size_t i = 0; i < n; i++) {
        aa += a[i] * a[i];
        bb += b[i] * b[i];
        ab += a[i] * b[i];
    }
    if (!(aa > 0 && bb > 0)) return NAN;
    return fmax(-1, fmin(1, ab / sqrt(aa * bb)));
}

pm_status pm_spearman(const float *a, const float *b, size_t n, double *out) {
    for (size_t i = 0; i < n; i++)
        if (isnan(a[i]) || isnan(b[i]))
            return pm_fail(PM_E_USAGE, "rank correlation: value %zu is not a number", i);
    placed_value *scratch = calloc(n + 1, sizeof *scratch);
    double *ranks_a = calloc(n + 1, sizeof *ranks_a), *ranks_b = calloc(n + 1, sizeof *ranks_b);
    pm_status status = PM_OK;
    if (scratch && ranks_a && ranks_b) {
        centered_ranks(a, n, scratch, ranks_a);
        centered_ranks(b, n, scratch, ranks_b);
        *out = correlation(ranks_a, ranks_b, n);
    } else {
        status = pm_fail(PM_E_MEMORY, "out of memory");
    }
    free(ranks_b);
    free(ranks_a);
    free(scratch);
    return status;
}
