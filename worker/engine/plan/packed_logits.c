/* Owns: the filters of forward passes of which only the logits count, at Winograd's points. They
 * are made from the packed forward filters when somebody first asks for such a pass: they are four
 * times as large, and most workers never need them. */
#include <stdlib.h>

#include "worker/engine/plan/memory.h"
#include "worker/engine/plan/packed.h"

/* The packed filters of one convolution: [pairs of output blocks][in_blocks][9][v][2 v]. */
static pm_status transform(const pm_packed *packed, size_t index, float **out) {
    const pm_node *node = &packed->graph->nodes[packed->fusion.groups[index].head];
    const float *weights = packed->groups[index].forward.weights;
    const size_t v = packed->kernels->lanes, taps = 9;
    const size_t out_blocks = (node->channels + v - 1) / v,
                 ins = (node->in_channels + v - 1) / v * v;
    float *to = pm_floats_new(PM_WINOGRAD_POINTS * out_blocks * v * ins);
    if (to == NULL) return pm_fail(PM_E_MEMORY, "no memory for the filters of %s", node->name);
    for (size_t pair = 0; pair < out_blocks; pair += 2) { /* in the order in which they lie */
        const size_t wide = (out_blocks - pair >= 2 ? 2 : 1) * v;
        const float *from = weights + pair * v * ins * taps;
        for (size_t i = 0; i < node->in_channels; i++)
            for (size_t k = 0; k < wide && pair * v + k < node->channels; k++) {
                float filter[9];
                for (size_t q = 0; q < taps; q++)
                    filter[q] = from[((i / v * taps + q) * v + i % v) * wide + k];
                pm_packed_put_points(packed->kernels, 3, filter, pair * v + k, out_blocks, i, ins,
                                     to);
            }
    }
    *out = to;
    return PM_OK;
}

/* Taps read what is at the same place that they write to backward. */
ptrdiff_t pm_packed_logits_first(const pm_packed_group *group) {
    return 1 - (ptrdiff_t)group->winograd_taps - group->winograd_first;
}

/* What one sub-pixel channel has of the filter [high][wide taps][3][step] of an output channel. */
static void take_subpixel(const pm_node *node, const pm_packed_group *group, size_t channel,
                          const float *from, size_t step, float *filter) {
    const ptrdiff_t f = (ptrdiff_t)group->subpixels, first = pm_packed_logits_first(group);
    const size_t side = group->winograd_taps, place = channel / PM_RGB;
    const ptrdiff_t y = f * first + (ptrdiff_t)(place / group->subpixels + node->pad[0]),
                    x = f * first + (ptrdiff_t)(place % group->subpixels + node->pad[1]);
    const ptrdiff_t high = (ptrdiff_t)node->kernel[0], wide = (ptrdiff_t)node->kernel[1];
    for (size_t q = 0; q < side * side; q++) {
        const ptrdiff_t r = y + f * (ptrdiff_t)(q / side), s = x + f * (ptrdiff_t)(q % side);
        const bool is_tap = r >= 0 && r < high && s >= 0 && s < wide;
        filter[q] = is_tap ? from[((size_t)(r * wide + s) * PM_RGB + channel % PM_RGB) * step] : 0;
    }
}

/* The first convolution, as one of stride 1 on sub-pixels. */
static pm_status transform_first(const pm_packed *packed, size_t index, float **out) {
    const pm_node *node = &packed->graph->nodes[packed->fusion.groups[index].head];
    const pm_packed_group *group = &packed->groups[index];
    const size_t v = packed->kernels->lanes,
                 channels = PM_RGB * group->subpixels * group->subpixels;
    const size_t out_blocks = (node->channels + v - 1) / v, ins = (channels + v - 1) / v * v;
    const size_t taps = node->kernel[0] * node->kernel[1];
    float *to = pm_floats_new(PM_WINOGRAD_POINTS * out_blocks * v * ins);
    if (to == NULL) return pm_fail(PM_E_MEMORY, "no memory for the filters of %s", node->name);
    for (size_t o = 0; o < node->channels; o++) {
        const size_t pair = o / v / 2 * 2, wide = (out_blocks - pair >= 2 ? 2 : 1) * v;
        const float *from = group->forward.weights + pair * v * PM_RGB * taps + (o - pair * v);
        for (size_t i = 0; i < channels; i++) {
            float filter[16];
            take_subpixel(node, group, i, from, wide, filter);
            pm_packed_put_points(packed->kernels, group->winograd_taps, filter, o, out_blocks, i,
                                 ins, to);
        }
    }
    *out = to;
    return PM_OK;
}

static pm_status make(const pm_packed *packed, float **filters) {
    for (size_t i = 0; i < packed->fusion.count; i++) {
        const pm_packed_group *group = &packed->groups[i];
        if (group->winograd == NULL) continue;
        pm_status status = group->subpixels != 0 ? transform_first(packed, i, &filters[i])
                                                 : transform(packed, i, &filters[i]);
        if (status != PM_OK) return status;
    }
    return PM_OK;
}

pm_status pm_packed_for_logits(pm_packed *packed) {
    pm_status status = PM_OK;
    pthread_mutex_lock(&packed->logits_lock);
    if (packed->logits_filters == NULL) {
        float **filters = calloc(packed->fusion.count, sizeof *filters);
        status = filters != NULL ? make(packed, filters)
                                 : pm_fail(PM_E_MEMORY, "no memory for the filters of a network");
        if (status == PM_OK) {
            packed->logits_filters = filters;
            filters = NULL;
        }
        for (size_t i = 0; filters != NULL && i < packed->fusion.count; i++) free(filters[i]);
        free(filters);
    }
    pthread_mutex_unlock(&packed->logits_lock);
    return status;
}
