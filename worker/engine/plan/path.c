/* Owns: methods: the points whose gradient each looks at, and what it makes of them. Sums over
 * points are streamed, so memory does not grow with steps or samples. Must not know how a pass is
 * computed. Formulas: lib/base/attribution.h. */
#include <math.h>
#include <string.h>

#include "worker/engine/model.h"
#include "worker/engine/partition.h"
#include "worker/engine/plan/context.h"

/* Jobs that look at the same points: those of one image, or at the images themselves. */
typedef struct path {
    pm_job *jobs[PM_JOBS];
    size_t count;
} path;

typedef enum kind { AT_IMAGE, FROM_BASELINE, AROUND_IMAGE } kind;

static const pm_attribution *words(const pm_job *job) { return &job->configuration->attribution; }

static kind kind_of(const pm_job *job) {
    switch (words(job)->method) {
    case PM_METHOD_GRAD:
    case PM_METHOD_INPUTGRAD:
    case PM_METHOD_GRADCAM: return AT_IMAGE;
    case PM_METHOD_IG: return FROM_BASELINE;
    case PM_METHOD_SMOOTHGRAD:
    case PM_METHOD_VARGRAD: return AROUND_IMAGE;
    case PM_METHOD_GATHER:
    case PM_METHOD_COUNT: break; /* refused by pm_configuration_new */
    }
    return AT_IMAGE;
}

static int cam_conv(const pm_job *job) {
    return words(job)->method == PM_METHOD_GRADCAM ? job->configuration->cam_conv : -1;
}

static bool same_path(const pm_job *a, const pm_job *b) {
    if (kind_of(a) != kind_of(b)) return false;
    switch (kind_of(a)) {
    case AT_IMAGE: return cam_conv(a) == cam_conv(b);
    case FROM_BASELINE:
        return a->image == b->image && a->baseline == b->baseline &&
               words(a)->steps == words(b)->steps;
    case AROUND_IMAGE: break;
    }
    return a->image == b->image && a->noise == b->noise && a->noise_user == b->noise_user &&
           words(a)->samples == words(b)->samples && words(a)->sigma == words(b)->sigma &&
           words(a)->seed == words(b)->seed;
}

/* Of one job. */
static size_t point_count(const pm_job *job) {
    switch (kind_of(job)) {
    case AT_IMAGE: return 1;
    case FROM_BASELINE: return words(job)->steps + 1;
    case AROUND_IMAGE: break;
    }
    return words(job)->samples;
}

/* ---- points ---- */

static size_t values_of(const pm_context *c) { return PM_RGB * c->plan.height * c->plan.width; }

/* x0 + (x - x0) k / steps; the last is x itself. */
static void step_from_baseline(pm_context *c, const pm_job *job, size_t k) {
    const float *x = c->inputs[job->image];
    const double part = (double)k / (double)words(job)->steps;
    for (size_t i = 0; i < values_of(c); i++) {
        const double from = job->baseline != NULL ? (double)job->baseline[i] : 0;
        c->point[i] = (float)(from + ((double)x[i] - from) * part);
    }
    if (k == words(job)->steps) memcpy(c->point, x, values_of(c) * sizeof *x);
}

static void draw_around(pm_context *c, const pm_job *job, size_t k) {
    const float *x = c->inputs[job->image];
    float low = x[0], high = x[0];
    for (size_t i = 1; i < values_of(c); i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    const double deviation = words(job)->sigma * ((double)high - (double)low);
    job->noise(job->noise_user, k, c->noise);
    for (size_t i = 0; i < values_of(c); i++)
        c->point[i] = (float)((double)x[i] + deviation * (double)c->noise[i]);
}

/* A forward pass at the images. The first pass of an attribution is there already. */
static void go_to_images(pm_context *c, int cam) {
    if (c->at_images && (cam < 0 || cam == c->cam_conv)) return;
    c->cam_conv = cam;
    for (size_t n = 0; n < c->image_count; n++) pm_context_load(c, n, c->inputs[n]);
    pm_context_forward(c, c->image_count);
    c->at_images = true;
}

/* A forward pass at points first .. first + count - 1 of the path. */
static void go_to(pm_context *c, const path *p, size_t first, size_t count) {
    const pm_job *job = p->jobs[0];
    if (kind_of(job) == AT_IMAGE) {
        go_to_images(c, cam_conv(job));
        return;
    }
    for (size_t n = 0; n < count; n++) {
        if (kind_of(job) == FROM_BASELINE)
            step_from_baseline(c, job, first + n);
        else
            draw_around(c, job, first + n);
        pm_context_load(c, n, c->point);
    }
    c->cam_conv = -1;
    pm_context_forward(c, count);
}

/* ---- what a method makes of the gradients ---- */

static void begin(const pm_context *c, pm_job *job) {
    job->ig_sum = job->ig_expected = NAN;
    if (kind_of(job) == AT_IMAGE) return;
    memset(job->sum, 0, values_of(c) * sizeof *job->sum);
    if (words(job)->method == PM_METHOD_VARGRAD)
        memset(job->squares, 0, values_of(c) * sizeof *job->squares);
}

/* Point k of `gradient`, with the target's probability and logit there. The trapezoid rule: the
 * ends weigh half. */
static void take_step(const pm_context *c, pm_job *job, size_t k, const float *gradient, double p,
                      double logit) {
    const size_t steps = words(job)->steps;
    const float weight = (float)((k == 0 || k == steps ? 0.5 : 1.0) / (double)steps);
    for (size_t i = 0; i < values_of(c); i++) job->sum[i] += weight * gradient[i];
    if (k == 0)
        job->ig_expected = 0;
    else
        job->ig_expected += (job->ig_p + p) / 2 * (logit - job->ig_logit);
    job->ig_p = p;
    job->ig_logit = logit;
}

static void take_ig(pm_context *c, const pm_pull *pull) {
    pm_job *job = pull->job;
    const float *logits = pm_context_point_logits(c, pull->point);
    const double p = pm_softmax_at(logits, c->model->graph->classes, job->target);
    const double logit = (double)logits[job->target];
    take_step(c, job, pull->index, c->gradient, p, logit);
    if (pull->index == 0 && job->baseline == NULL) pm_context_keep_zero(c, job, p, logit);
}

/* Mean and sum of squared deviations so far (Welford, Technometrics 4, 1962). */
static void take_deviation(const pm_context *c, pm_job *job, size_t k) {
    const float count = (float)(k + 1);
    for (size_t i = 0; i < values_of(c); i++) {
        const float before = c->gradient[i] - job->sum[i];
        job->sum[i] += before / count;
        job->squares[i] += before * (c->gradient[i] - job->sum[i]);
    }
}

/* out = mean over the colors, times `factor`. values: [3, n] */
static void mean_of_colors(const float *values, size_t n, float factor, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = (values[i] + values[n + i] + values[2 * n + i]) / 3.0F * factor;
}

/* `gradient` is the pull's. */
static void take(pm_context *c, const pm_pull *pull) {
    pm_job *job = pull->job;
    const size_t n = values_of(c) / PM_RGB;
    const float *x = c->inputs[job->image], *g = c->gradient;
    float *out = job->heat_map;
    switch (words(job)->method) {
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
    case PM_METHOD_IG: take_ig(c, pull); return;
    case PM_METHOD_SMOOTHGRAD:
        for (size_t i = 0; i < 3 * n; i++) job->sum[i] += fabsf(g[i]);
        return;
    case PM_METHOD_VARGRAD: take_deviation(c, job, pull->index); return;
    case PM_METHOD_GRADCAM: pm_cam_heat_map(c, job); return;
    case PM_METHOD_GATHER:
    case PM_METHOD_COUNT: return; /* refused by pm_configuration_new */
    }
}

static void finish_ig(const pm_context *c, pm_job *job) {
    const float *x = c->inputs[job->image];
    const size_t n = values_of(c) / PM_RGB;
    job->ig_sum = 0;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = i; k < PM_RGB * n; k += n) {
            const double from = job->baseline != NULL ? (double)job->baseline[k] : 0;
            sum += ((double)x[k] - from) * (double)job->sum[k];
        }
        job->heat_map[i] = (float)fabs(sum / PM_RGB);
        job->ig_sum += sum;
    }
}

static void finish(const pm_context *c, pm_job *job) {
    const size_t n = values_of(c) / PM_RGB;
    const float share = 1.0F / (float)point_count(job);
    job->done = true;
    switch (words(job)->method) {
    case PM_METHOD_IG: finish_ig(c, job); return;
    case PM_METHOD_SMOOTHGRAD: mean_of_colors(job->sum, n, share, job->heat_map); return;
    case PM_METHOD_VARGRAD: mean_of_colors(job->squares, n, share, job->heat_map); return;
    case PM_METHOD_GRAD:
    case PM_METHOD_INPUTGRAD:
    case PM_METHOD_GRADCAM:
    case PM_METHOD_GATHER:
    case PM_METHOD_COUNT: return;
    }
}

/* ---- running ---- */

/* The backward pass of the pulls, and what their methods make of the gradients, in order. */
static void run_pulls(pm_context *c, bool guided) {
    if (c->pull_count == 0) return;
    pm_context_backward(c, guided);
    for (size_t i = 0; i < c->pull_count; i++) {
        if (words(c->pulls[i].job)->method != PM_METHOD_GRADCAM) pm_context_read_gradient(c, i);
        take(c, &c->pulls[i]);
    }
    c->pull_count = 0;
}

/* One more pull; a full batch runs. */
static pm_status add_pull(pm_context *c, pm_job *job, size_t point, size_t index, bool guided) {
    const size_t slot = c->pull_count, convs = c->model->graph->conv_count;
    const size_t channels = c->channel_of[convs];
    const bool record = index + 1 == point_count(job);
    pm_pull *pull = &c->pulls[slot];
    *pull = (pm_pull){.job = job,
                      .point = point,
                      .index = index,
                      .record = record,
                      .layers = record ? job->layers : c->pull_layers + slot * convs,
                      .in_h = record ? job->in_h : c->pull_in_h + slot * channels};
    pm_status status = pm_pull_select(c->model, pull, c->activations + point * channels,
                                      c->channel_of, &c->scratch);
    if (status != PM_OK) return status;
    if (++c->pull_count == c->plan.batch) run_pulls(c, guided);
    return PM_OK;
}

/* The gradients of those jobs that are guided, or not, at the points of a forward pass: first ..
 * first + count - 1 of the path, or the images. */
static pm_status pull_points(pm_context *c, const path *p, size_t first, size_t count,
                             bool guided) {
    pm_status status = PM_OK;
    c->pull_count = 0;
    for (size_t n = 0; n < count; n++)
        for (size_t i = 0; i < p->count && status == PM_OK; i++) {
            pm_job *job = p->jobs[i];
            const bool at_image = kind_of(job) == AT_IMAGE;
            if (words(job)->guided != guided || (at_image && job->image != n)) continue;
            status = add_pull(c, job, n, at_image ? 0 : first + n, guided);
        }
    if (status == PM_OK) run_pulls(c, guided);
    return status;
}

/* The points in front that are known: zeros, where every job remembers them. */
static size_t take_known(pm_context *c, const path *p) {
    const pm_zero *zeros[PM_JOBS];
    if (kind_of(p->jobs[0]) != FROM_BASELINE || p->jobs[0]->baseline != NULL) return 0;
    for (size_t i = 0; i < p->count; i++)
        if ((zeros[i] = pm_context_find_zero(c, p->jobs[i])) == NULL) return 0;
    for (size_t i = 0; i < p->count; i++)
        take_step(c, p->jobs[i], 0, zeros[i]->gradient, zeros[i]->p, zeros[i]->logit);
    return 1;
}

static pm_status run_path(pm_context *c, const path *p) {
    const bool at_image = kind_of(p->jobs[0]) == AT_IMAGE;
    const size_t all = at_image ? c->image_count : point_count(p->jobs[0]);
    pm_status status = PM_OK;
    for (size_t i = 0; i < p->count; i++) begin(c, p->jobs[i]);
    for (size_t first = take_known(c, p); first < all && status == PM_OK; first += c->plan.points) {
        const size_t count = all - first < c->plan.points ? all - first : c->plan.points;
        go_to(c, p, first, count);
        status = pull_points(c, p, first, count, false);
        if (status == PM_OK) status = pull_points(c, p, first, count, true);
    }
    for (size_t i = 0; i < p->count && status == PM_OK; i++) finish(c, p->jobs[i]);
    return status;
}

/* The first job not done; one at its image where there is one, as a pass there may stand. */
static const pm_job *next_job(const pm_job *jobs, size_t count) {
    const pm_job *next = NULL;
    for (size_t i = 0; i < count; i++) {
        if (jobs[i].done) continue;
        if (kind_of(&jobs[i]) == AT_IMAGE) return &jobs[i];
        if (next == NULL) next = &jobs[i];
    }
    return next;
}

pm_status pm_context_run_jobs(pm_context *c, size_t count) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < count; i++) c->jobs[i].done = false;
    for (const pm_job *next; status == PM_OK && (next = next_job(c->jobs, count)) != NULL;) {
        path p = {.count = 0};
        for (size_t i = 0; i < count; i++)
            if (!c->jobs[i].done && same_path(next, &c->jobs[i])) p.jobs[p.count++] = &c->jobs[i];
        status = run_path(c, &p);
    }
    return status;
}
