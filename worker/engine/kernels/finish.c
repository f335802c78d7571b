/* Owns: the epilogue, the one way in which kernels store. */
#include "worker/engine/kernels/vec.h"

static void rectify(const pm_mask_span *span, vec *pixels, ptrdiff_t at, size_t count) {
    mask_t *bits = (mask_t *)span->at + at;
    const vec zero = {0};
    for (size_t i = 0; i < count; i++) {
        mask_t positive = vec_positive(pixels[i]);
        bits[(ptrdiff_t)i * span->pixel] = positive;
        pixels[i] = vec_select((ivec)(pixels[i] > zero), pixels[i], zero);
    }
}

static void mask(const pm_mask_span *span, vec *pixels, ptrdiff_t at, size_t count) {
    const mask_t *bits = (const mask_t *)span->at + at;
    for (size_t i = 0; i < count; i++)
        pixels[i] = vec_keep(bits[(ptrdiff_t)i * span->pixel], pixels[i]);
}

void PM_ISA_SYMBOL(pm_finish)(const pm_epilogue *e, vec *pixels, size_t image, size_t block,
                              size_t y, size_t x, size_t count) {
    const ptrdiff_t n = (ptrdiff_t)image, b = (ptrdiff_t)block, r = (ptrdiff_t)y, c = (ptrdiff_t)x;
#define OFFSET(s) (n * (s).image + b * (s).plane + r * (s).row + c * (s).pixel)
#define MASK_OFFSET(s) (b * (s).plane + r * (s).row + c * (s).pixel)
    if (e->scale != NULL) {
        vec scale = vec_load(e->scale + block * PM_LANES);
        vec shift = vec_load(e->shift + block * PM_LANES);
        for (size_t i = 0; i < count; i++) pixels[i] = pixels[i] * scale + shift;
    }
    if (e->add.at != NULL) {
        const float *p = e->add.at + OFFSET(e->add);
        for (size_t i = 0; i < count; i++) pixels[i] += vec_load(p + (ptrdiff_t)i * e->add.pixel);
    }
    if (e->rectified.at != NULL) rectify(&e->rectified, pixels, MASK_OFFSET(e->rectified), count);
    if (e->mask.at != NULL) mask(&e->mask, pixels, MASK_OFFSET(e->mask), count);
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
