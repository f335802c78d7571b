#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "tests/engine/ways.h"

const char *const pm_isas[3] = {"avx512", "avx2", "baseline"};

typedef struct form {
    pm_method method;
    pm_mask mask;
    double quantile, gamma; /* gamma 0: infinite */
    bool all_layers, exact, guided;
    size_t points; /* steps or samples */
    const char *cam_layer;
} form;

/* Methods of one pass and of many, guided and not, so that all kinds of company come about. */
static const form forms[FORMS] = {
    {.method = PM_METHOD_GRAD, .mask = PM_MASK_OFF, .quantile = 0.05},
    {.method = PM_METHOD_GRAD, .mask = PM_MASK_CLS, .quantile = 0.1, .all_layers = true},
    {.method = PM_METHOD_INPUTGRAD, .mask = PM_MASK_INS, .quantile = 0.15},
    {.method = PM_METHOD_IG, .mask = PM_MASK_CLS, .quantile = 0.2, .points = 3},
    {.method = PM_METHOD_GRAD, .mask = PM_MASK_CLS, .quantile = 0.25, .gamma = 2, .guided = true},
    {.method = PM_METHOD_GRAD,
     .mask = PM_MASK_INS,
     .quantile = 0.3,
     .gamma = 2,
     .exact = true,
     .all_layers = true},
    {.method = PM_METHOD_SMOOTHGRAD, .mask = PM_MASK_CLS, .quantile = 0.1, .points = 3},
    {.method = PM_METHOD_IG, .mask = PM_MASK_INS, .quantile = 0.3, .points = 3, .guided = true},
    {.method = PM_METHOD_VARGRAD, .mask = PM_MASK_OFF, .quantile = 0.1, .points = 3},
    {.method = PM_METHOD_GRADCAM, .mask = PM_MASK_CLS, .quantile = 0.1},
    {.method = PM_METHOD_GRADCAM,
     .mask = PM_MASK_CLS,
     .quantile = 0.1,
     .all_layers = true,
     .cam_layer = "first"},
    {.method = PM_METHOD_IG, .mask = PM_MASK_OFF, .quantile = 0.1, .points = 2},
    {.method = PM_METHOD_SMOOTHGRAD,
     .mask = PM_MASK_INS,
     .quantile = 0.2,
     .points = 3,
     .guided = true},
    {.method = PM_METHOD_VARGRAD,
     .mask = PM_MASK_CLS,
     .quantile = 0.2,
     .points = 2,
     .all_layers = true},
    {.method = PM_METHOD_GRADCAM,
     .mask = PM_MASK_INS,
     .quantile = 0.2,
     .cam_layer = "last",
     .guided = true},
    {.method = PM_METHOD_INPUTGRAD,
     .mask = PM_MASK_CLS,
     .quantile = 0.3,
     .gamma = 3,
     .guided = true},
};

static void set_statistics(pm_ways *f) {
    assert_int_equal(pm_statistics_new_empty(f->model, &f->statistics), PM_OK);
    for (size_t i = 0; i < pm_model_conv_count(f->model); i++) {
        const pm_conv_info *info = pm_model_conv(f->model, i);
        const size_t count = info->channels * CLASSES;
        float *p = malloc(count * sizeof *p);
        assert_non_null(p);
        pm_synth(info->name, 0, p, count);
        for (size_t k = 0; k < count; k++) p[k] = (p[k] + 1) / 2;
        assert_int_equal(pm_statistics_set(f->statistics, i, PM_TEST_WELCH, p, p), PM_OK);
        assert_int_equal(pm_statistics_set_moments(f->statistics, i, p, p), PM_OK);
        free(p);
    }
}

pm_ways *pm_ways_new(const char *arch) {
    pm_ways *f = calloc(1, sizeof *f);
    assert_non_null(f);
    if (pm_case_model_new(arch, CLASSES, &f->model)) fail_msg("%s", pm_error_text());
    set_statistics(f);
    for (size_t i = 0; i < FORMS; i++) {
        const form *this = &forms[i];
        const size_t last = pm_model_conv_count(f->model) - 1;
        pm_attribution a;
        pm_attribution_defaults(&a);
        a.method = this->method;
        a.mask = this->mask;
        a.p_value_threshold = 0.5;
        a.threshold = this->quantile;
        if (this->all_layers) strcpy(a.layers, "ratio:1");
        if (this->gamma > 0) a.gamma = this->gamma;
        a.exact = this->exact;
        a.guided = this->guided;
        a.steps = a.samples = this->points ? this->points : 25;
        if (this->cam_layer)
            strcpy(a.cam_layer,
                   pm_model_conv(f->model, strcmp(this->cam_layer, "last") == 0 ? last : 0)->name);
        if (pm_configuration_new(f->model, &a, f->statistics, &f->forms[i]))
            fail_msg("%s", pm_error_text());
    }
    f->count = 3 * PIXELS;
    pm_synth("baseline/0", 0, f->baseline, f->count);
    for (size_t i = 0; i < 2; i++) {
        char name[16];
        snprintf(name, sizeof name, "input/%zu", i);
        pm_synth(name, 0, f->input[i], sizeof f->input[i] / sizeof *f->input[i]);
    }
    return f;
}

void pm_ways_free(pm_ways *f) {
    for (size_t i = 0; i < FORMS; i++) pm_configuration_free(&f->forms[i]);
    pm_statistics_free(&f->statistics);
    pm_model_free(&f->model);
    free(f);
}

/* ---- results by their bits ---- */

static uint64_t mix(uint64_t hash, const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++) hash = (hash ^ p[i]) * 0x100000001b3;
    return hash;
}

pm_status pm_kept_keep(void *user, const pm_attribution_result *r) {
    pm_kept *k = user;
    uint64_t h = mix(0xcbf29ce484222325, r->heat_map, r->height * r->width * sizeof *r->heat_map);
    h = mix(h, r->logits, CLASSES * sizeof *r->logits);
    h = mix(h, &r->p_target, sizeof r->p_target);
    h = mix(h, &r->p_predicted, sizeof r->p_predicted);
    h = mix(h, &r->ig_sum, sizeof r->ig_sum);
    h = mix(h, &r->ig_expected, sizeof r->ig_expected);
    h = mix(h, &r->target, sizeof r->target);
    for (size_t i = 0; i < r->layer_count; i++) {
        const pm_layer_gradient *l = &r->layers[i];
        double values[] = {
            l->m, l->n, l->beta, l->scale_h, l->scale_l, l->variance_before, l->variance_after};
        h = mix(h, values, sizeof values);
        h = mix(h, l->channel_variance, l->channels * sizeof *l->channel_variance);
        h = mix(h, l->in_h, l->channels);
    }
    k->requests[k->count] = r->request;
    k->hashes[k->count++] = h;
    return PM_OK;
}

/* In an order that parts what shares a path. */
void pm_ways_requests(pm_ways *f, pm_request *requests, size_t count) {
    for (size_t i = 0; i < count; i++)
        requests[i] = (pm_request){.configuration = f->forms[i * 5 % FORMS],
                                   .target = i % 5 == 4 ? PM_TARGET_TOP : (int)(i / FORMS * 7),
                                   .baseline = i % 3 == 0 ? f->baseline : NULL,
                                   .noise = pm_case_noise,
                                   .noise_user = &f->count};
}

/* Each request alone, in a context of its own. */
void pm_ways_alone(pm_ways *f, size_t image, uint64_t *hashes) {
    pm_request requests[REQUESTS];
    pm_ways_requests(f, requests, REQUESTS);
    for (size_t i = 0; i < REQUESTS; i++) {
        pm_context *c;
        pm_kept k = {0};
        assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
        assert_int_equal(
            pm_context_attribute(c, f->input[image], &requests[i], 1, pm_kept_keep, &k), PM_OK);
        hashes[i] = k.hashes[0];
        pm_context_free(&c);
    }
}
