/* Owns the way back from a configuration's text: strict, one spelling for one meaning. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/spec/canonical.h"
#include "lib/spec/json.h"

/* Every getter takes one field off the object. */

static pm_status wrong(const char *key, const char *what) {
    return pm_fail(PM_E_FORMAT, "configuration: field '%s' is missing or not %s", key, what);
}

static pm_status get_text(json_t *object, const char *key, char *out, size_t size) {
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (!text || strlen(text) != json_string_length(value)) return wrong(key, "a string");
    if (strlen(text) >= size) return wrong(key, "short enough");
    memcpy(out, text, strlen(text) + 1);
    json_object_del(object, key);
    return PM_OK;
}

static pm_status get_real(json_t *object, const char *key, double *out) {
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (text && strcmp(text, "inf") == 0)
        *out = INFINITY;
    else if (json_is_number(value))
        *out = json_number_value(value);
    else
        return wrong(key, "a number");
    json_object_del(object, key);
    return PM_OK;
}

static pm_status get_size(json_t *object, const char *key, size_t *out) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return wrong(key, "a whole number");
    *out = (size_t)json_integer_value(value);
    json_object_del(object, key);
    return PM_OK;
}

static pm_status get_bool(json_t *object, const char *key, bool *out) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_boolean(value)) return wrong(key, "true or false");
    *out = json_is_true(value);
    json_object_del(object, key);
    return PM_OK;
}

static pm_status get_reals(json_t *object, const char *key, float out[3]) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_array(value) || json_array_size(value) != 3) return wrong(key, "three numbers");
    for (size_t i = 0; i < 3; i++) {
        if (!json_is_number(json_array_get(value, i))) return wrong(key, "three numbers");
        out[i] = (float)json_number_value(json_array_get(value, i));
    }
    json_object_del(object, key);
    return PM_OK;
}

static pm_status get_hash(json_t *object, const char *key, pm_sha256 *out, bool *present) {
    if (present && json_is_null(json_object_get(object, key))) {
        *present = false;
        json_object_del(object, key);
        return PM_OK;
    }
    char hex[PM_SHA256_HEX_BYTES];
    pm_status status = get_text(object, key, hex, sizeof hex);
    if (!status) status = pm_sha256_parse(hex, out);
    if (!status && present) *present = true;
    return status;
}

static bool has(const json_t *object, const char *key) {
    return json_object_get(object, key) != NULL;
}

static pm_status get_seed(json_t *object, uint64_t *out) {
    char digits[32], *end;
    pm_status status = get_text(object, "seed", digits, sizeof digits);
    if (status) return status;
    errno = 0;
    uint64_t value = strtoull(digits, &end, 10);
    if (errno || *end || digits[0] < '0' || digits[0] > '9') return wrong("seed", "a whole number");
    *out = value;
    return PM_OK;
}

/* Keys of later versions: absent is the default. */
static pm_status get_later(json_t *object, pm_config *c) {
    pm_attribution *a = &c->attribution;
    char word[PM_INPUT_BYTES];
    pm_status status;
    if (has(object, "input")) {
        if ((status = get_text(object, "input", word, sizeof word))) return status;
        if (pm_input_parse(word, &c->input)) return wrong("input", "a known one");
    }
    if (has(object, "baseline")) {
        if ((status = get_text(object, "baseline", word, sizeof word))) return status;
        if (pm_baseline_parse(word, &a->baseline)) return wrong("baseline", "a known one");
    }
    if (has(object, "baseline_image") &&
        (status = get_hash(object, "baseline_image", &c->baseline_image, NULL)))
        return status;
    if (has(object, "boxes")) {
        if ((status = get_text(object, "boxes", word, sizeof word))) return status;
        if (strcmp(word, "all") != 0) return wrong("boxes", "'all'");
        c->all_boxes = true;
    }
    if ((has(object, "cam_layer") &&
         (status = get_text(object, "cam_layer", a->cam_layer, sizeof a->cam_layer))) ||
        (has(object, "guided") && (status = get_bool(object, "guided", &a->guided))) ||
        (has(object, "samples") && (status = get_size(object, "samples", &a->samples))) ||
        (has(object, "seed") && (status = get_seed(object, &a->seed))) ||
        (has(object, "sigma") && (status = get_real(object, "sigma", &a->sigma))) ||
        (has(object, "steps") && (status = get_size(object, "steps", &a->steps))) ||
        (has(object, "transform_input") &&
         (status = get_bool(object, "transform_input", &c->transform_input))))
        return status;
    return PM_OK;
}

static pm_status get_words(json_t *object, pm_config *c) {
    pm_attribution *a = &c->attribution;
    char word[32];
    pm_status status;
    if ((status = get_text(object, "filter", word, sizeof word))) return status;
    if (pm_filter_parse(word, &c->filter)) return wrong("filter", "a known one");
    if ((status = get_text(object, "mask", word, sizeof word))) return status;
    if (pm_mask_parse(word, &a->mask)) return wrong("mask", "a known one");
    if ((status = get_text(object, "method", word, sizeof word))) return status;
    if (pm_method_parse(word, &a->method)) return wrong("method", "a known one");
    if ((status = get_text(object, "test", word, sizeof word))) return status;
    if (pm_test_parse(word, &a->test)) return wrong("test", "a known one");
    if ((status = get_text(object, "threshold_kind", word, sizeof word))) return status;
    if (strcmp(word, "alpha") == 0)
        a->threshold_kind = PM_THRESHOLD_ALPHA;
    else if (strcmp(word, "quantile") == 0)
        a->threshold_kind = PM_THRESHOLD_QUANTILE;
    else
        return wrong("threshold_kind", "'quantile' or 'alpha'");
    if ((status = get_text(object, "target_rule", word, sizeof word))) return status;
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(word, pm_target_rule_names[i]) == 0) {
            c->target_rule = (pm_target_rule)i;
            return PM_OK;
        }
    }
    return wrong("target_rule", "'label', 'top' or 'class'");
}

static pm_status get_fields(json_t *object, pm_config *c) {
    pm_attribution *a = &c->attribution;
    pm_status status;
    if ((status = get_text(object, "arch", c->arch, sizeof c->arch)) ||
        (status = get_size(object, "crop", &c->crop)) ||
        (status = get_bool(object, "exact", &a->exact)) ||
        (status = get_real(object, "gamma", &a->gamma)) ||
        (status = get_text(object, "layers", a->layers, sizeof a->layers)) ||
        (status = get_reals(object, "mean", c->mean)) ||
        (status = get_real(object, "p_value_threshold", &a->p_value_threshold)) ||
        (status = get_size(object, "resize", &c->resize)) ||
        (status = get_hash(object, "statistics", &c->statistics, &c->has_statistics)) ||
        (status = get_reals(object, "std", c->std)) ||
        (status = get_size(object, "target_class", &c->target_class)) ||
        (status = get_real(object, "threshold", &a->threshold)) ||
        (status = get_bool(object, "variance_conservation", &a->variance_conservation)) ||
        (status = get_hash(object, "weights", &c->weights, NULL)) ||
        (status = get_words(object, c)) || (status = get_later(object, c)))
        return status;
    const char *key = json_object_iter_key(json_object_iter(object));
    if (key) return pm_fail(PM_E_FORMAT, "configuration: field '%.60s' is not known", key);
    return PM_OK;
}

pm_status pm_config_parse(const char *text, pm_config *out) {
    json_error_t error = {.text = ""};
    json_t *object = NULL;
    pm_status status = pm_json_load(text, strlen(text), JSON_REJECT_DUPLICATES, &object, &error);
    if (status == PM_E_MEMORY) return pm_fail(PM_E_MEMORY, "configuration: no memory to read it");
    if (!json_is_object(object)) {
        json_decref(object);
        return pm_fail(PM_E_FORMAT, "configuration: not a JSON object: %s",
                       object ? "another value" : error.text);
    }
    pm_config config = {0};
    char line[PM_CANONICAL_BYTES];
    pm_sha256 hash;
    pm_attribution_defaults(&config.attribution);
    status = get_fields(object, &config);
    if (!status && (status = pm_config_check(&config)) == PM_E_USAGE)
        status = pm_fail_in(PM_E_FORMAT, "configuration");
    if (!status) {
        /* One text for one meaning: another spelling would hash to another configuration. */
        pm_config_write(&config, line, &hash);
        if (strcmp(line, text) != 0)
            status = pm_fail(PM_E_FORMAT, "configuration: not in canonical form");
    }
    json_decref(object);
    if (!status) *out = config;
    return status;
}
