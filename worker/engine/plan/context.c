/* Owns: the life of a pm_context. Allocates only in pm_context_new. */
#include <stdlib.h>

#include "worker/engine/model.h"
#include "worker/engine/plan/context.h"
#include "worker/engine/plan/memory.h"

/* ---- life ---- */

static pm_status no_memory(void) { return pm_fail(PM_E_MEMORY, "no memory for a context"); }

/* Where each convolution's things are, and what a forward pass leaves. */
static pm_status make_tables(pm_context *c) {
    const pm_graph *graph = c->model->graph;
    c->channel_of = calloc(graph->conv_count + 1, sizeof *c->channel_of);
    c->hook_step = calloc(graph->conv_count, sizeof *c->hook_step);
    c->raw_of = calloc(graph->conv_count, sizeof *c->raw_of);
    c->densities = pm_floats_new(c->plan.points * graph->conv_count);
    c->measured = calloc(graph->conv_count, sizeof *c->measured);
    c->logits = pm_floats_new(c->plan.points * graph->classes);
    c->image_logits = pm_floats_new(c->plan.points * graph->classes);
    c->predicted = calloc(c->plan.points, sizeof *c->predicted);
    if (c->channel_of == NULL || c->hook_step == NULL || c->raw_of == NULL ||
        c->densities == NULL || c->measured == NULL || c->logits == NULL ||
        c->image_logits == NULL || c->predicted == NULL)
        return no_memory();
    c->cam_floats = 1; /* the largest raw output */
    for (size_t i = 0; i < c->plan.step_count; i++) {
        const pm_step *step = &c->plan.steps[i];
        const int conv = pm_plan_head(&c->plan, step->group)->conv;
        if (step->op == PM_DO_HOOK) c->hook_step[conv] = i;
        if (step->raw == PM_TENSOR_NONE) continue;
        c->raw_of[conv] = step->raw;
        const size_t floats = c->plan.tensors[step->raw].floats / c->plan.tensors[step->raw].images;
        c->cam_floats = floats > c->cam_floats ? floats : c->cam_floats;
    }
    for (size_t i = 0; i < graph->conv_count; i++)
        c->channel_of[i + 1] = c->channel_of[i] + graph->convs[i].channels;
    c->activations = pm_floats_new(c->plan.points * c->channel_of[graph->conv_count]);
    /* no page of it is real until it is used */
    c->cam_map = calloc(c->plan.points * c->cam_floats, sizeof *c->cam_map);
    return c->activations != NULL && c->cam_map != NULL ? PM_OK : no_memory();
}

/* Channels, rounded up to blocks, and pixels of the largest maps that hooks and Grad-CAM see. */
static void find_largest(const pm_context *c, size_t *lanes, size_t *pixels) {
    const pm_graph *graph = c->model->graph;
    const int pool = pm_graph_last_pool(graph);
    *lanes = *pixels = 1;
    for (size_t i = 0; i <= graph->conv_count; i++) {
        int node = i < graph->conv_count ? graph->conv_nodes[i]
                   : pool >= 0           ? graph->nodes[pool].input[0]
                                         : PM_NODE_NONE;
        if (node == PM_NODE_NONE) continue;
        const size_t *size = c->plan.sizes[node];
        size_t wide =
            pm_plan_blocks(&c->plan, graph->nodes[node].channels) * c->plan.packed->kernels->lanes;
        *pixels = size[0] * size[1] > *pixels ? size[0] * size[1] : *pixels;
        *lanes = wide > *lanes ? wide : *lanes;
    }
}

static pm_status make_jobs(pm_context *c, size_t lanes) {
    const size_t jobs = PM_JOBS, pixels = c->plan.height * c->plan.width;
    const size_t convs = c->model->graph->conv_count, channels = c->channel_of[convs];
    c->jobs = calloc(jobs, sizeof *c->jobs);
    /* no page of these is real until it is used */
    c->heat_maps = calloc(jobs * pixels, sizeof *c->heat_maps);
    c->channel_variances = calloc(jobs * channels, sizeof *c->channel_variances);
    c->in_h = calloc(jobs, channels);
    c->layers = calloc(jobs * convs, sizeof *c->layers);
    c->zero_gradients = calloc(jobs * PM_RGB * pixels, sizeof *c->zero_gradients);
    c->sums = calloc(jobs * 2 * PM_RGB * pixels, sizeof *c->sums);
    c->cam_weights = calloc(jobs * lanes, sizeof *c->cam_weights);
    if (c->jobs == NULL || c->heat_maps == NULL || c->channel_variances == NULL ||
        c->in_h == NULL || c->layers == NULL || c->sums == NULL || c->cam_weights == NULL ||
        c->zero_gradients == NULL)
        return no_memory();
    for (size_t i = 0; i < jobs; i++)
        c->jobs[i] = (pm_job){.layers = c->layers + i * convs,
                              .channel_variance = c->channel_variances + i * channels,
                              .in_h = c->in_h + i * channels,
                              .heat_map = c->heat_maps + i * pixels,
                              .sum = c->sums + 2 * i * PM_RGB * pixels,
                              .squares = c->sums + (2 * i + 1) * PM_RGB * pixels,
                              .cam_weights = c->cam_weights + i * lanes};
    return PM_OK;
}

static pm_status make_pulls(pm_context *c) {
    const size_t count = c->plan.batch, convs = c->model->graph->conv_count;
    c->pulls = calloc(count, sizeof *c->pulls);
    c->pull_layers = calloc(count * convs, sizeof *c->pull_layers);
    c->pull_in_h = calloc(count, c->channel_of[convs]);
    c->targets = calloc(count, sizeof *c->targets);
    c->seeds = pm_floats_new(count);
    bool all = c->pulls != NULL && c->pull_layers != NULL && c->pull_in_h != NULL &&
               c->targets != NULL && c->seeds != NULL;
    return all ? PM_OK : no_memory();
}

static pm_status make_scratch(pm_context *c, size_t lanes, size_t pixels) {
    const size_t values = PM_RGB * c->plan.height * c->plan.width;
    c->gradient = pm_floats_new(values);
    c->point = calloc(values, sizeof *c->point);
    c->noise = calloc(values, sizeof *c->noise);
    c->scratch.sum_h = calloc(pixels, sizeof *c->scratch.sum_h);
    c->scratch.sum_l = calloc(pixels, sizeof *c->scratch.sum_l);
    c->scratch.weight_h = pm_floats_new(lanes);
    c->scratch.scores = calloc(lanes, sizeof *c->scratch.scores);
    bool all = c->gradient != NULL && c->point != NULL && c->noise != NULL &&
               c->scratch.sum_h != NULL && c->scratch.sum_l != NULL &&
               c->scratch.weight_h != NULL && c->scratch.scores != NULL;
    return all ? PM_OK : no_memory();
}

pm_status pm_context_new_points(const pm_model *model, size_t height, size_t width, size_t points,
                                size_t batch, pm_context **out) {
    pm_context *c = calloc(1, sizeof *c);
    if (c == NULL) return pm_fail(PM_E_MEMORY, "no memory for a context");
    c->model = model;
    pm_context_set_input_transform(c, NULL, NULL);
    pm_status status = pm_plan_init(model->packed, height, width, points, batch, &c->plan);
    if (status == PM_OK) status = make_tables(c);
    size_t lanes = 0, pixels = 0;
    if (status == PM_OK) find_largest(c, &lanes, &pixels);
    if (status == PM_OK) status = make_jobs(c, lanes);
    if (status == PM_OK) status = make_pulls(c);
    if (status == PM_OK) status = make_scratch(c, lanes, pixels);
    if (status != PM_OK) {
        pm_context_free(&c);
        return status;
    }
    *out = c;
    return PM_OK;
}

pm_status pm_context_new(const pm_model *model, size_t height, size_t width, size_t batch,
                         pm_context **out) {
    if (!model->packed)
        return pm_fail(PM_E_USAGE, "a context for %s: its model is an outline",
                       model->graph->arch->name);
    size_t points = pm_model_together(model);
    if (points > batch && batch > 0) points = batch;
    return pm_context_new_points(model, height, width, points, batch, out);
}

size_t pm_context_images(const pm_context *context) { return context->plan.points; }

void pm_context_free(pm_context **context) {
    if (context == NULL || *context == NULL) return;
    pm_context *c = *context;
    pm_plan_fini(&c->plan);
    pm_plan_fini(&c->logits_plan);
    void *const all[] = {c->jobs,           c->heat_maps,     c->channel_variances,
                         c->sums,           c->in_h,          c->cam_weights,
                         c->layers,         c->image_logits,  c->logits,
                         c->activations,    c->densities,     c->cam_map,
                         c->measured,       c->point,         c->noise,
                         c->gradient,       c->targets,       c->seeds,
                         c->channel_of,     c->hook_step,     c->raw_of,
                         c->scratch.sum_h,  c->scratch.sum_l, c->scratch.weight_h,
                         c->scratch.scores, c->predicted,     c->pulls,
                         c->pull_layers,    c->pull_in_h,     c->zero_gradients};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    free(c);
    *context = NULL;
}

size_t pm_context_arena_bytes(const pm_context *context) {
    return context->plan.arena_floats * sizeof(float);
}

void pm_context_set_input_transform(pm_context *context, const float scale[3],
                                    const float shift[3]) {
    bool same = true;
    for (size_t i = 0; i < 3; i++) {
        const float s = scale != NULL ? scale[i] : 1, t = shift != NULL ? shift[i] : 0;
        same = same && s == context->scale[i] && t == context->shift[i];
        context->scale[i] = s;
        context->shift[i] = t;
    }
    if (!same) pm_context_forget_zeros(context);
}

void pm_context_set_beat(pm_context *context, void (*beat)(void *user), void *user) {
    context->beat = beat;
    context->beat_user = user;
}
