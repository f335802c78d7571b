/* Owns the naive attribution: the graph forward and backward with every value kept, ParchGrad's
 * rule at hooked convolutions. Source of the rule: docs/ARCHITECTURE.md, "ParchGrad, exactly". */
#include <math.h>
#include <stdlib.h>

#include "worker/engine/model.h"
#include "worker/engine/oracle/run.h"

typedef struct run {
    pm_oracle_run pass;
    const pm_configuration *configuration;
    double *scores; /* [most channels] */
    pm_oracle_result *result;
} run;

static bool result_init(run *r, size_t height, size_t width) {
    const pm_configuration *c = r->configuration;
    pm_oracle_result *out = r->result = calloc(1, sizeof *out);
    if (!out) return false;
    out->classes = r->pass.graph->classes;
    out->height = height;
    out->width = width;
    out->logits = calloc(out->classes, sizeof *out->logits);
    out->heat_map = calloc(height * width, sizeof *out->heat_map);
    out->layers = calloc(c->hook_count + 1, sizeof *out->layers);
    if (!out->logits || !out->heat_map || !out->layers) return false;
    out->layer_count = c->hook_count;
    size_t most = 1;
    for (size_t i = 0; i < c->hook_count; i++) {
        const size_t channels = r->pass.graph->convs[c->hooks[i]].channels;
        most = channels > most ? channels : most;
    }
    if (!(r->scores = calloc(most, sizeof *r->scores))) return false;
    for (size_t i = 0; i < c->hook_count; i++) {
        pm_oracle_layer *layer = &out->layers[i];
        layer->conv = c->hooks[i];
        layer->channels = r->pass.graph->convs[c->hooks[i]].channels;
        layer->channel_variance = calloc(layer->channels, sizeof *layer->channel_variance);
        layer->in_h = calloc(layer->channels, 1);
        if (!layer->channel_variance || !layer->in_h) return false;
    }
    return true;
}

/* Spread over space of one map: unbiased variance, or |value| of a 1x1 map. */
static double spread(const pm_real *map, size_t count) {
    if (count == 1) return fabs((double)map[0]);
    double mean = 0, square = 0;
    for (size_t i = 0; i < count; i++) mean += (double)map[i];
    mean /= (double)count;
    for (size_t i = 0; i < count; i++) square += ((double)map[i] - mean) * ((double)map[i] - mean);
    return square / (double)(count - 1);
}

enum { PICK_L = 0, PICK_H = 1, PICK_ALL = 2 };

/* Spread of the sum over the channels picked. g: [channels][count] */
static double sum_spread(run *r, const pm_real *g, const pm_oracle_layer *layer, size_t count,
                         int pick) {
    for (size_t i = 0; i < count; i++) r->pass.sum[i] = 0;
    for (size_t c = 0; c < layer->channels; c++) {
        if (pick != PICK_ALL && layer->in_h[c] != pick) continue;
        for (size_t i = 0; i < count; i++) r->pass.sum[i] += g[c * count + i];
    }
    return spread(r->pass.sum, count);
}

static void scale(pm_real *g, const pm_oracle_layer *layer, size_t count, double h, double l) {
    for (size_t c = 0; c < layer->channels; c++) {
        pm_real factor = (pm_real)(layer->in_h[c] ? h : l);
        for (size_t i = 0; i < count; i++) g[c * count + i] *= factor;
    }
}

/* Measure and rescale the gradient at a hooked convolution. g: [channels][count] */
static pm_status hook(run *r, pm_oracle_layer *layer, pm_real *g, size_t count) {
    const pm_attribution *a = &r->configuration->attribution;
    const double tiny = 1e-13;
    if (a->mask == PM_MASK_INS) {
        PM_ORACLE(run_activation)(&r->pass, layer->conv, r->scores);
        pm_partition_score(r->configuration, layer->conv, r->scores);
    }
    pm_status status = pm_partition_select(r->configuration, layer->conv, (size_t)r->result->target,
                                           r->scores, layer->in_h, &layer->selected);
    if (status) return status;
    for (size_t c = 0; c < layer->channels; c++)
        layer->channel_variance[c] = count > 1 ? spread(g + c * count, count) : 0;
    layer->m = layer->n = NAN;
    layer->beta = layer->scale_h = layer->scale_l = 1;
    layer->variance_before = layer->variance_after = sum_spread(r, g, layer, count, PICK_ALL);
    layer->partitioned = layer->selected > 0 && layer->selected < layer->channels;
    if (!layer->partitioned) return PM_OK;
    layer->m = sum_spread(r, g, layer, count, PICK_H) + tiny;
    layer->n = sum_spread(r, g, layer, count, PICK_L) + tiny;
    pm_partition_scales s = pm_partition_scale(a, layer->m, layer->n);
    scale(g, layer, count, s.scale_h, s.scale_l);
    if (a->exact && !isinf(a->gamma)) {
        double after = sum_spread(r, g, layer, count, PICK_ALL) + tiny;
        s.beta = sqrt((layer->variance_before + tiny) / after);
        s.scale_h *= s.beta;
        s.scale_l *= s.beta;
        scale(g, layer, count, s.beta, s.beta);
    }
    layer->beta = s.beta;
    layer->scale_h = s.scale_h;
    layer->scale_l = s.scale_l;
    layer->variance_after = sum_spread(r, g, layer, count, PICK_ALL);
    return PM_OK;
}

static pm_status backward(run *r) {
    for (size_t i = r->pass.graph->node_count; i-- > 0;) {
        const pm_node *node = &r->pass.graph->nodes[i];
        pm_oracle_shape shapes[2];
        const pm_real *values[2];
        pm_real *grad[2];
        int at = node->op == PM_OP_CONV ? r->configuration->hook_of[node->conv] : -1;
        if (at >= 0) {
            pm_status status = hook(r, &r->result->layers[at], r->pass.grad[i],
                                    r->pass.shapes[i].height * r->pass.shapes[i].width);
            if (status) return status;
        }
        PM_ORACLE(run_operands)(&r->pass, node, shapes, values, grad);
        PM_ORACLE(backward)
        (node, shapes, values, r->pass.shapes[i], r->pass.values[i], r->pass.grad[i], grad);
    }
    return PM_OK;
}

/* Logits, the predicted class, softmax at the target: also the seed of the backward pass. */
static pm_status classify(run *r, int target) {
    pm_oracle_result *out = r->result;
    const pm_real *logits = r->pass.values[r->pass.graph->output];
    double sum = 0;
    for (size_t k = 0; k < out->classes; k++) out->logits[k] = (double)logits[k];
    for (size_t k = 1; k < out->classes; k++)
        if (logits[k] > logits[out->predicted]) out->predicted = (int)k;
    for (size_t k = 0; k < out->classes; k++)
        sum += exp(out->logits[k] - out->logits[out->predicted]);
    out->target = target == PM_TARGET_TOP ? out->predicted : target;
    if (out->target < 0 || (size_t)out->target >= out->classes)
        return pm_fail(PM_E_USAGE, "target %d is not one of %zu classes", target, out->classes);
    out->p_predicted = 1 / sum;
    out->p_target = exp(out->logits[out->target] - out->logits[out->predicted]) / sum;
    r->pass.grad[r->pass.graph->output][out->target] = (pm_real)out->p_target;
    return PM_OK;
}

static void heat_map(run *r, size_t count) {
    const bool times_input = r->configuration->attribution.method == PM_METHOD_INPUTGRAD;
    const pm_real *g = r->pass.grad[0], *x = r->pass.values[0];
    for (size_t i = 0; i < count; i++) {
        double sum = 0;
        for (size_t k = i; k < 3 * count; k += count)
            sum += fabs((double)g[k] * (times_input ? (double)x[k] : 1));
        r->result->heat_map[i] = sum / 3;
    }
}

pm_status PM_ORACLE(attribute)(const pm_configuration *configuration, int target,
                               const float *input, size_t height, size_t width,
                               pm_oracle_result **out) {
    run r = {.configuration = configuration};
    pm_status status = PM_ORACLE(run_init)(configuration->model->graph, height, width, &r.pass);
    pm_real *x = malloc(3 * height * width * sizeof *x);
    if (!status && (!x || !result_init(&r, height, width)))
        status = pm_fail(PM_E_MEMORY, "no memory for the oracle");
    if (!status) {
        for (size_t i = 0; i < 3 * height * width; i++) x[i] = (pm_real)input[i];
        PM_ORACLE(run_forward)(&r.pass, x);
        status = classify(&r, target);
    }
    if (!status) status = backward(&r);
    if (!status) {
        heat_map(&r, height * width);
        *out = r.result;
        r.result = NULL;
    }
    free(x);
    free(r.scores);
    PM_ORACLE(run_fini)(&r.pass);
    pm_oracle_result_free(&r.result);
    return status;
}
