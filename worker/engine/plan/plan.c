/* Owns: the making of a plan and its forward steps. */
#include "worker/engine/plan/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_FLOATS = 16, SIDE_MAX = 1 << 14 };
enum { ALIAS_FLOATS = 1024 }; /* 4 KB: loads from planes that far apart hit the same cache sets */

size_t pm_plan_blocks(const pm_plan *plan, size_t channels) {
    size_t lanes = plan->packed->kernels->lanes;
    return (channels + lanes - 1) / lanes;
}

const pm_node *pm_plan_head(const pm_plan *plan, int group) {
    return &plan->packed->graph->nodes[plan->packed->fusion.groups[group].head];
}

const size_t *pm_plan_size(const pm_plan *plan, int group) {
    int node = group == PM_GROUP_IMAGE
                   ? plan->packed->graph->nodes[plan->packed->fusion.groups[0].head].input[0]
                   : plan->packed->fusion.groups[group].last;
    return plan->sizes[node];
}

static int add_tensor(pm_plan *plan, pm_tensor tensor) {
    if (plan->tensor_count == plan->tensor_room) abort(); /* counted in pm_plan_init */
    tensor.floats = (tensor.floats + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
    tensor.last = tensor.first;
    tensor.base = PM_TENSOR_NONE;
    plan->tensors[plan->tensor_count] = tensor;
    return (int)plan->tensor_count++;
}

int pm_plan_tensor(pm_plan *plan, size_t images, size_t blocks, size_t height, size_t width,
                   size_t border, size_t first) {
    const size_t lanes = plan->packed->kernels->lanes;
    size_t row = (width + 2 * border) * lanes;
    size_t plane = (row * (height + 2 * border) + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
    if (plane % ALIAS_FLOATS == 0) plane += 4 * (size_t)LINE_FLOATS;
    return add_tensor(plan, (pm_tensor){.images = images,
                                        .blocks = blocks,
                                        .height = height,
                                        .width = width,
                                        .border = border,
                                        .image = (ptrdiff_t)(blocks * plane),
                                        .plane = (ptrdiff_t)plane,
                                        .row = (ptrdiff_t)row,
                                        .pixel = (ptrdiff_t)lanes,
                                        .floats = images * blocks * plane,
                                        .origin = (ptrdiff_t)(border * (row + lanes)),
                                        .first = first});
}

int pm_plan_scratch(pm_plan *plan, const pm_step *step, size_t floats) {
    return add_tensor(plan, (pm_tensor){.floats = floats, .first = (size_t)(step - plan->steps)});
}

int pm_plan_view(pm_plan *plan, int tensor, size_t first, size_t blocks) {
    pm_tensor view = plan->tensors[tensor];
    const int base = view.base == PM_TENSOR_NONE ? tensor : view.base;
    view.blocks = blocks;
    view.block += first;
    const int out = add_tensor(plan, view);
    plan->tensors[out].base = base;
    return out;
}

void pm_plan_use(pm_plan *plan, int tensor, size_t time) {
    if (tensor == PM_TENSOR_NONE) return;
    pm_tensor *t = &plan->tensors[tensor];
    if (t->base != PM_TENSOR_NONE) t = &plan->tensors[t->base];
    if (t->last < time) t->last = time;
}

pm_step *pm_plan_step(pm_plan *plan, pm_step_op op, int group, int target) {
    if (plan->step_count == plan->step_room) abort(); /* counted in pm_plan_init */
    pm_step *step = &plan->steps[plan->step_count++];
    *step = (pm_step){.op = op,
                      .group = group,
                      .target = target,
                      .in = PM_TENSOR_NONE,
                      .add = PM_TENSOR_NONE,
                      .out = PM_TENSOR_NONE,
                      .scaled = PM_TENSOR_NONE,
                      .factors = PM_TENSOR_NONE,
                      .add_factors = PM_TENSOR_NONE,
                      .scratch = PM_TENSOR_NONE,
                      .raw = PM_TENSOR_NONE};
    return step;
}

pm_span pm_plan_span(const pm_plan *plan, int tensor) {
    if (tensor == PM_TENSOR_NONE) return (pm_span){0};
    const pm_tensor *t = &plan->tensors[tensor];
    return (pm_span){plan->arena + t->offset + t->origin, t->image, t->plane, t->row, t->pixel};
}

size_t pm_plan_mask_bytes(const pm_plan *plan, pm_activation activation) {
    const pm_kernels *kernels = plan->packed->kernels;
    return pm_activation_is_smooth(activation) ? kernels->lanes * sizeof(float)
                                               : kernels->mask_bytes;
}

/* ---- forward ---- */

/* Zeros that the readers of a group's value want around it. */
static size_t forward_border(const pm_plan *plan, int group) {
    const pm_fusion *fusion = &plan->packed->fusion;
    size_t border = 0;
    for (size_t i = 0; i < fusion->count; i++) {
        const pm_group *reader = &fusion->groups[i];
        if (reader->kind != PM_GROUP_CONV || reader->input != group) continue;
        const size_t *pad = pm_plan_head(plan, (int)i)->pad;
        for (int side = 0; side < 2; side++) border = pad[side] > border ? pad[side] : border;
    }
    return border;
}

/* The image: three channels at a pitch of four floats, so that few of them are loaded in vain. */
static int image_tensor(pm_plan *plan) {
    const size_t f = plan->subpixels;
    if (f != 0)
        return pm_plan_tensor(plan, plan->points, pm_plan_blocks(plan, PM_RGB * f * f),
                              (plan->height + f - 1) / f, (plan->width + f - 1) / f, 0, 0);
    const size_t border = forward_border(plan, PM_GROUP_IMAGE), images = plan->points;
    size_t row = (plan->width + 2 * border) * PM_RGB_PITCH;
    size_t image = row * (plan->height + 2 * border);
    return add_tensor(plan, (pm_tensor){.images = images,
                                        .blocks = 1,
                                        .height = plan->height,
                                        .width = plan->width,
                                        .border = border,
                                        .image = (ptrdiff_t)image,
                                        .row = (ptrdiff_t)row,
                                        .pixel = PM_RGB_PITCH,
                                        .floats = images * image,
                                        .origin = (ptrdiff_t)(border * (row + PM_RGB_PITCH))});
}

/* Bytes a point that stay from the forward pass for all rounds of backward passes. */
static int kept_tensor(pm_plan *plan, size_t bytes, size_t first) {
    const size_t image = (bytes + LINE_FLOATS * 4 - 1) / (LINE_FLOATS * 4) * LINE_FLOATS;
    const size_t images = plan->logits_only ? 1 : plan->points;
    return add_tensor(plan, (pm_tensor){.images = images,
                                        .image = (ptrdiff_t)image,
                                        .floats = images * image,
                                        .first = first});
}

static pm_step_op forward_op(pm_group_kind kind) {
    switch (kind) {
    case PM_GROUP_CONV: return PM_DO_CONV;
    case PM_GROUP_LINEAR: return PM_DO_LINEAR;
    case PM_GROUP_MAXPOOL: return PM_DO_MAXPOOL;
    case PM_GROUP_AVGPOOL: return PM_DO_AVGPOOL;
    case PM_GROUP_AVGPOOL_WINDOW: return PM_DO_AVGPOOL_WINDOW;
    case PM_GROUP_SUBSAMPLE: return PM_DO_SUBSAMPLE;
    case PM_GROUP_LAYERNORM: return PM_DO_LAYERNORM;
    case PM_GROUP_SCALE: return PM_DO_SCALE;
    case PM_GROUP_CONCAT: /* has no step where its parts lie in place */
    case PM_GROUP_POINTWISE: break;
    }
    return PM_DO_POINTWISE;
}

/* A part lies inside the concatenation, so that nothing is copied, where its channels begin and end
 * between blocks. The last concatenation that reads a value has it: so the chain of them in a dense
 * block is one tensor that grows. */
static void find_homes(pm_plan *plan) {
    const pm_fusion *fusion = &plan->packed->fusion;
    const size_t lanes = plan->packed->kernels->lanes;
    for (size_t i = 0; i < fusion->count; i++)
        plan->homes[i] = (pm_home){PM_GROUP_NONE, 0, forward_border(plan, (int)i)};
    for (size_t i = fusion->count; i-- > 0;) {
        const pm_group *group = &fusion->groups[i];
        if (group->kind != PM_GROUP_CONCAT) continue;
        const size_t first = pm_plan_head(plan, group->input)->channels;
        if (first % lanes != 0) continue;
        pm_home *home[2] = {&plan->homes[group->input], &plan->homes[group->residual]};
        for (size_t k = 0; k < 2; k++)
            if (home[k]->concat == PM_GROUP_NONE) {
                home[k]->concat = (int)i;
                home[k]->block = k == 0 ? 0 : first / lanes;
            }
    }
    for (size_t i = 0; i < fusion->count; i++) { /* parts stand before their concatenation */
        if (plan->homes[i].concat == PM_GROUP_NONE) continue;
        pm_home *outer = &plan->homes[plan->homes[i].concat];
        if (outer->border < plan->homes[i].border) outer->border = plan->homes[i].border;
    }
}

/* The tensor of a group's value, made when the first step writes into it. */
static int value_tensor(pm_plan *plan, int index) {
    if (plan->value[index] != PM_TENSOR_NONE) return plan->value[index];
    const pm_home *home = &plan->homes[index];
    const size_t blocks = pm_plan_blocks(plan, pm_plan_head(plan, index)->channels);
    const size_t *size = pm_plan_size(plan, index);
    plan->value[index] =
        home->concat == PM_GROUP_NONE
            ? pm_plan_tensor(plan, plan->points, blocks, size[0], size[1], home->border,
                             plan->step_count)
            : pm_plan_view(plan, value_tensor(plan, home->concat), home->block, blocks);
    return plan->value[index];
}

/* Copy what does not lie in place. */
static void add_concat(pm_plan *plan, int index) {
    const pm_group *group = &plan->packed->fusion.groups[index];
    const size_t lanes = plan->packed->kernels->lanes;
    const int parts[2] = {group->input, group->residual}, whole = value_tensor(plan, index);
    const size_t boundary = pm_plan_head(plan, group->input)->channels;
    for (size_t k = 0; k < 2; k++) {
        const size_t before = k == 0 ? 0 : boundary;
        const pm_home *home = &plan->homes[parts[k]];
        if (home->concat == index && home->block * lanes == before) continue;
        const size_t time = plan->step_count;
        const bool apart = boundary % lanes == 0;
        pm_step *step =
            pm_plan_step(plan, apart ? PM_DO_POINTWISE : PM_DO_SUBSAMPLE, index, parts[k]);
        step->forward = true;
        step->in = plan->value[parts[k]];
        step->before = before;
        step->out = apart
                        ? pm_plan_view(plan, whole, before / lanes, plan->tensors[step->in].blocks)
                        : whole;
        if (!apart && k == 1) step->add = whole; /* in place: the block that both share */
        pm_plan_use(plan, step->in, time);
        pm_plan_use(plan, step->out, time);
    }
}

/* Rows of a LayerNorm's normalised map, then 1 / std a pixel. */
static size_t normal_bytes(const pm_plan *plan, size_t blocks, const size_t *size) {
    return (blocks * plan->packed->kernels->lanes + 1) * size[0] * size[1] * sizeof(float);
}

/* What backward needs of a forward step. */
static void add_kept(pm_plan *plan, pm_step *step, size_t time) {
    const int i = step->group;
    const pm_group *group = &plan->packed->fusion.groups[i];
    const size_t *size = plan->sizes[group->last];
    const size_t blocks = pm_plan_blocks(plan, pm_plan_head(plan, i)->channels);
    const size_t pixels = blocks * size[0] * size[1];
    if (pm_plan_head(plan, i)->op == PM_OP_CONV)
        step->raw = pm_plan_tensor(plan, plan->points, blocks, size[0], size[1], 0, time);
    if (group->activation != PM_ACTIVATION_NONE)
        plan->mask[i] =
            kept_tensor(plan, pixels * pm_plan_mask_bytes(plan, group->activation), time);
    if (group->kind == PM_GROUP_MAXPOOL)
        plan->winner[i] = kept_tensor(plan, pixels * plan->packed->kernels->lanes, time);
    if (group->kind == PM_GROUP_LAYERNORM)
        plan->normal[i] = kept_tensor(plan, normal_bytes(plan, blocks, size), time);
}

/* The kernels write it all the same: into room that the next step uses again. */
static void add_passing(pm_plan *plan, pm_step *step, size_t time) {
    const int i = step->group;
    const pm_group *group = &plan->packed->fusion.groups[i];
    const pm_node *head = pm_plan_head(plan, i);
    const size_t *size = plan->sizes[group->last];
    const size_t blocks = pm_plan_blocks(plan, head->channels);
    if (group->activation != PM_ACTIVATION_NONE) /* every pixel at the same place */
        plan->mask[i] = kept_tensor(plan, pm_plan_mask_bytes(plan, group->activation), time);
    if (group->kind == PM_GROUP_MAXPOOL)
        plan->winner[i] =
            kept_tensor(plan, blocks * size[0] * size[1] * plan->packed->kernels->lanes, time);
    if (group->kind == PM_GROUP_LAYERNORM)
        plan->normal[i] = kept_tensor(plan, normal_bytes(plan, blocks, size), time);
    if (plan->packed->logits_filters[i] == NULL) return;
    step->op = PM_DO_WINOGRAD;
    step->scratch = pm_plan_scratch(
        plan, step,
        plan->packed->kernels->winograd_scratch(plan->tensors[step->in].blocks, blocks,
                                                pm_plan_chunk_tiles(plan, step, plan->points)));
}

static void add_forward(pm_plan *plan) {
    const pm_fusion *fusion = &plan->packed->fusion;
    if (plan->logits_only && plan->packed->logits_filters[0] != NULL) /* the image's reader */
        plan->subpixels = plan->packed->groups[0].subpixels;
    plan->image = image_tensor(plan);
    find_homes(plan);
    for (size_t i = 0; i < fusion->count; i++) {
        const pm_group *group = &fusion->groups[i];
        if (group->kind == PM_GROUP_CONCAT) {
            add_concat(plan, (int)i);
            continue;
        }
        const size_t time = plan->step_count;
        plan->value[i] = value_tensor(plan, (int)i);
        pm_step *step = pm_plan_step(plan, forward_op(group->kind), (int)i, (int)i);
        step->forward = true;
        step->in = group->input == PM_GROUP_IMAGE ? plan->image : plan->value[group->input];
        if (group->residual >= 0) step->add = plan->value[group->residual];
        if (group->factors >= 0) step->factors = plan->value[group->factors];
        step->out = plan->value[i];
        pm_plan_use(plan, step->in, time);
        pm_plan_use(plan, step->add, time);
        pm_plan_use(plan, step->factors, time);
        if (plan->logits_only)
            add_passing(plan, step, time);
        else
            add_kept(plan, step, time);
    }
    plan->forward_count = plan->step_count;
    plan->logits = plan->value[fusion->output];
}

/* ---- life ---- */

static pm_status make_rooms(pm_plan *plan) {
    const size_t nodes = plan->packed->graph->node_count, groups = plan->packed->fusion.count;
    /* A group writes a value, bits and winners; its gradient comes in at most three tensors and as
     * many partial sums as it has readers; each reader also may need one step to join them. */
    plan->tensor_room = 16 * groups + 16;
    plan->step_room = 8 * groups + 16;
    plan->sizes = calloc(nodes, sizeof *plan->sizes);
    plan->tensors = calloc(plan->tensor_room, sizeof *plan->tensors);
    plan->steps = calloc(plan->step_room, sizeof *plan->steps);
    plan->homes = calloc(groups, sizeof *plan->homes);
    plan->point_of = calloc(PM_BATCH_MAX, sizeof *plan->point_of);
    int **const lists[] = {&plan->value,  &plan->mask, &plan->winner,
                           &plan->normal, &plan->grad, &plan->delta};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        *lists[i] = malloc(groups * sizeof **lists[i]);
        if (*lists[i] == NULL) return pm_fail(PM_E_MEMORY, "no memory for the plan");
        for (size_t g = 0; g < groups; g++) (*lists[i])[g] = PM_TENSOR_NONE;
    }
    if (plan->sizes == NULL || plan->tensors == NULL || plan->steps == NULL ||
        plan->homes == NULL || plan->point_of == NULL)
        return pm_fail(PM_E_MEMORY, "no memory for the plan");
    return PM_OK;
}

static pm_status init(pm_plan plan, pm_plan *out) {
    const size_t batch = plan.logits_only ? plan.points : plan.batch;
    if (batch < 1 || batch > PM_BATCH_MAX)
        return pm_fail(PM_E_USAGE, "a batch is 1 to %d, not %zu", PM_BATCH_MAX, batch);
    assert(plan.points >= 1 && plan.points <= PM_BATCH_MAX);
    if (plan.height < 1 || plan.width < 1 || plan.height > SIDE_MAX || plan.width > SIDE_MAX)
        return pm_fail(PM_E_USAGE, "an input is 1 to %d pixels wide and high, not %zu x %zu",
                       SIDE_MAX, plan.width, plan.height);
    pm_status status = make_rooms(&plan);
    if (status == PM_OK)
        status = pm_graph_sizes(plan.packed->graph, plan.height, plan.width, plan.sizes);
    if (status == PM_OK) add_forward(&plan);
    if (status == PM_OK && !plan.logits_only) status = pm_plan_add_backward(&plan);
    if (status == PM_OK) status = pm_plan_place(&plan);
    if (status == PM_OK) status = pm_plan_resolve(&plan);
    if (status == PM_OK)
        *out = plan;
    else
        pm_plan_fini(&plan);
    return status;
}

pm_status pm_plan_init(const pm_packed *packed, size_t height, size_t width, size_t points,
                       size_t batch, pm_plan *out) {
    return init(
        (pm_plan){
            .packed = packed, .height = height, .width = width, .points = points, .batch = batch},
        out);
}

pm_status pm_plan_init_logits(const pm_plan *other, size_t points, pm_plan *out) {
    return init((pm_plan){.packed = other->packed,
                          .height = other->height,
                          .width = other->width,
                          .points = points,
                          .logits_only = true,
                          .arena = other->arena,
                          .arena_floats = other->arena_floats,
                          .borrowed = true},
                out);
}

void pm_plan_fini(pm_plan *plan) {
    free(plan->sizes);
    free(plan->tensors);
    free(plan->steps);
    free(plan->convs);
    free(plan->taps);
    free(plan->homes);
    free(plan->point_of);
    free(plan->value);
    free(plan->mask);
    free(plan->winner);
    free(plan->normal);
    free(plan->grad);
    free(plan->delta);
    if (!plan->borrowed) free(plan->arena);
    *plan = (pm_plan){0};
}
