/* Owns: pm_context, one image at a time: a forward pass, then rounds of backward passes, results
 * given out in the order of the requests. Allocates only in pm_context_new. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine/model.h"
#include "worker/engine/partition.h"
#include "worker/engine/plan/context.h"
#include "worker/engine/plan/memory.h"

/* ---- life ---- */

static pm_status make_activations(pm_context *c) {
    const pm_graph *graph = c->model->graph;
    c->channel_of = calloc(graph->conv_count + 1, sizeof *c->channel_of);
    c->densities = pm_floats_new(graph->conv_count);
    c->measured = calloc(graph->conv_count, sizeof *c->measured);
    if (c->channel_of == NULL || c->densities == NULL || c->measured == NULL)
        return pm_fail(PM_E_MEMORY, "no memory for a context");
    for (size_t i = 0; i < graph->conv_count; i++)
        c->channel_of[i + 1] = c->channel_of[i] + graph->convs[i].channels;
    c->activations = pm_floats_new(c->channel_of[graph->conv_count]);
    if (c->activations == NULL) return pm_fail(PM_E_MEMORY, "no memory for a context");
    return PM_OK;
}

static pm_status make_jobs(pm_context *c) {
    const pm_graph *graph = c->model->graph;
    const size_t jobs = c->plan.batch, pixels = c->plan.height * c->plan.width;
    const size_t channels = c->channel_of[graph->conv_count];
    c->jobs = calloc(jobs, sizeof *c->jobs);
    c->heat_maps = pm_floats_new(jobs * pixels);
    c->channel_variances = pm_floats_new(jobs * channels);
    c->in_h = calloc(jobs, channels);
    c->layers = calloc(jobs * graph->conv_count, sizeof *c->layers);
    c->logits = pm_floats_new(graph->classes);
    c->gradient = pm_floats_new(PM_RGB * pixels);
    c->targets = calloc(jobs, sizeof *c->targets);
    c->seeds = pm_floats_new(jobs);
    if (c->jobs == NULL || c->heat_maps == NULL || c->channel_variances == NULL ||
        c->in_h == NULL || c->layers == NULL || c->logits == NULL || c->gradient == NULL ||
        c->targets == NULL || c->seeds == NULL)
        return pm_fail(PM_E_MEMORY, "no memory for a context");
    for (size_t i = 0; i < jobs; i++)
        c->jobs[i] = (pm_job){.layers = c->layers + i * graph->conv_count,
                              .channel_variance = c->channel_variances + i * channels,
                              .in_h = c->in_h + i * channels,
                              .heat_map = c->heat_maps + i * pixels};
    return PM_OK;
}

static pm_status make_scratch(pm_context *c) {
    const pm_graph *graph = c->model->graph;
    size_t pixels = 1, lanes = 1;
    for (size_t i = 0; i < graph->conv_count; i++) {
        const size_t *size = c->plan.sizes[graph->conv_nodes[i]];
        size_t wide =
            pm_plan_blocks(&c->plan, graph->convs[i].channels) * c->model->packed->kernels->lanes;
        pixels = size[0] * size[1] > pixels ? size[0] * size[1] : pixels;
        lanes = wide > lanes ? wide : lanes;
    }
    c->scratch.sum_h = calloc(pixels, sizeof *c->scratch.sum_h);
    c->scratch.sum_l = calloc(pixels, sizeof *c->scratch.sum_l);
    c->scratch.weight_h = pm_floats_new(lanes);
    c->scratch.scores = calloc(lanes, sizeof *c->scratch.scores);
    if (c->scratch.sum_h == NULL || c->scratch.sum_l == NULL || c->scratch.weight_h == NULL ||
        c->scratch.scores == NULL)
        return pm_fail(PM_E_MEMORY, "no memory for a context");
    return PM_OK;
}

pm_status pm_context_new(const pm_model *model, size_t height, size_t width, size_t batch,
                         pm_context **out) {
    pm_context *c = calloc(1, sizeof *c);
    if (c == NULL) return pm_fail(PM_E_MEMORY, "no memory for a context");
    c->model = model;
    pm_context_set_input_transform(c, NULL, NULL);
    pm_status status = pm_plan_init(model->packed, height, width, batch, &c->plan);
    if (status == PM_OK) status = make_activations(c);
    if (status == PM_OK) status = make_jobs(c);
    if (status == PM_OK) status = make_scratch(c);
    if (status != PM_OK) {
        pm_context_free(&c);
        return status;
    }
    *out = c;
    return PM_OK;
}

void pm_context_free(pm_context **context) {
    if (context == NULL || *context == NULL) return;
    pm_context *c = *context;
    pm_plan_fini(&c->plan);
    free(c->jobs);
    free(c->heat_maps);
    free(c->channel_variances);
    free(c->in_h);
    free(c->layers);
    free(c->logits);
    free(c->gradient);
    free(c->targets);
    free(c->seeds);
    free(c->channel_of);
    free(c->activations);
    free(c->densities);
    free(c->measured);
    free(c->scratch.sum_h);
    free(c->scratch.sum_l);
    free(c->scratch.weight_h);
    free(c->scratch.scores);
    free(c);
    *context = NULL;
}

size_t pm_context_arena_bytes(const pm_context *context) {
    return context->plan.arena_floats * sizeof(float);
}

void pm_context_set_input_transform(pm_context *context, const float scale[3],
                                    const float shift[3]) {
    for (size_t i = 0; i < 3; i++) {
        context->scale[i] = scale != NULL ? scale[i] : 1;
        context->shift[i] = shift != NULL ? shift[i] : 0;
    }
}

void pm_context_set_beat(pm_context *context, void (*beat)(void *user), void *user) {
    context->beat = beat;
    context->beat_user = user;
}

/* ---- backward ---- */

/* From blocks of sub-pixels to [3, height, width]. */
static void unpack_gradient(pm_context *c, size_t image) {
    const pm_plan *plan = &c->plan;
    const pm_tensor *t = &plan->tensors[plan->gradient];
    const float *base = pm_plan_span(plan, plan->gradient).at + (ptrdiff_t)image * t->image;
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

/* What the method makes of the gradient. x: [3, height, width], the input. */
static void heat_map(const pm_context *c, pm_method method, const float *x, float *out) {
    const size_t n = c->plan.height * c->plan.width;
    const float *g = c->gradient;
    switch (method) {
    case PM_METHOD_GRAD:
        for (size_t i = 0; i < n; i++)
            out[i] = (fabsf(g[i]) + fabsf(g[n + i]) + fabsf(g[2 * n + i])) / 3.0F;
        return;
    case PM_METHOD_INPUTGRAD:
        for (size_t i = 0; i < n; i++)
            out[i] = (fabsf(x[i] * g[i]) + fabsf(x[n + i] * g[n + i]) +
                      fabsf(x[2 * n + i] * g[2 * n + i])) /
                     3.0F;
        return;
    case PM_METHOD_IG:
    case PM_METHOD_SMOOTHGRAD:
    case PM_METHOD_VARGRAD:
    case PM_METHOD_GRADCAM:
    case PM_METHOD_GATHER:
    case PM_METHOD_COUNT: return; /* refused by pm_configuration_new */
    }
}

static void backward(pm_context *c, size_t jobs, const float *input) {
    for (size_t i = c->plan.forward_count; i < c->plan.step_count; i++) {
        const pm_step *step = &c->plan.steps[i];
        if (step->op == PM_DO_HOOK)
            for (size_t j = 0; j < jobs; j++)
                pm_job_hook(&c->plan, step, j, &c->jobs[j], &c->scratch);
        else
            pm_plan_run(&c->plan, i, jobs, c->targets, c->seeds);
        pm_context_beat(c);
    }
    for (size_t j = 0; j < jobs; j++) {
        unpack_gradient(c, j);
        heat_map(c, c->jobs[j].configuration->attribution.method, input, c->jobs[j].heat_map);
    }
}

/* ---- requests ---- */

static size_t target_of(const pm_request *request, size_t predicted) {
    return request->target == PM_TARGET_TOP ? predicted : (size_t)request->target;
}

/* What is wrong with the requests whatever the image says. */
static pm_status check_requests(const pm_context *c, const pm_request *requests, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const pm_request *r = &requests[i];
        if (r->configuration->model != c->model)
            return pm_fail(PM_E_USAGE, "request %zu: its configuration is of another model", i);
        if (r->target != PM_TARGET_TOP &&
            (r->target < 0 || (size_t)r->target >= c->model->graph->classes))
            return pm_fail(PM_E_USAGE, "request %zu: target %d, but the classes are 0 to %zu", i,
                           r->target, c->model->graph->classes - 1);
    }
    return PM_OK;
}

static pm_status check_targets(const pm_request *requests, size_t count, size_t predicted) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < count && status == PM_OK; i++)
        status = pm_job_check(requests[i].configuration, target_of(&requests[i], predicted));
    return status;
}

/* Only what mask ins looks at is measured. */
static void choose_measured(pm_context *c, const pm_request *requests, size_t count) {
    memset(c->measured, 0, c->model->graph->conv_count * sizeof *c->measured);
    for (size_t i = 0; i < count; i++) {
        const pm_configuration *configuration = requests[i].configuration;
        if (configuration->attribution.mask != PM_MASK_INS) continue;
        for (size_t k = 0; k < configuration->hook_count; k++)
            c->measured[configuration->hooks[k]] = true;
    }
}

/* The job of this round that answers the request; `jobs` where there is none yet. */
static size_t find_job(const pm_context *c, size_t jobs, const pm_request *request,
                       size_t predicted) {
    size_t j = 0;
    while (j < jobs && (c->jobs[j].configuration != request->configuration ||
                        c->jobs[j].target != target_of(request, predicted)))
        j++;
    return j;
}

static pm_status give_result(pm_context *c, size_t index, size_t job, size_t predicted,
                             pm_result_fn give, void *user) {
    const pm_job *j = &c->jobs[job];
    const pm_attribution_result result = {.request = index,
                                          .target = (int)j->target,
                                          .predicted = (int)predicted,
                                          .p_target = c->seeds[job],
                                          .p_predicted = pm_context_probability(c, predicted),
                                          .logits = c->logits,
                                          .heat_map = j->heat_map,
                                          .height = c->plan.height,
                                          .width = c->plan.width,
                                          .layers = j->layers,
                                          .layer_count = j->configuration->hook_count};
    return give(user, &result);
}

/* As many requests from `first` on as the batch holds; the same request twice is computed once. */
static pm_status run_round(pm_context *c, const float *input, const pm_request *requests,
                           size_t count, size_t *first, size_t predicted, pm_result_fn give,
                           void *user) {
    size_t jobs = 0, end = *first;
    for (; end < count; end++) {
        const pm_request *r = &requests[end];
        if (find_job(c, jobs, r, predicted) < jobs) continue;
        if (jobs == c->plan.batch) break;
        pm_job *job = &c->jobs[jobs];
        job->configuration = r->configuration;
        job->target = c->targets[jobs] = target_of(r, predicted);
        c->seeds[jobs] = pm_context_probability(c, job->target);
        pm_status status = pm_job_select(c->model, job, c->activations, c->channel_of, &c->scratch);
        if (status != PM_OK) return status;
        jobs++;
    }
    backward(c, jobs, input);
    for (size_t i = *first; i < end; i++) {
        size_t job = find_job(c, jobs, &requests[i], predicted);
        pm_status status = give_result(c, i, job, predicted, give, user);
        if (status != PM_OK) return status;
    }
    *first = end;
    return PM_OK;
}

pm_status pm_context_attribute(pm_context *context, const float *input, const pm_request *requests,
                               size_t count, pm_result_fn give, void *user) {
    pm_status status = check_requests(context, requests, count);
    if (status != PM_OK) return status;
    choose_measured(context, requests, count);
    pm_context_forward(context, input);
    size_t predicted = pm_context_argmax(context);
    status = check_targets(requests, count, predicted);
    for (size_t first = 0; first < count && status == PM_OK;)
        status = run_round(context, input, requests, count, &first, predicted, give, user);
    return status;
}
