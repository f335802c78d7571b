/* Owns: what requests may be, which of them run together, results in the order of the requests.
 * Must not know how a gradient is computed. */
#include <string.h>

#include "worker/engine/model.h"
#include "worker/engine/partition.h"
#include "worker/engine/plan/context.h"

static size_t target_of(const pm_context *c, const pm_request *request) {
    return request->target == PM_TARGET_TOP ? c->predicted[request->image]
                                            : (size_t)request->target;
}

static pm_status check_request(const pm_context *c, const pm_request *r, size_t images,
                               size_t index) {
    if (r->image >= images)
        return pm_fail(PM_E_USAGE, "request %zu: image %zu, but there are %zu", index, r->image,
                       images);
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

/* Those for the predicted class, which is known once the image has been looked at, or the others.
 */
static pm_status check_targets(const pm_context *c, const pm_request *requests, size_t count,
                               bool predicted) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < count && status == PM_OK; i++)
        if ((requests[i].target == PM_TARGET_TOP) == predicted)
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
        if (job->configuration == r->configuration && job->image == r->image &&
            job->target == target_of(c, r) && job->baseline == r->baseline &&
            job->noise == r->noise && job->noise_user == r->noise_user)
            break;
    }
    return j;
}

/* softmax of an image's logits at k. */
static float probability(const pm_context *c, size_t image, size_t k) {
    const size_t classes = c->model->graph->classes;
    return (float)pm_softmax_at(c->image_logits + image * classes, classes, k);
}

static pm_status give_result(const pm_context *c, size_t index, const pm_job *job,
                             pm_result_fn give, void *user) {
    const size_t predicted = c->predicted[job->image];
    const pm_attribution_result result = {.request = index,
                                          .target = (int)job->target,
                                          .predicted = (int)predicted,
                                          .p_target = job->p_target,
                                          .p_predicted = probability(c, job->image, predicted),
                                          .logits = c->image_logits +
                                                    job->image * c->model->graph->classes,
                                          .heat_map = job->heat_map,
                                          .height = c->plan.height,
                                          .width = c->plan.width,
                                          .layers = job->layers,
                                          .layer_count = job->configuration->hook_count,
                                          .ig_sum = job->ig_sum,
                                          .ig_expected = job->ig_expected};
    return give(user, &result);
}

/* As many requests from `first` on as there are jobs; the same request twice is computed once. */
static pm_status run_window(pm_context *c, const pm_request *requests, size_t count, size_t *first,
                            pm_result_fn give, void *user) {
    size_t jobs = 0, end = *first;
    for (; end < count; end++) {
        const pm_request *r = &requests[end];
        if (find_job(c, jobs, r) < jobs) continue;
        if (jobs == PM_JOBS) break;
        pm_job *job = &c->jobs[jobs++];
        job->configuration = r->configuration;
        job->baseline = r->baseline;
        job->noise = r->noise;
        job->noise_user = r->noise_user;
        job->image = r->image;
        job->target = target_of(c, r);
        job->p_target = probability(c, job->image, job->target);
    }
    pm_status status = pm_context_run_jobs(c, jobs);
    for (; *first < end && status == PM_OK; ++*first) {
        const pm_job *job = &c->jobs[find_job(c, jobs, &requests[*first])];
        status = give_result(c, *first, job, give, user);
    }
    return status;
}

/* The images' own pass: their logits, and what they are taken for. */
static void look_at_images(pm_context *c, const float *const *inputs, size_t images) {
    const size_t classes = c->model->graph->classes;
    c->inputs = inputs;
    c->image_count = images;
    for (size_t n = 0; n < images; n++) pm_context_load(c, n, inputs[n]);
    pm_context_forward(c, images);
    c->at_images = true;
    memcpy(c->image_logits, c->logits, images * classes * sizeof *c->logits);
    for (size_t n = 0; n < images; n++)
        c->predicted[n] = pm_argmax(pm_context_point_logits(c, n), classes);
}

pm_status pm_context_attribute_images(pm_context *context, const float *const *inputs,
                                      size_t images, const pm_request *requests, size_t count,
                                      pm_result_fn give, void *user) {
    if (images < 1 || images > context->plan.points)
        return pm_fail(PM_E_USAGE, "this context takes 1 to %zu images at once, not %zu",
                       context->plan.points, images);
    pm_status status = PM_OK;
    for (size_t i = 0; i < count && status == PM_OK; i++)
        status = check_request(context, &requests[i], images, i);
    if (status == PM_OK) status = check_targets(context, requests, count, false);
    if (status != PM_OK) return status;
    choose_looks(context, requests, count);
    look_at_images(context, inputs, images);
    status = check_targets(context, requests, count, true);
    for (size_t first = 0; first < count && status == PM_OK;)
        status = run_window(context, requests, count, &first, give, user);
    return status;
}

pm_status pm_context_attribute(pm_context *context, const float *input, const pm_request *requests,
                               size_t count, pm_result_fn give, void *user) {
    return pm_context_attribute_images(context, &input, 1, requests, count, give, user);
}
