/* Owns the Gaussian filter. Not libvips': its mask is made with libm's exp, whose bits differ
 * between CPUs, and every number here must not. */
#include "lib/image/gauss.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/real.h"

typedef struct filter {
    size_t reach;
    double *weights; /* [reach + 1], of distance 0 and on; both sides sum to 1 */
} filter;

static pm_status filter_init(filter *out, double sigma) {
    size_t reach = (size_t)(4.0 * sigma + 0.5);
    double *weights = malloc((reach + 1) * sizeof *weights);
    if (!weights) return pm_fail(PM_E_MEMORY, "no memory for a blur of %g pixels", sigma);
    double sum = 0.0;
    for (size_t d = reach + 1; d-- > 0;) {
        weights[d] = pm_real_exp(-0.5 * (double)(d * d) / (sigma * sigma));
        sum += d ? 2.0 * weights[d] : weights[d];
    }
    for (size_t d = 0; d <= reach; d++) weights[d] /= sum;
    *out = (filter){reach, weights};
    return PM_OK;
}

/* One distance of the filter: both neighbours at once. */
static void add_pair(double *restrict out, const double *before, const double *after, double weight,
                     size_t count) {
    for (size_t i = 0; i < count; i++) out[i] += weight * (before[i] + after[i]);
}

static void filter_down(const double *in, size_t width, size_t height, const filter *f,
                        double *out) {
    for (size_t y = 0; y < height; y++) {
        double *row = out + y * width;
        for (size_t x = 0; x < width; x++) row[x] = f->weights[0] * in[y * width + x];
        for (size_t d = 1; d <= f->reach; d++) {
            size_t above = y > d ? y - d : 0;
            size_t below = d < height - y ? y + d : height - 1;
            add_pair(row, in + above * width, in + below * width, f->weights[d], width);
        }
    }
}

/* padded: [reach + width + reach], a scratch. */
static void filter_across(const double *in, size_t width, size_t height, const filter *f,
                          double *padded, double *out) {
    double *middle = padded + f->reach;
    for (size_t y = 0; y < height; y++) {
        double *row = out + y * width;
        memcpy(middle, in + y * width, width * sizeof *middle);
        for (size_t i = 0; i < f->reach; i++) {
            padded[i] = middle[0];
            middle[width + i] = middle[width - 1];
        }
        for (size_t x = 0; x < width; x++) row[x] = f->weights[0] * middle[x];
        for (size_t d = 1; d <= f->reach; d++)
            add_pair(row, middle - d, middle + d, f->weights[d], width);
    }
}

pm_status pm_gauss_filter(double *plane, size_t width, size_t height, double sigma) {
    filter f = {0};
    pm_status status = filter_init(&f, sigma);
    if (status) return status;
    double *between = malloc(width * height * sizeof *between);
    double *padded = malloc((width + 2 * f.reach) * sizeof *padded);
    if (between && padded) {
        filter_down(plane, width, height, &f, between);
        filter_across(between, width, height, &f, padded, plane);
    } else {
        status = pm_fail(PM_E_MEMORY, "no memory for a blur of %zu x %zu pixels", width, height);
    }
    free(between);
    free(padded);
    free(f.weights);
    return status;
}
