/* Owns: one backward pass of some pulls together. Must not know why it runs. */
#include <string.h>

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

static void at_hook(pm_context *c, const pm_step *step, size_t first, size_t count) {
    const int conv = pm_plan_head(&c->plan, step->group)->conv;
    for (size_t i = first; i < first + count; i++) {
        pm_job *job = c->pulls[i].job;
        pm_pull_hook(&c->plan, step, i, &c->pulls[i], &c->scratch);
        if (is_cam(job) && job->configuration->cam_conv == conv)
            pm_cam_weigh(&c->plan, step, i, job);
    }
}

static void at_pool(pm_context *c, const pm_step *step, size_t first, size_t count) {
    for (size_t i = first; i < first + count; i++) {
        pm_job *job = c->pulls[i].job;
        if (is_cam(job) && job->configuration->cam_conv < 0) pm_cam_weigh(&c->plan, step, i, job);
    }
}

/* ---- where pulls part ---- */

/* The first step that does something of the pull's own: before it, pulls of the same target at the
 * same point are one. */
static size_t parting_of(const pm_context *c, const pm_pull *pull) {
    const pm_configuration *configuration = pull->job->configuration;
    size_t step = c->plan.step_count;
    if (is_cam(pull->job))
        step = configuration->cam_conv >= 0 ? c->hook_step[configuration->cam_conv]
                                            : c->plan.pool_step;
    for (size_t i = 0; i < configuration->hook_count; i++) {
        const size_t hook = c->hook_step[configuration->hooks[i]];
        if ((pull->record || pull->layers[i].partitioned) && hook < step) step = hook;
    }
    return step;
}

static void seed(pm_context *c, size_t slot, const pm_pull *pull) {
    c->plan.point_of[slot] = (uint8_t)pull->point;
    c->targets[slot] = pull->job->target;
    c->seeds[slot] = (float)pm_softmax_at(pm_context_point_logits(c, pull->point),
                                          c->model->graph->classes, pull->job->target);
}

/* Slots that are enough until the pulls part; slot_of: [pull_count] which of them each pull is in.
 * A pull's slot is no later than the pull. */
static size_t share_slots(pm_context *c, size_t *slot_of) {
    size_t count = 0;
    for (size_t i = 0; i < c->pull_count; i++) {
        const pm_pull *pull = &c->pulls[i];
        for (slot_of[i] = 0; slot_of[i] < count; slot_of[i]++)
            if (c->plan.point_of[slot_of[i]] == pull->point &&
                c->targets[slot_of[i]] == pull->job->target)
                break;
        if (slot_of[i] == count) seed(c, count++, pull);
    }
    return count;
}

/* To each pull its own copy of what is alive at `step`. From the last on, so that no slot is
 * overwritten before it has been read. */
static void part(pm_context *c, size_t step, const size_t *slot_of) {
    const pm_plan *plan = &c->plan;
    for (size_t t = 0; t < plan->tensor_count; t++) {
        const pm_tensor *tensor = &plan->tensors[t];
        if (tensor->base != PM_TENSOR_NONE || tensor->first < plan->forward_count ||
            tensor->first >= step || tensor->last < step)
            continue;
        float *at = plan->arena + tensor->offset;
        for (size_t i = c->pull_count; i-- > 0;)
            if (slot_of[i] != i)
                memcpy(at + (ptrdiff_t)i * tensor->image,
                       at + (ptrdiff_t)slot_of[i] * tensor->image,
                       (size_t)tensor->image * sizeof *at);
    }
    for (size_t i = 0; i < c->pull_count; i++) seed(c, i, &c->pulls[i]);
}

/* Step `index` of slots first .. first + count - 1. Nothing looks at a slot before pulls part. */
static void run_step(pm_context *c, size_t index, size_t first, size_t count) {
    const pm_step *step = &c->plan.steps[index];
    if (index == c->plan.pool_step) at_pool(c, step, first, count);
    if (step->op == PM_DO_HOOK)
        at_hook(c, step, first, count);
    else
        pm_plan_run(&c->plan, index, first, count, c->targets, c->seeds);
    pm_context_beat(c);
}

void pm_context_backward(pm_context *c, bool guided) {
    size_t slot_of[PM_BATCH_MAX], ends[PM_BATCH_MAX], end = 0, parting = c->plan.step_count;
    for (size_t i = 0; i < c->pull_count; i++) {
        const size_t own = parting_of(c, &c->pulls[i]);
        ends[i] = end_of(c, c->pulls[i].job);
        end = ends[i] > end ? ends[i] : end;
        parting = own < parting ? own : parting;
    }
    /* Within a stretch there is but one image's room. */
    if (parting < c->plan.step_count) parting = c->plan.steps[parting].stretch;
    size_t slots = share_slots(c, slot_of);
    pm_plan_guide(&c->plan, guided);
    for (size_t i = c->plan.forward_count, next; i < end; i = next) {
        if (i == parting && slots < c->pull_count) {
            part(c, i, slot_of);
            slots = c->pull_count;
        }
        const size_t count = c->plan.steps[i].together ? slots : 1;
        next = c->plan.steps[i].stretch_end < end ? c->plan.steps[i].stretch_end : end;
        for (size_t n = 0; n < slots; n += count) {
            const bool alone = count == 1 && slots == c->pull_count;
            const size_t stop = alone && ends[n] < next ? ends[n] : next;
            for (size_t k = i; k < stop; k++) run_step(c, k, n, count);
        }
    }
    if (slots < c->pull_count) part(c, c->plan.step_count, slot_of); /* the input's gradient */
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
