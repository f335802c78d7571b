/* Owns the making and the accessors of a model. */
#include "worker/engine/model.h"

#include <stdlib.h>

#include "worker/engine/arch/arch.h"
#include "worker/engine/builder.h"

static pm_status make(pm_graph *graph, bool spend, pm_model **out) {
    pm_model *model = calloc(1, sizeof *model);
    if (!model) {
        pm_status status = pm_fail(PM_E_MEMORY, "no memory for model %s", graph->arch->name);
        pm_graph_free(&graph);
        return status;
    }
    model->graph = graph;
    pm_status status = pm_packed_new(graph, spend, &model->packed);
    if (status)
        pm_model_free(&model);
    else
        *out = model;
    return status;
}

pm_status pm_model_new_from(pm_graph *graph, pm_model **out) { return make(graph, false, out); }

pm_status pm_model_new_randomized(const char *arch, const pm_weights *weights, size_t layers,
                                  uint64_t seed, pm_model **out) {
    const pm_arch_info *info;
    pm_graph *graph = NULL;
    pm_status status = pm_arch_find(arch, &info);
    if (!status) status = pm_graph_new(info, weights, &graph);
    if (!status) status = pm_graph_randomize(graph, layers, seed);
    if (status) {
        pm_graph_free(&graph);
        return status;
    }
    /* The filters are not read again: half of what a model would hold. */
    return make(graph, true, out);
}

pm_status pm_model_new(const char *arch, const pm_weights *weights, pm_model **out) {
    return pm_model_new_randomized(arch, weights, 0, 0, out);
}

pm_status pm_model_new_outline(const char *arch, const pm_weights *weights, pm_model **out) {
    const pm_arch_info *info;
    size_t classes;
    pm_builder builder;
    pm_status status = pm_arch_find(arch, &info);
    if (!status) status = pm_arch_check(info, weights);
    if (!status) status = pm_arch_classes(info, weights, &classes);
    if (!status) status = pm_builder_init(&builder, info, classes);
    if (status) return status;
    pm_model *model = calloc(1, sizeof *model);
    if (model) {
        model->graph = builder.graph;
        builder.graph = NULL;
        *out = model;
    } else {
        status = pm_fail(PM_E_MEMORY, "no memory for model %s", arch);
    }
    pm_builder_fini(&builder);
    return status;
}

void pm_model_free(pm_model **model) {
    if (!model || !*model) return;
    pm_packed_free(&(*model)->packed);
    pm_graph_free(&(*model)->graph);
    free(*model);
    *model = NULL;
}

const pm_arch_info *pm_model_arch(const pm_model *model) { return model->graph->arch; }
size_t pm_model_classes(const pm_model *model) { return model->graph->classes; }
size_t pm_model_conv_count(const pm_model *model) { return model->graph->conv_count; }

size_t pm_model_layer_count(const pm_model *model) { return pm_graph_layer_count(model->graph); }

const char *pm_model_layer_name(const pm_model *model, size_t index) {
    return pm_graph_layer_name(model->graph, index);
}

const pm_conv_info *pm_model_conv(const pm_model *model, size_t conv) {
    return conv < model->graph->conv_count ? &model->graph->convs[conv] : NULL;
}

const char *pm_model_isa(const pm_model *model) { return pm_packed_isa(model->packed); }

pm_status pm_isa_of_host(const char **out) {
    const pm_kernels *kernels = NULL;
    pm_status status = pm_kernels_choose(&kernels);
    if (!status) *out = kernels->name;
    return status;
}

/* Together, the weights of wide layers come out of memory once for all. More inputs take room, so
 * there must be something to gain: 16 MB. */
enum { WORTH_FLOATS = 4 << 20, TOGETHER = 4 };

size_t pm_model_together(const pm_model *model) {
    if (model->packed == NULL) return 1; /* an outline */
    return pm_packed_shared_floats(model->packed) > WORTH_FLOATS ? TOGETHER : 1;
}
