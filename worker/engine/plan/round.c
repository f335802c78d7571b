/* Owns: one backward pass of some pulls together. Must not know why it runs. */
#include "worker/engine/model.h"
#include "worker/engine/partition.h"
#include "worker/engine/plan/context.h"

static bool is_cam(const pm_job *job) {
    return job->configuration->attribution.method == PM_METHOD_GRADCAM;
}

/* Behind this step nobody needs anything: Grad-CAM stops at its layer or its lowest hook. */
static size_t end_of(const pm_context *c, const pm_job *job) {
    const pm_configuration *configuration = job->configuration;
    if (!is_cam(job)) return c->plan.step_count;
    size_t end = c->plan.pool_step;
    if (configuration->cam_conv >= 0) end = c->hook_step[configuration->cam_conv];
    for (size_t i = 0; i < configuration->hook_count; i++) {
        const size_t step = c->hook_step[configuration->hooks[i]];
        end = step > end ? step : end;
    }
    return end + 1;
}

static void at_hook(pm_context *c, const pm_step *step) {
    const int conv = pm_plan_head(&c->plan, step->group)->conv;
    for (size_t i = 0; i < c->pull_count; i++) {
        pm_job *job = c->pulls[i].job;
        pm_pull_hook(&c->plan, step, i, &c->pulls[i], &c->scratch);
        if (is_cam(job) && job->configuration->cam_conv == conv)
            pm_cam_weigh(&c->plan, step, i, job);
    }
}

static void at_pool(pm_context *c, const pm_step *step) {
    for (size_t i = 0; i < c->pull_count; i++) {
        pm_job *job = c->pulls[i].job;
        if (is_cam(job) && job->configuration->cam_conv < 0) pm_cam_weigh(&c->plan, step, i, job);
    }
}

void pm_context_backward(pm_context *c, bool guided) {
    const size_t classes = c->model->graph->classes;
    size_t end = 0;
    for (size_t i = 0; i < c->pull_count; i++) {
        const pm_pull *pull = &c->pulls[i];
        const size_t needed = end_of(c, pull->job);
        end = needed > end ? needed : end;
        c->plan.point_of[i] = (uint8_t)pull->point;
        c->targets[i] = pull->job->target;
        c->seeds[i] = (float)pm_softmax_at(pm_context_point_logits(c, pull->point), classes,
                                           pull->job->target);
    }
    pm_plan_guide(&c->plan, guided);
    for (size_t i = c->plan.forward_count; i < end; i++) {
        const pm_step *step = &c->plan.steps[i];
        if (i == c->plan.pool_step) at_pool(c, step);
        if (step->op == PM_DO_HOOK)
            at_hook(c, step);
        else
            pm_plan_run(&c->plan, i, c->pull_count, c->targets, c->seeds);
        pm_context_beat(c);
    }
}

/* From blocks of sub-pixels to [3, height, width]. */
void pm_context_read_gradient(pm_context *c, size_t slot) {
    const pm_plan *plan = &c->plan;
    const pm_tensor *t = &plan->tensors[plan->gradient];
    const float *base = pm_plan_span(plan, plan->gradient).at + (ptrdiff_t)slot * t->image;
    const size_t lanes = plan->packed->kernels->lanes, pixels = plan->height * plan->width;
    size_t f = 0;
    for (size_t g = 0; f == 0; g++) f = plan->packed->groups[g].subpixels;
    for (size_t y = 0; y < plan->height; y++)
        for (size_t b = 0; b < f; b++)
            for (size_t k = 0; k < PM_RGB; k++) {
                size_t lane = ((y % f) * f + b) * PM_RGB + k;
                const float *p = base + (ptrdiff_t)(lane / lanes) * t->plane +
                                 (ptrdiff_t)(y / f) * t->row + lane % lanes;
                float *out = c->gradient + k * pixels + y * plan->width;
                for (size_t x = b; x < plan->width; x += f, p += t->pixel)
                    out[x] = *p * c->scale[k];
            }
}
