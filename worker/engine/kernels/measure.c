/* Owns: the sums over a convolution's output and over the gradient there that ParchGrad's rule and
 * the statistics need, in double and in a fixed order, and the scaling in place. */
#include "worker/engine/kernels/vec.h"

PM_INLINE dvec widen(const float *p) { return __builtin_convertvector(*(const half *)p, dvec); }

PM_INLINE double lanes_sum(dvec a, dvec b) {
    double sum = 0;
    for (int i = 0; i < PM_LANES / 2; i++) sum += a[i];
    for (int i = 0; i < PM_LANES / 2; i++) sum += b[i];
    return sum;
}

/* Sums over the channels of H and of the rest, pixel by pixel. */
static void sum_channels(const pm_measure *m, const float *weight_h) {
    for (size_t y = 0; y < m->height; y++)
        for (size_t x = 0; x < m->width; x++) {
            const float *p =
                m->delta.at + (ptrdiff_t)y * m->delta.row + (ptrdiff_t)x * m->delta.pixel;
            dvec h0 = {0}, h1 = {0}, l0 = {0}, l1 = {0};
            for (size_t b = 0; b < m->blocks; b++, p += m->delta.plane) {
                const float *w = weight_h + b * PM_LANES;
                dvec a0 = widen(p), a1 = widen(p + PM_LANES / 2);
                dvec s0 = a0 * widen(w), s1 = a1 * widen(w + PM_LANES / 2); /* by 0 or 1: exact */
                h0 += s0;
                h1 += s1;
                l0 += a0 - s0;
                l1 += a1 - s1;
            }
            m->sum_h[y * m->width + x] = lanes_sum(h0, h1);
            m->sum_l[y * m->width + x] = lanes_sum(l0, l1);
        }
}

/* Unbiased variance over space of each channel of one block: mean first, then deviations. */
static void channel_variances(const pm_measure *m, size_t block) {
    const float *plane = m->delta.at + (ptrdiff_t)block * m->delta.plane;
    const double pixels = (double)(m->height * m->width);
    dvec s0 = {0}, s1 = {0}, q0 = {0}, q1 = {0};
    for (size_t y = 0; y < m->height; y++) {
        const float *p = plane + (ptrdiff_t)y * m->delta.row;
        for (size_t x = 0; x < m->width; x++, p += m->delta.pixel) {
            s0 += widen(p);
            s1 += widen(p + PM_LANES / 2);
        }
    }
    s0 /= pixels;
    s1 /= pixels;
    for (size_t y = 0; y < m->height; y++) {
        const float *p = plane + (ptrdiff_t)y * m->delta.row;
        for (size_t x = 0; x < m->width; x++, p += m->delta.pixel) {
            dvec d0 = widen(p) - s0, d1 = widen(p + PM_LANES / 2) - s1;
            q0 += d0 * d0;
            q1 += d1 * d1;
        }
    }
    for (size_t i = 0; i < PM_LANES && block * PM_LANES + i < m->channels; i++) {
        double sum = i < PM_LANES / 2 ? q0[i] : q1[i - PM_LANES / 2];
        m->channel_variance[block * PM_LANES + i] = pixels > 1 ? (float)(sum / (pixels - 1)) : 0.0F;
    }
}

void PM_ISA_SYMBOL(pm_measure)(const pm_measure *m) {
    for (size_t b = 0; b < m->blocks && m->channel_variance != NULL; b++) channel_variances(m, b);
    sum_channels(m, m->weight_h);
}

void PM_ISA_SYMBOL(pm_scale)(const pm_measure *m, const float *factors) {
    for (size_t b = 0; b < m->blocks; b++) {
        vec factor = vec_load(factors + b * PM_LANES);
        for (size_t y = 0; y < m->height; y++) {
            float *p = m->delta.at + (ptrdiff_t)b * m->delta.plane + (ptrdiff_t)y * m->delta.row;
            for (size_t x = 0; x < m->width; x++, p += m->delta.pixel)
                vec_store(p, vec_load(p) * factor);
        }
    }
}

/* Where a > 0, b; else 0. */
PM_INLINE dvec where_positive(dvec a, dvec b) { return (dvec)((lvec)(a > (dvec){0}) & (lvec)b); }

static void activity_of_block(pm_activity *m, size_t block) {
    const float *plane = m->raw.at + (ptrdiff_t)block * m->raw.plane;
    const double pixels = (double)(m->height * m->width);
    const dvec one = (dvec){0} + 1.0;
    dvec s0 = {0}, s1 = {0}, n0 = {0}, n1 = {0};
    for (size_t y = 0; y < m->height; y++) {
        const float *p = plane + (ptrdiff_t)y * m->raw.row;
        for (size_t x = 0; x < m->width; x++, p += m->raw.pixel) {
            dvec a0 = widen(p), a1 = widen(p + PM_LANES / 2);
            s0 += where_positive(a0, a0);
            s1 += where_positive(a1, a1);
            n0 += where_positive(a0, one);
            n1 += where_positive(a1, one);
        }
    }
    for (size_t i = 0; i < PM_LANES && block * PM_LANES + i < m->channels; i++) {
        const bool low = i < PM_LANES / 2;
        m->mean[block * PM_LANES + i] = (float)((low ? s0[i] : s1[i - PM_LANES / 2]) / pixels);
        m->positive += (size_t)(low ? n0[i] : n1[i - PM_LANES / 2]);
    }
}

void PM_ISA_SYMBOL(pm_activity)(pm_activity *m) {
    m->positive = 0;
    for (size_t b = 0; b < m->blocks; b++) activity_of_block(m, b);
}
