/* Owns the resize: Pillow's antialiased bilinear and bicubic to the last bit. Weights are computed
 * in double, brought to fixed point with 22 bits, and applied in two passes with rounding to 8 bits
 * after each (libImaging, Resample.c, of Pillow 2.7 and later). Knows no libvips. */
#include "lib/image/resample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* 8 bits of sample and 2 of headroom for the negative lobes, of 32. */
enum { FRACTION_BITS = 32 - 8 - 2 };

/* Output sample i is the sum of weights[i * taps .. + count[i]] over inputs first[i] and on. */
typedef struct weights {
    size_t taps;
    size_t *first, *count; /* [outputs] */
    int32_t *fixed;        /* [outputs][taps] */
} weights;

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Keys' cubic, a = -1/2. The order of operations is Pillow's: it decides the last bit. */
static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static void weights_fini(weights *w) {
    free(w->first);
    free(w->count);
    free(w->fixed);
    *w = (weights){0};
}

static int32_t to_fixed(double value) {
    double scaled = value * (1 << FRACTION_BITS);
    return (int32_t)(value < 0 ? scaled - 0.5 : scaled + 0.5);
}

/* One output sample's weights: normalised in double, then fixed. scratch: [taps]. */
static void fill_weights(weights *w, size_t i, size_t sample, size_t in_size, double scale,
                         pm_filter filter, double *scratch) {
    double stretch = scale < 1.0 ? 1.0 : scale;
    double support = (filter == PM_FILTER_BICUBIC ? 2.0 : 1.0) * stretch;
    double inverse = 1.0 / stretch;
    double centre = ((double)sample + 0.5) * scale;
    double low = centre - support + 0.5, high = centre + support + 0.5;
    size_t first = low < 0 ? 0 : (size_t)low;
    size_t end = (size_t)high;
    if (end > in_size) end = in_size;
    double sum = 0.0;
    for (size_t k = 0; k < end - first; k++) {
        double x = ((double)(k + first) - centre + 0.5) * inverse;
        scratch[k] = filter == PM_FILTER_BICUBIC ? bicubic(x) : bilinear(x);
        sum += scratch[k];
    }
    w->first[i] = first;
    w->count[i] = end - first;
    for (size_t k = 0; k < end - first; k++)
        w->fixed[i * w->taps + k] = to_fixed(sum != 0.0 ? scratch[k] / sum : scratch[k]);
}

/* Weights of outputs from .. from + count - 1 of out_size. */
static pm_status weights_init(weights *out, size_t in_size, size_t out_size, size_t from,
                              size_t count, pm_filter filter) {
    weights w = {0};
    double scale = (double)in_size / (double)out_size;
    double support = (filter == PM_FILTER_BICUBIC ? 2.0 : 1.0) * (scale < 1.0 ? 1.0 : scale);
    w.taps = (size_t)ceil(support) * 2 + 1;
    double *scratch = malloc(w.taps * sizeof *scratch);
    w.first = calloc(count, sizeof *w.first);
    w.count = calloc(count, sizeof *w.count);
    w.fixed = calloc(count * w.taps, sizeof *w.fixed);
    if (!scratch || !w.first || !w.count || !w.fixed) {
        free(scratch);
        weights_fini(&w);
        return pm_fail(PM_E_MEMORY, "no memory for a resize to %zu pixels", out_size);
    }
    for (size_t i = 0; i < count; i++)
        fill_weights(&w, i, from + i, in_size, scale, filter, scratch);
    free(scratch);
    *out = w;
    return PM_OK;
}

static uint8_t to_sample(int32_t sum) {
    int32_t value = sum >> FRACTION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* in: a row of RGB; out: [count][3]. */
static void row_across(const uint8_t *in, const weights *w, size_t count, uint8_t *out) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t *pixel = in + w->first[i] * 3;
        const int32_t *weight = w->fixed + i * w->taps;
        int32_t r = 1 << (FRACTION_BITS - 1), g = r, b = r;
        for (size_t k = 0; k < w->count[i]; k++, pixel += 3) {
            r += pixel[0] * weight[k];
            g += pixel[1] * weight[k];
            b += pixel[2] * weight[k];
        }
        out[i * 3] = to_sample(r);
        out[i * 3 + 1] = to_sample(g);
        out[i * 3 + 2] = to_sample(b);
    }
}

/* The sum of `count` rows, each `stride` bytes apart; sums: [samples], a scratch that stays in the
 * first cache. */
static void rows_down(const uint8_t *in, size_t stride, const int32_t *weight, size_t count,
                      size_t samples, int32_t *restrict sums, uint8_t *restrict out) {
    for (size_t i = 0; i < samples; i++) sums[i] = 1 << (FRACTION_BITS - 1);
    for (size_t k = 0; k < count; k++) {
        const uint8_t *restrict row = in + k * stride;
        int32_t factor = weight[k];
        for (size_t i = 0; i < samples; i++) sums[i] += row[i] * factor;
    }
    for (size_t i = 0; i < samples; i++) out[i] = to_sample(sums[i]);
}

/* Columns left .. left + region width of rows first .. first + rows, horizontally resampled. */
static pm_status pass_across(const pm_image *in, const pm_region *region, size_t first, size_t rows,
                             pm_filter filter, uint8_t *out) {
    size_t row_bytes = region->width * 3;
    if (region->full_width == in->width) {
        for (size_t y = 0; y < rows; y++)
            memcpy(out + y * row_bytes, in->rgb + ((first + y) * in->width + region->left) * 3,
                   row_bytes);
        return PM_OK;
    }
    weights w = {0};
    pm_status status =
        weights_init(&w, in->width, region->full_width, region->left, region->width, filter);
    if (status) return status;
    for (size_t y = 0; y < rows; y++)
        row_across(in->rgb + (first + y) * in->width * 3, &w, region->width, out + y * row_bytes);
    weights_fini(&w);
    return PM_OK;
}

static pm_status no_memory(const pm_region *region) {
    return pm_fail(PM_E_MEMORY, "no memory for a resize to %zu x %zu", region->full_width,
                   region->full_height);
}

pm_status pm_resample(const pm_image *in, const pm_region *region, pm_filter filter,
                      pm_image *out) {
    pm_image result = {region->width, region->height, NULL};
    size_t row_bytes = region->width * 3;
    weights w = {0};
    uint8_t *middle = NULL;
    int32_t *sums = NULL;
    pm_status status = PM_OK;
    result.rgb = malloc(row_bytes * region->height);
    if (!result.rgb) return no_memory(region);
    if (region->full_height == in->height) {
        status = pass_across(in, region, region->top, region->height, filter, result.rgb);
        if (status) goto fail;
        *out = result;
        return PM_OK;
    }
    status = weights_init(&w, in->height, region->full_height, region->top, region->height, filter);
    if (status) goto fail;
    /* Only rows that the second pass reads go through the first. */
    size_t first = w.first[0];
    size_t end = w.first[region->height - 1] + w.count[region->height - 1];
    middle = malloc((end - first) * row_bytes);
    sums = malloc(row_bytes * sizeof *sums);
    if (!middle || !sums) {
        status = no_memory(region);
        goto fail;
    }
    status = pass_across(in, region, first, end - first, filter, middle);
    if (status) goto fail;
    for (size_t y = 0; y < region->height; y++)
        rows_down(middle + (w.first[y] - first) * row_bytes, row_bytes, w.fixed + y * w.taps,
                  w.count[y], row_bytes, sums, result.rgb + y * row_bytes);
    free(middle);
    free(sums);
    weights_fini(&w);
    *out = result;
    return PM_OK;
fail:
    free(middle);
    free(sums);
    weights_fini(&w);
    pm_image_fini(&result);
    return status;
}
