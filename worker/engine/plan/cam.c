/* Owns: Grad-CAM's weights and heat map (Selvaraju et al., arXiv:1610.02391): max(0, sum_k a_k
 * A_k), enlarged bilinearly. Sums in double, in a fixed order. */
#include <math.h>

#include "worker/engine/model.h"
#include "worker/engine/partition.h"
#include "worker/engine/plan/context.h"

/* An average hands each of its pixels an equal part, so the mean over the map that the pooling
 * reads is the sum over the pooled map by the number of that map's pixels. */
void pm_cam_weigh(const pm_plan *plan, const pm_step *step, size_t slot, pm_job *job) {
    const pm_tensor *t = &plan->tensors[step->in];
    const pm_span delta = pm_plan_span(plan, step->in);
    const size_t lanes = plan->packed->kernels->lanes;
    const pm_group *group = &plan->packed->fusion.groups[step->group];
    const size_t *size = pm_plan_size(plan, step->op == PM_DO_HOOK ? step->group : group->input);
    for (size_t k = 0; k < t->blocks * lanes; k++) {
        const float *p = delta.at + (ptrdiff_t)slot * delta.image +
                         (ptrdiff_t)(k / lanes) * delta.plane + (ptrdiff_t)(k % lanes);
        double sum = 0;
        for (size_t y = 0; y < t->height; y++)
            for (size_t x = 0; x < t->width; x++)
                sum += (double)p[(ptrdiff_t)y * delta.row + (ptrdiff_t)x * delta.pixel];
        job->cam_weights[k] = sum / (double)(size[0] * size[1]);
    }
}

/* The maps A of one image, and their sizes in *tensor. */
static pm_span maps_of(const pm_context *c, int cam_conv, size_t image, const pm_tensor **tensor) {
    const pm_plan *plan = &c->plan;
    pm_span span;
    if (cam_conv < 0) {
        const pm_group *pool = &plan->packed->fusion.groups[plan->steps[plan->pool_step].group];
        *tensor = &plan->tensors[plan->value[pool->input]];
        span = pm_plan_span(plan, plan->value[pool->input]);
        span.at += (ptrdiff_t)image * span.image;
        return span;
    }
    const int raw = c->raw_of[cam_conv];
    *tensor = &plan->tensors[raw];
    span = pm_plan_span(plan, raw);
    span.at = c->cam_map + image * c->cam_floats + (*tensor)->origin;
    return span;
}

/* Where output pixel o of `large` lies among `small` input pixels: between i and j, `part` of the
 * way. As torch.nn.functional.interpolate, bilinear, align_corners=False. */
static void place(size_t o, size_t small, size_t large, size_t *i, size_t *j, double *part) {
    double at = ((double)o + 0.5) * (double)small / (double)large - 0.5;
    if (at < 0) at = 0;
    *i = (size_t)at;
    if (*i > small - 1) *i = small - 1;
    *j = *i + 1 < small ? *i + 1 : *i;
    *part = at - (double)*i;
}

/* map: [height][width]; out: [out_height][out_width] */
static void enlarge(const double *map, size_t height, size_t width, float *out, size_t out_height,
                    size_t out_width) {
    for (size_t y = 0; y < out_height; y++)
        for (size_t x = 0; x < out_width; x++) {
            size_t y0, y1, x0, x1;
            double down, across;
            place(y, height, out_height, &y0, &y1, &down);
            place(x, width, out_width, &x0, &x1, &across);
            double top = (1 - across) * map[y0 * width + x0] + across * map[y0 * width + x1];
            double bottom = (1 - across) * map[y1 * width + x0] + across * map[y1 * width + x1];
            out[y * out_width + x] = (float)((1 - down) * top + down * bottom);
        }
}

void pm_cam_heat_map(pm_context *c, pm_job *job) {
    const pm_tensor *t;
    const pm_span maps = maps_of(c, job->configuration->cam_conv, job->image, &t);
    const size_t lanes = c->plan.packed->kernels->lanes;
    double *map = c->scratch.sum_h;
    for (size_t y = 0; y < t->height; y++)
        for (size_t x = 0; x < t->width; x++) {
            double sum = 0;
            for (size_t b = 0; b < t->blocks; b++) {
                const float *p = maps.at + (ptrdiff_t)b * maps.plane + (ptrdiff_t)y * maps.row +
                                 (ptrdiff_t)x * maps.pixel;
                for (size_t k = 0; k < lanes; k++)
                    sum += job->cam_weights[b * lanes + k] * (double)p[k];
            }
            map[y * t->width + x] = sum > 0 ? sum : 0;
        }
    enlarge(map, t->height, t->width, job->heat_map, c->plan.height, c->plan.width);
}
