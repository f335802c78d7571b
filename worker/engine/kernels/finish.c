/* Owns: the epilogue, the one way in which kernels store. */
#include "worker/engine/kernels/normal.h"

enum { PM_GROUP = PM_LANES == 16 ? 4 : 2 }; /* pixels that stay in registers together */
/* Derivatives as floats come from far away, and go there: they are asked for so many pixels before
 * their turn. They lie without gaps, so behind a row is the next. */
enum { PM_AHEAD = 64 };

/* Where a strip's first pixel lies, and what is the same for all its pixels. */
typedef struct places {
    float *raw, *out, *scaled; /* NULL: absent */
    const float *add;
    mask_t *bits;
    vec *slopes;
    const mask_t *mask;
    const vec *slope;
    vec bias, scale, shift, factor, gradient_scale;
    ivec live; /* lanes of channels */
} places;

/* s = sigmoid(v) and 1 - s, neither of them by a difference: with e = exp(-v) they are 1 / (1 + e)
 * and e / (1 + e). v within PM_EXP_RANGE. */
PM_INLINE vec sigmoid_of(vec v, vec *rest) {
    const vec e = vec_exp(-v), s = 1.0F / (e + 1.0F);
    *rest = e * s;
    return s;
}

/* Below the range of exp the value is within 2e-36 of 0, and is kept there. */
PM_INLINE vec silu(vec v, vec *slope) {
    const vec low = vec_at_least(v, -PM_EXP_RANGE);
    vec rest;
    const vec s = sigmoid_of(vec_at_most(low, PM_EXP_RANGE), &rest), value = low * s;
    *slope = s + value * rest;
    return value;
}

PM_INLINE vec sigmoid(vec v, vec *slope) {
    vec rest;
    const vec s = sigmoid_of(vec_at_most(vec_at_least(v, -PM_EXP_RANGE), PM_EXP_RANGE), &rest);
    *slope = s * rest;
    return s;
}

/* The derivative is Phi(v) + v phi(v). */
PM_INLINE vec gelu(vec v, vec *slope) {
    const vec low = vec_at_least(v, -PM_NORMAL_RANGE);
    vec density;
    const vec share = vec_normal(low, &density);
    *slope = share + vec_at_most(low, PM_NORMAL_RANGE) * density;
    return low * share;
}

PM_INLINE vec positive(vec v) { return (vec)((ivec)(v > 0.0F) & (ivec)v); }

/* v: [n], pixels i .. i + n - 1 of the strip. */
PM_INLINE void activate(const pm_epilogue *e, const places *at, vec *v, ptrdiff_t i, int n) {
    const vec zero = {0}, six = zero + 6.0F;
    const ptrdiff_t step = e->kept.pixel;
    mask_t *bits = at->bits + i * step;
    vec *slopes = at->slopes + i * step, slope;
    switch (e->activation) {
    case PM_ACTIVATION_NONE: return;
    case PM_ACTIVATION_RELU:
        PM_UNROLL for (int t = 0; t < n; t++) {
            bits[t * step] = vec_greater(v[t], zero);
            v[t] = positive(v[t]);
        }
        return;
    case PM_ACTIVATION_RELU6:
        PM_UNROLL for (int t = 0; t < n; t++) {
            bits[t * step] = vec_greater(v[t], zero) & vec_greater(six, v[t]);
            v[t] = vec_at_most(positive(v[t]), 6.0F);
        }
        return;
    case PM_ACTIVATION_SILU:
        PM_UNROLL for (int t = 0; t < n; t++) {
            v[t] = silu(v[t], &slope);
            slopes[t * step] = slope;
        }
        return;
    case PM_ACTIVATION_SIGMOID: /* moves the zeros behind the last channel */
        PM_UNROLL for (int t = 0; t < n; t++) {
            v[t] = (vec)(at->live & (ivec)sigmoid(v[t], &slope));
            slopes[t * step] = (vec)(at->live & (ivec)slope);
        }
        return;
    case PM_ACTIVATION_GELU:
        PM_UNROLL for (int t = 0; t < n; t++) {
            v[t] = gelu(v[t], &slope);
            slopes[t * step] = slope;
        }
        return;
    }
}

/* Of what the forward pass has kept. */
PM_INLINE void undo(const pm_epilogue *e, const places *at, vec *v, ptrdiff_t i, int n) {
    if (at->mask != NULL) {
        if (e->guided) PM_UNROLL for (int t = 0; t < n; t++) v[t] = positive(v[t]);
        PM_UNROLL for (int t = 0; t < n; t++) v[t] =
            vec_keep(at->mask[(i + t) * e->mask.pixel], v[t]);
    }
    if (at->slope != NULL)
        PM_UNROLL for (int t = 0; t < n; t++) v[t] *= at->slope[(i + t) * e->slope.pixel];
}

/* Pixels i .. i + n - 1 of a strip; n is a constant. */
PM_INLINE void finish(const pm_epilogue *e, const places *at, const vec *pixels, ptrdiff_t i,
                      int n) {
    vec v[PM_GROUP];
    PM_UNROLL for (int t = 0; t < n; t++) v[t] = pixels[i + t];
    if (at->raw != NULL)
        PM_UNROLL for (int t = 0; t < n; t++)
            vec_store(at->raw + (i + t) * e->raw.pixel, v[t] + at->bias);
    if (e->scale != NULL) PM_UNROLL for (int t = 0; t < n; t++) v[t] = v[t] * at->scale + at->shift;
    if (at->add != NULL)
        PM_UNROLL for (int t = 0; t < n; t++) v[t] +=
            vec_load(at->add + (i + t) * e->add.pixel) * at->factor;
    activate(e, at, v, i, n);
    undo(e, at, v, i, n);
    if (at->out != NULL)
        PM_UNROLL for (int t = 0; t < n; t++) vec_store(at->out + (i + t) * e->out.pixel, v[t]);
    if (at->scaled != NULL)
        PM_UNROLL for (int t = 0; t < n; t++)
            vec_store(at->scaled + (i + t) * e->scaled.pixel, v[t] * at->gradient_scale);
}

void PM_ISA_SYMBOL(pm_finish)(const pm_epilogue *e, vec *pixels, size_t image, size_t block,
                              size_t y, size_t x, size_t count) {
    const ptrdiff_t n = (ptrdiff_t)image, b = (ptrdiff_t)block, r = (ptrdiff_t)y, c = (ptrdiff_t)x;
    const ptrdiff_t point = e->point_of != NULL ? (ptrdiff_t)e->point_of[image] : n;
    const ivec lanes = PM_LANE_NUMBERS;
#define OFFSET(s) (n * (s).image + b * (s).plane + r * (s).row + c * (s).pixel)
#define MASK_OFFSET(s) (point * (s).image + b * (s).plane + r * (s).row + c * (s).pixel)
#define PLACE(s) ((s).at == NULL ? NULL : (s).at + OFFSET(s))
#define OF_BLOCK(p, otherwise) ((p) == NULL ? otherwise : vec_load((p) + block * PM_LANES))
    const vec zero = {0}, one = zero + 1.0F;
    const ptrdiff_t kept = MASK_OFFSET(e->kept);
    const places at = {
        .raw = e->keep_raw ? PLACE(e->raw) : NULL,
        .out = PLACE(e->out),
        .scaled = PLACE(e->scaled),
        .add = PLACE(e->add),
        .bits = (mask_t *)e->kept.at + kept,
        .slopes = (vec *)e->kept.at + kept,
        .mask = e->mask.at == NULL ? NULL : (const mask_t *)e->mask.at + MASK_OFFSET(e->mask),
        .slope = e->slope.at == NULL ? NULL : (const vec *)e->slope.at + MASK_OFFSET(e->slope),
        .bias = OF_BLOCK(e->bias, zero),
        .scale = OF_BLOCK(e->scale, one),
        .shift = OF_BLOCK(e->shift, zero),
        .factor = e->add_factors.at == NULL
                      ? one
                      : vec_load(e->add_factors.at + point * e->add_factors.image +
                                 b * e->add_factors.plane),
        .gradient_scale = OF_BLOCK(e->gradient_scale, one),
        .live = lanes < (int32_t)(e->channels - block * PM_LANES)};
    const ptrdiff_t end = (ptrdiff_t)count;
    const bool smooth = pm_activation_is_smooth(e->activation);
    for (ptrdiff_t k = PM_AHEAD; k < PM_AHEAD + end && at.slope != NULL; k++)
        __builtin_prefetch(at.slope + k * e->slope.pixel);
    for (ptrdiff_t k = PM_AHEAD; k < PM_AHEAD + end && smooth; k++)
        __builtin_prefetch(at.slopes + k * e->kept.pixel, 1);
    ptrdiff_t i = 0;
    for (; i + PM_GROUP <= end; i += PM_GROUP) finish(e, &at, pixels, i, PM_GROUP);
    if (PM_GROUP > 2 && (end - i) >= 2) {
        finish(e, &at, pixels, i, 2);
        i += 2;
    }
    if (i < end) finish(e, &at, pixels, i, 1);
}
