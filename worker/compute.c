/* Owns the way of one item: bytes, picture, tensor, engine, reply. Knows no socket. */
#include "worker/compute.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "worker/evaluate.h"
#include "worker/fault.h"
#include "worker/input.h"
#include "worker/reply.h"
#include "worker/stages.h"

enum {
    CONTEXTS_KEPT = 2,
    BATCH = 8, /* backward passes that run together */
    PATH_BYTES = 8192
};

/* A context for a model and a side; holds the model. */
typedef struct warm_context {
    pm_loaded *loaded;
    size_t side, batch;
    pm_context *context;
    uint64_t used;
} warm_context;

struct pm_compute {
    pm_work *work;
    pm_models *models;
    const char *cache;
    size_t index;
    pthread_t thread;
    warm_context contexts[CONTEXTS_KEPT];
    uint64_t clock;
    pm_lease *lease; /* in work */
    pm_stages stages;
};

/* One item in work. */
typedef struct in_work {
    pm_compute *compute;
    const pm_run_ready *ready;
    const Pm__Wire__Task *task;
    const Pm__Wire__Item *item;
    pm_reply *reply;
    pm_image image;
    pm_request *requests; /* [n_configurations] of one call of the engine */
    size_t *positions;    /* request -> position in the task's configurations */
    size_t request_count;
    pm_item_input input;     /* of those requests */
    pm_evaluator *evaluator; /* NULL: the run wants no curves */
} in_work;

static void beat(void *user) {
    pm_compute *compute = user;
    if (compute->lease) pm_work_beat(compute->work, compute->lease);
}

/* ---- bytes ---- */

static bool path_is_inside(const char *path) {
    if (path[0] == '/' || path[0] == 0) return false;
    for (const char *part = path; part;) {
        const char *slash = strchr(part, '/');
        size_t length = slash ? (size_t)(slash - part) : strlen(part);
        if (length == 2 && part[0] == '.' && part[1] == '.') return false;
        part = slash ? slash + 1 : NULL;
    }
    return true;
}

/* The bytes with the item's hash: from the data set's folder, else from the broker. */
static pm_status read_item(in_work *w, uint8_t **bytes, size_t *size) {
    char path[PATH_BYTES];
    pm_sha256 wanted;
    memcpy(wanted.bytes, w->item->sha256.data, sizeof wanted.bytes);
    const char *root = w->compute->lease->run->info->data_root;
    if (!path_is_inside(w->item->path))
        return pm_fail(PM_E_DENIED, "%s: leads out of the data set's folder", w->item->path);
    int length = snprintf(path, sizeof path, "%s/%s", root, w->item->path);
    if (length > 0 && (size_t)length < sizeof path &&
        pm_file_read(path, PM_IMAGE_BYTES_MAX, bytes, size) == PM_OK) {
        pm_sha256 found = pm_sha256_of(*bytes, *size);
        if (pm_sha256_equal(&found, &wanted)) return PM_OK;
        free(*bytes);
        *bytes = NULL;
        (void)pm_fail(PM_E_MISMATCH, "%s: changed since the run was submitted", w->item->path);
    }
    char why[512];
    snprintf(why, sizeof why, "%s", pm_error_text());
    pm_status status = pm_work_fetch(w->compute->work, w->compute->lease, NULL, &wanted,
                                     w->item->size_bytes, bytes, size);
    if (status == PM_OK || status == PM_E_CANCELLED) return status;
    char broker[256];
    snprintf(broker, sizeof broker, "%s", pm_error_text());
    return pm_fail(status, "%s; from the broker: %s", why, broker);
}

static pm_status open_item(in_work *w, const char **stage) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    *stage = "fetch";
    pm_status status = read_item(w, &bytes, &size);
    if (status) return status;
    *stage = "decode";
    pm_stages_enter(&w->compute->stages, PM_STAGE_IMAGE);
    status = pm_image_decode(w->item->path, bytes, size, &pm_image_default_limits, &w->image);
    free(bytes);
    if (!status) pm_reply_set_size(w->reply, w->image.width, w->image.height);
    return status;
}

/* ---- contexts ---- */

static void cool(warm_context *warm) {
    pm_context_free(&warm->context);
    pm_loaded_release(&warm->loaded);
    *warm = (warm_context){0};
}

static pm_status get_context(pm_compute *compute, pm_loaded *loaded, size_t side, size_t requests,
                             pm_context **out) {
    warm_context *place = &compute->contexts[0];
    size_t batch = requests < BATCH ? requests : BATCH;
    for (size_t i = 0; i < CONTEXTS_KEPT; i++) {
        warm_context *warm = &compute->contexts[i];
        if (warm->context && warm->loaded == loaded && warm->side == side && warm->batch >= batch) {
            warm->used = ++compute->clock;
            *out = warm->context;
            return PM_OK;
        }
        if (warm->used < place->used) place = warm;
    }
    cool(place);
    pm_status status = pm_context_new(loaded->model, side, side, batch, &place->context);
    if (status) return status;
    pm_context_set_beat(place->context, beat, compute);
    pm_loaded_hold(loaded);
    place->loaded = loaded;
    place->side = side;
    place->batch = batch;
    place->used = ++compute->clock;
    *out = place->context;
    return PM_OK;
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

/* ---- engine ---- */

/* False: the class is none of the model's. */
static bool choose_target(const in_work *w, const pm_config *config, int *target) {
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

static pm_status reply(in_work *w, const pm_attribution_result *result) {
    size_t position = w->positions[result->request];
    const pm_config *config = &w->ready->configurations[w->task->configurations[position]].config;
    pm_status status = pm_reply_fill(w->reply, position, w->ready->loaded->model, result,
                                     w->input.boxes, pm_item_input_boxes(&w->input, config),
                                     w->ready->channels, w->ready->heat_maps);
    if (status || !w->evaluator || pm_reply_failed(w->reply, position)) return status;
    return pm_evaluator_keep(w->evaluator, position, result);
}

static pm_status take_result(void *user, const pm_attribution_result *result) {
    in_work *w = user;
    pm_stages_enter(&w->compute->stages, PM_STAGE_OTHER);
    pm_status status = reply(w, result);
    pm_stages_enter(&w->compute->stages, PM_STAGE_ENGINE);
    return status;
}

static pm_status take_curves(void *user, size_t position, const pm_curves_result *curves) {
    in_work *w = user;
    pm_stages_enter(&w->compute->stages, PM_STAGE_OTHER);
    pm_status status = pm_reply_curves(w->reply, position, curves);
    pm_stages_enter(&w->compute->stages, PM_STAGE_ENGINE);
    return status;
}

/* A failure of one configuration is a row of its own. */
static pm_status fail_request(in_work *w, size_t position, pm_status status) {
    const char *reason = status == PM_E_NOT_FOUND ? "no-statistics" : pm_status_name(status);
    return pm_reply_fail(w->reply, position, "compute", reason, pm_error_text());
}

/* All requests on one forward pass; where the engine refuses one of them, each alone. */
static pm_status attribute(in_work *w, pm_context *context) {
    pm_status status = pm_context_attribute(context, w->input.tensor, w->requests, w->request_count,
                                            take_result, w);
    if (status != PM_E_NOT_FOUND && status != PM_E_USAGE) return status;
    if (w->request_count == 1) return fail_request(w, w->positions[0], status);
    size_t count = w->request_count, *positions = w->positions;
    pm_request *requests = w->requests;
    w->request_count = 1;
    status = PM_OK;
    for (size_t i = 0; i < count && !status; i++) {
        w->requests = requests + i;
        w->positions = positions + i;
        status = attribute(w, context);
    }
    w->requests = requests;
    w->positions = positions;
    w->request_count = count;
    return status;
}

/* Method gather: no gradient, only what statistics are made of. */
static pm_status activate(in_work *w, pm_context *context) {
    pm_activations activations;
    pm_status status = pm_context_activations(context, w->input.tensor, &activations);
    for (size_t i = 0; i < w->request_count && !status; i++)
        status = pm_reply_activations(w->reply, w->positions[i], w->ready->loaded->model,
                                      w->requests[i].target, &activations);
    return status;
}

/* As attribute, with curves: by so many requests at a time that their heat maps fit. */
static pm_status attribute_and_evaluate(in_work *w, pm_context *context, size_t side) {
    pm_sha256 image;
    memcpy(image.bytes, w->item->sha256.data, sizeof image.bytes);
    pm_status status =
        pm_evaluator_new(&w->ready->evaluation, w->input.tensor, side,
                         pm_model_classes(w->ready->loaded->model), &image, &w->evaluator);
    for (size_t first = 0; first < w->request_count && !status; first += PM_EVALUATED_MAX) {
        in_work some = *w;
        some.requests += first;
        some.positions += first;
        some.request_count -= first;
        if (some.request_count > PM_EVALUATED_MAX) some.request_count = PM_EVALUATED_MAX;
        status = attribute(&some, context);
        if (!status) status = pm_evaluator_run(w->evaluator, context, take_curves, w);
    }
    pm_evaluator_free(&w->evaluator);
    return status;
}

/* The requests of all open configurations that share `first`'s tensor. */
static pm_status collect(in_work *w, size_t first, bool *done) {
    const pm_ready_configuration *configurations = w->ready->configurations;
    const pm_ready_configuration *like = &configurations[w->task->configurations[first]];
    w->request_count = 0;
    for (size_t k = first; k < w->task->n_configurations; k++) {
        const pm_ready_configuration *c = &configurations[w->task->configurations[k]];
        pm_status status = PM_OK;
        int target = 0;
        if (done[k] || c->gathers != like->gathers ||
            (c->engine && !pm_config_same_tensor(&like->config, &c->config)))
            continue;
        done[k] = true;
        if (!c->engine && !c->gathers) {
            status = pm_reply_fail(w->reply, k, "compute", "configuration", c->text);
        } else if (!choose_target(w, &c->config, &target)) {
            char text[96];
            snprintf(text, sizeof text, "class %d is none of the model's %zu", target,
                     pm_model_classes(w->ready->loaded->model));
            status = pm_reply_fail(w->reply, k, "compute", "target-range", text);
        } else {
            w->positions[w->request_count] = k;
            w->requests[w->request_count++] =
                (pm_request){.configuration = c->engine, .target = target};
        }
        if (status) return status;
    }
    return PM_OK;
}

/* What the methods need beside the tensor: where to start from, and noise. */
static pm_status equip(in_work *w) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < w->request_count && !status; i++) {
        const pm_ready_configuration *c =
            &w->ready->configurations[w->task->configurations[w->positions[i]]];
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

/* Those configurations of the item that share a tensor. */
static pm_status compute_group(in_work *w, const pm_config *config) {
    pm_context *context = NULL;
    const char *stage = "preprocess";
    pm_stages_enter(&w->compute->stages, PM_STAGE_IMAGE);
    pm_status status = pm_item_input_make(w->item, &w->image, config, w->request_count, &w->input);
    if (!status) status = equip(w);
    if (!status) {
        stage = "compute";
        pm_stages_enter(&w->compute->stages, PM_STAGE_ENGINE);
        status =
            get_context(w->compute, w->ready->loaded, config->crop, w->request_count, &context);
    }
    if (!status) status = set_transform(config, w->ready->loaded->model, context);
    if (!status)
        status = config->attribution.method == PM_METHOD_GATHER ? activate(w, context)
                 : w->ready->evaluation.on ? attribute_and_evaluate(w, context, config->crop)
                                           : attribute(w, context);
    pm_stages_enter(&w->compute->stages, PM_STAGE_OTHER);
    pm_item_input_fini(&w->input);
    if (!status) return PM_OK;
    char text[512];
    snprintf(text, sizeof text, "%s", pm_error_text());
    pm_status failed = PM_OK;
    for (size_t i = 0; i < w->request_count && !failed; i++)
        failed = pm_reply_fail(w->reply, w->positions[i], stage, pm_status_name(status), text);
    return failed;
}

static pm_status compute_configurations(in_work *w) {
    size_t count = w->task->n_configurations;
    bool *done = calloc(count, sizeof *done);
    w->requests = calloc(count, sizeof *w->requests);
    w->positions = calloc(count, sizeof *w->positions);
    pm_status status =
        done && w->requests && w->positions ? PM_OK : pm_fail(PM_E_MEMORY, "item: no memory");
    for (size_t k = 0; k < count && !status; k++) {
        if (done[k]) continue;
        status = collect(w, k, done);
        if (!status && w->request_count > 0)
            status = compute_group(
                w, &w->ready->configurations[w->task->configurations[w->positions[0]]].config);
    }
    free(done);
    free(w->requests);
    free(w->positions);
    return status;
}

static const char *reason_of(pm_status status, const char *stage) {
    if (strcmp(stage, "fetch") == 0 && status == PM_E_NOT_FOUND) return "missing";
    if (strcmp(stage, "fetch") == 0 && status == PM_E_MISMATCH) return "changed";
    return pm_status_name(status);
}

/* The reply for one item. Not PM_OK: there is none (cancelled, no memory). */
static pm_status compute_item(pm_compute *compute, const pm_run_ready *ready, pm_status run_status,
                              const char *run_stage, const char *run_text,
                              const Pm__Wire__Item *item, pm_outgoing **out) {
    const Pm__Wire__Task *task = compute->lease->task;
    in_work w = {.compute = compute, .ready = ready, .task = task, .item = item};
    int64_t begin_us = pm_clock_us();
    const char *stage = "fetch";
    pm_status status = pm_reply_new(task, item, &w.reply);
    if (status) return status;
    if (run_status) {
        status = pm_reply_fail_open(w.reply, run_stage, reason_of(run_status, run_stage), run_text);
    } else {
        pm_stages_enter(&compute->stages, PM_STAGE_READ);
        status = open_item(&w, &stage);
        pm_stages_enter(&compute->stages, PM_STAGE_OTHER);
        beat(compute);
        if (!status) {
            stage = "compute";
            status = compute_configurations(&w);
        }
        if (status && status != PM_E_CANCELLED) {
            char text[512];
            snprintf(text, sizeof text, "%s", pm_error_text());
            status = pm_reply_fail_open(w.reply, stage, reason_of(status, stage), text);
        }
    }
    pm_image_fini(&w.image);
    double ms = (double)(pm_clock_us() - begin_us) / 1000.0;
    if (!status) status = pm_reply_finish(&w.reply, ms / (double)task->n_configurations, out);
    pm_reply_free(&w.reply);
    return status;
}

/* ---- the thread ---- */

static void do_lease(pm_compute *compute, pm_lease *lease) {
    pm_run_ready *ready = NULL;
    const char *stage = "compute";
    char text[512] = "";
    bool all_done = true;
    compute->lease = lease;
    pm_stages_enter(&compute->stages, PM_STAGE_LOAD);
    pm_status prepared =
        pm_run_prepare(compute->models, compute->work, lease, compute->cache, &ready, &stage);
    pm_stages_enter(&compute->stages, PM_STAGE_OTHER);
    if (prepared) {
        snprintf(text, sizeof text, "%s", pm_error_text());
        pm_log(PM_LOG_ERROR, "worker.run.failed", "run=%llu error=" PM_QUOTED,
               (unsigned long long)lease->task->run, text);
    }
    for (size_t i = 0; i < lease->task->n_items && all_done; i++) {
        const Pm__Wire__Item *item = lease->task->items[i];
        pm_outgoing *outgoing = NULL;
        all_done = prepared != PM_E_CANCELLED &&
                   pm_work_start_item(compute->work, lease, compute->index, item->ordinal);
        if (!all_done) break;
        pm_fault_at_item(item->path);
        pm_status status = compute_item(compute, ready, prepared, stage, text, item, &outgoing);
        if (status && status != PM_E_CANCELLED)
            pm_log(PM_LOG_ERROR, "worker.item", "path=" PM_QUOTED " error=" PM_QUOTED, item->path,
                   pm_error_text());
        all_done = status == PM_OK;
        compute->stages.items += all_done;
        beat(compute);
        pm_work_finish_item(compute->work, lease, compute->index, outgoing);
    }
    compute->lease = NULL;
    pm_work_end(compute->work, lease, all_done);
}

static pm_lease *next_lease(pm_compute *compute) {
    const int64_t begin_us = pm_clock_us();
    pm_lease *lease = pm_work_take(compute->work);
    if (lease && compute->stages.items) compute->stages.wait_us += pm_clock_us() - begin_us;
    return lease;
}

static void *thread_main(void *user) {
    pm_compute *compute = user;
    pm_lease *lease;
    pm_stages_start(&compute->stages);
    while ((lease = next_lease(compute))) do_lease(compute, lease);
    for (size_t i = 0; i < CONTEXTS_KEPT; i++) cool(&compute->contexts[i]);
    pm_stages_log(&compute->stages, compute->index);
    return NULL;
}

pm_status pm_compute_start(pm_work *work, pm_models *models, const char *cache, size_t index,
                           pm_compute **out) {
    pm_compute *compute = calloc(1, sizeof *compute);
    if (!compute) return pm_fail(PM_E_MEMORY, "compute thread: no memory");
    compute->work = work;
    compute->models = models;
    compute->cache = cache;
    compute->index = index;
    int error = pthread_create(&compute->thread, NULL, thread_main, compute);
    if (error) {
        free(compute);
        return pm_fail(PM_E_IO, "compute thread: %s", strerror(error));
    }
    *out = compute;
    return PM_OK;
}

void pm_compute_join(pm_compute **compute) {
    if (!*compute) return;
    pthread_join((*compute)->thread, NULL);
    free(*compute);
    *compute = NULL;
}
