/* Owns the naive methods: every point's gradient kept, then each formula as it is written down in
 * lib/base/attribution.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine/model.h"
#include "worker/engine/oracle/gradient.h"

typedef struct run {
    pm_oracle_gradient gradient;
    const pm_request *request;
    const pm_attribution *words;
    size_t count;       /* values of an input: 3 height width */
    size_t point_count; /* whose gradients the method looks at */
    pm_real *x, *from;  /* [count] the image, and where ig starts */
    pm_real *point;     /* [count] */
    float *noise;       /* [count] */
    pm_real *gradients; /* [point_count][count] */
    double *p, *logit;  /* [point_count] of the target */
    pm_oracle_result *result;
} run;

/* ---- memory ---- */

static size_t points_of(const pm_attribution *a) {
    switch (a->method) {
    case PM_METHOD_IG: return a->steps + 1;
    case PM_METHOD_SMOOTHGRAD:
    case PM_METHOD_VARGRAD: return a->samples;
    case PM_METHOD_GRAD:
    case PM_METHOD_INPUTGRAD:
    case PM_METHOD_GRADCAM:
    case PM_METHOD_GATHER:
    case PM_METHOD_COUNT: break;
    }
    return 1;
}

static bool layers_init(run *r) {
    const pm_configuration *c = r->request->configuration;
    pm_oracle_result *out = r->result;
    size_t most = 1;
    out->layers = calloc(c->hook_count + 1, sizeof *out->layers);
    if (!out->layers) return false;
    out->layer_count = c->hook_count;
    for (size_t i = 0; i < c->hook_count; i++) {
        pm_oracle_layer *layer = &out->layers[i];
        layer->conv = c->hooks[i];
        layer->channels = r->gradient.pass.graph->convs[c->hooks[i]].channels;
        layer->channel_variance = calloc(layer->channels, sizeof *layer->channel_variance);
        layer->in_h = calloc(layer->channels, 1);
        if (!layer->channel_variance || !layer->in_h) return false;
        most = layer->channels > most ? layer->channels : most;
    }
    r->gradient.layers = out->layers;
    return (r->gradient.scores = calloc(most, sizeof(double))) != NULL;
}

static bool result_init(run *r, size_t height, size_t width) {
    pm_oracle_result *out = r->result = calloc(1, sizeof *out);
    if (!out) return false;
    out->classes = r->gradient.pass.graph->classes;
    out->height = height;
    out->width = width;
    out->ig_sum = out->ig_expected = NAN;
    out->logits = calloc(out->classes, sizeof *out->logits);
    out->heat_map = calloc(height * width, sizeof *out->heat_map);
    return out->logits && out->heat_map && layers_init(r);
}

/* Grad-CAM's map. */
static bool cam_init(run *r) {
    const pm_configuration *c = r->request->configuration;
    const pm_graph *graph = r->gradient.pass.graph;
    r->gradient.cam_node = PM_NODE_NONE;
    if (r->words->method != PM_METHOD_GRADCAM) return true;
    r->gradient.cam_node = c->cam_conv >= 0 ? graph->conv_nodes[c->cam_conv]
                                            : graph->nodes[pm_graph_last_pool(graph)].input[0];
    const pm_oracle_shape s = r->gradient.pass.shapes[r->gradient.cam_node];
    return (r->gradient.cam = calloc(s.channels * s.height * s.width, sizeof(pm_real))) != NULL;
}

static pm_status run_init(run *r, const pm_request *request, const float *input, size_t height,
                          size_t width) {
    r->request = request;
    r->words = &request->configuration->attribution;
    r->gradient.configuration = request->configuration;
    r->count = 3 * height * width;
    r->point_count = points_of(r->words);
    pm_status status =
        PM_ORACLE(run_init)(request->configuration->model->graph, height, width, &r->gradient.pass);
    if (status) return status;
    r->x = calloc(r->count, sizeof *r->x);
    r->from = calloc(r->count, sizeof *r->from);
    r->point = calloc(r->count, sizeof *r->point);
    r->noise = calloc(r->count, sizeof *r->noise);
    r->gradients = calloc(r->point_count * r->count, sizeof *r->gradients);
    r->p = calloc(r->point_count, sizeof *r->p);
    r->logit = calloc(r->point_count, sizeof *r->logit);
    if (!r->x || !r->from || !r->point || !r->noise || !r->gradients || !r->p || !r->logit ||
        !result_init(r, height, width) || !cam_init(r))
        return pm_fail(PM_E_MEMORY, "no memory for the oracle");
    for (size_t i = 0; i < r->count; i++) r->x[i] = (pm_real)input[i];
    for (size_t i = 0; i < r->count && request->baseline; i++)
        r->from[i] = (pm_real)request->baseline[i];
    return PM_OK;
}

static void run_fini(run *r) {
    free(r->x);
    free(r->from);
    free(r->point);
    free(r->noise);
    free(r->gradients);
    free(r->p);
    free(r->logit);
    free(r->gradient.scores);
    free(r->gradient.cam);
    PM_ORACLE(run_fini)(&r->gradient.pass);
    pm_oracle_result_free(&r->result);
}

/* ---- points ---- */

static void make_point(run *r, size_t k) {
    switch (r->words->method) {
    case PM_METHOD_IG:
        for (size_t i = 0; i < r->count; i++)
            r->point[i] = r->from[i] +
                          (r->x[i] - r->from[i]) * (pm_real)((double)k / (double)r->words->steps);
        return;
    case PM_METHOD_SMOOTHGRAD:
    case PM_METHOD_VARGRAD: {
        pm_real low = r->x[0], high = r->x[0];
        for (size_t i = 0; i < r->count; i++) {
            if (r->x[i] < low) low = r->x[i];
            if (r->x[i] > high) high = r->x[i];
        }
        r->request->noise(r->request->noise_user, k, r->noise);
        for (size_t i = 0; i < r->count; i++)
            r->point[i] = r->x[i] + (pm_real)r->words->sigma * (high - low) * (pm_real)r->noise[i];
        return;
    }
    case PM_METHOD_GRAD:
    case PM_METHOD_INPUTGRAD:
    case PM_METHOD_GRADCAM:
    case PM_METHOD_GATHER:
    case PM_METHOD_COUNT: break;
    }
    memcpy(r->point, r->x, r->count * sizeof *r->x);
}

/* Logits of the image, the predicted class, softmax at both classes. */
static pm_status classify(run *r) {
    pm_oracle_result *out = r->result;
    PM_ORACLE(run_forward)(&r->gradient.pass, r->x);
    const pm_real *logits = r->gradient.pass.values[r->gradient.pass.graph->output];
    for (size_t k = 0; k < out->classes; k++) out->logits[k] = (double)logits[k];
    for (size_t k = 1; k < out->classes; k++)
        if (logits[k] > logits[out->predicted]) out->predicted = (int)k;
    out->target = r->request->target == PM_TARGET_TOP ? out->predicted : r->request->target;
    if (out->target < 0 || (size_t)out->target >= out->classes)
        return pm_fail(PM_E_USAGE, "target %d is not one of %zu classes", out->target,
                       out->classes);
    out->p_predicted = PM_ORACLE(softmax)(logits, out->classes, (size_t)out->predicted);
    out->p_target = PM_ORACLE(softmax)(logits, out->classes, (size_t)out->target);
    return PM_OK;
}

/* ---- formulas ---- */

/* Of value i: what its color adds to three times the heat map. */
static double grad(const run *r, size_t i) { return fabs((double)r->gradients[i]); }

static double inputgrad(const run *r, size_t i) {
    return fabs((double)r->x[i] * (double)r->gradients[i]);
}

/* (x - x0) times the mean over steps of (g_k + g_k+1) / 2. */
static double ig(const run *r, size_t i) {
    double sum = 0;
    for (size_t k = 0; k + 1 < r->point_count; k++)
        sum += ((double)r->gradients[k * r->count + i] +
                (double)r->gradients[(k + 1) * r->count + i]) /
               2;
    return (double)(r->x[i] - r->from[i]) * sum / (double)r->words->steps;
}

static double smoothgrad(const run *r, size_t i) {
    double sum = 0;
    for (size_t k = 0; k < r->point_count; k++) sum += fabs((double)r->gradients[k * r->count + i]);
    return sum / (double)r->point_count;
}

static double vargrad(const run *r, size_t i) {
    double mean = 0, squares = 0;
    for (size_t k = 0; k < r->point_count; k++) mean += (double)r->gradients[k * r->count + i];
    mean /= (double)r->point_count;
    for (size_t k = 0; k < r->point_count; k++)
        squares += pow((double)r->gradients[k * r->count + i] - mean, 2);
    return squares / (double)r->point_count;
}

static void mean_of_colors(run *r, double (*of)(const run *r, size_t i)) {
    const size_t pixels = r->count / 3;
    for (size_t i = 0; i < pixels; i++)
        r->result->heat_map[i] = (of(r, i) + of(r, i + pixels) + of(r, i + 2 * pixels)) / 3;
}

static void integrate(run *r) {
    pm_oracle_result *out = r->result;
    mean_of_colors(r, ig);
    for (size_t i = 0; i < r->count / 3; i++) out->heat_map[i] = fabs(out->heat_map[i]);
    out->ig_sum = out->ig_expected = 0;
    for (size_t i = 0; i < r->count; i++) out->ig_sum += ig(r, i);
    for (size_t k = 0; k + 1 < r->point_count; k++)
        out->ig_expected += (r->p[k] + r->p[k + 1]) / 2 * (r->logit[k + 1] - r->logit[k]);
}

/* max(0, sum_k a_k A_k) at (y, x) of Grad-CAM's map. */
static double cam_at(const run *r, size_t y, size_t x) {
    const pm_oracle_shape s = r->gradient.pass.shapes[r->gradient.cam_node];
    const pm_real *maps = r->gradient.pass.values[r->gradient.cam_node];
    const size_t plane = s.height * s.width;
    double sum = 0;
    for (size_t k = 0; k < s.channels; k++) {
        double mean = 0;
        for (size_t i = 0; i < plane; i++) mean += (double)r->gradient.cam[k * plane + i];
        sum += mean / (double)plane * (double)maps[k * plane + y * s.width + x];
    }
    return fmax(sum, 0);
}

/* Bilinear, pixels' centres in proportion: torch.nn.functional.interpolate, align_corners=False. */
static void gradcam(run *r) {
    const pm_oracle_shape s = r->gradient.pass.shapes[r->gradient.cam_node];
    pm_oracle_result *out = r->result;
    for (size_t y = 0; y < out->height; y++)
        for (size_t x = 0; x < out->width; x++) {
            double v = ((double)y + 0.5) * (double)s.height / (double)out->height - 0.5;
            double u = ((double)x + 0.5) * (double)s.width / (double)out->width - 0.5;
            v = fmin(fmax(v, 0), (double)(s.height - 1));
            u = fmin(fmax(u, 0), (double)(s.width - 1));
            double sum = 0;
            for (size_t i = 0; i < s.height; i++)
                for (size_t j = 0; j < s.width; j++) {
                    double weight =
                        fmax(0, 1 - fabs(v - (double)i)) * fmax(0, 1 - fabs(u - (double)j));
                    if (weight > 0) sum += weight * cam_at(r, i, j);
                }
            out->heat_map[y * out->width + x] = sum;
        }
}

static void make_heat_map(run *r) {
    switch (r->words->method) {
    case PM_METHOD_GRAD: mean_of_colors(r, grad); return;
    case PM_METHOD_INPUTGRAD: mean_of_colors(r, inputgrad); return;
    case PM_METHOD_IG: integrate(r); return;
    case PM_METHOD_SMOOTHGRAD: mean_of_colors(r, smoothgrad); return;
    case PM_METHOD_VARGRAD: mean_of_colors(r, vargrad); return;
    case PM_METHOD_GRADCAM: gradcam(r); return;
    case PM_METHOD_GATHER:
    case PM_METHOD_COUNT: return; /* refused by pm_configuration_new */
    }
}

pm_status PM_ORACLE(attribute)(const pm_request *request, const float *input, size_t height,
                               size_t width, pm_oracle_result **out) {
    run r = {0};
    pm_status status = run_init(&r, request, input, height, width);
    if (!status) status = classify(&r);
    for (size_t k = 0; k < r.point_count && !status; k++) {
        make_point(&r, k);
        status = PM_ORACLE(gradient_at)(&r.gradient, r.point, (size_t)r.result->target, &r.p[k],
                                        &r.logit[k]);
        memcpy(r.gradients + k * r.count, r.gradient.pass.grad[0], r.count * sizeof *r.gradients);
    }
    if (!status) {
        make_heat_map(&r);
        *out = r.result;
        r.result = NULL;
    }
    run_fini(&r);
    return status;
}
