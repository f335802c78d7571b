/* Owns the tensors that replace pixels. Knows no heat map. */
#include "lib/image/replacement.h"

#include <string.h>

#include "lib/base/draw.h"
#include "lib/image/inputs.h"

enum { COLORS = 3 };

/* Summed in double, in order. */
static void fill_means(const float *in, size_t pixels, float *out) {
    for (size_t k = 0; k < COLORS; k++) {
        double sum = 0;
        for (size_t i = 0; i < pixels; i++) sum += (double)in[k * pixels + i];
        for (size_t i = 0; i < pixels; i++) out[k * pixels + i] = (float)(sum / (double)pixels);
    }
}

pm_status pm_image_replacement(pm_replacement how, uint64_t seed, const pm_sha256 *image,
                               const float *in, size_t side, float *out) {
    const size_t pixels = side * side;
    pm_draw stream;
    switch (how) {
    case PM_REPLACEMENT_MEAN: fill_means(in, pixels, out); return PM_OK;
    case PM_REPLACEMENT_BLUR: return pm_image_blur_tensor(in, side, PM_BASELINE_BLUR_SIGMA, out);
    case PM_REPLACEMENT_NOISE:
        pm_draw_begin(&stream, seed, image, PM_DRAW_REPLACE, 0);
        pm_draw_normal(&stream, out, COLORS * pixels);
        return PM_OK;
    case PM_REPLACEMENT_ZERO:
    case PM_REPLACEMENT_COUNT: break;
    }
    memset(out, 0, COLORS * pixels * sizeof *out);
    return PM_OK;
}
