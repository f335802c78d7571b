/* Owns the counting of p-values in a file of statistics. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parchgrad.h"
#include "tools/experiment/statistics.h"

/* A p of 1 belongs to the last bin. */
static void count(const float *p, size_t size, pm_p_spread *out) {
    *out = (pm_p_spread){.count = size};
    for (size_t i = 0; i < size; i++) {
        const size_t bin = (size_t)(fmax(0, p[i]) * PM_P_BINS);
        out->below += p[i] < 0.05F;
        out->bins[bin < PM_P_BINS ? bin : PM_P_BINS - 1] += 1.0 / (double)size;
    }
}

static pm_status spread_of(const pm_weights *tensors, const pm_tensor_info *info,
                           pm_p_spread *out) {
    if (!info || !info->count) return PM_OK;
    float *p = malloc(info->count * sizeof *p);
    if (!p) return pm_fail(PM_E_MEMORY, "no memory for %zu p-values", info->count);
    pm_status status = pm_weights_read(tensors, info, p);
    if (!status) count(p, info->count, out);
    free(p);
    return status;
}

static pm_status add_layer(const pm_weights *tensors, const pm_tensor_info *shapiro,
                           pm_p_layers *out) {
    char name[160];
    pm_p_layer *layers = realloc(out->layers, (out->count + 1) * sizeof *layers);
    if (!layers) return pm_fail(PM_E_MEMORY, "no memory for a layer");
    out->layers = layers;
    pm_p_layer *layer = &layers[out->count++];
    *layer = (pm_p_layer){.channels = shapiro->count};
    snprintf(layer->name, sizeof layer->name, "%s", strchr(shapiro->name, '/') + 1);
    snprintf(name, sizeof name, "%s/%s", out->test, layer->name);
    const pm_tensor_info *classes = pm_weights_find(tensors, name);
    if (classes && classes->rank == 2) out->classes = classes->shape[1];
    pm_status status = spread_of(tensors, shapiro, &layer->shapiro);
    return status ? status : spread_of(tensors, classes, &layer->by_class);
}

pm_status pm_p_layers_read(const char *path, const char *test, pm_p_layers *out) {
    pm_weights *tensors = NULL;
    *out = (pm_p_layers){0};
    snprintf(out->test, sizeof out->test, "%s", test);
    pm_status status = pm_weights_open(path, &tensors);
    for (size_t i = 0; !status && i < pm_weights_count(tensors); i++) {
        const pm_tensor_info *info = pm_weights_at(tensors, i);
        if (strncmp(info->name, "shapiro/", 8) == 0) status = add_layer(tensors, info, out);
    }
    pm_weights_free(&tensors);
    if (!status && !out->count)
        status = pm_fail(PM_E_MISMATCH, "%s holds no Shapiro-Wilk p-values (shapiro/LAYER)", path);
    return status;
}

void pm_p_layers_fini(pm_p_layers *layers) {
    free(layers->layers);
    *layers = (pm_p_layers){0};
}

double pm_p_share(const pm_p_spread *spread) {
    return spread->count ? (double)spread->below / (double)spread->count : (double)NAN;
}
