/* Owns the choice of which contexts stay warm. */
#include "worker/contexts.h"

static void cool(pm_warm_context *warm) {
    pm_context_free(&warm->context);
    pm_loaded_release(&warm->loaded);
    *warm = (pm_warm_context){0};
}

void pm_contexts_fini(pm_contexts *contexts) {
    for (size_t i = 0; i < PM_CONTEXTS_KEPT; i++) cool(&contexts->warm[i]);
}

/* The one that fits, or else the one that was used longest ago. */
static pm_warm_context *find(pm_contexts *contexts, const pm_loaded *loaded, size_t side,
                             size_t batch) {
    pm_warm_context *place = &contexts->warm[0];
    for (size_t i = 0; i < PM_CONTEXTS_KEPT; i++) {
        pm_warm_context *warm = &contexts->warm[i];
        if (warm->context && warm->loaded == loaded && warm->side == side && warm->batch >= batch)
            return warm;
        if (warm->used < place->used) place = warm;
    }
    cool(place);
    return place;
}

/* A warm context keeps that of the configurations before. */
static pm_status set_transform(const pm_config *config, const pm_model *model,
                               pm_context *context) {
    float scale[3], shift[3];
    if (!config->transform_input) {
        pm_context_set_input_transform(context, NULL, NULL);
        return PM_OK;
    }
    pm_status status = pm_arch_transform_input(pm_model_arch(model), scale, shift);
    if (!status) pm_context_set_input_transform(context, scale, shift);
    return status;
}

pm_status pm_contexts_get(pm_contexts *contexts, pm_loaded *loaded, const pm_config *config,
                          size_t requests, pm_context **out) {
    const size_t side = config->crop, together = pm_model_together(loaded->model);
    size_t batch = requests < PM_CONTEXT_BATCH ? requests : PM_CONTEXT_BATCH;
    /* Points of a path run together, too. */
    if (batch < together && pm_method_has_path(config->attribution.method)) batch = together;
    pm_warm_context *warm = find(contexts, loaded, side, batch);
    warm->used = ++contexts->clock;
    if (!warm->context) {
        pm_status status = pm_context_new(loaded->model, side, side, batch, &warm->context);
        if (status) return status;
        pm_context_set_beat(warm->context, contexts->beat, contexts->beat_user);
        pm_loaded_hold(loaded);
        warm->loaded = loaded;
        warm->side = side;
        warm->batch = batch;
    }
    *out = warm->context;
    return set_transform(config, loaded->model, warm->context);
}
