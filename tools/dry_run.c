/* Owns the estimates before a run. */
#include "tools/dry_run.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/image/decoder.h"
#include "lib/image/inputs.h"
#include "lib/stats/perturbation.h"
#include "tools/progress.h"

enum {
    SAMPLE_IMAGES = 4,
    TRIES = 60, /* images that fail are passed over */
    BATCH_MAX = 16,
    RESULT_BYTES = 130,  /* one row of result with its index */
    LAYER_BYTES = 80,    /* one row of layer_gradient */
    ITEM_BYTES = 260,    /* image, data_set_item and box with their indices */
    CHANNEL_BYTES = 60,  /* one row of channel_gradient */
    BLOB_BYTES = 40,     /* a row around a blob */
    CURVE_BYTES = 68,    /* one row of perturbation */
    EVALUATED_BYTES = 60 /* more in a row of result, where it has curves */
};

double pm_dry_run_bytes(const pm_order *order, size_t items) {
    const pm_run_spec *spec = &order->spec;
    double side = (double)order->preprocessing.crop, bytes = (double)items * ITEM_BYTES;
    double map =
        spec->heat_maps == PM_HEAT_MAPS_NONE
            ? 0
            : BLOB_BYTES + side * side * 0.9 * (spec->heat_maps == PM_HEAT_MAPS_F16 ? 2 : 4);
    for (size_t i = 0; i < spec->config_count; i++) {
        const pm_configuration *c = order->configurations[i];
        double each = RESULT_BYTES + map;
        if (spec->evaluation.on)
            each += EVALUATED_BYTES +
                    (double)(PM_CURVE_COUNT * spec->evaluation.ratio_count) * CURVE_BYTES;
        for (size_t k = 0; k < pm_configuration_hook_count(c); k++) {
            double channels =
                (double)pm_model_conv(order->model, pm_configuration_hook(c, k))->channels;
            each += LAYER_BYTES;
            if (spec->channels == PM_CHANNELS_FULL) each += BLOB_BYTES + channels * 4.125;
            if (spec->channels != PM_CHANNELS_NONE) bytes += channels * (CHANNEL_BYTES + 48);
        }
        bytes += each * (double)items;
    }
    return bytes;
}

typedef struct pace {
    const pm_order *order;
    pm_decoder *decoder;
    pm_context *context;
    pm_request *requests; /* [spec.config_count], of one tensor at a time */
    bool *done;           /* [spec.config_count] */
    float *input;
    float *logits;           /* [classes] */
    double seconds, not_run; /* not_run: of this image, what only a real run does */
    size_t images;
} pace;

static pm_status ignore(void *user, const pm_attribution_result *result) {
    (void)user;
    (void)result;
    return PM_OK;
}

static int target_of(const pm_config *config, const pm_item *item) {
    if (config->target_rule == PM_TARGET_RULE_CLASS) return (int)config->target_class;
    if (config->target_rule == PM_TARGET_RULE_LABEL && item->label >= 0) return item->label;
    return PM_TARGET_TOP;
}

/* Masked forward passes of so many heat maps of one tensor. */
static double masked_passes(const pm_evaluation *evaluation, size_t heat_maps) {
    size_t some = 0, all = 0;
    for (size_t i = 0; evaluation->on && i < evaluation->ratio_count; i++) {
        some += evaluation->ratios[i] > 0 && evaluation->ratios[i] < 1;
        all += evaluation->ratios[i] == 1;
    }
    return (double)(PM_CURVE_COUNT * some * heat_maps + all);
}

/* One pass is run; the rest of them take as long. */
static pm_status evaluate_group(pace *p, size_t heat_maps) {
    double passes = masked_passes(&p->order->spec.evaluation, heat_maps);
    if (!(passes > 0)) return PM_OK;
    int64_t start_us = pm_clock_us();
    pm_status status = pm_context_logits(p->context, p->input, p->logits);
    p->not_run += (double)(pm_clock_us() - start_us) / 1e6 * (passes - 1);
    return status;
}

/* All configurations that share the tensor of number `first`. */
static pm_status attribute_group(pace *p, const pm_image *image, const pm_item *item,
                                 size_t first) {
    const pm_order *order = p->order;
    const pm_config *configs = order->spec.configs, *like = &configs[first];
    size_t count = 0;
    pm_extras extras = {0};
    pm_status status = pm_image_input_tensor(image, &order->preprocessing, &like->input,
                                             like->attribution.seed, &item->sha256, p->input, NULL);
    if (!status)
        status = pm_extras_init(&extras, p->input, order->preprocessing.crop, &item->sha256,
                                order->spec.config_count);
    for (size_t i = first; i < order->spec.config_count && !status; i++) {
        if (p->done[i] || !pm_config_same_tensor(like, &configs[i])) continue;
        p->done[i] = true;
        status = pm_order_request(order, i, target_of(&configs[i], item), &extras,
                                  &p->requests[count++]);
    }
    if (!status)
        status = pm_context_attribute(p->context, p->input, p->requests, count, ignore, NULL);
    pm_extras_fini(&extras);
    return status ? status : evaluate_group(p, count);
}

/* Images that cannot be read are for the run to report; they are left out here. */
static pm_status measure_one(pace *p, const char *root, const pm_item *item) {
    char path[8192];
    uint8_t *bytes = NULL;
    size_t size, count = p->order->spec.config_count;
    pm_image image = {0};
    int64_t start_us = pm_clock_us();
    snprintf(path, sizeof path, "%s/%s", root, item->path);
    pm_status status = pm_file_read(path, (size_t)256 << 20, &bytes, &size);
    if (!status) status = pm_decoder_decode(p->decoder, item->path, bytes, size, NULL, &image);
    free(bytes);
    if (status) return PM_OK;
    memset(p->done, 0, count * sizeof *p->done);
    p->not_run = 0;
    for (size_t i = 0; i < count && !status; i++)
        if (!p->done[i]) status = attribute_group(p, &image, item, i);
    pm_decoder_forget(p->decoder);
    if (status == PM_E_NOT_FOUND || status == PM_E_LIMIT) return PM_OK;
    if (status) return status;
    /* The first touches fresh memory; where there are others it does not count. */
    if (p->images == 1) p->seconds = 0;
    p->seconds += (double)(pm_clock_us() - start_us) / 1e6 + p->not_run;
    p->images++;
    return PM_OK;
}

static pm_status measure(const pm_order *order, const pm_data_set *data_set, double *per_image) {
    size_t side = order->preprocessing.crop, count = order->spec.config_count;
    pace p = {.order = order};
    p.requests = calloc(count, sizeof *p.requests);
    p.done = calloc(count, sizeof *p.done);
    p.input = malloc(3 * side * side * sizeof *p.input);
    p.logits = malloc(order->spec.classes * sizeof *p.logits);
    pm_status status =
        p.requests && p.done && p.input && p.logits ? PM_OK : pm_fail(PM_E_MEMORY, "no memory");
    if (!status) status = pm_decoder_new(NULL, &p.decoder);
    if (!status) status = pm_decoder_ready(p.decoder);
    if (!status)
        status = pm_order_context(order, count < BATCH_MAX ? count : BATCH_MAX, &p.context);
    for (size_t i = 0; i < data_set->count && i < TRIES && p.images <= SAMPLE_IMAGES && !status;
         i++)
        status = measure_one(&p, data_set->root, &data_set->items[i]);
    pm_decoder_free(&p.decoder);
    pm_context_free(&p.context);
    free(p.requests);
    free(p.done);
    free(p.input);
    free(p.logits);
    if (!status) *per_image = p.images ? p.seconds / (double)(p.images > 1 ? p.images - 1 : 1) : 0;
    return status;
}

static void size_text(double bytes, char *out, size_t size) {
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 1000 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    snprintf(out, size, "%.3g %s", bytes, units[unit]);
}

pm_status pm_dry_run(const pm_options *options, const pm_order *order, const pm_data_set *data_set,
                     size_t threads) {
    double per_image, bytes = pm_dry_run_bytes(order, data_set->count);
    char duration[32], size[32];
    pm_status status = measure(order, data_set, &per_image);
    if (status) return status;
    size_t results = data_set->count * order->spec.config_count;
    double seconds = per_image * (double)data_set->count / (double)threads;
    if (pm_options_flag(options, PM_OPT_JSON)) {
        json_t *root = json_pack(
            "{s:I, s:I, s:I, s:o, s:o, s:f}", "images", (json_int_t)data_set->count,
            "configurations", (json_int_t)order->spec.config_count, "results", (json_int_t)results,
            "seconds_per_image_and_thread", per_image > 0 ? json_real(per_image) : json_null(),
            "seconds", per_image > 0 ? json_real(seconds) : json_null(), "size_bytes", bytes);
        json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        fputc('\n', stdout);
        json_decref(root);
        return PM_OK;
    }
    size_text(bytes, size, sizeof size);
    printf("%zu images x %zu configuration%s = %zu results\n", data_set->count,
           order->spec.config_count, order->spec.config_count == 1 ? "" : "s", results);
    for (size_t i = 0; i < order->spec.config_count && i < 20; i++) {
        char label[256];
        pm_config_label(&order->spec.configs[i], label, sizeof label);
        printf("  %s\n", label);
    }
    if (order->spec.config_count > 20) printf("  and %zu more\n", order->spec.config_count - 20);
    if (per_image > 0) {
        pm_duration_text(seconds, duration, sizeof duration);
        printf("about %s with %zu thread%s (%.0f ms an image, measured on the first few)\n",
               duration, threads, threads == 1 ? "" : "s", per_image * 1e3);
    } else {
        printf("how long is not known: none of the first images could be attributed\n");
    }
    printf("about %s in the database; nothing was written\n", size);
    return PM_OK;
}
