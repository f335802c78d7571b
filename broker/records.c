/* Owns the way of a result from the wire to the store's operation. Judges shape, not numbers: the
 * store does that. */
#include "broker/records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"

enum { LAYERS_MAX = 4096, CHANNELS_MAX = 1 << 24, TEXT_BYTES_MAX = 2048 };

typedef struct frames {
    const pm_bytes *all;
    size_t count, next;
} frames;

static pm_status no_memory(void) { return pm_fail(PM_E_MEMORY, "out of memory for a result"); }

static pm_status take_frame(frames *left, pm_bytes *out) {
    if (left->next >= left->count) return pm_fail(PM_E_PROTOCOL, "a result lacks a bulk frame");
    *out = left->all[left->next++];
    return PM_OK;
}

static pm_status make_layers(const Pm__Wire__Result *from, pm_record_result *to, size_t *channels) {
    if (from->n_layers > LAYERS_MAX) return pm_fail(PM_E_PROTOCOL, "too many layers");
    to->layers = calloc(from->n_layers ? from->n_layers : 1, sizeof *to->layers);
    if (!to->layers) return no_memory();
    to->layer_count = from->n_layers;
    *channels = 0;
    for (size_t i = 0; i < from->n_layers; i++) {
        const Pm__Wire__LayerGradient *in = from->layers[i];
        pm_record_layer *out = &to->layers[i];
        *out = (pm_record_layer){.conv = in->conv,
                                 .channels = in->channels,
                                 .selected = in->selected,
                                 .partitioned = in->has_m && in->has_n && in->has_beta,
                                 .m = in->m,
                                 .n = in->n,
                                 .beta = in->beta,
                                 .scale_h = in->scale_h,
                                 .scale_l = in->scale_l,
                                 .variance_before = in->variance_before,
                                 .variance_after = in->variance_after};
        if (strlen(in->name) >= sizeof out->name || !pm_text_is_plain(in->name))
            return pm_fail(PM_E_PROTOCOL, "a layer's name is too long, or not printable UTF-8");
        strcpy(out->name, in->name);
        *channels += in->channels;
    }
    return PM_OK;
}

static pm_status make_channels(frames *left, size_t channels, pm_record_result *to) {
    pm_bytes variance = {0}, in_h = {0};
    pm_status status = take_frame(left, &variance);
    if (!status) status = take_frame(left, &in_h);
    if (status) return status;
    if (in_h.size != channels || variance.size != channels * sizeof(float))
        return pm_fail(PM_E_PROTOCOL, "channel frames of %zu and %zu bytes for %zu channels",
                       variance.size, in_h.size, channels);
    to->channel_variance = malloc(variance.size + 1);
    to->in_h = malloc(in_h.size + 1);
    if (!to->channel_variance || !to->in_h) return no_memory();
    if (channels) memcpy(to->channel_variance, variance.bytes, variance.size);
    if (channels) memcpy(to->in_h, in_h.bytes, in_h.size);
    to->channel_count = channels;
    return PM_OK;
}

static pm_status make_heat_map(frames *left, const Pm__Wire__Result *from, pm_record_result *to) {
    pm_bytes map = {0};
    pm_status status = take_frame(left, &map);
    if (status) return status;
    to->heat_map = malloc(map.size + 1);
    if (!to->heat_map) return no_memory();
    if (map.size) memcpy(to->heat_map, map.bytes, map.size);
    to->heat_map_size = map.size;
    to->heat_map_side = from->heat_map_side;
    to->heat_map_scale = from->has_heat_map_scale ? (double)from->heat_map_scale : 0;
    return PM_OK;
}

static pm_status copy_floats(frames *left, size_t count, float **out) {
    pm_bytes frame = {0};
    pm_status status = take_frame(left, &frame);
    if (status) return status;
    if (frame.size != count * sizeof **out)
        return pm_fail(PM_E_PROTOCOL, "an activation frame of %zu bytes for %zu floats", frame.size,
                       count);
    *out = malloc(frame.size + 1);
    if (!*out) return no_memory();
    memcpy(*out, frame.bytes, frame.size);
    return PM_OK;
}

static pm_status make_activations(frames *left, const Pm__Wire__Result *from,
                                  pm_record_result *to) {
    if (!from->has_activation_channels || !from->has_activation_convs || from->n_layers ||
        from->activation_channels == 0 || from->activation_channels > CHANNELS_MAX ||
        from->activation_convs == 0 || from->activation_convs > LAYERS_MAX)
        return pm_fail(PM_E_PROTOCOL, "a result of method gather without activations");
    pm_status status = copy_floats(left, from->activation_channels, &to->activations);
    if (!status) status = copy_floats(left, from->activation_convs, &to->density);
    to->activation_count = from->activation_channels;
    to->density_count = from->activation_convs;
    return status;
}

/* Shown to people, stored as text. */
static char *copy_clean(const char *text) {
    size_t size = strnlen(text, TEXT_BYTES_MAX) + 1;
    char *copy = malloc(size);
    if (copy) pm_text_clean(text, copy, size);
    return copy;
}

static pm_status make_failure(const Pm__Wire__Failure *from, pm_record_result *to) {
    to->stage = copy_clean(from->stage);
    to->reason = copy_clean(from->reason);
    to->text = copy_clean(from->text);
    return to->stage && to->reason && to->text ? PM_OK : no_memory();
}

static pm_status make_values(const Pm__Wire__Result *from, pm_record_result *to) {
    bool boxes = from->has_mu_in && from->has_mu_in_w && from->has_mu_out && from->has_mu_out_w;
    const char *reason = boxes ? "" : from->box_reason ? from->box_reason : "no-box";
    if (!from->has_target || !from->has_predicted || !from->has_p_target || !from->has_p_predicted)
        return pm_fail(PM_E_PROTOCOL, "a result without target or prediction");
    to->target = from->target;
    to->predicted = from->predicted;
    to->p_target = from->p_target;
    to->p_predicted = from->p_predicted;
    pm_text_clean(reason, to->box_reason, sizeof to->box_reason);
    to->mu_in = from->mu_in;
    to->mu_in_w = from->mu_in_w;
    to->mu_out = from->mu_out;
    to->mu_out_w = from->mu_out_w;
    to->has_pointing = from->has_pointing;
    to->pointing = from->pointing;
    to->has_gap = from->has_completeness_gap;
    to->completeness_gap = from->completeness_gap;
    to->compute_ms = from->compute_ms;
    return PM_OK;
}

static pm_status make_curves(const Pm__Wire__Result *from, pm_record_result *to) {
    if (from->n_perturbations > PM_CURVE_COUNT * PM_RATIOS_MAX)
        return pm_fail(PM_E_PROTOCOL, "too many rows of curves");
    to->perturbations = calloc(from->n_perturbations + 1, sizeof *to->perturbations);
    if (!to->perturbations) return no_memory();
    to->perturbation_count = from->n_perturbations;
    for (size_t i = 0; i < from->n_perturbations; i++) {
        const Pm__Wire__Perturbation *in = from->perturbations[i];
        pm_curve curve = PM_CURVE_MORF;
        while (curve < PM_CURVE_COUNT && strcmp(in->curve, pm_curve_name(curve)) != 0) curve++;
        if (curve == PM_CURVE_COUNT) return pm_fail(PM_E_PROTOCOL, "no curve '%.40s'", in->curve);
        to->perturbations[i] = (pm_perturbation){.curve = curve,
                                                 .ratio = in->ratio,
                                                 .p_target = in->p_target,
                                                 .aopc = in->aopc,
                                                 .has_lodds = in->has_lodds,
                                                 .lodds = in->lodds,
                                                 .fracdiff = in->fracdiff,
                                                 .correct = in->correct};
    }
    to->has_auc = from->has_deletion_auc && from->has_insertion_auc;
    to->deletion_auc = from->deletion_auc;
    to->insertion_auc = from->insertion_auc;
    return PM_OK;
}

static pm_status make_result(const Pm__Wire__Result *from, frames *left, const pm_run_spec *spec,
                             pm_record_result *to) {
    size_t channels = 0;
    to->configuration = from->configuration;
    if (from->failure) return make_failure(from->failure, to);
    if (from->configuration >= spec->config_count)
        return pm_fail(PM_E_PROTOCOL, "a result of configuration %u", from->configuration);
    pm_status status = make_values(from, to);
    if (!status && spec->configs[from->configuration].attribution.method == PM_METHOD_GATHER)
        return make_activations(left, from, to);
    if (!status) status = make_curves(from, to);
    if (!status) status = make_layers(from, to, &channels);
    if (!status && spec->channels != PM_CHANNELS_NONE) status = make_channels(left, channels, to);
    if (!status && spec->heat_maps != PM_HEAT_MAPS_NONE) status = make_heat_map(left, from, to);
    return status;
}

pm_status pm_record_make(const Pm__Wire__ItemResult *result, const pm_bytes *bulk,
                         size_t frame_count, const pm_run_spec *spec, pm_op **out) {
    frames left = {.all = bulk, .count = frame_count};
    pm_status status = PM_OK;
    pm_op *op = pm_op_new(PM_OP_RECORD);
    if (!op) return no_memory();
    op->record.task_id = result->task;
    op->record.item = result->ordinal;
    op->record.width = result->has_width ? result->width : 0;
    op->record.height = result->has_height ? result->height : 0;
    if (result->n_results == 0 || result->n_results > spec->config_count) {
        status = pm_fail(PM_E_PROTOCOL, "%zu results for %zu configurations", result->n_results,
                         spec->config_count);
        goto fail;
    }
    op->record.results = calloc(result->n_results, sizeof *op->record.results);
    if (!op->record.results) {
        status = no_memory();
        goto fail;
    }
    op->record.result_count = result->n_results;
    for (size_t i = 0; !status && i < result->n_results; i++)
        status = make_result(result->results[i], &left, spec, &op->record.results[i]);
    if (!status && left.next != left.count)
        status = pm_fail(PM_E_PROTOCOL, "%zu bulk frames too many", left.count - left.next);
    if (status) goto fail;
    *out = op;
    return PM_OK;
fail:
    pm_op_free(&op);
    return status;
}
