/* Owns the making of a configuration: ranges, hooked layers, and that the statistics cover them. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine/model.h"
#include "worker/engine/partition.h"
#include "worker/engine/statistics.h"

static pm_status check_range(const char *what, size_t value, size_t least) {
    enum { MOST = 1000 };
    if (value >= least && value <= MOST) return PM_OK;
    return pm_fail(PM_E_USAGE, "configuration: %s are %zu to %d, not %zu", what, least, MOST,
                   value);
}

static pm_status check_method(const pm_attribution *a) {
    switch (a->method) {
    case PM_METHOD_GRAD:
    case PM_METHOD_INPUTGRAD: return PM_OK;
    case PM_METHOD_IG: return check_range("steps", a->steps, 1);
    case PM_METHOD_SMOOTHGRAD:
    case PM_METHOD_VARGRAD: {
        pm_status status =
            check_range("samples", a->samples, a->method == PM_METHOD_VARGRAD ? 2 : 1);
        if (!status && !(a->sigma > 0 && isfinite(a->sigma)))
            status = pm_fail(PM_E_USAGE, "configuration: sigma %g is not above 0", a->sigma);
        return status;
    }
    case PM_METHOD_GRADCAM:
        if (strnlen(a->cam_layer, PM_CAM_LAYER_BYTES) < PM_CAM_LAYER_BYTES) return PM_OK;
        return pm_fail(PM_E_USAGE, "configuration: cam layer longer than %d bytes",
                       PM_CAM_LAYER_BYTES - 1);
    case PM_METHOD_GATHER:
    case PM_METHOD_COUNT: break;
    }
    return pm_fail(PM_E_USAGE, "configuration: method gather makes no heat map");
}

static pm_status check_values(const pm_attribution *a) {
    if (a->method >= PM_METHOD_COUNT || a->mask >= PM_MASK_COUNT || a->test >= PM_TEST_COUNT)
        return pm_fail(PM_E_USAGE, "configuration: method, mask or test is not one there is");
    pm_status status = check_method(a);
    if (status || a->mask == PM_MASK_OFF) return status;
    bool quantile = a->threshold_kind == PM_THRESHOLD_QUANTILE;
    if (quantile ? !(a->threshold > 0 && a->threshold <= 1)
                 : !(a->threshold >= 0 && a->threshold <= 1))
        return pm_fail(PM_E_USAGE, "configuration: %s %g is not in %s",
                       quantile ? "quantile" : "alpha", a->threshold,
                       quantile ? "(0, 1]" : "[0, 1]");
    if (!(a->p_value_threshold >= 0)) /* above 1 takes every channel, NaN none */
        return pm_fail(PM_E_USAGE, "configuration: p-value threshold %g is below 0",
                       a->p_value_threshold);
    /* Squared, gamma must stay a finite double. */
    if (!(a->gamma > 0) || (a->gamma > 1e100 && !isinf(a->gamma)))
        return pm_fail(PM_E_USAGE, "configuration: gamma %g is not in (0, 1e100] or infinite",
                       a->gamma);
    return PM_OK;
}

static pm_status check_statistics(const pm_configuration *c) {
    if (c->attribution.mask == PM_MASK_OFF) return PM_OK;
    if (!c->statistics)
        return pm_fail(PM_E_USAGE, "configuration: mask %s needs statistics",
                       pm_mask_name(c->attribution.mask));
    const bool ins = c->attribution.mask == PM_MASK_INS;
    for (size_t i = 0; i < c->hook_count; i++) {
        const size_t conv = c->hooks[i];
        const char *name = c->model->graph->convs[conv].name;
        if (ins && !(pm_statistics_mean(c->statistics, conv) &&
                     pm_statistics_shapiro(c->statistics, conv)))
            return pm_fail(
                PM_E_USAGE,
                "configuration: mask ins needs mean, std and shapiro of hooked layer %s, "
                "which the statistics lack",
                name);
        if (!ins && !pm_statistics_has(c->statistics, conv, c->attribution.test))
            return pm_fail(PM_E_USAGE,
                           "configuration: the statistics have no %s p-values for hooked layer %s",
                           pm_test_name(c->attribution.test), name);
    }
    return PM_OK;
}

static pm_status select_hooks(pm_configuration *c) {
    size_t count = c->model->graph->conv_count;
    bool *hooked = calloc(count, sizeof *hooked);
    c->hooks = calloc(count, sizeof *c->hooks);
    c->hook_of = calloc(count, sizeof *c->hook_of);
    pm_status status = hooked && c->hooks && c->hook_of
                           ? pm_layers_select(c->model, c->attribution.layers, hooked)
                           : pm_fail(PM_E_MEMORY, "no memory for a configuration");
    for (size_t i = 0; i < count && !status; i++) {
        c->hook_of[i] = hooked[i] ? (int)c->hook_count : -1;
        if (hooked[i]) c->hooks[c->hook_count++] = i;
    }
    free(hooked);
    return status;
}

/* Grad-CAM's map: what the last pooling reads, or a convolution by name. */
static pm_status select_cam(pm_configuration *c) {
    const pm_graph *graph = c->model->graph;
    const char *name = c->attribution.cam_layer;
    c->cam_conv = -1;
    if (c->attribution.method != PM_METHOD_GRADCAM) return PM_OK;
    if (strcmp(name, "default") != 0) {
        size_t i = 0;
        while (i < graph->conv_count && strcmp(graph->convs[i].name, name) != 0) i++;
        if (i == graph->conv_count)
            return pm_fail(PM_E_USAGE,
                           "configuration: cam layer '%s' is no convolution of %s; they go from %s "
                           "to %s, or take default",
                           name, graph->arch->name, graph->convs[0].name,
                           graph->convs[graph->conv_count - 1].name);
        c->cam_conv = (int)i;
        return PM_OK;
    }
    const int pool = pm_graph_last_pool(graph);
    if (pool == PM_NODE_NONE || pm_graph_readers(graph, graph->nodes[pool].input[0]) != 1)
        return pm_fail(PM_E_UNSUPPORTED,
                       "configuration: %s has no map that one last pooling reads; name a "
                       "convolution as cam layer",
                       graph->arch->name);
    return PM_OK;
}

pm_status pm_configuration_new(const pm_model *model, const pm_attribution *attribution,
                               const pm_statistics *statistics, pm_configuration **out) {
    pm_status status = check_values(attribution);
    if (status) return status;
    pm_configuration *c = calloc(1, sizeof *c);
    if (!c) return pm_fail(PM_E_MEMORY, "no memory for a configuration");
    static atomic_ulong made;
    c->serial = atomic_fetch_add(&made, 1) + 1;
    c->attribution = *attribution;
    c->model = model;
    c->statistics = attribution->mask == PM_MASK_OFF ? NULL : statistics;
    status = select_hooks(c);
    if (!status) status = check_statistics(c);
    if (!status) status = select_cam(c);
    if (status)
        pm_configuration_free(&c);
    else
        *out = c;
    return status;
}

void pm_configuration_free(pm_configuration **configuration) {
    if (!configuration || !*configuration) return;
    free((*configuration)->hooks);
    free((*configuration)->hook_of);
    free(*configuration);
    *configuration = NULL;
}

size_t pm_configuration_hook_count(const pm_configuration *c) { return c->hook_count; }
size_t pm_configuration_hook(const pm_configuration *c, size_t index) { return c->hooks[index]; }
