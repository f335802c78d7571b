/* Owns the form of an ItemResult. See reply.h. All wire memory is from malloc, so that the
 * generated code can free it. */
#include "worker/reply.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/spec/heat_map.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are written as memory has them");

enum { FRAMES_EACH = 3, CHANNEL_VARIANCE = 0, IN_H = 1, HEAT_MAP = 2 };
enum { ACTIVATIONS = 0, DENSITY = 1 }; /* of method gather */

struct pm_reply {
    Pm__Wire__ItemResult *wire;
    bool *closed;                    /* [n_results] */
    pm_bytes (*frames)[FRAMES_EACH]; /* [n_results]; bytes NULL: not there */
};

static pm_status no_memory(void) { return pm_fail(PM_E_MEMORY, "result: no memory"); }

static pm_status make_wire(const Pm__Wire__Task *task, const Pm__Wire__Item *item,
                           Pm__Wire__ItemResult *wire) {
    pm__wire__item_result__init(wire);
    wire->task = task->task;
    wire->ordinal = item->ordinal;
    wire->token.data = calloc(1, PM_TOKEN_BYTES);
    wire->results = calloc(task->n_configurations, sizeof *wire->results);
    if (!wire->token.data || !wire->results) return no_memory();
    wire->token.len = PM_TOKEN_BYTES;
    for (size_t k = 0; k < task->n_configurations; k++) {
        Pm__Wire__Result *result = malloc(sizeof *result);
        if (!result) return no_memory();
        pm__wire__result__init(result);
        result->configuration = task->configurations[k];
        wire->results[k] = result;
        wire->n_results = k + 1;
    }
    return PM_OK;
}

pm_status pm_reply_new(const Pm__Wire__Task *task, const Pm__Wire__Item *item, pm_reply **out) {
    pm_reply *reply = calloc(1, sizeof *reply);
    if (!reply) return no_memory();
    reply->wire = calloc(1, sizeof *reply->wire);
    reply->closed = calloc(task->n_configurations, sizeof *reply->closed);
    reply->frames = calloc(task->n_configurations, sizeof *reply->frames);
    pm_status status = reply->wire ? make_wire(task, item, reply->wire) : no_memory();
    if (!status && (!reply->closed || !reply->frames)) status = no_memory();
    if (status) {
        pm_reply_free(&reply);
        return status;
    }
    *out = reply;
    return PM_OK;
}

static void drop_frames(pm_reply *reply, size_t k) {
    for (size_t f = 0; f < FRAMES_EACH; f++) {
        free((void *)reply->frames[k][f].bytes);
        reply->frames[k][f] = (pm_bytes){0};
    }
}

void pm_reply_free(pm_reply **reply) {
    pm_reply *gone = *reply;
    if (!gone) return;
    for (size_t k = 0; gone->frames && gone->wire && k < gone->wire->n_results; k++)
        drop_frames(gone, k);
    if (gone->wire) pm__wire__item_result__free_unpacked(gone->wire, NULL);
    free(gone->closed);
    free(gone->frames);
    free(gone);
    *reply = NULL;
}

void pm_reply_set_size(pm_reply *reply, size_t width, size_t height) {
    reply->wire->has_width = reply->wire->has_height = true;
    reply->wire->width = (uint32_t)width;
    reply->wire->height = (uint32_t)height;
}

static void drop_curves(Pm__Wire__Result *wire) {
    for (size_t i = 0; i < wire->n_perturbations; i++)
        pm__wire__perturbation__free_unpacked(wire->perturbations[i], NULL);
    free(wire->perturbations);
    wire->perturbations = NULL;
    wire->n_perturbations = 0;
}

/* A result without anything but its configuration. */
static void reset(pm_reply *reply, size_t k) {
    Pm__Wire__Result *old = reply->wire->results[k];
    Pm__Wire__Result fresh = PM__WIRE__RESULT__INIT;
    fresh.configuration = old->configuration;
    if (old->failure) pm__wire__failure__free_unpacked(old->failure, NULL);
    for (size_t i = 0; i < old->n_layers; i++)
        pm__wire__layer_gradient__free_unpacked(old->layers[i], NULL);
    free(old->layers);
    drop_curves(old);
    free(old->box_reason);
    *old = fresh;
    drop_frames(reply, k);
    reply->closed[k] = false;
}

pm_status pm_reply_fail(pm_reply *reply, size_t k, const char *stage, const char *reason,
                        const char *text) {
    reset(reply, k);
    Pm__Wire__Failure *failure = malloc(sizeof *failure);
    if (!failure) return no_memory();
    pm__wire__failure__init(failure);
    failure->stage = strdup(stage);
    failure->reason = strdup(reason);
    failure->text = strdup(text);
    if (!failure->stage || !failure->reason || !failure->text) {
        pm__wire__failure__free_unpacked(failure, NULL);
        return no_memory();
    }
    reply->wire->results[k]->failure = failure;
    reply->closed[k] = true;
    return PM_OK;
}

pm_status pm_reply_fail_open(pm_reply *reply, const char *stage, const char *reason,
                             const char *text) {
    pm_status status = PM_OK;
    for (size_t k = 0; k < reply->wire->n_results && !status; k++)
        if (!reply->closed[k]) status = pm_reply_fail(reply, k, stage, reason, text);
    return status;
}

static pm_status fill_layers(Pm__Wire__Result *wire, const pm_model *model,
                             const pm_attribution_result *result) {
    wire->layers = calloc(result->layer_count ? result->layer_count : 1, sizeof *wire->layers);
    if (!wire->layers) return no_memory();
    for (size_t i = 0; i < result->layer_count; i++) {
        const pm_layer_gradient *from = &result->layers[i];
        Pm__Wire__LayerGradient *to = malloc(sizeof *to);
        if (!to) return no_memory();
        pm__wire__layer_gradient__init(to);
        wire->layers[i] = to;
        wire->n_layers = i + 1;
        to->conv = (uint32_t)from->conv;
        to->name = strdup(pm_model_conv(model, from->conv)->name);
        if (!to->name) return no_memory();
        to->channels = (uint32_t)from->channels;
        to->selected = (uint32_t)from->selected;
        to->has_m = to->has_n = to->has_beta = from->partitioned;
        if (from->partitioned) {
            to->m = from->m;
            to->n = from->n;
            to->beta = from->beta;
        }
        to->scale_h = from->scale_h;
        to->scale_l = from->scale_l;
        to->variance_before = from->variance_before;
        to->variance_after = from->variance_after;
    }
    return PM_OK;
}

static pm_status fill_channels(pm_reply *reply, size_t k, const pm_attribution_result *result) {
    size_t total = 0, at = 0;
    for (size_t i = 0; i < result->layer_count; i++) total += result->layers[i].channels;
    float *variance = malloc((total ? total : 1) * sizeof *variance);
    uint8_t *in_h = malloc(total ? total : 1);
    reply->frames[k][CHANNEL_VARIANCE] = (pm_bytes){variance, total * sizeof *variance};
    reply->frames[k][IN_H] = (pm_bytes){in_h, total};
    if (!variance || !in_h) return no_memory();
    for (size_t i = 0; i < result->layer_count; i++) {
        const pm_layer_gradient *layer = &result->layers[i];
        memcpy(variance + at, layer->channel_variance, layer->channels * sizeof *variance);
        memcpy(in_h + at, layer->in_h, layer->channels);
        at += layer->channels;
    }
    return PM_OK;
}

static pm_status fill_box(Pm__Wire__Result *wire, const pm_attribution_result *result,
                          const pm_pixel_box *boxes, size_t box_count) {
    pm_box_score score = {.reason = "no-box"};
    if (box_count)
        score =
            pm_boxes_score_of(result->heat_map, result->height, result->width, boxes, box_count);
    wire->has_pointing = score.has_pointing;
    wire->pointing = score.pointing;
    if (score.reason) {
        wire->box_reason = strdup(score.reason);
        return wire->box_reason ? PM_OK : no_memory();
    }
    wire->has_mu_in = wire->has_mu_in_w = wire->has_mu_out = wire->has_mu_out_w = true;
    wire->mu_in = score.mu_in;
    wire->mu_in_w = score.mu_in_w;
    wire->mu_out = score.mu_out;
    wire->mu_out_w = score.mu_out_w;
    return PM_OK;
}

static bool is_finite(const pm_attribution_result *result) {
    for (size_t i = 0; i < result->height * result->width; i++)
        if (!isfinite(result->heat_map[i])) return false;
    for (size_t i = 0; i < result->layer_count; i++)
        if (!isfinite(result->layers[i].variance_before) ||
            !isfinite(result->layers[i].variance_after))
            return false;
    return isfinite(result->p_target) && isfinite(result->p_predicted);
}

pm_status pm_reply_fill(pm_reply *reply, size_t k, const pm_model *model,
                        const pm_attribution_result *result, const pm_pixel_box *boxes,
                        size_t box_count, pm_channels channels, pm_heat_maps heat_maps) {
    Pm__Wire__Result *wire = reply->wire->results[k];
    if (!is_finite(result))
        return pm_reply_fail(reply, k, "compute", "not-finite",
                             "the gradient has values that are not finite numbers");
    reset(reply, k);
    wire->has_target = wire->has_predicted = wire->has_p_target = wire->has_p_predicted = true;
    wire->target = result->target;
    wire->predicted = result->predicted;
    wire->p_target = (double)result->p_target;
    wire->p_predicted = (double)result->p_predicted;
    wire->completeness_gap = result->ig_sum - result->ig_expected;
    wire->has_completeness_gap = isfinite(wire->completeness_gap);
    pm_status status = fill_layers(wire, model, result);
    if (!status) status = fill_box(wire, result, boxes, box_count);
    if (!status && channels != PM_CHANNELS_NONE) status = fill_channels(reply, k, result);
    if (!status && heat_maps != PM_HEAT_MAPS_NONE) {
        pm_stored_map map = {0};
        status = pm_heat_map_encode(heat_maps, result->heat_map, result->width, &map);
        if (!status) reply->frames[k][HEAT_MAP] = (pm_bytes){map.bytes, map.size};
        wire->has_heat_map_side = wire->has_heat_map_scale = true;
        wire->heat_map_scale = map.scale;
        wire->heat_map_side = (uint32_t)result->width;
    }
    reply->closed[k] = !status;
    return status;
}

/* ---- method gather ---- */

static bool all_finite(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

static pm_status put_frame(pm_reply *reply, size_t k, size_t frame, const float *values,
                           size_t count) {
    float *copy = malloc((count ? count : 1) * sizeof *copy);
    if (!copy) return no_memory();
    memcpy(copy, values, count * sizeof *copy);
    reply->frames[k][frame] = (pm_bytes){(const uint8_t *)copy, count * sizeof *copy};
    return PM_OK;
}

/* Softmax of one class, in double. */
static double probability(const float *logits, size_t classes, size_t class) {
    double most = (double)logits[0], sum = 0;
    for (size_t k = 1; k < classes; k++) most = fmax(most, (double)logits[k]);
    for (size_t k = 0; k < classes; k++) sum += exp((double)logits[k] - most);
    return exp((double)logits[class] - most) / sum;
}

pm_status pm_reply_activations(pm_reply *reply, size_t k, const pm_model *model, int target,
                               const pm_activations *activations) {
    Pm__Wire__Result *wire = reply->wire->results[k];
    const size_t classes = pm_model_classes(model), convs = pm_model_conv_count(model);
    size_t top = 0;
    if (!all_finite(activations->mean, activations->channels) ||
        !all_finite(activations->density, convs) || !all_finite(activations->logits, classes))
        return pm_reply_fail(reply, k, "compute", "not-finite",
                             "the activations have values that are not finite numbers");
    for (size_t c = 1; c < classes; c++)
        if (activations->logits[c] > activations->logits[top]) top = c;
    const size_t y = target == PM_TARGET_TOP ? top : (size_t)target;
    reset(reply, k);
    wire->has_target = wire->has_predicted = wire->has_p_target = wire->has_p_predicted = true;
    wire->target = (int32_t)y;
    wire->predicted = (int32_t)top;
    wire->p_target = probability(activations->logits, classes, y);
    wire->p_predicted = probability(activations->logits, classes, top);
    wire->box_reason = strdup("no-map");
    wire->has_activation_channels = wire->has_activation_convs = true;
    wire->activation_channels = (uint32_t)activations->channels;
    wire->activation_convs = (uint32_t)convs;
    pm_status status = wire->box_reason ? PM_OK : no_memory();
    if (!status)
        status = put_frame(reply, k, ACTIVATIONS, activations->mean, activations->channels);
    if (!status) status = put_frame(reply, k, DENSITY, activations->density, convs);
    reply->closed[k] = !status;
    return status;
}

bool pm_reply_failed(const pm_reply *reply, size_t k) {
    return reply->wire->results[k]->failure != NULL;
}

static pm_status add_row(Pm__Wire__Result *wire, const pm_perturbation *from) {
    Pm__Wire__Perturbation *to = malloc(sizeof *to);
    if (!to) return no_memory();
    pm__wire__perturbation__init(to);
    wire->perturbations[wire->n_perturbations++] = to;
    to->curve = strdup(pm_curve_name(from->curve));
    if (!to->curve) return no_memory();
    to->ratio = from->ratio;
    to->p_target = from->p_target;
    to->aopc = from->aopc;
    to->has_lodds = from->has_lodds;
    to->lodds = from->lodds;
    to->fracdiff = from->fracdiff;
    to->correct = from->correct;
    return PM_OK;
}

pm_status pm_reply_curves(pm_reply *reply, size_t k, const pm_curves_result *curves) {
    Pm__Wire__Result *wire = reply->wire->results[k];
    if (pm_reply_failed(reply, k)) return PM_OK;
    if (!curves->finite)
        return pm_reply_fail(reply, k, "compute", "not-finite",
                             "a masked photograph's logits are not finite numbers");
    drop_curves(wire);
    wire->perturbations = calloc(curves->row_count + 1, sizeof *wire->perturbations);
    pm_status status = wire->perturbations ? PM_OK : no_memory();
    for (size_t i = 0; i < curves->row_count && !status; i++)
        status = add_row(wire, &curves->rows[i]);
    wire->has_deletion_auc = wire->has_insertion_auc = isfinite(curves->deletion_auc);
    if (wire->has_deletion_auc) {
        wire->deletion_auc = curves->deletion_auc;
        wire->insertion_auc = curves->insertion_auc;
    }
    return status;
}

pm_status pm_reply_finish(pm_reply **reply, double compute_ms_each, pm_outgoing **out) {
    pm_reply *done = *reply;
    size_t count = done->wire->n_results;
    pm_outgoing *outgoing = calloc(1, sizeof *outgoing);
    if (outgoing) outgoing->frames = calloc(count * FRAMES_EACH, sizeof *outgoing->frames);
    if (!outgoing || !outgoing->frames) {
        free(outgoing);
        return no_memory();
    }
    for (size_t k = 0; k < count; k++) {
        assert(done->closed[k]);
        Pm__Wire__Result *wire = done->wire->results[k];
        wire->has_compute_ms = wire->failure == NULL;
        wire->compute_ms = compute_ms_each;
        for (size_t f = 0; f < FRAMES_EACH; f++) {
            if (!done->frames[k][f].bytes) continue;
            outgoing->frames[outgoing->frame_count++] = done->frames[k][f];
            outgoing->size_bytes += done->frames[k][f].size;
            done->frames[k][f] = (pm_bytes){0};
        }
    }
    outgoing->result = done->wire;
    outgoing->size_bytes += pm__wire__item_result__get_packed_size(done->wire);
    done->wire = NULL;
    pm_reply_free(reply);
    *out = outgoing;
    return PM_OK;
}
