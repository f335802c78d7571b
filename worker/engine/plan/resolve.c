/* Owns: the translation of steps into kernel arguments, once the arena stands. Must not know why a
 * step is there. */
#include <stdlib.h>
#include <string.h>

#include "worker/engine/plan/plan.h"

static pm_const_span as_const(pm_span s) {
    return (pm_const_span){s.at, s.image, s.plane, s.row, s.pixel};
}

static pm_mask_span mask_span(const pm_plan *plan, int group) {
    if (plan->mask[group] == PM_TENSOR_NONE) return (pm_mask_span){0};
    const size_t *size = pm_plan_size(plan, group);
    const pm_tensor *t = &plan->tensors[plan->mask[group]];
    float *at = plan->arena + t->offset;
    if (plan->logits_only) return (pm_mask_span){.at = at};
    const size_t bytes = pm_plan_mask_bytes(plan, plan->packed->fusion.groups[group].activation);
    return (pm_mask_span){at, t->image * (ptrdiff_t)sizeof *at / (ptrdiff_t)bytes,
                          (ptrdiff_t)(size[0] * size[1]), (ptrdiff_t)size[1], 1};
}

static pm_epilogue epilogue_of(const pm_plan *plan, const pm_step *step) {
    pm_epilogue e = {.add = as_const(pm_plan_span(plan, step->add)),
                     .add_factors = as_const(pm_plan_span(plan, step->add_factors)),
                     .out = pm_plan_span(plan, step->out),
                     .scaled = pm_plan_span(plan, step->scaled)};
    if (step->forward) {
        e.scale = plan->packed->groups[step->group].scale;
        e.shift = plan->packed->groups[step->group].shift;
        e.activation = plan->packed->fusion.groups[step->group].activation;
        e.channels = pm_plan_head(plan, step->group)->channels;
        e.kept = mask_span(plan, step->group);
        e.raw = pm_plan_span(plan, step->raw);
        e.bias = plan->packed->groups[step->group].bias;
        return e;
    }
    e.point_of = plan->point_of;
    if (step->final) {
        const pm_activation undone = plan->packed->fusion.groups[step->target].activation;
        *(pm_activation_is_smooth(undone) ? &e.slope : &e.mask) = mask_span(plan, step->target);
        e.gradient_scale = plan->packed->groups[step->target].gradient_scale;
    }
    return e;
}

/* The part of a map that consists of pixels (y + i down, x + j across). */
static void stride_span(pm_span *s, size_t y, size_t x, size_t down, size_t across) {
    if (s->at == NULL) return;
    s->at += (ptrdiff_t)y * s->row + (ptrdiff_t)x * s->pixel;
    s->row *= (ptrdiff_t)down;
    s->pixel *= (ptrdiff_t)across;
}

static void stride_mask(pm_mask_span *s, size_t bytes, size_t y, size_t x, size_t step) {
    if (s->at == NULL) return;
    ptrdiff_t at = (ptrdiff_t)y * s->row + (ptrdiff_t)x * s->pixel;
    s->at = (char *)s->at + at * (ptrdiff_t)bytes;
    s->row *= (ptrdiff_t)step;
    s->pixel *= (ptrdiff_t)step;
}

static void stride_epilogue(pm_epilogue *e, const pm_kernels *kernels, size_t y, size_t x,
                            size_t step) {
    pm_span add = {(float *)(uintptr_t)e->add.at, e->add.image, e->add.plane, e->add.row,
                   e->add.pixel};
    stride_span(&add, y, x, step, step);
    e->add = as_const(add);
    stride_span(&e->out, y, x, step, step);
    stride_span(&e->scaled, y, x, step, step);
    stride_mask(&e->mask, kernels->mask_bytes, y, x, step);
    stride_mask(&e->slope, kernels->lanes * sizeof(float), y, x, step);
}

typedef struct rooms {
    pm_conv *conv;
    ptrdiff_t *tap;
} rooms;

static pm_conv *new_conv(pm_step *step, rooms *next, const pm_tap_class *class, pm_const_span in) {
    pm_conv *conv = next->conv++;
    if (step->conv_count++ == 0) step->convs = conv;
    *conv = (pm_conv){.in = in,
                      .step = PM_STEP_PIXEL,
                      .taps = class->taps,
                      .tap = next->tap,
                      .weights = class->weights,
                      .images = 1};
    for (size_t q = 0; q < class->taps; q++)
        next->tap[q] = class->tap[q].dy * in.row + class->tap[q].dx * in.pixel;
    next->tap += class->taps;
    return conv;
}

/* `pixels` of the input from one output pixel to the next, across and down. */
static void set_step(pm_conv *conv, size_t pixels, bool rgb) {
    conv->in.row *= (ptrdiff_t)pixels;
    conv->in.pixel *= (ptrdiff_t)pixels;
    if (rgb)
        conv->step = pixels == 1 ? PM_STEP_RGB : pixels == 2 ? PM_STEP_TWO_RGB : PM_STEP_ANY_RGB;
    else
        conv->step = pixels == 1 ? PM_STEP_PIXEL : pixels == 2 ? PM_STEP_TWO_PIXELS : PM_STEP_ANY;
}

static void set_output(pm_conv *conv, const pm_plan *plan, size_t channels, size_t height,
                       size_t width, pm_epilogue epilogue) {
    conv->out_blocks = pm_plan_blocks(plan, channels);
    conv->height = height;
    conv->width = width;
    conv->epilogue = epilogue;
}

static void resolve_forward(pm_plan *plan, pm_step *step, rooms *next) {
    const pm_node *head = pm_plan_head(plan, step->group);
    const pm_tensor *in = &plan->tensors[step->in];
    const pm_tap_class *class = &plan->packed->groups[step->group].forward;
    const size_t *size = pm_plan_size(plan, step->group);
    pm_conv *conv = new_conv(step, next, class, as_const(pm_plan_span(plan, step->in)));
    conv->in_blocks = in->blocks;
    conv->last_channels = (int)(head->in_channels % plan->packed->kernels->lanes);
    set_step(conv, head->stride, step->in == plan->image);
    set_output(conv, plan, head->channels, size[0], size[1], epilogue_of(plan, step));
}

static void resolve_backward(pm_plan *plan, pm_step *step, rooms *next) {
    const pm_node *head = pm_plan_head(plan, step->group);
    const pm_packed_group *weights = &plan->packed->groups[step->group];
    const pm_const_span in = as_const(pm_plan_span(plan, step->in));
    const size_t *size = pm_plan_size(plan, step->target), stride = head->stride;
    for (size_t p = 0; p < weights->backward_count; p++) {
        size_t py = p / stride, px = p % stride;
        if (size[0] <= py || size[1] <= px) continue;
        pm_epilogue e = epilogue_of(plan, step);
        stride_epilogue(&e, plan->packed->kernels, py, px, stride);
        pm_conv *conv = new_conv(step, next, &weights->backward[p], in);
        conv->in_blocks = pm_plan_blocks(plan, head->channels);
        conv->last_channels = (int)(head->channels % plan->packed->kernels->lanes);
        set_output(conv, plan, head->in_channels, (size[0] - py - 1) / stride + 1,
                   (size[1] - px - 1) / stride + 1, e);
    }
}

static void resolve_winograd(const pm_plan *plan, pm_step *step) {
    const pm_node *head = pm_plan_head(plan, step->group);
    const pm_packed_group *weights = &plan->packed->groups[step->group];
    const bool image = step->target == PM_GROUP_IMAGE;
    const pm_tensor *in = &plan->tensors[step->in], *out = image ? &plan->tensors[step->out] : NULL;
    const size_t *size = pm_plan_size(plan, step->target);
    const size_t outs = image           ? PM_RGB * weights->subpixels * weights->subpixels
                        : step->forward ? head->channels
                                        : head->in_channels;
    const size_t ins = step->in == plan->image ? PM_RGB * weights->subpixels * weights->subpixels
                       : step->forward         ? head->in_channels
                                               : head->channels;
    step->winograd = (pm_winograd){
        .in = as_const(pm_plan_span(plan, step->in)),
        .taps = weights->winograd_taps,
        .first =
            step->in == plan->image ? pm_packed_logits_first(weights) : weights->winograd_first,
        .weights = step->forward ? plan->packed->logits_filters[step->group] : weights->winograd,
        .last_channels = (int)(ins % plan->packed->kernels->lanes),
        .scratch = plan->arena + plan->tensors[step->scratch].offset,
        .images = 1,
        .in_blocks = in->blocks,
        .out_blocks = pm_plan_blocks(plan, outs),
        .height = image ? out->height : size[0],
        .width = image ? out->width : size[1],
        .in_height = in->height,
        .in_width = in->width,
        .epilogue = epilogue_of(plan, step)};
}

static void resolve_to_image(pm_plan *plan, pm_step *step, rooms *next) {
    const pm_node *head = pm_plan_head(plan, step->group);
    const pm_packed_group *weights = &plan->packed->groups[step->group];
    const pm_tensor *out = &plan->tensors[step->out];
    pm_conv *conv = new_conv(step, next, weights->backward, as_const(pm_plan_span(plan, step->in)));
    conv->in_blocks = pm_plan_blocks(plan, head->channels);
    set_step(conv, weights->subpixels / head->stride, false);
    set_output(conv, plan, PM_RGB * weights->subpixels * weights->subpixels, out->height,
               out->width, epilogue_of(plan, step));
}

static void resolve_map(pm_plan *plan, pm_step *step) {
    const pm_node *head = pm_plan_head(plan, step->group), *target = head;
    if (step->target >= 0) target = pm_plan_head(plan, step->target);
    const size_t *here = pm_plan_size(plan, step->target);
    /* What is read: the input's value forward, the group's own gradient backward. */
    const size_t *there = pm_plan_size(
        plan, step->forward ? plan->packed->fusion.groups[step->group].input : step->group);
    const pm_tensor *written = &plan->tensors[step->out >= 0 ? step->out : step->scaled];
    pm_map *m = &step->map;
    *m = (pm_map){.in = as_const(pm_plan_span(plan, step->in)),
                  .factors = as_const(pm_plan_span(plan, step->factors)),
                  .images = 1,
                  .blocks = written->blocks,
                  .height = here[0],
                  .width = here[1],
                  .in_height = there[0],
                  .in_width = there[1],
                  .kernel = head->kernel[0],
                  .stride = head->stride,
                  .pad = head->pad[0],
                  .channels = target->channels,
                  .epilogue = epilogue_of(plan, step)};
    m->before = step->before;
    m->in_channels = target->channels; /* a concatenation's part, forward */
    if (head->op == PM_OP_SUBSAMPLE_PAD) {
        m->before = (head->channels - head->in_channels) / 2;
        m->in_channels = head->in_channels;
    }
    if (plan->winner[step->group] != PM_TENSOR_NONE)
        m->winner = (uint8_t *)(plan->arena + plan->tensors[plan->winner[step->group]].offset);
    if (plan->normal[step->group] != PM_TENSOR_NONE) {
        m->eps = head->eps;
        m->normal = plan->arena + plan->tensors[plan->normal[step->group]].offset;
        m->inverse = m->normal + m->blocks * plan->packed->kernels->lanes * here[0] * here[1];
    }
}

static void resolve_linear(const pm_plan *plan, pm_step *step) {
    const int features = plan->packed->fusion.groups[step->group].input;
    const size_t *size = pm_plan_size(plan, features);
    step->linear =
        (pm_linear){.in = as_const(pm_plan_span(plan, step->in)),
                    .weights = plan->packed->groups[step->group].forward.weights,
                    .images = 1,
                    .in_blocks = pm_plan_blocks(plan, pm_plan_head(plan, features)->channels),
                    .height = size[0],
                    .width = size[1],
                    .out_blocks = pm_plan_blocks(plan, pm_plan_head(plan, step->group)->channels),
                    .epilogue = epilogue_of(plan, step)};
    if (step->scratch != PM_TENSOR_NONE)
        step->linear.sums = plan->arena + plan->tensors[step->scratch].offset;
}

static void count_rooms(const pm_plan *plan, size_t *convs, size_t *taps) {
    *convs = *taps = 0;
    for (size_t g = 0; g < plan->packed->fusion.count; g++) {
        const pm_packed_group *weights = &plan->packed->groups[g];
        if (weights->forward.tap == NULL) continue; /* no convolution */
        *convs += 1 + weights->backward_count;
        *taps += weights->forward.taps;
        for (size_t p = 0; p < weights->backward_count; p++) *taps += weights->backward[p].taps;
    }
}

pm_status pm_plan_resolve(pm_plan *plan) {
    size_t convs, taps;
    count_rooms(plan, &convs, &taps);
    plan->convs = calloc(convs, sizeof *plan->convs);
    plan->taps = calloc(taps + 1, sizeof *plan->taps);
    if (plan->convs == NULL || plan->taps == NULL)
        return pm_fail(PM_E_MEMORY, "no memory for the plan");
    rooms next = {plan->convs, plan->taps};
    for (size_t i = 0; i < plan->step_count; i++) {
        pm_step *step = &plan->steps[i];
        if (step->op == PM_DO_CONV && step->forward)
            resolve_forward(plan, step, &next);
        else if (step->op == PM_DO_CONV && step->target == PM_GROUP_IMAGE)
            resolve_to_image(plan, step, &next);
        else if (step->op == PM_DO_CONV)
            resolve_backward(plan, step, &next);
        else if (step->op == PM_DO_LINEAR || step->op == PM_DO_LINEAR_BACKWARD ||
                 step->op == PM_DO_LINEAR_ROW)
            resolve_linear(plan, step);
        else if (step->op == PM_DO_WINOGRAD)
            resolve_winograd(plan, step);
        else if (step->op != PM_DO_HOOK && step->op != PM_DO_SEED)
            resolve_map(plan, step);
    }
    return PM_OK;
}
