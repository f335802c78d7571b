/* Owns: one forward pass and what is read off it: logits, probabilities, activations. Must not know
 * requests or methods. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "worker/engine/model.h"
#include "worker/engine/plan/context.h"

void pm_context_beat(const pm_context *c) {
    if (c->beat != NULL) c->beat(c->beat_user);
}

static void measure_activity(pm_context *c, const pm_step *step, size_t conv, size_t point) {
    const pm_tensor *t = &c->plan.tensors[step->raw];
    const pm_span raw = pm_plan_span(&c->plan, step->raw);
    const size_t convs = c->model->graph->conv_count;
    pm_activity activity = {
        .raw = {raw.at + (ptrdiff_t)point * raw.image, raw.image, raw.plane, raw.row, raw.pixel},
        .channels = c->model->graph->convs[conv].channels,
        .blocks = t->blocks,
        .height = t->height,
        .width = t->width,
        .mean = c->activations + point * c->channel_of[convs] + c->channel_of[conv]};
    c->plan.packed->kernels->activity(&activity);
    c->densities[point * convs + conv] =
        (float)((double)activity.positive /
                (double)(activity.channels * activity.height * activity.width));
}

static void copy_raw(pm_context *c, const pm_step *step, size_t point) {
    const pm_tensor *t = &c->plan.tensors[step->raw];
    const size_t floats = t->floats / t->images;
    memcpy(c->cam_map + point * c->cam_floats,
           c->plan.arena + t->offset + (ptrdiff_t)point * t->image, floats * sizeof *c->cam_map);
}

void pm_context_load(pm_context *c, size_t point, const float *input) {
    c->at_images = false; /* for the caller to say */
    pm_plan_load(&c->plan, point, input, c->scale, c->shift);
}

const float *pm_context_point_logits(const pm_context *c, size_t point) {
    return c->logits + point * c->model->graph->classes;
}

/* Step `index` of points first .. first + count - 1, and what is read off it. */
static void run_step(pm_context *c, size_t index, size_t first, size_t count) {
    const pm_step *step = &c->plan.steps[index];
    const int conv = pm_plan_head(&c->plan, step->group)->conv;
    const bool has_raw = step->raw != PM_TENSOR_NONE;
    const bool measure = has_raw && c->measured[conv], copy = has_raw && c->cam_conv == conv;
    pm_plan_keep_raw(&c->plan, index, measure || copy);
    pm_plan_run(&c->plan, index, first, count, NULL, NULL);
    for (size_t n = first; n < first + count; n++) {
        if (measure) measure_activity(c, step, (size_t)conv, n);
        if (copy) copy_raw(c, step, n);
    }
    pm_context_beat(c);
}

void pm_context_forward(pm_context *c, size_t points) {
    for (size_t i = 0, end; i < c->plan.forward_count; i = end) {
        const size_t count = c->plan.steps[i].together ? points : 1;
        end = c->plan.steps[i].stretch_end;
        for (size_t n = 0; n < points; n += count)
            for (size_t k = i; k < end; k++) run_step(c, k, n, count);
    }
    for (size_t n = 0; n < points; n++)
        pm_plan_read_logits(&c->plan, n, c->logits + n * c->model->graph->classes);
}

size_t pm_argmax(const float *values, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

double pm_softmax_at(const float *logits, size_t count, size_t k) {
    const double top = (double)logits[pm_argmax(logits, count)];
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += exp((double)logits[i] - top);
    return exp((double)logits[k] - top) / sum;
}

pm_status pm_context_logits(pm_context *context, const float *input, float *logits) {
    memset(context->measured, 0, context->model->graph->conv_count * sizeof *context->measured);
    context->cam_conv = -1;
    pm_context_load(context, 0, input);
    pm_context_forward(context, 1);
    memcpy(logits, context->logits, context->model->graph->classes * sizeof *logits);
    return PM_OK;
}

pm_status pm_context_prepare_logits(pm_context *context, size_t batch) {
    pm_plan *plan = &context->logits_plan;
    if (plan->points >= batch) return PM_OK;
    pm_status status = pm_packed_for_logits(context->model->packed);
    if (status != PM_OK) return status;
    pm_plan_fini(plan);
    return pm_plan_init_logits(&context->plan, batch, plan);
}

/* Each input is loaded when its turn comes: then it is in cache, and needs room once. */
static void run_logits(pm_context *c, pm_input_fn next, void *user, size_t first, size_t images) {
    pm_plan *plan = &c->logits_plan;
    for (size_t i = 0, end; i < plan->step_count; i = end) {
        const size_t count = plan->steps[i].together ? images : 1;
        end = plan->steps[i].stretch_end;
        for (size_t n = 0; n < images; n += count) {
            for (size_t k = n; i == 0 && k < n + count; k++)
                pm_plan_load(plan, k, next(user, first + k), c->scale, c->shift);
            for (size_t k = i; k < end; k++) {
                pm_plan_run(plan, k, n, count, NULL, NULL);
                pm_context_beat(c);
            }
        }
    }
}

pm_status pm_context_logits_each(pm_context *context, pm_input_fn next, void *user, size_t count,
                                 float *logits) {
    pm_plan *plan = &context->logits_plan;
    const size_t classes = context->model->graph->classes;
    assert(plan->points > 0); /* pm_context_prepare_logits */
    context->at_images = false;
    for (size_t first = 0; first < count; first += plan->points) {
        const size_t images = count - first < plan->points ? count - first : plan->points;
        run_logits(context, next, user, first, images);
        for (size_t n = 0; n < images; n++)
            pm_plan_read_logits(plan, n, logits + (first + n) * classes);
    }
    return PM_OK;
}

typedef struct input_row {
    const float *inputs;
    size_t values;
} input_row;

static const float *next_of_row(void *user, size_t n) {
    const input_row *row = user;
    return row->inputs + n * row->values;
}

pm_status pm_context_logits_batch(pm_context *context, const float *inputs, size_t count,
                                  float *logits) {
    input_row row = {inputs, PM_RGB * context->plan.height * context->plan.width};
    return pm_context_logits_each(context, next_of_row, &row, count, logits);
}

pm_status pm_context_activations(pm_context *context, const float *input, pm_activations *out) {
    const size_t convs = context->model->graph->conv_count;
    for (size_t i = 0; i < convs; i++) context->measured[i] = true;
    context->cam_conv = -1;
    pm_context_load(context, 0, input);
    pm_context_forward(context, 1);
    *out = (pm_activations){.mean = context->activations,
                            .density = context->densities,
                            .logits = context->logits,
                            .channels = context->channel_of[convs]};
    return PM_OK;
}
