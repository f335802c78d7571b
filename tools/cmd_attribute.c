/* parchmill attribute: one photograph, in this process. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/image/decoder.h"
#include "lib/image/inputs.h"
#include "tools/attribute_report.h"
#include "tools/command.h"
#include "tools/dataset/class_names.h"
#include "tools/npy.h"

typedef enum out_form { OUT_NONE, OUT_NPY, OUT_PNG, OUT_JSON } out_form;

typedef struct job {
    const pm_options *options;
    pm_decoder *decoder; /* starts while the model is read */
    pm_order order;
    pm_class_names names;
    pm_sha256 hash; /* of the photograph's file */
    pm_image crop;  /* as the network sees it */
    pm_attribute_report report;
} job;

static pm_status form_of(const char *path, out_form *out) {
    const char *dot = path ? strrchr(path, '.') : NULL;
    *out = OUT_NONE;
    if (!path) return PM_OK;
    if (dot && strcmp(dot, ".npy") == 0)
        *out = OUT_NPY;
    else if (dot && strcmp(dot, ".png") == 0)
        *out = OUT_PNG;
    else if (dot && strcmp(dot, ".json") == 0)
        *out = OUT_JSON;
    else
        return pm_fail(PM_E_USAGE, "--out %.200s: its name must end in .npy, .png or .json", path);
    return PM_OK;
}

/* One photograph, one heat map: no grid. */
static pm_status check_single(const pm_options *options) {
    for (size_t i = 0; i < PM_OPT_COUNT; i++) {
        pm_option_id id = (pm_option_id)i;
        if (pm_options_count(options, id) > 1)
            return pm_fail(PM_E_USAGE,
                           "--%s has %zu values; attribute makes one heat map (`parchmill run` "
                           "takes grids)",
                           pm_option_at(id)->name, pm_options_count(options, id));
    }
    const char *target = pm_options_text(options, PM_OPT_TARGET);
    if (target && strcmp(target, "label") == 0)
        return pm_fail(PM_E_USAGE,
                       "--target label: one photograph has no label; use top or a class");
    return PM_OK;
}

/* The photograph, resized, cropped and changed as --input says. */
static pm_status load(job *j, const char *path) {
    const pm_config *config = &j->order.spec.configs[0];
    uint8_t *bytes = NULL;
    size_t size;
    pm_image photograph = {0};
    const size_t limit_bytes = (size_t)256 << 20;
    pm_status status = pm_file_read(path, limit_bytes, &bytes, &size);
    if (status) return status;
    j->hash = pm_sha256_of(bytes, size);
    status = pm_decoder_decode(j->decoder, path, bytes, size, NULL, &photograph);
    free(bytes);
    if (!status)
        status = pm_image_crop(&photograph, &j->order.preprocessing, &j->crop, &j->report.geometry);
    if (status) return status;
    return pm_image_input(&config->input, config->attribution.seed, &j->hash, &j->crop);
}

static pm_status take(void *user, const pm_attribution_result *result) {
    return pm_attribute_report_take(user, result);
}

/* After the heat map, because masked forward passes use the same context. */
static pm_status score(job *j, pm_context *context, const float *input) {
    const pm_attribute_report *r = &j->report;
    const pm_scored subject = {.context = context,
                               .input = input,
                               .heat_map = r->heat_map,
                               .logits = r->logits,
                               .side = r->side,
                               .classes = j->order.spec.classes,
                               .target = (size_t)r->target,
                               .image = j->hash,
                               .geometry = r->geometry,
                               .all_boxes = j->order.spec.configs[0].all_boxes};
    return pm_attribute_score_make(&subject, &j->order.spec.evaluation, &j->report.score);
}

static pm_status compute(job *j, const float *input) {
    const pm_config *config = &j->order.spec.configs[0];
    size_t side = j->order.preprocessing.crop;
    int target =
        config->target_rule == PM_TARGET_RULE_CLASS ? (int)config->target_class : PM_TARGET_TOP;
    pm_context *context = NULL;
    pm_request request;
    pm_extras extras = {0};
    pm_status status = pm_order_context(&j->order, 1, &context);
    int64_t start_us = pm_clock_us();
    if (!status) status = pm_extras_init(&extras, input, side, &j->hash, 1);
    if (!status) status = pm_order_request(&j->order, 0, target, &extras, &request);
    if (!status) status = pm_context_attribute(context, input, &request, 1, take, &j->report);
    j->report.compute_ms = (double)(pm_clock_us() - start_us) / 1e3;
    if (!status) status = score(j, context, input);
    pm_context_free(&context);
    request.target = j->report.target;
    if (!status && pm_options_flag(j->options, PM_OPT_CHECK_RANDOMIZATION))
        status = pm_randomization_make(&j->order, &request, input, j->report.heat_map,
                                       &j->report.randomization);
    pm_extras_fini(&extras);
    return status;
}

static pm_status attribute(job *j, const char *path) {
    size_t side = j->order.preprocessing.crop;
    int64_t start_us = pm_clock_us();
    float *input = malloc(3 * side * side * sizeof *input);
    if (!input) return pm_fail(PM_E_MEMORY, "no memory for an input of %zu pixels a side", side);
    pm_status status = load(j, path);
    if (!status) pm_image_normalise(&j->crop, &j->order.preprocessing, input);
    j->report.prepare_ms = (double)(pm_clock_us() - start_us) / 1e3;
    if (!status) status = compute(j, input);
    free(input);
    return status;
}

static pm_status write_overlay(job *j, const char *path) {
    pm_image overlay = {0};
    const pm_attribute_score *s = &j->report.score;
    pm_crop_box box = {0};
    if (s->box_count)
        box = (pm_crop_box){s->boxes[0].xmin, s->boxes[0].ymin, s->boxes[0].xmax, s->boxes[0].ymax};
    pm_status status =
        pm_image_overlay(&j->crop, j->report.heat_map, s->box_count ? &box : NULL, &overlay);
    if (!status) status = pm_image_write_png(path, &overlay);
    pm_image_fini(&overlay);
    return status;
}

static pm_status write_out(job *j, out_form form, const char *path) {
    char *text = NULL;
    pm_status status = PM_OK;
    switch (form) {
    case OUT_NONE: break;
    case OUT_NPY:
        status = pm_npy_write(path, j->report.heat_map, j->report.side, j->report.side);
        break;
    case OUT_PNG: status = write_overlay(j, path); break;
    case OUT_JSON:
        status = pm_attribute_report_json(&j->report, &text);
        if (!status) status = pm_file_write(path, text, strlen(text));
        free(text);
        break;
    }
    return status;
}

static pm_status show(const job *j, const char *out) {
    if (pm_options_flag(j->options, PM_OPT_JSON)) {
        char *text;
        pm_status status = pm_attribute_report_json(&j->report, &text);
        if (status) return status;
        fputs(text, stdout);
        free(text);
        return PM_OK;
    }
    if (pm_options_flag(j->options, PM_OPT_QUIET)) return PM_OK;
    pm_attribute_report_print(&j->report, stdout);
    if (out) printf("wrote %s\n", out);
    return PM_OK;
}

int pm_cmd_attribute(const pm_options *options) {
    job j = {.options = options};
    out_form form;
    const char *out = pm_options_text(options, PM_OPT_OUT);
    const char *classes = pm_options_text(options, PM_OPT_CLASSES);
    const char *path = pm_options_operand(options, 0);
    pm_status status = pm_options_operands(options, "PHOTO", 1, 1);
    if (!status) status = form_of(out, &form);
    if (!status) status = check_single(options);
    if (!status) status = pm_image_setup("parchmill");
    if (!status) status = pm_order_check(options);
    if (!status) status = pm_attribute_boxes(options, path, &j.report.score);
    if (!status && classes) status = pm_class_names_read(classes, &j.names);
    if (!status) status = pm_decoder_new(NULL, &j.decoder);
    if (!status) status = pm_order_open(options, true, &j.order);
    if (!status) status = pm_order_grid(options, j.names.names, j.names.count, false, &j.order);
    j.report.order = &j.order;
    j.report.photograph = path;
    j.report.class_names = j.names.names;
    j.report.class_name_count = j.names.count;
    if (!status) status = pm_decoder_ready(j.decoder);
    if (!status) status = attribute(&j, path);
    if (!status) status = write_out(&j, form, out);
    if (!status) status = show(&j, out);
    int code = status ? pm_command_failed("attribute", status) : PM_EXIT_OK;
    pm_decoder_free(&j.decoder);
    pm_attribute_report_fini(&j.report);
    pm_image_fini(&j.crop);
    pm_order_fini(&j.order);
    pm_class_names_fini(&j.names);
    return code;
}
