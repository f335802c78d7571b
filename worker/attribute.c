/* Owns the way from open photographs to filled replies: tensors, requests, the engine's calls.
 * Knows no lease and no bytes. */
#include "worker/attribute.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Items that go through the engine in one call, and with what. */
typedef struct call {
    pm_contexts *contexts;
    pm_stages *stages;
    pm_in_work *items[PM_TOGETHER_MAX];
    size_t count;
    pm_context *context;
} call;

static const pm_ready_configuration *configuration_at(const pm_in_work *w, size_t position) {
    return &w->ready->configurations[w->task->configurations[position]];
}

/* ---- answers ---- */

static pm_status reply(pm_in_work *w, size_t request, const pm_attribution_result *result) {
    const size_t position = w->positions[request];
    const pm_config *config = &configuration_at(w, position)->config;
    pm_status status = pm_reply_fill(w->reply, position, w->ready->loaded->model, result,
                                     w->input.boxes, pm_item_input_boxes(&w->input, config),
                                     w->ready->channels, w->ready->heat_maps);
    if (status || !w->evaluator || pm_reply_failed(w->reply, position)) return status;
    return pm_evaluator_keep(w->evaluator, position, result);
}

/* Requests stand item by item. */
static pm_status take_result(void *user, const pm_attribution_result *result) {
    call *c = user;
    size_t request = result->request, i = 0;
    while (request >= c->items[i]->request_count) request -= c->items[i++]->request_count;
    pm_stages_enter(c->stages, PM_STAGE_OTHER);
    pm_status status = reply(c->items[i], request, result);
    pm_stages_enter(c->stages, PM_STAGE_ENGINE);
    return status;
}

typedef struct curves_call {
    pm_in_work *item;
    pm_stages *stages;
} curves_call;

static pm_status take_curves(void *user, size_t position, const pm_curves_result *curves) {
    curves_call *c = user;
    pm_stages_enter(c->stages, PM_STAGE_OTHER);
    pm_status status = pm_reply_curves(c->item->reply, position, curves);
    pm_stages_enter(c->stages, PM_STAGE_ENGINE);
    return status;
}

/* A failure of one configuration is a row of its own. */
static pm_status fail_request(pm_in_work *w, size_t request, pm_status status) {
    const char *reason = status == PM_E_NOT_FOUND ? "no-statistics" : pm_status_name(status);
    return pm_reply_fail(w->reply, w->positions[request], "compute", reason, pm_error_text());
}

static pm_status fail_requests(pm_in_work *w, const char *stage, pm_status why, const char *text) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < w->request_count && !status; i++)
        status = pm_reply_fail(w->reply, w->positions[i], stage, pm_status_name(why), text);
    return status;
}

/* ---- engine ---- */

static pm_status attribute_all(call *c) {
    const float *inputs[PM_TOGETHER_MAX];
    size_t total = 0, at = 0;
    for (size_t i = 0; i < c->count; i++) total += c->items[i]->request_count;
    pm_request *requests = malloc(total * sizeof *requests);
    if (!requests) return pm_fail(PM_E_MEMORY, "requests: no memory");
    for (size_t i = 0; i < c->count; i++) {
        inputs[i] = c->items[i]->input.tensor;
        for (size_t k = 0; k < c->items[i]->request_count; k++, at++) {
            requests[at] = c->items[i]->requests[k];
            requests[at].image = i;
        }
    }
    pm_status status =
        pm_context_attribute_images(c->context, inputs, c->count, requests, total, take_result, c);
    free(requests);
    return status;
}

/* The requests of an item one by one. */
static pm_status attribute_each(call *c) {
    pm_status status = PM_OK;
    for (size_t k = 0; k < c->items[0]->request_count && !status; k++) {
        pm_in_work alone = *c->items[0];
        call one = *c;
        alone.requests += k;
        alone.positions += k;
        alone.request_count = 1;
        one.items[0] = &alone;
        status = attribute_all(&one);
        if (status == PM_E_NOT_FOUND || status == PM_E_USAGE)
            status = fail_request(&alone, 0, status);
    }
    return status;
}

/* All requests on one forward pass; where the engine refuses one of an item's, each alone. Several
 * items come back first, each with all of its requests. */
static pm_status attribute(call *c) {
    pm_status status = attribute_all(c);
    const bool refused = status == PM_E_NOT_FOUND || status == PM_E_USAGE;
    return refused && c->count == 1 ? attribute_each(c) : status;
}

/* Method gather: no gradient, only what statistics are made of. */
static pm_status activate(call *c) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < c->count && !status; i++) {
        pm_in_work *w = c->items[i];
        pm_activations activations;
        status = pm_context_activations(c->context, w->input.tensor, &activations);
        for (size_t k = 0; k < w->request_count && !status; k++)
            status = pm_reply_activations(w->reply, w->positions[k], w->ready->loaded->model,
                                          w->requests[k].target, &activations);
    }
    return status;
}

static pm_status make_evaluators(call *c, size_t side) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < c->count && !status; i++) {
        pm_in_work *w = c->items[i];
        pm_sha256 image;
        memcpy(image.bytes, w->item->sha256.data, sizeof image.bytes);
        status = pm_evaluator_new(&w->ready->evaluation, w->input.tensor, side,
                                  pm_model_classes(w->ready->loaded->model), &image, &w->evaluator);
    }
    return status;
}

/* Requests first .. of each item that has so many, as many as may be kept. */
static pm_status evaluate_some(call *c, size_t first) {
    pm_in_work some[PM_TOGETHER_MAX];
    call one = *c;
    one.count = 0;
    for (size_t i = 0; i < c->count; i++) {
        const pm_in_work *w = c->items[i];
        if (w->request_count <= first) continue;
        pm_in_work *part = &some[one.count];
        *part = *w;
        part->requests += first;
        part->positions += first;
        part->request_count -= first;
        if (part->request_count > PM_EVALUATED_MAX) part->request_count = PM_EVALUATED_MAX;
        one.items[one.count++] = part;
    }
    pm_status status = attribute(&one);
    for (size_t i = 0; i < one.count && !status; i++) {
        curves_call curves = {&some[i], c->stages};
        status = pm_evaluator_run(some[i].evaluator, c->context, take_curves, &curves);
    }
    return status;
}

/* As attribute, with curves: by so many requests at a time that their heat maps fit. */
static pm_status attribute_and_evaluate(call *c, size_t side) {
    size_t most = 0;
    for (size_t i = 0; i < c->count; i++)
        if (c->items[i]->request_count > most) most = c->items[i]->request_count;
    pm_status status = make_evaluators(c, side);
    for (size_t first = 0; first < most && !status; first += PM_EVALUATED_MAX)
        status = evaluate_some(c, first);
    for (size_t i = 0; i < c->count; i++) pm_evaluator_free(&c->items[i]->evaluator);
    return status;
}

/* ---- requests ---- */

/* False: the class is none of the model's. */
static bool choose_target(const pm_in_work *w, const pm_config *config, int *target) {
    size_t classes = pm_model_classes(w->ready->loaded->model);
    *target = PM_TARGET_TOP;
    switch (config->target_rule) {
    case PM_TARGET_RULE_TOP: return true;
    case PM_TARGET_RULE_CLASS:
        *target = (int)config->target_class;
        return config->target_class < classes;
    case PM_TARGET_RULE_LABEL:
        if (w->item->has_label) *target = w->item->label;
        return !w->item->has_label || (w->item->label >= 0 && (size_t)w->item->label < classes);
    }
    return false;
}

/* The item's requests for those configurations. positions: [count] */
static pm_status collect(pm_in_work *w, const size_t *positions, size_t count) {
    w->request_count = 0;
    for (size_t i = 0; i < count; i++) {
        const pm_ready_configuration *c = configuration_at(w, positions[i]);
        pm_status status = PM_OK;
        int target = 0;
        if (!c->engine && !c->gathers) {
            status = pm_reply_fail(w->reply, positions[i], "compute", "configuration", c->text);
        } else if (!choose_target(w, &c->config, &target)) {
            char text[96];
            snprintf(text, sizeof text, "class %d is none of the model's %zu", target,
                     pm_model_classes(w->ready->loaded->model));
            status = pm_reply_fail(w->reply, positions[i], "compute", "target-range", text);
        } else {
            w->positions[w->request_count] = positions[i];
            w->requests[w->request_count++] =
                (pm_request){.configuration = c->engine, .target = target};
        }
        if (status) return status;
    }
    return PM_OK;
}

/* What the methods need beside the tensor: where to start from, and noise. */
static pm_status equip(pm_in_work *w) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < w->request_count && !status; i++) {
        const pm_ready_configuration *c = configuration_at(w, w->positions[i]);
        const pm_attribution *a = &c->config.attribution;
        pm_request *request = &w->requests[i];
        if (a->method == PM_METHOD_IG)
            status =
                pm_extras_baseline(&w->input.extras, a->baseline, c->baseline, &request->baseline);
        if (!pm_method_is_random(a->method)) continue;
        request->noise = pm_noise_draw;
        request->noise_user = pm_extras_noise(&w->input.extras, a->seed);
    }
    return status;
}

/* The tensor of those that have requests; they alone are in the call then. */
static pm_status make_inputs(call *c, pm_in_work *items, size_t count, const pm_config *config) {
    pm_status failed = PM_OK;
    c->count = 0;
    for (size_t i = 0; i < count && !failed; i++) {
        pm_in_work *w = &items[i];
        if (w->request_count == 0) continue;
        pm_status status =
            pm_item_input_make(w->item, &w->image, config, w->request_count, &w->input);
        if (!status) status = equip(w);
        if (!status) {
            c->items[c->count++] = w;
            continue;
        }
        char text[512];
        snprintf(text, sizeof text, "%s", pm_error_text());
        failed = fail_requests(w, "preprocess", status, text);
    }
    return failed;
}

static pm_status run_engine(call *c, const pm_config *config) {
    const pm_run_ready *ready = c->items[0]->ready;
    size_t requests = 0;
    for (size_t i = 0; i < c->count; i++) requests += c->items[i]->request_count;
    pm_status status = pm_contexts_get(c->contexts, ready->loaded, config, requests, &c->context);
    if (status) return status;
    if (config->attribution.method == PM_METHOD_GATHER) return activate(c);
    return ready->evaluation.on ? attribute_and_evaluate(c, config->crop) : attribute(c);
}

/* The engine for all items of the call; where that fails, for each alone, so that what fails of one
 * stays its own. */
static pm_status run_call(call *c, const pm_config *config) {
    pm_status status = run_engine(c, config), failed = PM_OK;
    if (status && c->count == 1) {
        char text[512];
        snprintf(text, sizeof text, "%s", pm_error_text());
        return fail_requests(c->items[0], "compute", status, text);
    }
    for (size_t i = 0; i < c->count && status && !failed; i++) {
        call one = *c;
        one.items[0] = c->items[i];
        one.count = 1;
        failed = run_call(&one, config);
    }
    return failed;
}

/* Those configurations of the items that share a tensor, like `config`. */
static pm_status compute_group(call *c, pm_in_work *items, size_t count, const pm_config *config) {
    pm_stages_enter(c->stages, PM_STAGE_IMAGE);
    pm_status failed = make_inputs(c, items, count, config);
    pm_stages_enter(c->stages, PM_STAGE_ENGINE);
    if (!failed && c->count > 0) failed = run_call(c, config);
    pm_stages_enter(c->stages, PM_STAGE_OTHER);
    for (size_t i = 0; i < count; i++) pm_item_input_fini(&items[i].input);
    return failed;
}

/* Of the configurations that are not done, those that share `first`'s tensor. */
static size_t alike(const pm_in_work *w, size_t first, bool *done, size_t *positions) {
    const pm_ready_configuration *like = configuration_at(w, first);
    size_t count = 0;
    for (size_t k = first; k < w->task->n_configurations; k++) {
        const pm_ready_configuration *c = configuration_at(w, k);
        if (done[k] || c->gathers != like->gathers ||
            (c->engine && !pm_config_same_tensor(&like->config, &c->config)))
            continue;
        done[k] = true;
        positions[count++] = k;
    }
    return count;
}

static pm_status compute_configurations(call *c, pm_in_work *items, size_t count, bool *done,
                                        size_t *positions) {
    pm_status status = PM_OK;
    for (size_t k = 0; k < items[0].task->n_configurations && !status; k++) {
        if (done[k]) continue;
        const size_t some = alike(&items[0], k, done, positions);
        for (size_t i = 0; i < count && !status; i++) status = collect(&items[i], positions, some);
        /* A configuration without an engine has no tensor to say: the first that has one does. */
        size_t with = 0;
        while (with < count && items[with].request_count == 0) with++;
        if (status || with == count) continue;
        status = compute_group(c, items, count,
                               &configuration_at(&items[with], items[with].positions[0])->config);
    }
    return status;
}

static_assert((int)PM_CONTEXT_BATCH <= (int)PM_TOGETHER_MAX, "arrays hold what goes together");

size_t pm_attribute_together(const pm_run_ready *ready, const Pm__Wire__Task *task) {
    const size_t configurations = task->n_configurations ? task->n_configurations : 1;
    const size_t room = PM_CONTEXT_BATCH / configurations;
    size_t together = pm_model_together(ready->loaded->model);
    if (together > room) together = room;
    if (ready->evaluation.on)
        while (together * configurations * ready->evaluation.ratio_count > PM_RATIOS_TOGETHER)
            together--;
    for (size_t k = 0; k < task->n_configurations; k++) {
        const pm_config *config = &ready->configurations[task->configurations[k]].config;
        switch (config->attribution.method) {
        case PM_METHOD_GRAD:
        case PM_METHOD_INPUTGRAD:
        case PM_METHOD_GRADCAM: break;
        case PM_METHOD_IG: /* many passes an item */
        case PM_METHOD_SMOOTHGRAD:
        case PM_METHOD_VARGRAD:
        case PM_METHOD_GATHER: /* one forward pass alone */
        case PM_METHOD_COUNT: together = 1; break;
        }
    }
    return together > 1 ? together : 1;
}

pm_status pm_attribute_items(pm_contexts *contexts, pm_stages *stages, pm_in_work *items,
                             size_t count) {
    call c = {.contexts = contexts, .stages = stages};
    if (count == 0) return PM_OK;
    const size_t configurations = items[0].task->n_configurations;
    bool *done = calloc(configurations, sizeof *done), enough = true;
    size_t *positions = calloc(configurations, sizeof *positions);
    for (size_t i = 0; i < count; i++) {
        items[i].requests = calloc(configurations, sizeof *items[i].requests);
        items[i].positions = calloc(configurations, sizeof *items[i].positions);
        enough = enough && items[i].requests && items[i].positions;
    }
    pm_status status =
        done && positions && enough ? PM_OK : pm_fail(PM_E_MEMORY, "item: no memory");
    if (!status) status = compute_configurations(&c, items, count, done, positions);
    for (size_t i = 0; i < count; i++) {
        free(items[i].requests);
        free(items[i].positions);
    }
    free(positions);
    free(done);
    return status;
}
