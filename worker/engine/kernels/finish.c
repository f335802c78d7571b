/* Owns: the epilogue, the one way in which kernels store. */
#include "worker/engine/kernels/normal.h"

static void relu(const pm_mask_span *span, vec *pixels, ptrdiff_t at, size_t count) {
    mask_t *bits = (mask_t *)span->at + at;
    const vec zero = {0};
    for (size_t i = 0; i < count; i++) {
        bits[(ptrdiff_t)i * span->pixel] = vec_greater(pixels[i], zero);
        pixels[i] = vec_select((ivec)(pixels[i] > zero), pixels[i], zero);
    }
}

static void relu6(const pm_mask_span *span, vec *pixels, ptrdiff_t at, size_t count) {
    mask_t *bits = (mask_t *)span->at + at;
    const vec zero = {0}, six = zero + 6.0F;
    for (size_t i = 0; i < count; i++) {
        const vec v = pixels[i];
        bits[(ptrdiff_t)i * span->pixel] = vec_greater(v, zero) & vec_greater(six, v);
        pixels[i] = vec_select((ivec)(v > zero), vec_select((ivec)(v < six), v, six), zero);
    }
}

/* s = sigmoid(v) and 1 - s, neither of them by a difference: with e = exp(-|v|) they are
 * 1 / (1 + e) and e / (1 + e), by the sign of v. */
PM_INLINE void sigmoid_of(vec v, vec *s, vec *rest) {
    const ivec positive = (ivec)(v > 0.0F);
    const vec e = vec_exp(vec_select(positive, -v, v));
    const vec large = 1.0F / (1.0F + e), small = e * large;
    *s = vec_select(positive, large, small);
    *rest = vec_select(positive, small, large);
}

static void silu(const pm_mask_span *span, vec *pixels, ptrdiff_t at, size_t count) {
    vec *slope = (vec *)span->at + at;
    for (size_t i = 0; i < count; i++) {
        vec s, rest;
        sigmoid_of(pixels[i], &s, &rest);
        const vec value = pixels[i] * s;
        slope[(ptrdiff_t)i * span->pixel] = s + value * rest;
        pixels[i] = value;
    }
}

static void sigmoid(const pm_mask_span *span, vec *pixels, ptrdiff_t at, size_t count, ivec live) {
    vec *slope = (vec *)span->at + at;
    for (size_t i = 0; i < count; i++) {
        vec s, rest;
        sigmoid_of(pixels[i], &s, &rest);
        slope[(ptrdiff_t)i * span->pixel] = (vec)(live & (ivec)(s * rest));
        pixels[i] = (vec)(live & (ivec)s);
    }
}

/* The derivative is Phi(v) + v phi(v). */
static void gelu(const pm_mask_span *span, vec *pixels, ptrdiff_t at, size_t count) {
    vec *slope = (vec *)span->at + at;
    for (size_t i = 0; i < count; i++) {
        vec density;
        const vec v = pixels[i], share = vec_normal(v, &density);
        slope[(ptrdiff_t)i * span->pixel] = share + v * density;
        pixels[i] = v * share;
    }
}

static void activate(const pm_epilogue *e, vec *pixels, size_t block, ptrdiff_t at, size_t count) {
    const ivec lanes = PM_LANE_NUMBERS;
    switch (e->activation) {
    case PM_ACTIVATION_NONE: return;
    case PM_ACTIVATION_RELU: relu(&e->kept, pixels, at, count); return;
    case PM_ACTIVATION_RELU6: relu6(&e->kept, pixels, at, count); return;
    case PM_ACTIVATION_SILU: silu(&e->kept, pixels, at, count); return;
    case PM_ACTIVATION_SIGMOID: /* moves the zeros behind the last channel */
        sigmoid(&e->kept, pixels, at, count, lanes < (int32_t)(e->channels - block * PM_LANES));
        return;
    case PM_ACTIVATION_GELU: gelu(&e->kept, pixels, at, count); return;
    }
}

static void clamp(vec *pixels, size_t count) {
    const vec zero = {0};
    for (size_t i = 0; i < count; i++)
        pixels[i] = vec_select((ivec)(pixels[i] > zero), pixels[i], zero);
}

static void mask(const pm_mask_span *span, vec *pixels, ptrdiff_t at, size_t count) {
    const mask_t *bits = (const mask_t *)span->at + at;
    for (size_t i = 0; i < count; i++)
        pixels[i] = vec_keep(bits[(ptrdiff_t)i * span->pixel], pixels[i]);
}

static void multiply(const pm_mask_span *span, vec *pixels, ptrdiff_t at, size_t count) {
    const vec *slope = (const vec *)span->at + at;
    for (size_t i = 0; i < count; i++) pixels[i] *= slope[(ptrdiff_t)i * span->pixel];
}

void PM_ISA_SYMBOL(pm_finish)(const pm_epilogue *e, vec *pixels, size_t image, size_t block,
                              size_t y, size_t x, size_t count) {
    const ptrdiff_t n = (ptrdiff_t)image, b = (ptrdiff_t)block, r = (ptrdiff_t)y, c = (ptrdiff_t)x;
#define OFFSET(s) (n * (s).image + b * (s).plane + r * (s).row + c * (s).pixel)
#define MASK_OFFSET(s) (b * (s).plane + r * (s).row + c * (s).pixel)
    if (e->keep_raw) {
        float *p = e->raw.at + OFFSET(e->raw);
        vec bias = {0};
        if (e->bias != NULL) bias = vec_load(e->bias + block * PM_LANES);
        for (size_t i = 0; i < count; i++)
            vec_store(p + (ptrdiff_t)i * e->raw.pixel, pixels[i] + bias);
    }
    if (e->scale != NULL) {
        vec scale = vec_load(e->scale + block * PM_LANES);
        vec shift = vec_load(e->shift + block * PM_LANES);
        for (size_t i = 0; i < count; i++) pixels[i] = pixels[i] * scale + shift;
    }
    if (e->add.at != NULL && e->add_factors.at != NULL) {
        const float *p = e->add.at + OFFSET(e->add);
        const vec factor = vec_load(e->add_factors.at + b * e->add_factors.plane);
        for (size_t i = 0; i < count; i++)
            pixels[i] += vec_load(p + (ptrdiff_t)i * e->add.pixel) * factor;
    } else if (e->add.at != NULL) {
        const float *p = e->add.at + OFFSET(e->add);
        for (size_t i = 0; i < count; i++) pixels[i] += vec_load(p + (ptrdiff_t)i * e->add.pixel);
    }
    if (e->activation != PM_ACTIVATION_NONE)
        activate(e, pixels, block, MASK_OFFSET(e->kept), count);
    if (e->mask.at != NULL && e->guided) clamp(pixels, count);
    if (e->mask.at != NULL) mask(&e->mask, pixels, MASK_OFFSET(e->mask), count);
    if (e->slope.at != NULL) multiply(&e->slope, pixels, MASK_OFFSET(e->slope), count);
    if (e->out.at != NULL) {
        float *p = e->out.at + OFFSET(e->out);
        for (size_t i = 0; i < count; i++) vec_store(p + (ptrdiff_t)i * e->out.pixel, pixels[i]);
    }
    if (e->scaled.at != NULL) {
        float *p = e->scaled.at + OFFSET(e->scaled);
        vec s = (vec){0} + 1.0F;
        if (e->gradient_scale != NULL) s = vec_load(e->gradient_scale + block * PM_LANES);
        for (size_t i = 0; i < count; i++)
            vec_store(p + (ptrdiff_t)i * e->scaled.pixel, pixels[i] * s);
    }
}
