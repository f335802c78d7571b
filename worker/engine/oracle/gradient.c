/* Owns one gradient of the oracle. Source of the rule: docs/ARCHITECTURE.md, "ParchGrad, exactly".
 */
#include "worker/engine/oracle/gradient.h"

#include <math.h>
#include <string.h>

#include "worker/engine/model.h"

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
static double sum_spread(pm_oracle_gradient *r, const pm_real *g, const pm_oracle_layer *layer,
                         size_t count, int pick) {
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
static pm_status hook(pm_oracle_gradient *r, pm_oracle_layer *layer, pm_real *g, size_t count,
                      size_t target) {
    const pm_attribution *a = &r->configuration->attribution;
    const double tiny = 1e-13;
    if (a->mask == PM_MASK_INS) {
        PM_ORACLE(run_activation)(&r->pass, layer->conv, r->scores);
        pm_partition_score(r->configuration, layer->conv, r->scores);
    }
    pm_status status = pm_partition_select(r->configuration, layer->conv, target, r->scores,
                                           layer->in_h, &layer->selected);
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

static size_t volume(pm_oracle_shape s) { return s.channels * s.height * s.width; }

/* What happens to the gradient that has arrived at a node before it goes on. */
static pm_status at_node(pm_oracle_gradient *r, size_t i, size_t target) {
    const pm_node *node = &r->pass.graph->nodes[i];
    const pm_oracle_shape shape = r->pass.shapes[i];
    pm_real *g = r->pass.grad[i];
    const int hooked = node->op == PM_OP_CONV ? r->configuration->hook_of[node->conv] : -1;
    pm_status status = PM_OK;
    if (hooked >= 0) status = hook(r, &r->layers[hooked], g, shape.height * shape.width, target);
    if ((int)i == r->cam_node) memcpy(r->cam, g, volume(shape) * sizeof *g);
    if (r->configuration->attribution.guided && (node->op == PM_OP_RELU || node->op == PM_OP_RELU6))
        for (size_t k = 0; k < volume(shape); k++) g[k] = g[k] > 0 ? g[k] : 0;
    return status;
}

double PM_ORACLE(softmax)(const pm_real *logits, size_t count, size_t k) {
    double top = (double)logits[0], sum = 0;
    for (size_t i = 1; i < count; i++) top = fmax(top, (double)logits[i]);
    for (size_t i = 0; i < count; i++) sum += exp((double)logits[i] - top);
    return exp((double)logits[k] - top) / sum;
}

pm_status PM_ORACLE(gradient_at)(pm_oracle_gradient *r, const pm_real *x, size_t target, double *p,
                                 double *logit) {
    const pm_graph *graph = r->pass.graph;
    PM_ORACLE(run_forward)(&r->pass, x);
    const pm_real *logits = r->pass.values[graph->output];
    for (size_t i = 0; i < graph->node_count; i++)
        memset(r->pass.grad[i], 0, volume(r->pass.shapes[i]) * sizeof(pm_real));
    *p = PM_ORACLE(softmax)(logits, graph->classes, target);
    *logit = (double)logits[target];
    r->pass.grad[graph->output][target] = (pm_real)*p;
    for (size_t i = graph->node_count; i-- > 0;) {
        pm_oracle_shape shapes[2];
        const pm_real *values[2];
        pm_real *grad[2];
        pm_status status = at_node(r, i, target);
        if (status) return status;
        PM_ORACLE(run_operands)(&r->pass, &graph->nodes[i], shapes, values, grad);
        PM_ORACLE(backward)
        (&graph->nodes[i], shapes, values, r->pass.shapes[i], r->pass.values[i], r->pass.grad[i],
         grad);
    }
    return PM_OK;
}
