/* Owns: which steps each image goes through on its own, how long tensors live, and where they lie.
 * Must not know kernels. */
#include <stdlib.h>

#include "worker/engine/plan/memory.h"
#include "worker/engine/plan/plan.h"

static bool overlap_in_time(const pm_tensor *a, const pm_tensor *b) {
    return a->first <= b->last && b->first <= a->last;
}

static int larger_first(const void *a, const void *b) {
    const pm_tensor *x = *(pm_tensor *const *)a, *y = *(pm_tensor *const *)b;
    if (x->floats != y->floats) return x->floats < y->floats ? 1 : -1;
    return (x > y) - (x < y);
}

/* Greedy by size: the lowest gap among the tensors placed before that live at the same time.
 * order: [tensor_count] scratch */
static size_t place(pm_plan *plan, pm_tensor **order) {
    size_t end = 0;
    for (size_t i = 0; i < plan->tensor_count; i++) order[i] = &plan->tensors[i];
    qsort(order, plan->tensor_count, sizeof *order, larger_first);
    for (size_t i = 0; i < plan->tensor_count; i++) {
        pm_tensor *t = order[i];
        if (t->base != PM_TENSOR_NONE) continue;
        t->offset = 0;
        for (bool moved = true; moved;) {
            moved = false;
            for (size_t k = 0; k < i; k++) {
                const pm_tensor *o = order[k];
                if (o->base != PM_TENSOR_NONE) continue;
                bool apart =
                    t->offset + t->floats <= o->offset || o->offset + o->floats <= t->offset;
                if (apart || !overlap_in_time(t, o)) continue;
                t->offset = o->offset + o->floats;
                moved = true;
            }
        }
        if (end < t->offset + t->floats) end = t->offset + t->floats;
    }
    return end;
}

/* Either factor of a product is the other's derivative. */
static void keep_product(pm_plan *plan, const pm_group *group) {
    if (group->kind != PM_GROUP_SCALE) return;
    pm_plan_use(plan, plan->value[group->input], plan->step_count);
    pm_plan_use(plan, plan->value[group->factors], plan->step_count);
}

/* Grad-CAM reads the map in front of the last pooling once its gradient is there. */
static void keep_pooled(pm_plan *plan) {
    const int pool = pm_graph_last_pool(plan->packed->graph);
    plan->pool_step = plan->step_count;
    for (size_t i = plan->forward_count; i < plan->step_count; i++) {
        const pm_step *step = &plan->steps[i];
        const pm_group *group = &plan->packed->fusion.groups[step->group];
        if (step->op != PM_DO_AVGPOOL_BACKWARD || group->head != pool) continue;
        plan->pool_step = i;
        pm_plan_use(plan, plan->value[group->input], plan->step_count);
    }
}

/* ---- stretches ---- */

/* Weights that the second-level cache does not hold, for less than a chunk's worth of tiles. */
enum { TILES_FEW = 16 };

static bool goes_together(const pm_plan *plan, const pm_step *step) {
    switch (step->op) {
    case PM_DO_LINEAR:
    case PM_DO_LINEAR_BACKWARD:
    case PM_DO_LINEAR_ROW:
    case PM_DO_SEED: return true;
    case PM_DO_WINOGRAD: {
        const pm_node *head = pm_plan_head(plan, step->group);
        return head->channels * head->in_channels * PM_WINOGRAD_POINTS > PM_WIDE_FLOATS &&
               pm_plan_chunk_tiles(plan, step, 1) <= TILES_FEW;
    }
    case PM_DO_CONV:
    case PM_DO_POINTWISE:
    case PM_DO_MAXPOOL:
    case PM_DO_MAXPOOL_BACKWARD:
    case PM_DO_SCALE:
    case PM_DO_SCALE_SUM:
    case PM_DO_AVGPOOL:
    case PM_DO_AVGPOOL_BACKWARD:
    case PM_DO_AVGPOOL_WINDOW:
    case PM_DO_AVGPOOL_WINDOW_BACKWARD:
    case PM_DO_SUBSAMPLE:
    case PM_DO_SUBSAMPLE_BACKWARD:
    case PM_DO_LAYERNORM:
    case PM_DO_LAYERNORM_BACKWARD:
    case PM_DO_HOOK: break;
    }
    return false;
}

/* Long enough that maps mostly stay in cache, short enough that pulls which part inside one share
 * what is above it. */
enum { STRETCH = 16 };

static void cut(pm_plan *plan) {
    for (size_t first = 0, end; first < plan->step_count; first = end) {
        const size_t limit = first < plan->forward_count ? plan->forward_count : plan->step_count;
        const bool together = goes_together(plan, &plan->steps[first]);
        for (end = first + 1; end < limit && end < first + STRETCH && !together; end++)
            if (goes_together(plan, &plan->steps[end])) break;
        for (size_t i = first; i < end; i++) {
            plan->steps[i].together = together;
            plan->steps[i].stretch = first;
            plan->steps[i].stretch_end = end;
        }
    }
}

/* What comes and goes within a stretch is needed for one image at a time. Anything else lives for
 * whole stretches: one image may be at their end while the next is at their start. */
static void settle(pm_plan *plan, pm_tensor *t) {
    if (t->base != PM_TENSOR_NONE || t->first >= plan->step_count) return;
    const bool outlives = t->last >= plan->step_count ||
                          (t == &plan->tensors[plan->image] && !plan->logits_only) ||
                          t == &plan->tensors[plan->logits];
    const pm_step *from = &plan->steps[t->first];
    const pm_step *to = &plan->steps[outlives ? t->first : t->last];
    if (!outlives && !from->together && from->stretch == to->stretch) {
        if (t->images > 1) t->floats = t->floats / t->images;
        if (t->images > 0) t->images = 1;
        t->image = 0;
        return;
    }
    t->first = from->stretch;
    if (t->last < to->stretch_end - 1) t->last = to->stretch_end - 1;
}

/* ---- placing ---- */

pm_status pm_plan_place(pm_plan *plan) {
    pm_tensor **order = malloc(plan->tensor_count * sizeof *order);
    if (order == NULL) return pm_fail(PM_E_MEMORY, "no memory for the plan");
    for (size_t i = 0; i < plan->packed->fusion.count && !plan->logits_only; i++) {
        pm_plan_use(plan, plan->mask[i], plan->step_count);
        pm_plan_use(plan, plan->winner[i], plan->step_count);
        pm_plan_use(plan, plan->normal[i], plan->step_count);
        keep_product(plan, &plan->packed->fusion.groups[i]);
    }
    keep_pooled(plan);
    cut(plan);
    for (size_t i = 0; i < plan->tensor_count; i++) settle(plan, &plan->tensors[i]);
    const size_t floats = place(plan, order);
    free(order);
    for (size_t i = 0; i < plan->tensor_count; i++) {
        pm_tensor *t = &plan->tensors[i];
        if (t->base == PM_TENSOR_NONE) continue;
        const pm_tensor *base = &plan->tensors[t->base];
        t->images = base->images;
        t->image = base->image;
        t->offset = base->offset + t->block * (size_t)t->plane;
    }
    if (plan->borrowed && floats <= plan->arena_floats) return PM_OK;
    plan->borrowed = false;
    plan->arena_floats = floats;
    plan->arena = pm_floats_new(floats);
    if (plan->arena == NULL)
        return pm_fail(PM_E_MEMORY, "no memory for an arena of %zu MB: take a smaller batch",
                       plan->arena_floats * sizeof(float) >> 20);
    return PM_OK;
}
