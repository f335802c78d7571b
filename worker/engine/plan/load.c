/* Owns: the way of an input into the arena, and of the logits out of it. */
#include <string.h>

#include "worker/engine/plan/plan.h"

/* [3, height, width] to PM_RGB_PITCH floats a pixel inside a border of zeros. */
static void load_pixels(pm_plan *plan, size_t image, const float *input, const float scale[3],
                        const float shift[3]) {
    const pm_span to = pm_plan_span(plan, plan->image);
    const size_t pixels = plan->height * plan->width;
    pm_plan_clear_border(plan, plan->image, image, 1);
    for (size_t y = 0; y < plan->height; y++) {
        float *p = to.at + (ptrdiff_t)image * to.image + (ptrdiff_t)y * to.row;
        const float *in = input + y * plan->width;
        for (size_t x = 0; x < plan->width; x++) {
            for (size_t k = 0; k < PM_RGB; k++)
                p[x * PM_RGB_PITCH + k] = in[k * pixels + x] * scale[k] + shift[k];
            p[x * PM_RGB_PITCH + PM_RGB] = 0;
        }
    }
}

/* [3, height, width] to a channel a color and place of the pixel in its square; channels behind the
 * last and pixels behind the edge are zeros. */
static void load_subpixels(pm_plan *plan, size_t image, const float *input, const float scale[3],
                           const float shift[3]) {
    const pm_span to = pm_plan_span(plan, plan->image);
    const pm_tensor *t = &plan->tensors[plan->image];
    const size_t f = plan->subpixels, lanes = plan->packed->kernels->lanes;
    float *first = to.at + (ptrdiff_t)image * to.image;
    memset(first, 0, t->blocks * (size_t)t->plane * sizeof *first);
    for (size_t y = 0; y < plan->height; y++)
        for (size_t k = 0; k < PM_RGB; k++) {
            const float *in = input + (k * plan->height + y) * plan->width;
            for (size_t b = 0; b < f; b++) {
                const size_t channel = (y % f * f + b) * PM_RGB + k;
                float *p = first + channel / lanes * (size_t)t->plane + channel % lanes +
                           (ptrdiff_t)(y / f) * t->row;
                for (size_t x = b; x < plan->width; x += f, p += t->pixel)
                    *p = in[x] * scale[k] + shift[k];
            }
        }
}

void pm_plan_load(pm_plan *plan, size_t image, const float *input, const float scale[3],
                  const float shift[3]) {
    if (plan->subpixels != 0)
        load_subpixels(plan, image, input, scale, shift);
    else
        load_pixels(plan, image, input, scale, shift);
}

void pm_plan_read_logits(const pm_plan *plan, size_t image, float *logits) {
    const pm_span span = pm_plan_span(plan, plan->logits);
    const size_t lanes = plan->packed->kernels->lanes;
    const float *at = span.at + (ptrdiff_t)image * span.image;
    for (size_t i = 0; i < plan->packed->graph->classes; i++)
        logits[i] = at[(ptrdiff_t)(i / lanes) * span.plane + (ptrdiff_t)(i % lanes)];
}
