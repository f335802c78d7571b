/* Owns: pm_context, one image at a time: its life, what requests may be, results in the order of
 * the requests. Allocates only in pm_context_new. */
#include <stdlib.h>
#include <string.h>

#include "worker/engine/model.h"
#include "worker/engine/partition.h"
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
    c->densities = pm_floats_new(graph->conv_count);
    c->measured = calloc(graph->conv_count, sizeof *c->measured);
    c->logits = pm_floats_new(graph->classes);
    c->image_logits = pm_floats_new(graph->classes);
    if (c->channel_of == NULL || c->hook_step == NULL || c->raw_of == NULL ||
        c->densities == NULL || c->measured == NULL || c->logits == NULL || c->image_logits == NULL)
        return no_memory();
    size_t largest = 1; /* raw output, floats */
    for (size_t i = 0; i < c->plan.step_count; i++) {
        const pm_step *step = &c->plan.steps[i];
        const int conv = pm_plan_head(&c->plan, step->group)->conv;
        if (step->op == PM_DO_HOOK) c->hook_step[conv] = i;
        if (step->raw == PM_TENSOR_NONE) continue;
        c->raw_of[conv] = step->raw;
        const size_t floats = c->plan.tensors[step->raw].floats;
        largest = floats > largest ? floats : largest;
    }
    for (size_t i = 0; i < graph->conv_count; i++)
        c->channel_of[i + 1] = c->channel_of[i] + graph->convs[i].channels;
    c->activations = pm_floats_new(c->channel_of[graph->conv_count]);
    c->cam_map = calloc(largest, sizeof *c->cam_map); /* no page of it is real until it is used */
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
    const size_t jobs = c->plan.batch, pixels = c->plan.height * c->plan.width;
    const size_t convs = c->model->graph->conv_count, channels = c->channel_of[convs];
    c->jobs = calloc(jobs, sizeof *c->jobs);
    c->heat_maps = pm_floats_new(jobs * pixels);
    c->channel_variances = pm_floats_new(jobs * channels);
    c->in_h = calloc(jobs, channels);
    c->layers = calloc(jobs * convs, sizeof *c->layers);
    c->sums = calloc(jobs * 2 * PM_RGB * pixels, sizeof *c->sums); /* as cam_map */
    c->cam_weights = calloc(jobs * lanes, sizeof *c->cam_weights);
    if (c->jobs == NULL || c->heat_maps == NULL || c->channel_variances == NULL ||
        c->in_h == NULL || c->layers == NULL || c->sums == NULL || c->cam_weights == NULL)
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

static pm_status make_scratch(pm_context *c, size_t lanes, size_t pixels) {
    const size_t values = PM_RGB * c->plan.height * c->plan.width;
    c->gradient = pm_floats_new(values);
    c->point = calloc(values, sizeof *c->point);
    c->noise = calloc(values, sizeof *c->noise);
    c->targets = calloc(c->plan.batch, sizeof *c->targets);
    c->seeds = pm_floats_new(c->plan.batch);
    c->scratch.sum_h = calloc(pixels, sizeof *c->scratch.sum_h);
    c->scratch.sum_l = calloc(pixels, sizeof *c->scratch.sum_l);
    c->scratch.weight_h = pm_floats_new(lanes);
    c->scratch.scores = calloc(lanes, sizeof *c->scratch.scores);
    bool all = c->gradient != NULL && c->point != NULL && c->noise != NULL && c->targets != NULL &&
               c->seeds != NULL && c->scratch.sum_h != NULL && c->scratch.sum_l != NULL &&
               c->scratch.weight_h != NULL && c->scratch.scores != NULL;
    return all ? PM_OK : no_memory();
}

pm_status pm_context_new(const pm_model *model, size_t height, size_t width, size_t batch,
                         pm_context **out) {
    pm_context *c = calloc(1, sizeof *c);
    if (c == NULL) return pm_fail(PM_E_MEMORY, "no memory for a context");
    c->model = model;
    pm_context_set_input_transform(c, NULL, NULL);
    pm_status status = pm_plan_init(model->packed, height, width, batch, &c->plan);
    if (status == PM_OK) status = make_tables(c);
    size_t lanes = 0, pixels = 0;
    if (status == PM_OK) find_largest(c, &lanes, &pixels);
    if (status == PM_OK) status = make_jobs(c, lanes);
    if (status == PM_OK) status = make_scratch(c, lanes, pixels);
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
    pm_plan_fini(&c->logits_plan);
    void *const all[] = {c->jobs,          c->heat_maps,     c->channel_variances,
                         c->sums,          c->in_h,          c->cam_weights,
                         c->layers,        c->image_logits,  c->logits,
                         c->activations,   c->densities,     c->cam_map,
                         c->measured,      c->point,         c->noise,
                         c->gradient,      c->targets,       c->seeds,
                         c->channel_of,    c->hook_step,     c->raw_of,
                         c->scratch.sum_h, c->scratch.sum_l, c->scratch.weight_h,
                         c->scratch.scores};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
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

/* ---- requests ---- */

static size_t target_of(const pm_context *c, const pm_request *request) {
    return request->target == PM_TARGET_TOP ? c->predicted : (size_t)request->target;
}

static pm_status check_request(const pm_context *c, const pm_request *r, size_t index) {
    if (r->configuration->model != c->model)
        return pm_fail(PM_E_USAGE, "request %zu: its configuration is of another model", index);
    if (r->target != PM_TARGET_TOP &&
        (r->target < 0 || (size_t)r->target >= c->model->graph->classes))
        return pm_fail(PM_E_USAGE, "request %zu: target %d, but the classes are 0 to %zu", index,
                       r->target, c->model->graph->classes - 1);
    const pm_attribution *a = &r->configuration->attribution;
    if ((a->method == PM_METHOD_SMOOTHGRAD || a->method == PM_METHOD_VARGRAD) && r->noise == NULL)
        return pm_fail(PM_E_USAGE, "request %zu: %s needs noise", index, pm_method_name(a->method));
    if (a->method == PM_METHOD_IG && a->baseline != PM_BASELINE_ZERO && r->baseline == NULL)
        return pm_fail(PM_E_USAGE, "request %zu: ig from baseline %s needs it as an array", index,
                       pm_baseline_name(a->baseline));
    return PM_OK;
}

/* What a request says of the classes is known once the image is. */
static pm_status check_targets(const pm_context *c, const pm_request *requests, size_t count) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < count && status == PM_OK; i++)
        status = pm_job_check(requests[i].configuration, target_of(c, &requests[i]));
    return status;
}

/* Only what mask ins looks at is measured, and the first map that Grad-CAM wants copied. */
static void choose_looks(pm_context *c, const pm_request *requests, size_t count) {
    memset(c->measured, 0, c->model->graph->conv_count * sizeof *c->measured);
    c->cam_conv = -1;
    for (size_t i = count; i-- > 0;) {
        const pm_configuration *configuration = requests[i].configuration;
        if (configuration->cam_conv >= 0) c->cam_conv = configuration->cam_conv;
        if (configuration->attribution.mask != PM_MASK_INS) continue;
        for (size_t k = 0; k < configuration->hook_count; k++)
            c->measured[configuration->hooks[k]] = true;
    }
}

/* The job that answers the request among the first `jobs`; `jobs` where there is none yet. */
static size_t find_job(const pm_context *c, size_t jobs, const pm_request *r) {
    size_t j = 0;
    for (; j < jobs; j++) {
        const pm_job *job = &c->jobs[j];
        if (job->configuration == r->configuration && job->target == target_of(c, r) &&
            job->baseline == r->baseline && job->noise == r->noise &&
            job->noise_user == r->noise_user)
            break;
    }
    return j;
}

static pm_status give_result(const pm_context *c, size_t index, const pm_job *job, float predicted,
                             pm_result_fn give, void *user) {
    const pm_attribution_result result = {.request = index,
                                          .target = (int)job->target,
                                          .predicted = (int)c->predicted,
                                          .p_target = job->p_target,
                                          .p_predicted = predicted,
                                          .logits = c->image_logits,
                                          .heat_map = job->heat_map,
                                          .height = c->plan.height,
                                          .width = c->plan.width,
                                          .layers = job->layers,
                                          .layer_count = job->configuration->hook_count,
                                          .ig_sum = job->ig_sum,
                                          .ig_expected = job->ig_expected};
    return give(user, &result);
}

/* softmax of the image's logits at k. */
static float probability(const pm_context *c, size_t k) {
    return (float)pm_softmax_at(c->image_logits, c->model->graph->classes, k);
}

/* As many requests from `first` on as the batch holds; the same request twice is computed once. */
static pm_status run_window(pm_context *c, const float *input, const pm_request *requests,
                            size_t count, size_t *first, pm_result_fn give, void *user) {
    size_t jobs = 0, end = *first;
    for (; end < count; end++) {
        const pm_request *r = &requests[end];
        if (find_job(c, jobs, r) < jobs) continue;
        if (jobs == c->plan.batch) break;
        pm_job *job = &c->jobs[jobs++];
        job->configuration = r->configuration;
        job->baseline = r->baseline;
        job->noise = r->noise;
        job->noise_user = r->noise_user;
        job->target = target_of(c, r);
        job->p_target = probability(c, job->target);
    }
    pm_status status = pm_context_run_jobs(c, input, jobs);
    const float predicted = probability(c, c->predicted);
    for (; *first < end && status == PM_OK; ++*first) {
        const pm_job *job = &c->jobs[find_job(c, jobs, &requests[*first])];
        status = give_result(c, *first, job, predicted, give, user);
    }
    return status;
}

pm_status pm_context_attribute(pm_context *context, const float *input, const pm_request *requests,
                               size_t count, pm_result_fn give, void *user) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < count && status == PM_OK; i++)
        status = check_request(context, &requests[i], i);
    if (status != PM_OK) return status;
    const size_t classes = context->model->graph->classes;
    choose_looks(context, requests, count);
    pm_context_forward(context, input);
    context->at_image = true;
    memcpy(context->image_logits, context->logits, classes * sizeof *context->logits);
    context->predicted = pm_argmax(context->logits, classes);
    status = check_targets(context, requests, count);
    for (size_t first = 0; first < count && status == PM_OK;)
        status = run_window(context, input, requests, count, &first, give, user);
    return status;
}
