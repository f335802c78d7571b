/* Owns heat maps between the engine's answer and their evaluation. */
#include "worker/evaluate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/replacement.h"

typedef struct kept {
    size_t key, target;
    float *heat_map; /* [side][side] */
} kept;

struct pm_evaluator {
    size_t side, classes, count;
    const float *tensor; /* [3][side][side] */
    float *replacement;  /* [3][side][side] */
    float *logits;       /* [classes] of the photograph: the same for all that is kept */
    pm_evaluation evaluation;
    kept kept[PM_EVALUATED_MAX];
};

pm_status pm_evaluator_new(const pm_evaluation *evaluation, const float *tensor, size_t side,
                           size_t classes, const pm_sha256 *image, pm_evaluator **out) {
    pm_evaluator *e = calloc(1, sizeof *e);
    if (!e) return pm_fail(PM_E_MEMORY, "evaluation: no memory");
    e->evaluation = *evaluation;
    e->tensor = tensor;
    e->side = side;
    e->classes = classes;
    e->replacement = malloc(3 * side * side * sizeof *e->replacement);
    e->logits = malloc(classes * sizeof *e->logits);
    pm_status status =
        e->replacement && e->logits ? PM_OK : pm_fail(PM_E_MEMORY, "evaluation: no memory");
    if (!status)
        status = pm_image_replacement(evaluation->replacement, evaluation->seed, image, tensor,
                                      side, e->replacement);
    if (status) {
        pm_evaluator_free(&e);
        return status;
    }
    *out = e;
    return PM_OK;
}

static void forget(pm_evaluator *e) {
    while (e->count) free(e->kept[--e->count].heat_map);
}

void pm_evaluator_free(pm_evaluator **evaluator) {
    pm_evaluator *e = *evaluator;
    if (!e) return;
    forget(e);
    free(e->replacement);
    free(e->logits);
    free(e);
    *evaluator = NULL;
}

pm_status pm_evaluator_keep(pm_evaluator *e, size_t key, const pm_attribution_result *result) {
    const size_t bytes = e->side * e->side * sizeof *result->heat_map;
    assert(e->count < PM_EVALUATED_MAX);
    float *heat_map = malloc(bytes);
    if (!heat_map) return pm_fail(PM_E_MEMORY, "evaluation: no memory for a heat map");
    memcpy(heat_map, result->heat_map, bytes);
    memcpy(e->logits, result->logits, e->classes * sizeof *e->logits);
    e->kept[e->count++] = (kept){key, (size_t)result->target, heat_map};
    return PM_OK;
}

static pm_status forward(void *user, pm_masked_fn next, void *from, size_t count, float *logits) {
    return pm_context_logits_each(user, next, from, count, logits);
}

/* The curves have much scratch: several items may have evaluators, but only one runs. */
pm_status pm_evaluator_run(pm_evaluator *e, pm_context *context, pm_curves_fn give, void *user) {
    pm_curves *all = NULL;
    pm_status status = pm_context_prepare_logits(context, PM_CURVES_BATCH);
    if (!status)
        status = pm_curves_new(e->side * e->side, e->classes, e->evaluation.ratios,
                               e->evaluation.ratio_count, &all);
    if (!status) pm_curves_begin(all, e->tensor, e->replacement);
    for (size_t i = 0; i < e->count && !status; i++) {
        const kept *k = &e->kept[i];
        pm_curves_result curves;
        status = pm_curves_run(all, k->heat_map, e->logits, k->target, forward, context, &curves);
        if (!status) status = give(user, k->key, &curves);
    }
    pm_curves_free(&all);
    forget(e);
    return status;
}
