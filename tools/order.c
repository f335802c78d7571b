/* Owns the check of a whole command before any work: files, model, statistics, layers, targets. */
#include "tools/order.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/file.h"
#include "lib/base/text.h"
#include "lib/image/decoder.h"
#include "tools/attribute_score.h"
#include "tools/statistics/named.h"

static pm_status triple(const pm_options *options, pm_option_id id, float out[3]) {
    const char *text = pm_options_text(options, id);
    const char *name = pm_option_at(id)->name;
    char copy[128], *save = NULL;
    size_t count = 0;
    double values[3];
    if (!text) return PM_OK;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *part = strtok_r(copy, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        if (count == 3 || pm_parse_double(name, part, &values[count])) {
            count = 0;
            break;
        }
        count++;
    }
    if (count != 3)
        return pm_fail(PM_E_USAGE, "--%s '%.80s': it takes three numbers, R,G,B", name, text);
    for (size_t i = 0; i < 3; i++) {
        if (id == PM_OPT_STD && !(values[i] > 0))
            return pm_fail(PM_E_USAGE, "--std '%.80s': each must be above 0", text);
        out[i] = (float)values[i];
    }
    return PM_OK;
}

pm_status pm_order_preprocessing(const pm_options *options, const pm_arch_info *arch,
                                 pm_preprocessing *out) {
    enum { SIDE_MAX = 4096 };
    pm_preprocessing how = {.resize = arch->resize, .crop = arch->crop, .filter = arch->filter};
    pm_status status = PM_OK;
    memcpy(how.mean, arch->mean, sizeof how.mean);
    memcpy(how.std, arch->std, sizeof how.std);
    if (pm_options_given(options, PM_OPT_RESIZE))
        status = pm_options_size(options, PM_OPT_RESIZE, 0, SIDE_MAX, &how.resize);
    if (!status && pm_options_given(options, PM_OPT_CROP))
        status = pm_options_size(options, PM_OPT_CROP, 1, SIDE_MAX, &how.crop);
    if (!status && pm_options_given(options, PM_OPT_FILTER))
        status = pm_filter_parse(pm_options_text(options, PM_OPT_FILTER), &how.filter);
    if (!status) status = triple(options, PM_OPT_MEAN, how.mean);
    if (!status) status = triple(options, PM_OPT_STD, how.std);
    if (!status) *out = how;
    return status;
}

static pm_status file_of(const char *what, const char *path, char absolute[4096], uint64_t *size,
                         pm_sha256 *hash) {
    struct stat info;
    char *real = realpath(path, NULL);
    if (!real || stat(real, &info) != 0) {
        free(real);
        return pm_fail(PM_E_NOT_FOUND, "%s %s: there is no such file", what, path);
    }
    size_t length = strlen(real);
    if (length < 4096) memcpy(absolute, real, length + 1);
    free(real);
    if (length >= 4096) return pm_fail(PM_E_LIMIT, "%s %s: the path is too long", what, path);
    if (!S_ISREG(info.st_mode)) return pm_fail(PM_E_FORMAT, "%s %s: not a file", what, path);
    *size = (uint64_t)info.st_size;
    return pm_sha256_file(absolute, hash);
}

/* The first mask that needs statistics, or NULL. */
static const char *mask_with_statistics(const pm_options *options) {
    for (size_t i = 0; i < pm_options_count(options, PM_OPT_MASK); i++) {
        const char *mask = pm_options_value(options, PM_OPT_MASK, i);
        if (strcmp(mask, "off") != 0) return mask;
    }
    return NULL;
}

static bool wants_statistics(const pm_options *options) {
    return mask_with_statistics(options) != NULL;
}

/* --stats FILE, or the name of statistics in the database: what is no file and no path. */
static bool stats_is_name(const char *stats) {
    struct stat info;
    return stat(stats, &info) != 0 && !strchr(stats, '/');
}

static pm_status no_file(const char *stats, pm_status status) {
    return pm_fail_in(status, "--stats %.80s is no file", stats);
}

/* Before any file is opened: whether the name is there. */
static pm_status check_statistics(const pm_options *options) {
    pm_stats_named named;
    const char *stats = pm_options_text(options, PM_OPT_STATS);
    if (!stats && wants_statistics(options))
        return pm_fail(PM_E_USAGE,
                       "--mask %.80s needs --stats FILE or NAME: the statistics of this model",
                       mask_with_statistics(options));
    if (!stats || !stats_is_name(stats)) return PM_OK;
    if (pm_options_given(options, PM_OPT_BROKER))
        return no_file(stats, pm_fail(PM_E_USAGE, "a broker is not asked for statistics by name; "
                                                  "`parchmill stats export` writes the file"));
    pm_status status = pm_stats_named_find(pm_options_text(options, PM_OPT_DB), stats, &named);
    return status ? no_file(stats, status) : PM_OK;
}

/* The one photograph among the values of --baseline, or NULL. */
static pm_status find_baseline(const pm_options *options, const char **out) {
    const char *found = NULL;
    for (size_t i = 0; i < pm_options_count(options, PM_OPT_BASELINE); i++) {
        const char *text = pm_options_value(options, PM_OPT_BASELINE, i);
        if (!pm_baseline_is_file(text)) continue;
        if (found && strcmp(found, text) != 0)
            return pm_fail(PM_E_USAGE, "--baseline %.80s,%.80s: one run takes one photograph",
                           found, text);
        found = text;
    }
    *out = found;
    return PM_OK;
}

static pm_status make_baseline(pm_order *order, const pm_image *photograph) {
    size_t side = order->preprocessing.crop;
    order->baseline = malloc(3 * side * side * sizeof *order->baseline);
    if (!order->baseline) return pm_fail(PM_E_MEMORY, "no memory for %zu pixels a side", side);
    return pm_image_tensor(photograph, &order->preprocessing, order->baseline, NULL);
}

static pm_status open_baseline(const pm_options *options, pm_order *order, pm_config *base) {
    const size_t limit_bytes = (size_t)256 << 20;
    const char *path = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_image photograph = {0};
    pm_run_spec *spec = &order->spec;
    pm_status status = find_baseline(options, &path);
    if (status || !path) return status;
    status = file_of("--baseline", path, spec->baseline_path, &spec->baseline_size,
                     &base->baseline_image);
    if (!status) status = pm_file_read(spec->baseline_path, limit_bytes, &bytes, &size);
    if (!status) status = pm_decoder_decode_one(path, bytes, size, NULL, &photograph);
    free(bytes);
    if (!status) status = make_baseline(order, &photograph);
    pm_image_fini(&photograph);
    return status ? pm_fail_in(status, "--baseline is zero, blur or a photograph") : PM_OK;
}

/* Of what the grid will compare. Its class names are not read yet; which layers it hooks does not
 * depend on them. */
static pm_status read_statistics(const pm_options *options, const pm_config *base,
                                 pm_order *order) {
    const pm_attribution **attributions = NULL;
    pm_config *configs = NULL;
    pm_weights *tensors = NULL;
    size_t count = 0;
    pm_status status = pm_weights_open(order->spec.statistics_path, &tensors);
    if (!status)
        status = pm_grid_make(options, base, PM_TARGET_RULE_TOP, NULL, 0, &configs, &count);
    if (!status && !(attributions = calloc(count + 1, sizeof *attributions)))
        status = pm_fail(PM_E_MEMORY, "no memory for the statistics");
    for (size_t i = 0; i < count && !status; i++) attributions[i] = &configs[i].attribution;
    if (!status)
        status =
            pm_statistics_new_for(order->model, tensors, attributions, count, &order->statistics);
    free(attributions);
    free(configs);
    pm_weights_free(&tensors);
    return status;
}

static pm_status open_statistics(const pm_options *options, pm_order *order, pm_config *base) {
    const char *stats = pm_options_text(options, PM_OPT_STATS);
    char named[PM_STATS_PATH_BYTES];
    pm_run_spec *spec = &order->spec;
    pm_status status = PM_OK;
    if (stats_is_name(stats)) {
        status = pm_stats_named_file(pm_options_text(options, PM_OPT_DB), stats, base->arch,
                                     &base->weights, named);
        stats = named;
    }
    if (!status)
        status = file_of("--stats", stats, spec->statistics_path, &spec->statistics_size,
                         &base->statistics);
    if (status) return status;
    base->has_statistics = true;
    return read_statistics(options, base, order);
}

static pm_status open_model(const char *file, const pm_arch_info *arch, bool computes,
                            pm_order *order, pm_config *base) {
    pm_weights *weights = NULL;
    pm_run_spec *spec = &order->spec;
    pm_status status =
        file_of("--weights", file, spec->weights_path, &spec->weights_size, &base->weights);
    if (!status) status = pm_weights_open(spec->weights_path, &weights);
    if (!status)
        status = computes ? pm_model_new(arch->name, weights, &order->model)
                          : pm_model_new_outline(arch->name, weights, &order->model);
    pm_weights_free(&weights);
    if (status == PM_E_MISMATCH)
        status = pm_fail_in(status, "--weights %s does not fit --model %s", file, arch->name);
    if (!status) spec->classes = pm_model_classes(order->model);
    return status;
}

static pm_status make_configurations(pm_order *order) {
    pm_run_spec *spec = &order->spec;
    order->configurations = calloc(spec->config_count, sizeof(pm_configuration *));
    if (!order->configurations) return pm_fail(PM_E_MEMORY, "no memory for the configurations");
    for (size_t i = 0; i < spec->config_count; i++) {
        const pm_config *config = &spec->configs[i];
        if (config->target_rule == PM_TARGET_RULE_CLASS && config->target_class >= spec->classes)
            return pm_fail(PM_E_USAGE, "--target %zu: the weights have classes 0 to %zu",
                           config->target_class, spec->classes - 1);
        pm_status status = pm_configuration_new(order->model, &config->attribution,
                                                config->has_statistics ? order->statistics : NULL,
                                                &order->configurations[i]);
        if (status) return status;
    }
    return PM_OK;
}

static pm_status set_record(const pm_options *options, pm_run_spec *spec) {
    const char *name = pm_options_text(options, PM_OPT_NAME);
    pm_status status =
        pm_channels_parse(pm_options_text(options, PM_OPT_CHANNELS), &spec->channels);
    if (!status)
        status = pm_heat_maps_parse(pm_options_text(options, PM_OPT_HEATMAPS), &spec->heat_maps);
    if (!status) status = pm_evaluation_asked(options, &spec->evaluation);
    if (status) return status;
    if (strlen(name) >= sizeof spec->name)
        return pm_fail(PM_E_USAGE, "--name is longer than %zu characters", sizeof spec->name - 1);
    strcpy(spec->name, name);
    return PM_OK;
}

/* No grid: it belongs to the weights as mean and std do. */
static pm_status set_transform(const pm_options *options, const pm_arch_info *arch, bool *out) {
    float scale[3], shift[3];
    if (pm_options_count(options, PM_OPT_TRANSFORM_INPUT) > 1)
        return pm_fail(PM_E_USAGE, "--transform-input takes one value: on or off");
    *out = strcmp(pm_options_text(options, PM_OPT_TRANSFORM_INPUT), "on") == 0;
    if (!*out) return PM_OK;
    pm_status status = pm_arch_transform_input(arch, scale, shift);
    return status ? pm_fail_in(status, "--transform-input on") : PM_OK;
}

/* The part of every configuration that is not a grid. */
static pm_status set_base(const pm_options *options, pm_order *order, const pm_arch_info **arch,
                          pm_config *base) {
    pm_status status = pm_options_need(options, PM_OPT_MODEL);
    if (!status) status = pm_arch_find(pm_options_text(options, PM_OPT_MODEL), arch);
    if (!status) status = pm_order_preprocessing(options, *arch, &order->preprocessing);
    if (!status) status = set_record(options, &order->spec);
    if (!status) status = check_statistics(options);
    const char *baseline;
    if (!status) status = find_baseline(options, &baseline);
    if (status) return status;
    *base = (pm_config){0};
    snprintf(base->arch, sizeof base->arch, "%s", (*arch)->name);
    base->resize = order->preprocessing.resize;
    base->crop = order->preprocessing.crop;
    base->filter = order->preprocessing.filter;
    memcpy(base->mean, order->preprocessing.mean, sizeof base->mean);
    memcpy(base->std, order->preprocessing.std, sizeof base->std);
    return set_transform(options, *arch, &base->transform_input);
}

pm_status pm_order_context(const pm_order *order, size_t batch, pm_context **out) {
    const size_t side = order->preprocessing.crop;
    float scale[3], shift[3];
    pm_context *context = NULL;
    const size_t together = pm_model_together(order->model); /* points of a path */
    pm_status status =
        pm_context_new(order->model, side, side, batch > together ? batch : together, &context);
    if (!status && order->base.transform_input) {
        status = pm_arch_transform_input(pm_model_arch(order->model), scale, shift);
        if (!status) pm_context_set_input_transform(context, scale, shift);
    }
    if (status)
        pm_context_free(&context);
    else
        *out = context;
    return status;
}

pm_status pm_order_check(const pm_options *options) {
    pm_order order = {0};
    const pm_arch_info *arch;
    pm_config base, *configs = NULL;
    size_t count;
    pm_status status = set_base(options, &order, &arch, &base);
    if (status) return status;
    /* Stand-in for the hash that only the file gives. Class names come with the data set. */
    base.has_statistics = wants_statistics(options);
    status = pm_grid_make(options, &base, PM_TARGET_RULE_TOP, NULL, 0, &configs, &count);
    free(configs);
    return status;
}

pm_status pm_order_open(const pm_options *options, bool computes, pm_order *out) {
    const pm_arch_info *arch;
    *out = (pm_order){0};
    pm_status status = set_base(options, out, &arch, &out->base);
    if (!status) status = pm_options_need(options, PM_OPT_WEIGHTS);
    if (!status)
        status =
            open_model(pm_options_text(options, PM_OPT_WEIGHTS), arch, computes, out, &out->base);
    if (!status && wants_statistics(options)) status = open_statistics(options, out, &out->base);
    if (!status) status = open_baseline(options, out, &out->base);
    return status;
}

pm_status pm_order_model(const pm_options *options, const char *weights, pm_order *out) {
    const pm_arch_info *arch;
    *out = (pm_order){0};
    pm_status status = set_base(options, out, &arch, &out->base);
    if (!status) status = open_model(weights, arch, false, out, &out->base);
    return status;
}

pm_status pm_order_gather(pm_order *order) {
    pm_run_spec *spec = &order->spec;
    spec->configs = calloc(1, sizeof *spec->configs);
    if (!spec->configs) return pm_fail(PM_E_MEMORY, "no memory for the configurations");
    spec->config_count = 1;
    spec->configs[0] = order->base;
    spec->configs[0].target_rule = PM_TARGET_RULE_LABEL;
    pm_attribution_defaults(&spec->configs[0].attribution);
    spec->configs[0].attribution.method = PM_METHOD_GATHER;
    spec->channels = PM_CHANNELS_NONE;
    spec->heat_maps = PM_HEAT_MAPS_NONE;
    /* Statistics that are made again by another name are the same run. */
    snprintf(spec->name, sizeof spec->name, "statistics");
    return pm_config_check(&spec->configs[0]);
}

pm_status pm_order_grid(const pm_options *options, char *const *class_names,
                        size_t class_name_count, bool labels, pm_order *order) {
    static char *const none[1] = {NULL};
    pm_target_rule rule = labels ? PM_TARGET_RULE_LABEL : PM_TARGET_RULE_TOP;
    pm_status status =
        pm_grid_make(options, &order->base, rule, class_names ? class_names : none,
                     class_name_count, &order->spec.configs, &order->spec.config_count);
    return status ? status : make_configurations(order);
}

pm_status pm_order_request(const pm_order *order, size_t index, int target, pm_extras *extras,
                           pm_request *out) {
    const pm_attribution *a = &order->spec.configs[index].attribution;
    pm_request request = {.configuration = order->configurations[index], .target = target};
    if (a->method == PM_METHOD_IG) {
        pm_status status =
            pm_extras_baseline(extras, a->baseline, order->baseline, &request.baseline);
        if (status) return status;
    }
    if (pm_method_is_random(a->method)) {
        request.noise = pm_noise_draw;
        request.noise_user = pm_extras_noise(extras, a->seed);
    }
    *out = request;
    return PM_OK;
}

void pm_order_fini(pm_order *order) {
    for (size_t i = 0; order->configurations && i < order->spec.config_count; i++)
        pm_configuration_free(&order->configurations[i]);
    free(order->configurations);
    pm_statistics_free(&order->statistics);
    pm_model_free(&order->model);
    free(order->baseline);
    pm_run_spec_fini(&order->spec);
    *order = (pm_order){0};
}
