/* Owns: the running of a plan's steps. Must not know why a step is there. */
#include <assert.h>
#include <string.h>

#include "worker/engine/plan/plan.h"

void pm_plan_guide(pm_plan *plan, bool guided) {
    for (size_t i = plan->forward_count; i < plan->step_count; i++) {
        pm_step *step = &plan->steps[i];
        for (size_t k = 0; k < step->conv_count; k++) step->convs[k].epilogue.guided = guided;
        step->winograd.epilogue.guided = guided;
        step->map.epilogue.guided = guided;
        step->linear.epilogue.guided = guided;
    }
}

void pm_plan_keep_raw(pm_plan *plan, size_t index, bool keep) {
    pm_step *step = &plan->steps[index];
    for (size_t i = 0; i < step->conv_count; i++) step->convs[i].epilogue.keep_raw = keep;
    step->map.epilogue.keep_raw = keep;
}

/* The arena is shared over time, so a border has to be cleared each time a tensor is written. */
void pm_plan_clear_border(const pm_plan *plan, int tensor, size_t first, size_t images) {
    if (tensor == PM_TENSOR_NONE || plan->tensors[tensor].border == 0) return;
    const pm_tensor *t = &plan->tensors[tensor];
    const size_t row = (size_t)t->row, side = t->border * (size_t)t->pixel;
    for (size_t n = first; n < first + images; n++)
        for (size_t b = 0; b < t->blocks; b++) {
            float *p = plan->arena + t->offset + n * (size_t)t->image + b * (size_t)t->plane;
            memset(p, 0, t->border * row * sizeof *p);
            p += t->border * row;
            for (size_t y = 0; y < t->height; y++, p += row) {
                memset(p, 0, side * sizeof *p);
                memset(p + row - side, 0, side * sizeof *p);
            }
            memset(p, 0, t->border * row * sizeof *p);
        }
}

/* One image's gradient of the logits: its seed at its class. */
static void seed(const pm_plan *plan, const pm_step *step, size_t images, const size_t *rows,
                 const float *values) {
    const pm_tensor *t = &plan->tensors[step->out];
    const size_t lanes = plan->packed->kernels->lanes;
    for (size_t n = 0; n < images; n++) {
        float *p = plan->arena + t->offset + n * (size_t)t->image;
        memset(p, 0, t->blocks * (size_t)t->plane * sizeof *p);
        p[rows[n] / lanes * (size_t)t->plane + rows[n] % lanes] = values[n];
    }
}

/* What a map reads of the forward pass is one point's: images of the same point run together. */
static void run_map(const pm_plan *plan, const pm_step *step, size_t from, size_t to,
                    void (*kernel)(const pm_map *map)) {
    const int winner = plan->winner[step->group], normal = plan->normal[step->group];
    for (size_t first = from, end; first < to; first = end) {
        pm_map m = step->map;
        const size_t point = step->forward ? first : plan->point_of[first];
        end = first + 1;
        while (end < to && !step->forward && plan->point_of[end] == point) end++;
        m.first = first;
        m.images = end - first;
        if (m.factors.at != NULL && !step->forward) {
            m.factors.at += (ptrdiff_t)point * m.factors.image;
            m.factors.image = 0;
        }
        if (m.winner != NULL && !plan->logits_only)
            m.winner += point * (size_t)plan->tensors[winner].image * sizeof(float);
        if (m.normal != NULL && !plan->logits_only) {
            m.normal += (ptrdiff_t)point * plan->tensors[normal].image;
            m.inverse += (ptrdiff_t)point * plan->tensors[normal].image;
        }
        kernel(&m);
    }
}

static void run_convs(const pm_plan *plan, pm_step *step, size_t first, size_t images) {
    const pm_kernels *kernels = plan->packed->kernels;
    for (size_t i = 0; i < step->conv_count; i++) {
        step->convs[i].first = first;
        step->convs[i].images = images;
    }
    if (pm_plan_head(plan, step->group)->depthwise) {
        kernels->depthwise(step->convs, step->conv_count);
        return;
    }
    for (size_t i = 0; i < step->conv_count; i++) kernels->conv(&step->convs[i]);
}

static void run_linear(const pm_plan *plan, pm_step *step, size_t images, const size_t *rows,
                       const float *values) {
    const pm_kernels *kernels = plan->packed->kernels;
    step->linear.images = images;
    if (step->op == PM_DO_LINEAR)
        kernels->linear(&step->linear);
    else if (step->op == PM_DO_LINEAR_BACKWARD)
        kernels->linear_backward(&step->linear);
    else
        kernels->linear_row(&step->linear, rows, values);
}

void pm_plan_run(pm_plan *plan, size_t index, size_t first, size_t images, const size_t *rows,
                 const float *values) {
    const pm_kernels *kernels = plan->packed->kernels;
    pm_step *step = &plan->steps[index];
    const size_t end = first + images;
    assert(!step->together || first == 0);
    pm_plan_clear_border(plan, step->out, first, images);
    pm_plan_clear_border(plan, step->scaled, first, images);
    switch (step->op) {
    case PM_DO_HOOK: return;
    case PM_DO_CONV: run_convs(plan, step, first, images); return;
    case PM_DO_SEED: seed(plan, step, images, rows, values); return;
    case PM_DO_WINOGRAD:
        step->winograd.from = first;
        step->winograd.images = images;
        step->winograd.chunk_tiles = pm_plan_chunk_tiles(plan, step, images);
        kernels->winograd(&step->winograd);
        return;
    case PM_DO_POINTWISE: run_map(plan, step, first, end, kernels->pointwise); return;
    case PM_DO_MAXPOOL: run_map(plan, step, first, end, kernels->maxpool); return;
    case PM_DO_MAXPOOL_BACKWARD: run_map(plan, step, first, end, kernels->maxpool_backward); return;
    case PM_DO_SCALE: run_map(plan, step, first, end, kernels->scale_map); return;
    case PM_DO_SCALE_SUM: run_map(plan, step, first, end, kernels->scale_sum); return;
    case PM_DO_AVGPOOL: run_map(plan, step, first, end, kernels->avgpool); return;
    case PM_DO_AVGPOOL_BACKWARD: run_map(plan, step, first, end, kernels->avgpool_backward); return;
    case PM_DO_AVGPOOL_WINDOW: run_map(plan, step, first, end, kernels->avgpool_window); return;
    case PM_DO_AVGPOOL_WINDOW_BACKWARD:
        run_map(plan, step, first, end, kernels->avgpool_window_backward);
        return;
    case PM_DO_SUBSAMPLE: run_map(plan, step, first, end, kernels->subsample); return;
    case PM_DO_SUBSAMPLE_BACKWARD:
        run_map(plan, step, first, end, kernels->subsample_backward);
        return;
    case PM_DO_LAYERNORM: run_map(plan, step, first, end, kernels->layernorm); return;
    case PM_DO_LAYERNORM_BACKWARD:
        run_map(plan, step, first, end, kernels->layernorm_backward);
        return;
    case PM_DO_LINEAR:
    case PM_DO_LINEAR_BACKWARD:
    case PM_DO_LINEAR_ROW: run_linear(plan, step, images, rows, values); return;
    }
}
