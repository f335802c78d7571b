/* Owns the way from option values to configurations: parsing, product, doubles. Opens no file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "tools/order.h"

/* Which value of each grid option a configuration takes. */
enum { AXIS_COUNT = 19 };
static const pm_option_id axes[AXIS_COUNT] = {
    PM_OPT_INPUT,
    PM_OPT_METHOD,
    PM_OPT_GUIDED,
    PM_OPT_STEPS,
    PM_OPT_BASELINE,
    PM_OPT_SAMPLES,
    PM_OPT_SIGMA,
    PM_OPT_CAM_LAYER,
    PM_OPT_SEED,
    PM_OPT_MASK,
    PM_OPT_QUANTILE, /* or alpha */
    PM_OPT_P_VALUE_THRESHOLD,
    PM_OPT_TEST,
    PM_OPT_LAYERS,
    PM_OPT_GAMMA,
    PM_OPT_EXACT,
    PM_OPT_VARIANCE_CONSERVATION,
    PM_OPT_TARGET,
    PM_OPT_BOX_RULE, /* or a word behind --boxes */
};

static pm_status number(pm_option_id id, const char *text, double *out) {
    char what[64];
    snprintf(what, sizeof what, "--%s", pm_option_at(id)->name);
    return pm_parse_double(what, text, out);
}

static pm_status set_layers(const char *text, pm_attribution *out) {
    if (strlen(text) >= sizeof out->layers)
        return pm_fail(PM_E_USAGE, "--layers: one selection is longer than %zu characters",
                       sizeof out->layers - 1);
    /* A comma parts the values of a grid, so + stands between the globs of one selection. */
    for (size_t i = 0;; i++) {
        out->layers[i] = text[i] == '+' ? ',' : text[i];
        if (!text[i]) return PM_OK;
    }
}

static pm_status set_gamma(const char *text, pm_attribution *out) {
    if (strcmp(text, "inf") == 0) {
        out->gamma = INFINITY;
        return PM_OK;
    }
    pm_status status = number(PM_OPT_GAMMA, text, &out->gamma);
    if (status) return status;
    if (!(out->gamma > 0))
        return pm_fail(PM_E_USAGE, "--gamma %s: it is inf or a number above 0", text);
    return PM_OK;
}

static pm_status set_target(const char *text, char *const *class_names, size_t class_name_count,
                            pm_config *out) {
    size_t index = 0, found = 0;
    if (strcmp(text, "label") == 0 || strcmp(text, "top") == 0) {
        out->target_rule = text[0] == 'l' ? PM_TARGET_RULE_LABEL : PM_TARGET_RULE_TOP;
        return PM_OK;
    }
    if (!pm_parse_size("--target", text, &index)) {
        out->target_rule = PM_TARGET_RULE_CLASS;
        out->target_class = index;
        return PM_OK;
    }
    if (!class_names) {
        out->target_rule = PM_TARGET_RULE_TOP; /* names are not read yet: checked later */
        return PM_OK;
    }
    for (size_t i = 0; i < class_name_count; i++)
        if (class_names[i] && strcmp(class_names[i], text) == 0 && !found++) index = i;
    if (found == 1) {
        out->target_rule = PM_TARGET_RULE_CLASS;
        out->target_class = index;
        return PM_OK;
    }
    if (found)
        return pm_fail(PM_E_USAGE, "--target '%.80s' names %zu classes; give the index", text,
                       found);
    return pm_fail(PM_E_USAGE, "--target '%.80s': it is label, top, a class index%s", text,
                   class_name_count ? " or a class name" : " (or a name, with --classes)");
}

static pm_status set_range(pm_option_id id, const char *text, bool zero_allowed, double *out) {
    pm_status status = number(id, text, out);
    if (status) return status;
    if (*out > 1 || *out < 0 || (*out == 0 && !zero_allowed))
        return pm_fail(PM_E_USAGE, "--%s %s is out of range; it takes %s", pm_option_at(id)->name,
                       text, zero_allowed ? "0 to 1" : "more than 0, at most 1");
    return PM_OK;
}

static pm_status set_method(const char *text, pm_attribution *out) {
    pm_status status = pm_method_parse(text, &out->method);
    if (!status && !pm_method_has_heat_map(out->method))
        return pm_fail(PM_E_USAGE, "--method %s makes no heat map; it is how statistics are made",
                       text);
    return status;
}

static pm_status set_cam_layer(const char *text, pm_attribution *out) {
    if (strlen(text) >= sizeof out->cam_layer)
        return pm_fail(PM_E_USAGE, "--cam-layer: the name is longer than %zu characters",
                       sizeof out->cam_layer - 1);
    strcpy(out->cam_layer, text);
    return PM_OK;
}

/* The hash of a photograph is in the base configuration. */
static pm_status set_baseline(const char *text, pm_attribution *out) {
    if (pm_baseline_is_file(text)) {
        out->baseline = PM_BASELINE_IMAGE;
        return PM_OK;
    }
    return pm_baseline_parse(text, &out->baseline);
}

static pm_status set_box_rule(const char *text, pm_config *out) {
    out->all_boxes = strcmp(text, "all") == 0;
    if (out->all_boxes || strcmp(text, "first") == 0) return PM_OK;
    return pm_fail(PM_E_USAGE, "--box-rule '%.80s': it is first or all", text);
}

static pm_status set_count(pm_option_id id, const char *text, size_t *out) {
    char what[64];
    snprintf(what, sizeof what, "--%s", pm_option_at(id)->name);
    return pm_parse_size(what, text, out);
}

static pm_status set_seed(const char *text, pm_attribution *out) {
    size_t seed = 0;
    pm_status status = set_count(PM_OPT_SEED, text, &seed);
    out->seed = seed;
    return status;
}

static pm_status set(pm_option_id id, const char *text, char *const *class_names,
                     size_t class_name_count, pm_config *out) {
    pm_attribution *a = &out->attribution;
    switch ((int)id) {
    case PM_OPT_INPUT: return pm_input_parse(text, &out->input);
    case PM_OPT_METHOD: return set_method(text, a);
    case PM_OPT_GUIDED: a->guided = strcmp(text, "on") == 0; return PM_OK;
    case PM_OPT_STEPS: return set_count(id, text, &a->steps);
    case PM_OPT_BASELINE: return set_baseline(text, a);
    case PM_OPT_SAMPLES: return set_count(id, text, &a->samples);
    case PM_OPT_SIGMA: return number(id, text, &a->sigma);
    case PM_OPT_CAM_LAYER: return set_cam_layer(text, a);
    case PM_OPT_SEED: return set_seed(text, a);
    case PM_OPT_BOX_RULE:
    case PM_OPT_BOXES: return set_box_rule(text, out);
    case PM_OPT_MASK: return pm_mask_parse(text, &a->mask);
    case PM_OPT_QUANTILE:
        a->threshold_kind = PM_THRESHOLD_QUANTILE;
        return set_range(id, text, false, &a->threshold);
    case PM_OPT_ALPHA:
        a->threshold_kind = PM_THRESHOLD_ALPHA;
        return set_range(id, text, true, &a->threshold);
    case PM_OPT_P_VALUE_THRESHOLD: return set_range(id, text, true, &a->p_value_threshold);
    case PM_OPT_TEST: return pm_test_parse(text, &a->test);
    case PM_OPT_LAYERS: return set_layers(text, a);
    case PM_OPT_GAMMA: return set_gamma(text, a);
    case PM_OPT_EXACT: a->exact = strcmp(text, "on") == 0; return PM_OK;
    case PM_OPT_VARIANCE_CONSERVATION:
        a->variance_conservation = strcmp(text, "on") == 0;
        return PM_OK;
    case PM_OPT_TARGET: return set_target(text, class_names, class_name_count, out);
    }
    return pm_fail(PM_E_INTERNAL, "--%s is no grid option", pm_option_at(id)->name);
}

static bool known(const pm_sha256 *hashes, size_t count, const pm_sha256 *hash) {
    for (size_t i = 0; i < count; i++)
        if (pm_sha256_equal(&hashes[i], hash)) return true;
    return false;
}

bool pm_baseline_is_file(const char *text) {
    return strcmp(text, "zero") != 0 && strcmp(text, "blur") != 0;
}

const char *pm_boxes_folder(const pm_options *options) {
    const char *boxes = pm_options_text(options, PM_OPT_BOXES);
    if (!boxes || strcmp(boxes, "first") == 0 || strcmp(boxes, "all") == 0) return NULL;
    return boxes;
}

static bool box_word_given(const pm_options *options) {
    return pm_options_given(options, PM_OPT_BOXES) && !pm_boxes_folder(options);
}

/* The axis in force: alpha stands in for quantile where it is given, a word behind --boxes for
 * --box-rule. */
static pm_option_id axis(const pm_options *options, size_t i) {
    if (axes[i] == PM_OPT_QUANTILE && pm_options_given(options, PM_OPT_ALPHA)) return PM_OPT_ALPHA;
    if (axes[i] == PM_OPT_BOX_RULE && box_word_given(options)) return PM_OPT_BOXES;
    return axes[i];
}

/* Whether the option says something of this configuration. */
static bool matters(pm_option_id id, const pm_config *config) {
    pm_method method = config->attribution.method;
    switch ((int)id) {
    case PM_OPT_STEPS:
    case PM_OPT_BASELINE: return method == PM_METHOD_IG;
    case PM_OPT_SAMPLES:
    case PM_OPT_SIGMA: return pm_method_is_random(method);
    case PM_OPT_CAM_LAYER: return method == PM_METHOD_GRADCAM;
    case PM_OPT_SEED: return pm_method_is_random(method) || pm_input_is_random(&config->input);
    }
    return true;
}

/* An option that was typed and that no configuration of the grid heeds is a mistake. */
static pm_status check_heeded(const pm_options *options, const pm_config *configs, size_t count) {
    static const struct {
        pm_option_id id;
        const char *used_by;
    } rows[] = {
        {PM_OPT_STEPS, "--method ig"},
        {PM_OPT_BASELINE, "--method ig"},
        {PM_OPT_SAMPLES, "--method smoothgrad and vargrad"},
        {PM_OPT_SIGMA, "--method smoothgrad and vargrad"},
        {PM_OPT_CAM_LAYER, "--method gradcam"},
        {PM_OPT_SEED, "--method smoothgrad and vargrad, --input jigsaw and noise, and --replace "
                      "noise"},
    };
    const bool noise = pm_options_flag(options, PM_OPT_EVALUATE) &&
                       strcmp(pm_options_text(options, PM_OPT_REPLACE), "noise") == 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool heeded =
            !pm_options_given(options, rows[i].id) || (rows[i].id == PM_OPT_SEED && noise);
        for (size_t k = 0; k < count && !heeded; k++) heeded = matters(rows[i].id, &configs[k]);
        if (!heeded)
            return pm_fail(PM_E_USAGE,
                           "--%s is given, but nothing in this command heeds it; it is for %s",
                           pm_option_at(rows[i].id)->name, rows[i].used_by);
    }
    return PM_OK;
}

/* With gamma infinite there is nothing that --exact could rescale. In a grid with finite values as
 * well such pairs fold into one configuration; alone they are a mistake. */
static pm_status check_exact(const pm_options *options) {
    bool exact = false, finite = false;
    for (size_t i = 0; i < pm_options_count(options, PM_OPT_EXACT); i++)
        exact |= strcmp(pm_options_value(options, PM_OPT_EXACT, i), "on") == 0;
    for (size_t i = 0; i < pm_options_count(options, PM_OPT_GAMMA); i++)
        finite |= strcmp(pm_options_value(options, PM_OPT_GAMMA, i), "inf") != 0;
    if (exact && !finite)
        return pm_fail(PM_E_USAGE, "--exact needs a finite --gamma, for example --gamma 2");
    return PM_OK;
}

static pm_status grid_size(const pm_options *options, size_t *out) {
    size_t size = 1;
    pm_status status = check_exact(options);
    if (status) return status;
    if (pm_options_given(options, PM_OPT_ALPHA) && pm_options_given(options, PM_OPT_QUANTILE))
        return pm_fail(PM_E_USAGE, "--alpha and --quantile are both given; use one of them");
    if (box_word_given(options) && pm_options_given(options, PM_OPT_BOX_RULE))
        return pm_fail(PM_E_USAGE, "--boxes %s and --box-rule are both given; use one of them",
                       pm_options_text(options, PM_OPT_BOXES));
    for (size_t i = 0; i < AXIS_COUNT; i++) {
        size_t count = pm_options_count(options, axis(options, i));
        size *= count ? count : 1;
        if (size > PM_GRID_MAX)
            return pm_fail(PM_E_USAGE, "the grid has more than %d configurations; split the run",
                           PM_GRID_MAX);
    }
    *out = size;
    return PM_OK;
}

/* Configuration number `at` of the product; the last axis runs fastest. */
static pm_status pick(const pm_options *options, size_t at, char *const *class_names,
                      size_t class_name_count, pm_config *config) {
    for (size_t i = AXIS_COUNT; i-- > 0;) {
        pm_option_id id = axis(options, i);
        size_t count = pm_options_count(options, id);
        if (!count) continue; /* --target without a value: the rule that came in */
        const char *text = pm_options_value(options, id, at % count);
        at /= count;
        pm_status status = set(id, text, class_names, class_name_count, config);
        if (status) return status;
    }
    return PM_OK;
}

pm_status pm_grid_make(const pm_options *options, const pm_config *base, pm_target_rule rule,
                       char *const *class_names, size_t class_name_count, pm_config **configs,
                       size_t *count) {
    size_t size = 0, used = 0;
    pm_status status = grid_size(options, &size);
    if (status) return status;
    pm_config *all = calloc(size, sizeof *all);
    pm_sha256 *hashes = calloc(size, sizeof *hashes);
    if (!all || !hashes) {
        status = pm_fail(PM_E_MEMORY, "no memory for %zu configurations", size);
        goto fail;
    }
    for (size_t i = 0; i < size; i++) {
        pm_config *config = &all[used];
        char *text = NULL;
        *config = *base;
        config->target_rule = rule;
        pm_attribution_defaults(&config->attribution);
        status = pick(options, i, class_names, class_name_count, config);
        if (status) goto fail;
        if (config->attribution.mask == PM_MASK_OFF) config->has_statistics = false;
        if (config->attribution.mask == PM_MASK_OFF || isinf(config->attribution.gamma)) {
            /* Nothing that --exact could rescale. */
            config->attribution.exact = false;
        }
        status = pm_config_check(config);
        if (!status) status = pm_config_format(config, &text, &hashes[used]);
        free(text);
        if (status) goto fail;
        if (!known(hashes, used, &hashes[used])) used++;
    }
    status = check_heeded(options, all, used);
    if (status) goto fail;
    free(hashes);
    *configs = all;
    *count = used;
    return PM_OK;
fail:
    free(all);
    free(hashes);
    return status;
}
