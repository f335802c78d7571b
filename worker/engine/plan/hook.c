/* Owns: ParchGrad at a hooked convolution: measure, ask the rule, scale in place.
 * Source: docs/ARCHITECTURE.md, "ParchGrad, exactly". Must not know how the gradient got there. */
#include <math.h>

#include "worker/engine/model.h"
#include "worker/engine/partition.h"
#include "worker/engine/plan/job.h"
#include "worker/engine/statistics.h"

/* Added to M and N, and to V0 and V1 before their ratio. */
#define SPREAD_FLOOR 1e-13

pm_status pm_job_check(const pm_configuration *c, size_t target) {
    const float *p;
    pm_status status = PM_OK;
    for (size_t i = 0; i < c->hook_count && c->attribution.mask == PM_MASK_CLS && !status; i++)
        status = pm_statistics_class(c->statistics, c->hooks[i], c->attribution.test, target, &p);
    return status;
}

pm_status pm_pull_select(const pm_model *model, const pm_pull *pull, const float *activations,
                         const size_t *channel_of, const pm_hook_scratch *scratch) {
    const pm_job *job = pull->job;
    const bool ins = job->configuration->attribution.mask == PM_MASK_INS;
    const float *variance = job->channel_variance;
    uint8_t *in_h = pull->in_h;
    for (size_t i = 0; i < job->configuration->hook_count; i++) {
        size_t conv = job->configuration->hooks[i], selected;
        size_t channels = model->graph->convs[conv].channels;
        for (size_t c = 0; c < channels && ins; c++)
            scratch->scores[c] = (double)activations[channel_of[conv] + c];
        if (ins) pm_partition_score(job->configuration, conv, scratch->scores);
        pm_status status = pm_partition_select(job->configuration, conv, job->target,
                                               scratch->scores, in_h, &selected);
        if (status != PM_OK) return status;
        pull->layers[i] = (pm_layer_gradient){.conv = conv,
                                              .channels = channels,
                                              .selected = selected,
                                              .partitioned = selected > 0 && selected < channels,
                                              .m = NAN,
                                              .n = NAN,
                                              .beta = 1,
                                              .scale_h = 1,
                                              .scale_l = 1,
                                              .channel_variance = variance,
                                              .in_h = in_h};
        variance += channels;
        in_h += channels;
    }
    return PM_OK;
}

/* Unbiased variance over space of a sum_h + b sum_l; |.| where there is one pixel. */
static double spread(const double *sum_h, const double *sum_l, double a, double b, size_t pixels) {
    if (pixels == 1) return fabs(a * sum_h[0] + b * sum_l[0]);
    double mean = 0, squares = 0;
    for (size_t i = 0; i < pixels; i++) mean += a * sum_h[i] + b * sum_l[i];
    mean /= (double)pixels;
    for (size_t i = 0; i < pixels; i++) {
        double d = a * sum_h[i] + b * sum_l[i] - mean;
        squares += d * d;
    }
    return squares / (double)(pixels - 1);
}

static void choose_scales(pm_layer_gradient *layer, const pm_attribution *attribution,
                          const pm_hook_scratch *s, size_t pixels) {
    layer->m = spread(s->sum_h, s->sum_l, 1, 0, pixels) + SPREAD_FLOOR;
    layer->n = spread(s->sum_h, s->sum_l, 0, 1, pixels) + SPREAD_FLOOR;
    pm_partition_scales scales = pm_partition_scale(attribution, layer->m, layer->n);
    if (attribution->exact && !isinf(attribution->gamma)) {
        double after = spread(s->sum_h, s->sum_l, scales.scale_h, scales.scale_l, pixels);
        scales.beta = sqrt((layer->variance_before + SPREAD_FLOOR) / (after + SPREAD_FLOOR));
        scales.scale_h *= scales.beta;
        scales.scale_l *= scales.beta;
    }
    layer->beta = scales.beta;
    layer->scale_h = scales.scale_h;
    layer->scale_l = scales.scale_l;
}

void pm_pull_hook(const pm_plan *plan, const pm_step *step, size_t slot, const pm_pull *pull,
                  const pm_hook_scratch *s) {
    const pm_job *job = pull->job;
    const pm_node *conv = pm_plan_head(plan, step->group);
    const int hook = job->configuration->hook_of[conv->conv];
    if (hook < 0 || !(pull->record || pull->layers[hook].partitioned)) return;
    const pm_kernels *kernels = plan->packed->kernels;
    const pm_tensor *tensor = &plan->tensors[step->in];
    const size_t pixels = tensor->height * tensor->width;
    pm_layer_gradient *layer = &pull->layers[hook];
    pm_measure measure = {.delta = pm_plan_span(plan, step->in),
                          .channels = layer->channels,
                          .blocks = tensor->blocks,
                          .height = tensor->height,
                          .width = tensor->width,
                          .weight_h = s->weight_h,
                          .sum_h = s->sum_h,
                          .sum_l = s->sum_l};
    if (pull->record) measure.channel_variance = job->channel_variance + (layer->in_h - pull->in_h);
    measure.delta.at += (ptrdiff_t)slot * tensor->image;
    const size_t lanes = tensor->blocks * kernels->lanes;
    for (size_t c = 0; c < lanes; c++)
        s->weight_h[c] = c < layer->channels && layer->in_h[c] ? 1.0F : 0.0F;
    kernels->measure(&measure);
    layer->variance_before = spread(s->sum_h, s->sum_l, 1, 1, pixels);
    layer->variance_after = layer->variance_before;
    if (!layer->partitioned) return;
    choose_scales(layer, &job->configuration->attribution, s, pixels);
    layer->variance_after = spread(s->sum_h, s->sum_l, layer->scale_h, layer->scale_l, pixels);
    for (size_t c = 0; c < lanes; c++)
        s->weight_h[c] = (float)(s->weight_h[c] != 0 ? layer->scale_h : layer->scale_l);
    kernels->scale(&measure, s->weight_h);
}
