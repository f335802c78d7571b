/* Owns the check by cascading randomisation, and what is said of it. */
#include "tools/randomization.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/stats/ranks.h"

typedef struct kept_map {
    float *values;
    size_t pixels;
} kept_map;

static pm_status keep(void *user, const pm_attribution_result *result) {
    kept_map *map = user;
    memcpy(map->values, result->heat_map, map->pixels * sizeof *map->values);
    return PM_OK;
}

/* The heat map of the model whose last `layers` layers started over. */
static pm_status attribute(const pm_order *order, const pm_weights *weights, size_t layers,
                           const pm_request *request, const float *input, kept_map *map) {
    const pm_config *config = &order->spec.configs[0];
    pm_order twin = *order; /* for its crop and transform */
    pm_configuration *configuration = NULL;
    pm_context *context = NULL;
    pm_request again = *request;
    twin.model = NULL;
    pm_status status = pm_model_new_randomized(config->arch, weights, layers,
                                               config->attribution.seed, &twin.model);
    if (!status)
        status =
            pm_configuration_new(twin.model, &config->attribution,
                                 config->has_statistics ? order->statistics : NULL, &configuration);
    if (!status) status = pm_order_context(&twin, 1, &context);
    again.configuration = configuration;
    if (!status) status = pm_context_attribute(context, input, &again, 1, keep, map);
    pm_context_free(&context);
    pm_configuration_free(&configuration);
    pm_model_free(&twin.model);
    return status;
}

pm_status pm_randomization_make(const pm_order *order, const pm_request *request,
                                const float *input, const float *heat_map, pm_randomization *out) {
    const size_t count = pm_model_layer_count(order->model), side = order->preprocessing.crop;
    kept_map map = {malloc(side * side * sizeof *map.values), side * side};
    double *correlations = calloc(count, sizeof *correlations);
    pm_weights *weights = NULL;
    pm_status status = map.values && correlations
                           ? pm_weights_open(order->spec.weights_path, &weights)
                           : pm_fail(PM_E_MEMORY, "no memory for the check of randomization");
    for (size_t i = 0; i < count && !status; i++) {
        status = attribute(order, weights, i + 1, request, input, &map);
        if (!status) status = pm_spearman(heat_map, map.values, map.pixels, &correlations[i]);
    }
    if (!status) {
        *out = (pm_randomization){count, correlations};
        correlations = NULL;
    }
    pm_weights_free(&weights);
    free(correlations);
    free(map.values);
    return status;
}

void pm_randomization_fini(pm_randomization *randomization) {
    free(randomization->correlations);
    *randomization = (pm_randomization){0};
}

void pm_randomization_print(const pm_randomization *r, const pm_model *model, FILE *out) {
    bool constant = false;
    if (r->count == 0) return;
    fprintf(out, "\n%-28s %16s\n", "layers anew, down to", "rank correlation");
    for (size_t i = 0; i < r->count; i++) {
        char text[32] = "-";
        if (isnan(r->correlations[i]))
            constant = true;
        else
            snprintf(text, sizeof text, "%.4f", r->correlations[i]);
        fprintf(out, "%-28s %16s\n", pm_model_layer_name(model, i), text);
    }
    if (constant)
        fprintf(out, "-: a constant map; with much anew the target's p may be too small for a "
                     "gradient\n");
}

pm_status pm_randomization_json(const pm_randomization *r, const pm_model *model, json_t *root) {
    if (r->count == 0) return PM_OK;
    json_t *list = json_array();
    for (size_t i = 0; i < r->count; i++)
        json_array_append_new(
            list,
            json_pack("{s:s, s:o}", "layer", pm_model_layer_name(model, i), "rank_correlation",
                      isnan(r->correlations[i]) ? json_null() : json_real(r->correlations[i])));
    return json_object_set_new(root, "randomization", list)
               ? pm_fail(PM_E_MEMORY, "no memory for the JSON")
               : PM_OK;
}
