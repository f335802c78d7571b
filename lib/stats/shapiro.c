/* Owns the Shapiro-Wilk test. Sorting is the caller's. */
#include "lib/stats/shapiro.h"

#include <gsl/gsl_cdf.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { FITTED_MAX = 5000 };

struct pm_shapiro_plan {
    size_t n;
    double sum_squares;    /* of all n weights */
    double center, spread; /* of the transformed W under normality (n > 3) */
    double a[];            /* the n / 2 positive weights, outermost first: a[i] weighs
                              x[n - 1 - i] - x[i] */
};

static double polynomial(const double *coefficients, size_t count, double x) {
    double sum = 0;
    for (size_t i = count; i-- > 0;) sum = sum * x + coefficients[i];
    return sum;
}
#define POLYNOMIAL(c, x) polynomial(c, sizeof(c) / sizeof *(c), x)

/* The outer weights by Royston's polynomials in 1/sqrt(n), the others in proportion to Blom's
 * normal scores, so that the squares of all sum to 1. */
static void fill_weights(double *a, size_t n) {
    static const double outer[] = {0, 0.221157, -0.147981, -2.07119, 4.434685, -2.706056};
    static const double next[] = {0, 0.042981, -0.293762, -1.752461, 5.682633, -3.582633};
    size_t half = n / 2;
    if (n == 3) {
        a[0] = sqrt(0.5);
        return;
    }
    double squares = 0;
    for (size_t i = 0; i < half; i++) {
        a[i] = -gsl_cdf_ugaussian_Pinv(((double)i + 0.625) / ((double)n + 0.25));
        squares += 2 * a[i] * a[i];
    }
    double norm = sqrt(squares), root = 1 / sqrt((double)n), left = 1;
    size_t fitted = n > 5 ? 2 : 1;
    for (size_t i = 0; i < fitted; i++) {
        double weight = a[i] / norm + (i == 0 ? POLYNOMIAL(outer, root) : POLYNOMIAL(next, root));
        squares -= 2 * a[i] * a[i];
        left -= 2 * weight * weight;
        a[i] = weight;
    }
    double scale = sqrt(squares / left);
    for (size_t i = fitted; i < half; i++) a[i] /= scale;
}

/* Mean and deviation of the transformed W of normal samples: see p_value. */
static void fill_null(pm_shapiro_plan *plan) {
    static const double small_center[] = {0.5440, -0.39978, 0.025054, -6.714e-4};
    static const double small_spread[] = {1.3822, -0.77857, 0.062767, -0.0020322};
    static const double large_center[] = {-1.5861, -0.31082, -0.083751, 0.0038915};
    static const double large_spread[] = {-0.4803, -0.082676, 0.0030302};
    double n = (double)plan->n, log_n = log(n);
    if (plan->n <= 11) {
        plan->center = POLYNOMIAL(small_center, n);
        plan->spread = exp(POLYNOMIAL(small_spread, n));
    } else {
        plan->center = POLYNOMIAL(large_center, log_n);
        plan->spread = exp(POLYNOMIAL(large_spread, log_n));
    }
}

pm_status pm_shapiro_plan_new(size_t n, pm_shapiro_plan **out) {
    if (n < 3)
        return pm_fail(PM_E_USAGE, "the Shapiro-Wilk test needs three values or more, got %zu", n);
    if (n > SIZE_MAX / sizeof(double)) return pm_fail(PM_E_MEMORY, "out of memory");
    pm_shapiro_plan *plan = malloc(sizeof *plan + n / 2 * sizeof *plan->a);
    if (!plan) return pm_fail(PM_E_MEMORY, "out of memory");
    *plan = (pm_shapiro_plan){.n = n};
    fill_weights(plan->a, n);
    for (size_t i = 0; i < n / 2; i++) plan->sum_squares += 2 * plan->a[i] * plan->a[i];
    if (n > 3) fill_null(plan);
    *out = plan;
    return PM_OK;
}

void pm_shapiro_plan_free(pm_shapiro_plan **plan) {
    free(*plan);
    *plan = NULL;
}

static bool is_ascending(const float *values, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (!(values[i - 1] <= values[i])) return false;
    return isfinite(values[0]) && isfinite(values[n - 1]);
}

static double median(const float *sorted, size_t n) {
    return ((double)sorted[(n - 1) / 2] + (double)sorted[n / 2]) / 2;
}

/* W is the squared correlation of the values with the weights, so 1 - W is the share of the squares
 * that a straight line through the normal plot leaves over. Summed as such, and not as a difference
 * from 1, it keeps its digits where W is close to 1. The median comes off first: it spares the mean
 * from adding up values that are large beside their spread. */
static double one_minus_w(const pm_shapiro_plan *plan, const float *sorted) {
    size_t n = plan->n, half = n / 2;
    double middle = median(sorted, n), mean = 0, squares = 0, slope = 0, left = 0;
    for (size_t i = 0; i < n; i++) mean += (double)sorted[i] - middle;
    mean /= (double)n;
    for (size_t i = 0; i < half; i++)
        slope += plan->a[i] * ((double)sorted[n - 1 - i] - (double)sorted[i]);
    slope /= plan->sum_squares;
    for (size_t i = 0; i < n; i++) {
        double weight = 0;
        if (i < half) weight = -plan->a[i];
        if (i >= n - half) weight = plan->a[n - 1 - i];
        double off = (double)sorted[i] - middle - mean, residual = off - slope * weight;
        squares += off * off;
        left += residual * residual;
    }
    return left / squares;
}

/* Exact for three values. Else ln(1 - W), or -ln(gamma - ln(1 - W)) up to eleven values, is close
 * to normal. gamma > ln(1 - W) always: W is at least n a[0]^2 / (n - 1). */
static double p_value(const pm_shapiro_plan *plan, double rest) {
    if (plan->n == 3) return fmax(0, 6 / M_PI * (asin(sqrt(1 - rest)) - M_PI / 3));
    double y = log(rest);
    if (plan->n <= 11) y = -log(-2.273 + 0.459 * (double)plan->n - y);
    return gsl_cdf_ugaussian_Q((y - plan->center) / plan->spread);
}

pm_status pm_shapiro_run(const pm_shapiro_plan *plan, const float *sorted, pm_shapiro *out) {
    if (!is_ascending(sorted, plan->n))
        return pm_fail(PM_E_USAGE, "the Shapiro-Wilk test needs finite, ascending values");
    pm_shapiro test = {.w = 1, .p = 1, .approximate = plan->n > FITTED_MAX};
    if (sorted[0] < sorted[plan->n - 1]) {
        double rest = one_minus_w(plan, sorted);
        test.w = 1 - rest;
        test.p = p_value(plan, rest);
    }
    *out = test;
    return PM_OK;
}

pm_status pm_shapiro_wilk(const float *sorted, size_t n, pm_shapiro *out) {
    pm_shapiro_plan *plan = NULL;
    pm_status status = pm_shapiro_plan_new(n, &plan);
    if (status == PM_OK) status = pm_shapiro_run(plan, sorted, out);
    pm_shapiro_plan_free(&plan);
    return status;
}
