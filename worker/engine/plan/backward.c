/* Owns: the backward steps, derived from the groups. Must not know kernels.
 *
 * The groups are walked from the last to the first. When a group's turn comes, the gradient of its
 * value is complete: every reader has added its share. A share is either computed (by the reader's
 * step, which adds what is there already) or is a tensor that exists (a residual hands its reader's
 * gradient on as it is, a concatenation the blocks of its own). The step that brings the last share
 * applies the group's own epilogue backwards: the activation's derivative, then the factors of
 * `affine`, so that the gradient at the convolution's output is stored once and ParchGrad finds it
 * there. */
#include <stdlib.h>

#include "worker/engine/plan/plan.h"

/* A share of a gradient: a tensor, times a factor a channel where there is one. */
typedef struct share {
    int tensor, factors;
} share;

/* Shares waiting to be summed; more than two are joined as they come. */
typedef struct pending {
    share waiting[2];
    size_t count;
    size_t readers; /* yet to come */
} pending;
static size_t time_of(const pm_plan *plan, const pm_step *step) {
    return (size_t)(step - plan->steps);
}

/* Zeros that the backward taps of a group want around its gradient. */
static size_t delta_border(const pm_plan *plan, int index) {
    const pm_group *group = &plan->packed->fusion.groups[index];
    const pm_packed_group *weights = &plan->packed->groups[index];
    if (group->kind != PM_GROUP_CONV) return 0;
    const pm_node *head = pm_plan_head(plan, index);
    const size_t *in = pm_plan_size(plan, group->input), *out = pm_plan_size(plan, index);
    ptrdiff_t border = 0;
    for (size_t p = 0; p < weights->backward_count; p++) {
        const pm_tap_class *class = &weights->backward[p];
        for (size_t q = 0; q < class->taps; q++)
            for (size_t side = 0; side < 2; side++) {
                ptrdiff_t d = side == 0 ? class->tap[q].dy : class->tap[q].dx;
                size_t parity = side == 0 ? p / head->stride : p % head->stride, count, step = 1;
                if (weights->subpixels != 0) {
                    step = weights->subpixels / head->stride;
                    count = (in[side] + weights->subpixels - 1) / weights->subpixels;
                } else {
                    count = in[side] <= parity ? 0 : (in[side] - parity - 1) / head->stride + 1;
                }
                if (count == 0) continue;
                ptrdiff_t end = (ptrdiff_t)((count - 1) * step) + d - (ptrdiff_t)(out[side] - 1);
                border = -d > border ? -d : border;
                border = end > border ? end : border;
            }
    }
    return (size_t)border;
}

static int gradient_tensor(pm_plan *plan, const pm_step *step, int group, size_t border) {
    const size_t *size = pm_plan_size(plan, group);
    size_t blocks = pm_plan_blocks(plan, pm_plan_head(plan, group)->channels);
    return pm_plan_tensor(plan, plan->batch, blocks, size[0], size[1], border, time_of(plan, step));
}

/* The tensors that the last share of `group` fills. */
static void finish_target(pm_plan *plan, pm_step *step, int group) {
    const pm_group *g = &plan->packed->fusion.groups[group];
    step->final = true;
    if (g->residual != PM_GROUP_NONE && g->kind != PM_GROUP_CONCAT)
        plan->grad[group] = step->out = gradient_tensor(plan, step, group, 0);
    plan->delta[group] = step->scaled =
        gradient_tensor(plan, step, group, delta_border(plan, group));
}

static void use_all(pm_plan *plan, const pm_step *step) {
    size_t time = time_of(plan, step);
    pm_plan_use(plan, step->in, time);
    pm_plan_use(plan, step->add, time);
    pm_plan_use(plan, step->out, time);
    pm_plan_use(plan, step->scaled, time);
}

static share whole(int tensor) { return (share){tensor, PM_TENSOR_NONE}; }

static void add_share(pm_step *step, share added) {
    step->add = added.tensor;
    step->add_factors = added.factors;
}

/* Sum two waiting shares; where nothing else is to come, that completes the gradient. */
static void join(pm_plan *plan, pending *p, int group, bool final) {
    const share first = p->waiting[0];
    const bool product = first.factors != PM_TENSOR_NONE;
    if (final && p->count == 1 && !product &&
        plan->packed->fusion.groups[group].kind == PM_GROUP_CONCAT) {
        plan->delta[group] = first.tensor; /* nothing of its own to undo */
        p->count = 0;
        return;
    }
    pm_step *step = pm_plan_step(plan, product ? PM_DO_SCALE : PM_DO_POINTWISE, group, group);
    step->in = first.tensor;
    step->factors = first.factors;
    if (p->count == 2) add_share(step, p->waiting[1]);
    if (final)
        finish_target(plan, step, group);
    else
        step->out = gradient_tensor(plan, step, group, 0);
    use_all(plan, step);
    p->count = final ? 0 : 1;
    p->waiting[0] = whole(step->out);
}

static void give(pm_plan *plan, pending *all, int group, share given) {
    pending *p = &all[group];
    if (p->count == 2) join(plan, p, group, false);
    p->waiting[p->count++] = given;
    if (--p->readers == 0) join(plan, p, group, true);
}

/* The reader's step computes a share of `group`'s gradient and adds one that waits. */
static pm_step *compute(pm_plan *plan, pending *all, pm_step_op op, int reader, int group) {
    pending *p = &all[group];
    if (p->count == 2) join(plan, p, group, false);
    pm_step *step = pm_plan_step(plan, op, reader, group);
    step->in = plan->delta[reader];
    if (p->count == 1) add_share(step, p->waiting[0]);
    if (--p->readers == 0)
        finish_target(plan, step, group);
    else
        step->out = gradient_tensor(plan, step, group, 0);
    use_all(plan, step);
    p->count = step->final ? 0 : 1;
    p->waiting[0] = whole(step->out);
    return step;
}

/* Weights of a point that fit into half the second-level cache stay there for a short chunk; larger
 * ones are streamed, and many tiles share the trip. */
enum { POINT_FLOATS = 128 * 1024, TILES_SHORT = 28, TILES_LONG = 56, TILE_AND_TAPS = 7 };

size_t pm_plan_chunk_tiles(const pm_plan *plan, const pm_step *step, size_t images) {
    const pm_node *head = pm_plan_head(plan, step->group);
    const pm_packed_group *weights = &plan->packed->groups[step->group];
    const size_t *size = pm_plan_size(plan, step->target),
                 tile = TILE_AND_TAPS - weights->winograd_taps;
    const size_t pixels = tile * (step->target == PM_GROUP_IMAGE ? weights->subpixels : 1);
    const size_t all =
        images * ((size[0] + pixels - 1) / pixels) * ((size[1] + pixels - 1) / pixels);
    const size_t most =
        head->channels * head->in_channels > POINT_FLOATS ? TILES_LONG : TILES_SHORT;
    return all < most ? all : most;
}

static void add_scratch(pm_plan *plan, pm_step *step, size_t outs) {
    const size_t ins = pm_plan_head(plan, step->group)->channels;
    step->scratch = pm_plan_scratch(plan, step,
                                    plan->packed->kernels->winograd_scratch(
                                        pm_plan_blocks(plan, ins), pm_plan_blocks(plan, outs),
                                        pm_plan_chunk_tiles(plan, step, plan->batch)));
}

static void conv(pm_plan *plan, pending *all, int index) {
    const int target = plan->packed->fusion.groups[index].input;
    if (plan->packed->groups[index].winograd == NULL) {
        compute(plan, all, PM_DO_CONV, index, target);
        return;
    }
    compute(plan, all, PM_DO_WINOGRAD, index, target);
    add_scratch(plan, &plan->steps[plan->step_count - 1], pm_plan_head(plan, index)->in_channels);
}

static void linear(pm_plan *plan, pending *all, int index) {
    const int target = plan->packed->fusion.groups[index].input;
    pm_step *step = compute(plan, all, PM_DO_LINEAR_BACKWARD, index, target);
    const size_t features = plan->packed->groups[index].forward.taps *
                            pm_plan_blocks(plan, pm_plan_head(plan, target)->channels) *
                            plan->packed->kernels->lanes;
    step->scratch = pm_plan_scratch(plan, step, plan->batch * features);
}

static void scale(pm_plan *plan, pending *all, int index) {
    const pm_group *group = &plan->packed->fusion.groups[index];
    compute(plan, all, PM_DO_SCALE_SUM, index, group->factors)->factors = plan->value[group->input];
    give(plan, all, group->input, (share){plan->delta[index], plan->value[group->factors]});
}

static void to_image(pm_plan *plan, int reader) {
    const size_t f = plan->packed->groups[reader].subpixels;
    const bool winograd = plan->packed->groups[reader].winograd != NULL;
    pm_step *step =
        pm_plan_step(plan, winograd ? PM_DO_WINOGRAD : PM_DO_CONV, reader, PM_GROUP_IMAGE);
    step->in = plan->delta[reader];
    step->out = plan->gradient = pm_plan_tensor(
        plan, plan->batch, pm_plan_blocks(plan, PM_RGB * f * f), (plan->height + f - 1) / f,
        (plan->width + f - 1) / f, 0, time_of(plan, step));
    if (winograd) add_scratch(plan, step, PM_RGB * f * f);
    use_all(plan, step);
    pm_plan_use(plan, step->out, time_of(plan, step) + 1); /* read after the last step */
}

static void hook(pm_plan *plan, int group) {
    pm_step *step = pm_plan_step(plan, PM_DO_HOOK, group, group);
    step->in = plan->delta[group];
    use_all(plan, step);
}

/* Each part's share is its blocks of the gradient, unless its channels begin inside one. */
static void split(pm_plan *plan, pending *all, int index) {
    const pm_group *group = &plan->packed->fusion.groups[index];
    const size_t lanes = plan->packed->kernels->lanes;
    const size_t boundary = pm_plan_head(plan, group->input)->channels;
    const int parts[2] = {group->input, group->residual};
    for (size_t k = 0; k < 2; k++) {
        const size_t before = k == 0 ? 0 : boundary;
        const size_t blocks = pm_plan_blocks(plan, pm_plan_head(plan, parts[k])->channels);
        if (boundary % lanes == 0)
            give(plan, all, parts[k],
                 whole(pm_plan_view(plan, plan->delta[index], before / lanes, blocks)));
        else
            compute(plan, all, PM_DO_SUBSAMPLE_BACKWARD, index, parts[k])->before = before;
    }
}

/* The gradient of the logits, where the last group is no linear layer that reads its own rows. */
static void seed(pm_plan *plan) {
    const int output = plan->packed->fusion.output;
    if (plan->packed->fusion.groups[output].kind == PM_GROUP_LINEAR) return;
    pm_step *step = pm_plan_step(plan, PM_DO_SEED, output, output);
    step->out = plan->delta[output] = gradient_tensor(plan, step, output, 0);
}

static void add_group(pm_plan *plan, pending *all, int index) {
    const pm_fusion *fusion = &plan->packed->fusion;
    const pm_group *group = &fusion->groups[index];
    if (group->kind == PM_GROUP_CONCAT) {
        split(plan, all, index);
        return;
    }
    if (group->residual >= 0) give(plan, all, group->residual, whole(plan->grad[index]));
    switch (group->kind) {
    case PM_GROUP_CONV:
        if (pm_plan_head(plan, index)->op == PM_OP_CONV) hook(plan, index);
        if (group->input == PM_GROUP_IMAGE)
            to_image(plan, index);
        else
            conv(plan, all, index);
        return;
    case PM_GROUP_LINEAR:
        if (index == fusion->output)
            compute(plan, all, PM_DO_LINEAR_ROW, index, group->input);
        else
            linear(plan, all, index);
        return;
    case PM_GROUP_MAXPOOL: compute(plan, all, PM_DO_MAXPOOL_BACKWARD, index, group->input); return;
    case PM_GROUP_AVGPOOL: compute(plan, all, PM_DO_AVGPOOL_BACKWARD, index, group->input); return;
    case PM_GROUP_AVGPOOL_WINDOW:
        compute(plan, all, PM_DO_AVGPOOL_WINDOW_BACKWARD, index, group->input);
        return;
    case PM_GROUP_SUBSAMPLE:
        compute(plan, all, PM_DO_SUBSAMPLE_BACKWARD, index, group->input);
        return;
    case PM_GROUP_CONCAT: return; /* done above */
    case PM_GROUP_LAYERNORM:
        compute(plan, all, PM_DO_LAYERNORM_BACKWARD, index, group->input);
        return;
    case PM_GROUP_SCALE: scale(plan, all, index); return;
    case PM_GROUP_POINTWISE: give(plan, all, group->input, whole(plan->delta[index])); return;
    }
}

pm_status pm_plan_add_backward(pm_plan *plan) {
    const pm_fusion *fusion = &plan->packed->fusion;
    pending *all = calloc(fusion->count, sizeof *all);
    if (all == NULL) return pm_fail(PM_E_MEMORY, "no memory for the plan");
    for (size_t i = 0; i < fusion->count; i++) {
        const pm_group *group = &fusion->groups[i];
        if (group->input >= 0) all[group->input].readers++;
        if (group->residual >= 0) all[group->residual].readers++;
        if (group->factors >= 0) all[group->factors].readers++;
    }
    seed(plan);
    for (size_t i = fusion->count; i-- > 0;) add_group(plan, all, (int)i);
    free(all);
    return PM_OK;
}
