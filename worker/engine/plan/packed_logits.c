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

static pm_status make(const pm_packed *packed, float **filters) {
    for (size_t i = 0; i < packed->fusion.count; i++) {
        const pm_packed_group *group = &packed->groups[i];
        if (group->winograd == NULL || group->subpixels != 0) continue;
        pm_status status = transform(packed, i, &filters[i]);
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
