/* Owns the canonical text of a configuration, its checks and its label. */
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/spec/canonical.h"

enum { SIDE_MAX = 16384, PASSES_MAX = 1000 };

const char *const pm_target_rule_names[3] = {"label", "top", "class"};

/* ---- writing ---- */

typedef struct out_text {
    char *text;
    size_t used;
} out_text;

__attribute__((format(printf, 2, 3))) static void put(out_text *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out->text + out->used, PM_CANONICAL_BYTES - out->used, format, args);
    va_end(args);
    /* PM_CANONICAL_BYTES covers the longest configuration, every character escaped. */
    if (n > 0 && (size_t)n < PM_CANONICAL_BYTES - out->used) out->used += (size_t)n;
}

static void put_real(out_text *out, double value) {
    if (isinf(value)) {
        put(out, "\"%sinf\"", value < 0 ? "-" : "");
        return;
    }
    char digits[40];
    snprintf(digits, sizeof digits, "%.17g", value);
    char *point = strchr(digits, localeconv()->decimal_point[0]);
    if (point) *point = '.';
    put(out, "%s", digits);
}

static void put_string(out_text *out, const char *text) {
    put(out, "\"");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            put(out, "\\%c", c);
        else if (c < 0x20)
            put(out, "\\u%04x", c);
        else
            put(out, "%c", c);
    }
    put(out, "\"");
}

static void put_reals(out_text *out, const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        put(out, i ? "," : "[");
        put_real(out, (double)values[i]);
    }
    put(out, "]");
}

/* What the method alone decides. */
static void canonical_method(pm_config *c, const pm_attribution *plain) {
    pm_attribution *a = &c->attribution;
    if (a->method != PM_METHOD_IG) {
        a->steps = plain->steps;
        a->baseline = plain->baseline;
    }
    if (a->baseline != PM_BASELINE_IMAGE) memset(&c->baseline_image, 0, sizeof c->baseline_image);
    if (!pm_method_is_random(a->method)) {
        a->samples = plain->samples;
        a->sigma = plain->sigma;
        if (!pm_input_is_random(&c->input)) a->seed = plain->seed;
    }
    if (a->method != PM_METHOD_GRADCAM) memcpy(a->cam_layer, plain->cam_layer, sizeof a->cam_layer);
    if (a->method != PM_METHOD_GATHER) return;
    a->guided = plain->guided;
    a->mask = plain->mask;
    memcpy(a->layers, plain->layers, sizeof a->layers);
    c->all_boxes = false;
}

/* What the mask alone decides. */
static void canonical_mask(pm_config *c, const pm_attribution *plain) {
    pm_attribution *a = &c->attribution;
    if (a->mask != PM_MASK_CLS) a->test = plain->test;
    if (a->exact) a->variance_conservation = plain->variance_conservation;
    if (a->mask != PM_MASK_OFF) return;
    a->threshold_kind = plain->threshold_kind;
    a->threshold = plain->threshold;
    a->p_value_threshold = plain->p_value_threshold;
    a->gamma = plain->gamma;
    a->exact = plain->exact;
    a->variance_conservation = plain->variance_conservation;
    c->has_statistics = false;
}

pm_config pm_config_canonical(const pm_config *config) {
    pm_config c = *config;
    pm_attribution plain;
    pm_attribution_defaults(&plain);
    canonical_method(&c, &plain);
    canonical_mask(&c, &plain);
    if (!c.has_statistics) memset(&c.statistics, 0, sizeof c.statistics);
    if (c.target_rule != PM_TARGET_RULE_CLASS) c.target_class = 0;
    return c;
}

static void put_hash(out_text *out, const pm_sha256 *hash) {
    char hex[PM_SHA256_HEX_BYTES];
    pm_sha256_hex(hash, hex);
    put(out, "\"%s\"", hex);
}

/* Keys from arch to gamma; then on to mean, to resize, to the end. */
static void put_to_gamma(out_text *out, const pm_config *c) {
    const pm_attribution *a = &c->attribution;
    put(out, "{\"arch\":");
    put_string(out, c->arch);
    if (a->method == PM_METHOD_IG) put(out, ",\"baseline\":\"%s\"", pm_baseline_name(a->baseline));
    if (a->baseline == PM_BASELINE_IMAGE) {
        put(out, ",\"baseline_image\":");
        put_hash(out, &c->baseline_image);
    }
    if (c->all_boxes) put(out, ",\"boxes\":\"all\"");
    if (a->method == PM_METHOD_GRADCAM) {
        put(out, ",\"cam_layer\":");
        put_string(out, a->cam_layer);
    }
    put(out, ",\"crop\":%zu,\"exact\":%s,\"filter\":\"%s\",\"gamma\":", c->crop,
        a->exact ? "true" : "false", pm_filter_name(c->filter));
    put_real(out, a->gamma);
}

static void put_to_resize(out_text *out, const pm_config *c) {
    const pm_attribution *a = &c->attribution;
    if (a->guided) put(out, ",\"guided\":true");
    if (c->input.kind != PM_INPUT_NONE) {
        char input[PM_INPUT_BYTES];
        pm_input_format(&c->input, input, sizeof input);
        put(out, ",\"input\":\"%s\"", input);
    }
    put(out, ",\"layers\":");
    put_string(out, a->layers);
    put(out, ",\"mask\":\"%s\",\"mean\":", pm_mask_name(a->mask));
    put_reals(out, c->mean, 3);
    put(out, ",\"method\":\"%s\",\"p_value_threshold\":", pm_method_name(a->method));
    put_real(out, a->p_value_threshold);
    put(out, ",\"resize\":%zu", c->resize);
}

static void put_rest(out_text *out, const pm_config *c) {
    const pm_attribution *a = &c->attribution;
    bool random_method = pm_method_is_random(a->method);
    if (random_method) put(out, ",\"samples\":%zu", a->samples);
    /* As text: a JSON integer has no unsigned 64 bits. */
    if (random_method || pm_input_is_random(&c->input))
        put(out, ",\"seed\":\"%" PRIu64 "\"", a->seed);
    if (random_method) {
        put(out, ",\"sigma\":");
        put_real(out, a->sigma);
    }
    put(out, ",\"statistics\":");
    if (c->has_statistics)
        put_hash(out, &c->statistics);
    else
        put(out, "null");
    put(out, ",\"std\":");
    put_reals(out, c->std, 3);
    if (a->method == PM_METHOD_IG) put(out, ",\"steps\":%zu", a->steps);
    put(out, ",\"target_class\":%zu,\"target_rule\":\"%s\",\"test\":\"%s\",\"threshold\":",
        c->target_class, pm_target_rule_names[c->target_rule], pm_test_name(a->test));
    put_real(out, a->threshold);
    put(out, ",\"threshold_kind\":\"%s\"",
        a->threshold_kind == PM_THRESHOLD_ALPHA ? "alpha" : "quantile");
    if (c->transform_input) put(out, ",\"transform_input\":true");
    put(out,
        ",\"variance_conservation\":%s,\"weights\":", a->variance_conservation ? "true" : "false");
    put_hash(out, &c->weights);
    put(out, "}");
}

void pm_config_write(const pm_config *config, char text[PM_CANONICAL_BYTES], pm_sha256 *hash) {
    pm_config c = pm_config_canonical(config);
    out_text out = {text, 0};
    put_to_gamma(&out, &c);
    put_to_resize(&out, &c);
    put_rest(&out, &c);
    *hash = pm_sha256_of(text, out.used);
}

pm_status pm_config_format(const pm_config *config, char **text, pm_sha256 *hash) {
    char line[PM_CANONICAL_BYTES];
    pm_sha256 of_line;
    pm_config_write(config, line, &of_line);
    char *copy = strdup(line);
    if (!copy) return pm_fail(PM_E_MEMORY, "no memory for a configuration's text");
    *text = copy;
    *hash = of_line;
    return PM_OK;
}

/* ---- checks ---- */

static bool plain(const char *text, size_t size) {
    size_t length = strnlen(text, size);
    if (length == 0 || length == size) return false;
    for (size_t i = 0; i < length; i++)
        if (text[i] <= 0x20 || text[i] >= 0x7f) return false;
    return true;
}

static pm_status check_method(const pm_attribution *a) {
    if (a->method == PM_METHOD_IG && (a->steps < 1 || a->steps > PASSES_MAX))
        return pm_fail(PM_E_USAGE, "steps %zu: they go from 1 to %d", a->steps, PASSES_MAX);
    if (pm_method_is_random(a->method)) {
        size_t least = a->method == PM_METHOD_VARGRAD ? 2 : 1;
        if (a->samples < least || a->samples > PASSES_MAX)
            return pm_fail(PM_E_USAGE, "samples %zu: for %s they go from %zu to %d", a->samples,
                           pm_method_name(a->method), least, PASSES_MAX);
        if (!(a->sigma > 0 && a->sigma <= 100))
            return pm_fail(PM_E_USAGE, "sigma %g is not within (0, 100]", a->sigma);
    }
    if (!plain(a->cam_layer, sizeof a->cam_layer))
        return pm_fail(PM_E_USAGE, "the cam layer must be a word of 1 to %d plain characters",
                       PM_CAM_LAYER_BYTES - 1);
    return PM_OK;
}

static pm_status check_attribution(const pm_attribution *a) {
    pm_status status = check_method(a);
    if (status) return status;
    if (!plain(a->layers, sizeof a->layers))
        return pm_fail(PM_E_USAGE, "layers must be a word of 1 to %d plain characters",
                       PM_LAYERS_BYTES - 1);
    if (a->threshold_kind == PM_THRESHOLD_QUANTILE && !(a->threshold > 0 && a->threshold <= 1))
        return pm_fail(PM_E_USAGE, "quantile %g is not within (0, 1]", a->threshold);
    if (a->threshold_kind == PM_THRESHOLD_ALPHA && !(a->threshold >= 0 && a->threshold <= 1))
        return pm_fail(PM_E_USAGE, "alpha %g is not within [0, 1]", a->threshold);
    if (!(a->p_value_threshold > 0 && a->p_value_threshold <= 1))
        return pm_fail(PM_E_USAGE, "p-value threshold %g is not within (0, 1]",
                       a->p_value_threshold);
    if (!(a->gamma > 0)) return pm_fail(PM_E_USAGE, "gamma %g is not above 0", a->gamma);
    if (a->mask != PM_MASK_OFF && a->exact && isinf(a->gamma))
        return pm_fail(PM_E_USAGE, "exact variance needs a finite gamma");
    return PM_OK;
}

pm_status pm_config_check(const pm_config *config) {
    const pm_config *c = config;
    if (!plain(c->arch, sizeof c->arch))
        return pm_fail(PM_E_USAGE, "the architecture must be a word of 1 to 63 plain characters");
    if (c->crop < 1 || c->crop > SIDE_MAX || c->resize > SIDE_MAX)
        return pm_fail(PM_E_USAGE, "resize %zu, crop %zu: sides go from 1 to %d pixels", c->resize,
                       c->crop, SIDE_MAX);
    for (size_t i = 0; i < 3; i++)
        if (!isfinite(c->mean[i]) || !isfinite(c->std[i]) || !(c->std[i] > 0))
            return pm_fail(PM_E_USAGE, "mean and std must be finite, std above 0");
    if (c->target_class > INT32_MAX)
        return pm_fail(PM_E_USAGE, "target class %zu is out of range", c->target_class);
    if (c->attribution.mask != PM_MASK_OFF && !c->has_statistics)
        return pm_fail(PM_E_USAGE, "mask '%s' needs statistics; give them with --stats",
                       pm_mask_name(c->attribution.mask));
    if (c->input.kind == PM_INPUT_JIGSAW && c->input.grid > c->crop)
        return pm_fail(PM_E_USAGE, "input jigsaw: a crop of %zu pixels has no %zu x %zu tiles",
                       c->crop, c->input.grid, c->input.grid);
    return check_attribution(&c->attribution);
}

bool pm_config_same_preprocessing(const pm_config *a, const pm_config *b) {
    return a->resize == b->resize && a->crop == b->crop && a->filter == b->filter &&
           memcmp(a->mean, b->mean, sizeof a->mean) == 0 &&
           memcmp(a->std, b->std, sizeof a->std) == 0;
}

bool pm_config_same_tensor(const pm_config *a, const pm_config *b) {
    return pm_config_same_preprocessing(a, b) && a->transform_input == b->transform_input &&
           pm_input_equal(&a->input, &b->input) &&
           (!pm_input_is_random(&a->input) || a->attribution.seed == b->attribution.seed);
}

/* "ig25 blur guided ", "" for grad. */
static void method_label(const pm_config *c, char *out, size_t size) {
    const pm_attribution *a = &c->attribution;
    char name[96] = "";
    switch (a->method) {
    case PM_METHOD_GRAD: break;
    case PM_METHOD_INPUTGRAD:
    case PM_METHOD_GATHER: snprintf(name, sizeof name, "%s ", pm_method_name(a->method)); break;
    case PM_METHOD_IG:
        snprintf(name, sizeof name, "ig%zu %s%s", a->steps,
                 a->baseline == PM_BASELINE_ZERO ? "" : pm_baseline_name(a->baseline),
                 a->baseline == PM_BASELINE_ZERO ? "" : " ");
        break;
    case PM_METHOD_SMOOTHGRAD:
    case PM_METHOD_VARGRAD:
        snprintf(name, sizeof name, "%s%zu s%g ", pm_method_name(a->method), a->samples, a->sigma);
        break;
    case PM_METHOD_GRADCAM:
        if (strcmp(a->cam_layer, "default") == 0)
            snprintf(name, sizeof name, "gradcam ");
        else
            snprintf(name, sizeof name, "gradcam %.60s ", a->cam_layer);
        break;
    case PM_METHOD_COUNT: break;
    }
    snprintf(out, size, "%s%s%s%s", name, a->guided ? "guided " : "",
             c->all_boxes ? "boxes all " : "", c->transform_input ? "transform-input " : "");
}

/* "blur:radius=3 seed 7 ", "" where there is none of either. */
static void input_label(const pm_config *c, char *out, size_t size) {
    const pm_input *in = &c->input;
    const uint64_t seed = c->attribution.seed;
    char input[64] = "", random[40] = "";
    switch (in->kind) {
    case PM_INPUT_JIGSAW:
        snprintf(input, sizeof input, "jigsaw:grid=%zu,swaps=%zu ", in->grid, in->swaps);
        break;
    case PM_INPUT_BLUR: snprintf(input, sizeof input, "blur:radius=%g ", in->radius); break;
    case PM_INPUT_NOISE: snprintf(input, sizeof input, "noise:sigma=%g ", in->sigma); break;
    case PM_INPUT_NONE:
    case PM_INPUT_COUNT: break;
    }
    if (pm_method_is_random(c->attribution.method) || pm_input_is_random(in))
        snprintf(random, sizeof random, "seed %" PRIu64 " ", seed);
    snprintf(out, size, "%s%s", input, random);
}

void pm_config_label(const pm_config *config, char *out, size_t size) {
    const pm_config c = pm_config_canonical(config);
    const pm_attribution *a = &c.attribution;
    char method[192], input[112], scale[96] = "", target[48] = "", gamma[32] = "inf";
    method_label(&c, method, sizeof method);
    input_label(&c, input, sizeof input);
    if (isfinite(a->gamma)) snprintf(gamma, sizeof gamma, "%g", a->gamma);
    if (a->mask != PM_MASK_OFF)
        snprintf(scale, sizeof scale, " gamma %s %s%s", gamma,
                 a->exact                   ? "exact"
                 : a->variance_conservation ? "vc on"
                                            : "vc off",
                 a->test == PM_TEST_STUDENT ? " student" : "");
    if (c.target_rule == PM_TARGET_RULE_TOP) snprintf(target, sizeof target, " target top");
    if (c.target_rule == PM_TARGET_RULE_CLASS)
        snprintf(target, sizeof target, " target %zu", c.target_class);
    if (a->mask == PM_MASK_OFF)
        snprintf(out, size, "%s%soff %s%s", input, method, a->layers, target);
    else
        snprintf(out, size, "%s%s%s %s%g t%g %s%s%s", input, method, pm_mask_name(a->mask),
                 a->threshold_kind == PM_THRESHOLD_ALPHA ? "a" : "q", a->threshold,
                 a->p_value_threshold, a->layers, scale, target);
}
