/* Owns the names and defaults of attributions. */
#include "lib/base/attribution.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const methods[PM_METHOD_COUNT] = {"grad",    "inputgrad", "ig",    "smoothgrad",
                                                     "vargrad", "gradcam",   "gather"};
static const char *const masks[PM_MASK_COUNT] = {"off", "cls", "ins"};
static const char *const tests[PM_TEST_COUNT] = {"welch", "student"};
static const char *const filters[PM_FILTER_COUNT] = {"bilinear", "bicubic"};
static const char *const baselines[PM_BASELINE_COUNT] = {"zero", "blur", "image"};

bool pm_method_is_random(pm_method method) {
    return method == PM_METHOD_SMOOTHGRAD || method == PM_METHOD_VARGRAD;
}

bool pm_method_has_heat_map(pm_method method) { return method != PM_METHOD_GATHER; }

bool pm_method_has_path(pm_method method) {
    return method == PM_METHOD_IG || pm_method_is_random(method);
}

void pm_attribution_defaults(pm_attribution *out) {
    *out = (pm_attribution){
        .method = PM_METHOD_GRAD,
        .steps = 25,
        .baseline = PM_BASELINE_ZERO,
        .samples = 25,
        .sigma = 0.15,
        .cam_layer = "default",
        .mask = PM_MASK_OFF,
        .threshold_kind = PM_THRESHOLD_QUANTILE,
        .threshold = 0.1,
        .p_value_threshold = 0.05,
        .test = PM_TEST_WELCH,
        .layers = "default",
        .gamma = INFINITY,
        .variance_conservation = true,
    };
}

const char *pm_method_name(pm_method method) { return methods[method]; }
const char *pm_mask_name(pm_mask mask) { return masks[mask]; }
const char *pm_test_name(pm_test test) { return tests[test]; }
const char *pm_filter_name(pm_filter filter) { return filters[filter]; }
const char *pm_baseline_name(pm_baseline baseline) { return baselines[baseline]; }

static pm_status parse(const char *what, const char *const *names, size_t count, const char *name,
                       size_t *out) {
    char known[256] = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = i;
            return PM_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", names[i]);
    }
    return pm_fail(PM_E_USAGE, "%s '%.80s' is not known; there are: %s", what, name, known);
}

pm_status pm_method_parse(const char *name, pm_method *out) {
    size_t i;
    pm_status status = parse("method", methods, PM_METHOD_COUNT, name, &i);
    if (!status) *out = (pm_method)i;
    return status;
}

pm_status pm_mask_parse(const char *name, pm_mask *out) {
    size_t i;
    pm_status status = parse("mask", masks, PM_MASK_COUNT, name, &i);
    if (!status) *out = (pm_mask)i;
    return status;
}

pm_status pm_test_parse(const char *name, pm_test *out) {
    size_t i;
    pm_status status = parse("test", tests, PM_TEST_COUNT, name, &i);
    if (!status) *out = (pm_test)i;
    return status;
}

pm_status pm_filter_parse(const char *name, pm_filter *out) {
    size_t i;
    pm_status status = parse("filter", filters, PM_FILTER_COUNT, name, &i);
    if (!status) *out = (pm_filter)i;
    return status;
}

pm_status pm_baseline_parse(const char *name, pm_baseline *out) {
    size_t i;
    pm_status status = parse("baseline", baselines, PM_BASELINE_COUNT, name, &i);
    if (!status) *out = (pm_baseline)i;
    return status;
}
