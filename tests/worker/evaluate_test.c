/* worker/evaluate: curves of what the engine gave, kept over the call, against loops written out
 * here: sort, mask, forward pass, softmax. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/draw.h"
#include "lib/base/random.h"
#include "worker/evaluate.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE, CLASSES_MAX = 100, REQUESTS = 3, RATIOS = 4 };

static const double ratios[RATIOS] = {0, 0.25, 0.7, 1};

typedef struct fixture {
    pm_model *model;
    pm_context *context, *other;
    pm_configuration *configurations[REQUESTS];
    float input[3 * PIXELS];
    size_t classes;
    pm_sha256 image;
    /* of the round */
    pm_evaluator *evaluator;
    float heat_maps[REQUESTS][PIXELS], logits[CLASSES_MAX];
    int targets[REQUESTS];
    size_t given;
    double worst;
} fixture;

static int set_up(void **state) {
    static const pm_method methods[REQUESTS] = {PM_METHOD_GRAD, PM_METHOD_INPUTGRAD,
                                                PM_METHOD_GRAD};
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    char path[4200];
    pm_weights *weights = NULL;
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(path, sizeof path, "%s/tools/demo/demo_resnet20.safetensors", root ? root : ".");
    if (pm_weights_open(path, &weights) || pm_model_new("cifar_resnet20", weights, &f->model))
        fail_msg("%s", pm_error_text());
    pm_weights_free(&weights);
    f->classes = pm_model_classes(f->model);
    assert_true(f->classes <= CLASSES_MAX);
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 2, &f->context), PM_OK);
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &f->other), PM_OK);
    for (size_t i = 0; i < REQUESTS; i++) {
        pm_attribution a;
        pm_attribution_defaults(&a);
        a.method = methods[i];
        assert_int_equal(pm_configuration_new(f->model, &a, NULL, &f->configurations[i]), PM_OK);
    }
    pm_synth("evaluate", 0, f->input, 3 * PIXELS);
    f->image = pm_sha256_of("photograph", 10);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    for (size_t i = 0; i < REQUESTS; i++) pm_configuration_free(&f->configurations[i]);
    pm_context_free(&f->context);
    pm_context_free(&f->other);
    pm_model_free(&f->model);
    free(f);
    return 0;
}

/* ---- written out ---- */

static double softmax(const float *logits, size_t classes, size_t k) {
    double sum = 0;
    for (size_t i = 0; i < classes; i++) sum += exp((double)logits[i] - (double)logits[k]);
    return 1 / sum;
}

static size_t top_of(const float *logits, size_t classes) {
    size_t top = 0;
    for (size_t i = 1; i < classes; i++)
        if (logits[i] > logits[top]) top = i;
    return top;
}

/* How many pixels come before this one. */
static size_t rank_of(const float *heat, size_t pixel, pm_curve curve) {
    size_t before = 0;
    for (size_t i = 0; i < PIXELS; i++) {
        bool ahead = curve == PM_CURVE_MORF ? heat[i] > heat[pixel] : heat[i] < heat[pixel];
        before += ahead || (heat[i] == heat[pixel] && i < pixel);
    }
    return before;
}

static void replacement_of(const fixture *f, const pm_evaluation *e, float out[3 * PIXELS]) {
    pm_draw stream;
    switch (e->replacement) {
    case PM_REPLACEMENT_NOISE:
        pm_draw_begin(&stream, e->seed, &f->image, PM_DRAW_REPLACE, 0);
        pm_draw_normal(&stream, out, 3 * PIXELS);
        return;
    case PM_REPLACEMENT_ZERO:
    case PM_REPLACEMENT_MEAN:
    case PM_REPLACEMENT_BLUR:
    case PM_REPLACEMENT_COUNT: memset(out, 0, 3 * PIXELS * sizeof *out);
    }
}

static void note(fixture *f, double got, double want) {
    if (!(fabs(got - want) <= f->worst)) f->worst = fabs(got - want);
}

static void check_row(fixture *f, const pm_evaluation *e, size_t request,
                      const pm_perturbation *row) {
    float masked[3 * PIXELS], replacement[3 * PIXELS], logits[CLASSES_MAX];
    const float *heat = f->heat_maps[request];
    size_t taken = (size_t)(PIXELS * row->ratio), target = (size_t)f->targets[request];
    replacement_of(f, e, replacement);
    memcpy(masked, f->input, sizeof masked);
    for (size_t i = 0; i < PIXELS; i++)
        for (size_t k = 0; k < 3 && rank_of(heat, i, row->curve) < taken; k++)
            masked[k * PIXELS + i] = replacement[k * PIXELS + i];
    assert_int_equal(pm_context_logits(f->other, masked, logits), PM_OK);
    size_t first = top_of(f->logits, f->classes);
    double p = softmax(f->logits, f->classes, target), q = softmax(logits, f->classes, target);
    note(f, row->p_target, q);
    note(f, row->aopc, p - q);
    note(f, row->lodds, log(q / (p + 1e-10)));
    note(f, row->fracdiff,
         fabs(softmax(f->logits, f->classes, first) - softmax(logits, f->classes, first)));
    assert_int_equal(row->correct, top_of(logits, f->classes) == target);
}

/* ---- a round ---- */

static pm_status take_result(void *user, const pm_attribution_result *result) {
    fixture *f = user;
    memcpy(f->heat_maps[result->request], result->heat_map, PIXELS * sizeof(float));
    memcpy(f->logits, result->logits, f->classes * sizeof(float));
    f->targets[result->request] = result->target;
    return pm_evaluator_keep(f->evaluator, result->request, result);
}

typedef struct turn {
    fixture *f;
    const pm_evaluation *evaluation;
} turn;

static pm_status take_curves(void *user, size_t key, const pm_curves_result *curves) {
    const turn *r = user;
    assert_int_equal(key, r->f->given++);
    assert_true(curves->finite);
    assert_int_equal(curves->row_count, 2 * RATIOS);
    for (size_t i = 0; i < curves->row_count; i++)
        check_row(r->f, r->evaluation, key, &curves->rows[i]);
    return PM_OK;
}

static void run_round(fixture *f, const pm_evaluation *e) {
    pm_request requests[REQUESTS];
    for (size_t i = 0; i < REQUESTS; i++)
        requests[i] = (pm_request){.configuration = f->configurations[i],
                                   .target = i == 2 ? 3 : PM_TARGET_TOP};
    turn r = {f, e};
    f->given = 0;
    assert_int_equal(pm_context_attribute(f->context, f->input, requests, REQUESTS, take_result, f),
                     PM_OK);
    assert_int_equal(pm_evaluator_run(f->evaluator, f->context, take_curves, &r), PM_OK);
    assert_int_equal(f->given, REQUESTS);
}

static void check(fixture *f, const pm_evaluation *e) {
    assert_int_equal(pm_evaluator_new(e, f->input, SIDE, f->classes, &f->image, &f->evaluator),
                     PM_OK);
    f->worst = 0;
    run_round(f, e);
    run_round(f, e); /* what was kept is forgotten after a round */
    pm_evaluator_free(&f->evaluator);
    printf("%s: %.1e\n", pm_replacement_name(e->replacement), f->worst);
    assert_true(f->worst < 1e-4); /* the logarithms of small p, by Winograd's logits */
}

static void curves_are_those_of_plain_loops(void **state) {
    fixture *f = *state;
    pm_evaluation e = {.on = true, .ratio_count = RATIOS};
    memcpy(e.ratios, ratios, sizeof ratios);
    check(f, &e);
    e.replacement = PM_REPLACEMENT_NOISE;
    e.seed = 7;
    check(f, &e);
}

static pm_status refuse(void *user, size_t key, const pm_curves_result *curves) {
    size_t *calls = user;
    (void)curves;
    ++*calls;
    return key == 1 ? PM_E_MEMORY : PM_OK;
}

static void who_refuses_curves_ends_the_round(void **state) {
    fixture *f = *state;
    const pm_evaluation e = {.on = true, .ratio_count = 1};
    size_t calls = 0;
    pm_request requests[REQUESTS];
    for (size_t i = 0; i < REQUESTS; i++)
        requests[i] = (pm_request){.configuration = f->configurations[i], .target = PM_TARGET_TOP};
    assert_int_equal(pm_evaluator_new(&e, f->input, SIDE, f->classes, &f->image, &f->evaluator),
                     PM_OK);
    assert_int_equal(pm_context_attribute(f->context, f->input, requests, REQUESTS, take_result, f),
                     PM_OK);
    assert_int_equal(pm_evaluator_run(f->evaluator, f->context, refuse, &calls), PM_E_MEMORY);
    assert_int_equal(calls, 2);
    assert_int_equal(pm_evaluator_run(f->evaluator, f->context, refuse, &calls), PM_OK);
    assert_int_equal(calls, 2); /* nothing was left of it */
    pm_evaluator_free(&f->evaluator);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(curves_are_those_of_plain_loops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_refuses_curves_ends_the_round, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
