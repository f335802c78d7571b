/* What methods promise beside their numbers: integrated gradients add up, and passes are shared and
 * stop where nobody needs more. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "tests/engine/cases.h"

enum { SIDE = 32, COUNT = 3 * SIDE * SIDE, CLASSES = 10, FORMS_MAX = 8 };

typedef struct bench {
    pm_model *model;
    pm_context *context;
    pm_configuration *forms[FORMS_MAX];
    size_t form_count, beats, count;
    float input[COUNT], baseline[COUNT];
} bench;

static void beat(void *user) { ((bench *)user)->beats++; }

static bench *make(const char *arch, size_t batch) {
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    if (pm_case_model_new(arch, CLASSES, &b->model) ||
        pm_context_new(b->model, SIDE, SIDE, batch, &b->context))
        fail_msg("%s", pm_error_text());
    pm_context_set_beat(b->context, beat, b);
    pm_synth("input/0", 0, b->input, COUNT);
    pm_synth("baseline/0", 0, b->baseline, COUNT);
    b->count = COUNT;
    return b;
}

static void release(bench *b) {
    for (size_t i = 0; i < b->form_count; i++) pm_configuration_free(&b->forms[i]);
    pm_context_free(&b->context);
    pm_model_free(&b->model);
    free(b);
}

/* A configuration with mask off, and a request for it. */
static pm_request request(bench *b, pm_method method, size_t points) {
    pm_attribution a;
    pm_attribution_defaults(&a);
    a.method = method;
    a.steps = a.samples = points;
    if (pm_configuration_new(b->model, &a, NULL, &b->forms[b->form_count]))
        fail_msg("%s", pm_error_text());
    return (pm_request){.configuration = b->forms[b->form_count++],
                        .target = 3,
                        .noise = pm_case_noise,
                        .noise_user = &b->count};
}

/* ---- completeness ---- */

static pm_status keep_gap(void *user, const pm_attribution_result *r) {
    *(double *)user = fabs(r->ig_sum - r->ig_expected) / fabs(r->ig_expected);
    return PM_OK;
}

/* Of what the path gives; by the trapezoid rule over ever finer steps. */
static void integrated_gradients_add_up_to_what_the_path_gives(void **state) {
    (void)state;
    static const char *const archs[] = {"vgg11", "cifar_resnet20"};
    static const size_t steps[] = {4, 32, 256};
    for (size_t i = 0; i < 2; i++)
        for (size_t from = 0; from < 2; from++) {
            double gap[3];
            bench *b = make(archs[i], 1);
            for (size_t k = 0; k < 3; k++) {
                pm_request r = request(b, PM_METHOD_IG, steps[k]);
                r.baseline = from ? b->baseline : NULL;
                assert_int_equal(
                    pm_context_attribute(b->context, b->input, &r, 1, keep_gap, &gap[k]), PM_OK);
            }
            print_message("%s from %s: gap %.1e, %.1e, %.1e of what the path gives\n", archs[i],
                          from ? "an image" : "zero", gap[0], gap[1], gap[2]);
            assert_true(gap[2] < 0.01 && gap[2] < gap[0] / 4);
            release(b);
        }
}

/* ---- sharing ---- */

static pm_status ignore(void *user, const pm_attribution_result *r) {
    (void)user, (void)r;
    return PM_OK;
}

/* Steps run for these requests, of each point and each gradient: they end with a beat. */
static size_t spent(bench *b, const pm_request *requests, size_t count) {
    b->beats = 0;
    if (pm_context_attribute(b->context, b->input, requests, count, ignore, NULL))
        fail_msg("%s", pm_error_text());
    return b->beats;
}

static void requests_of_one_path_share_its_passes(void **state) {
    (void)state;
    bench *b = make("cifar_resnet20", 4);
    const pm_request smooth = request(b, PM_METHOD_SMOOTHGRAD, 5);
    pm_request of_both[] = {smooth, request(b, PM_METHOD_VARGRAD, 5)};
    pm_request ig = request(b, PM_METHOD_IG, 5);
    ig.baseline = b->baseline; /* zeros are remembered */
    pm_request of_ig[] = {ig, ig, ig};
    of_ig[1].target = 4;
    of_ig[2].target = 5;
    const size_t pass = spent(b, NULL, 0); /* forward alone: of the image, first of all */
    const size_t one_draw = spent(b, &smooth, 1), one_ig = spent(b, &ig, 1);
    const size_t both = spent(b, of_both, 2), three = spent(b, of_ig, 3);
    assert_true(both <= one_draw + (one_draw - 6 * pass));
    assert_true(three <= one_ig + 2 * (one_ig - 7 * pass));
    of_ig[1].baseline = b->input; /* another path: six points more */
    assert_true(spent(b, of_ig, 3) >= three + 6 * pass);
    of_both[1].noise_user = &(size_t){COUNT};
    assert_true(spent(b, of_both, 2) >= both + 5 * pass);
    release(b);
}

static void the_image_is_passed_once_for_all_that_look_at_it(void **state) {
    (void)state;
    bench *b = make("cifar_resnet20", 4);
    const pm_request grad = request(b, PM_METHOD_GRAD, 1);
    pm_request ig = request(b, PM_METHOD_IG, 2);
    ig.baseline = b->baseline;
    const pm_request both[] = {ig, request(b, PM_METHOD_INPUTGRAD, 1), grad};
    const size_t pass = spent(b, NULL, 0); /* forward alone */
    const size_t backward = spent(b, &grad, 1) - pass, all = spent(b, both, 3);
    assert_true(all > spent(b, &ig, 1) + backward && all <= spent(b, &ig, 1) + 2 * backward);
    release(b);
}

/* Behind its layer and the lowest hooked one nothing is looked at: here the upper half. */
static void grad_cam_stops_where_nobody_needs_more(void **state) {
    (void)state;
    bench *b = make("cifar_resnet20", 2);
    const pm_request grad = request(b, PM_METHOD_GRAD, 1), cam = request(b, PM_METHOD_GRADCAM, 1);
    const pm_request both[] = {cam, grad};
    const size_t pass = spent(b, NULL, 0), backward = spent(b, &grad, 1) - pass;
    const size_t to_layer = spent(b, &cam, 1) - pass;
    print_message("grad-cam: %zu of %zu backward steps\n", to_layer, backward);
    assert_true(to_layer < backward * 2 / 3 && to_layer > backward / 3);
    const size_t of_both = spent(b, both, 2);
    assert_true(of_both > pass + backward && of_both <= pass + backward + to_layer);
    release(b);
}

/* ---- configurations ---- */

static void values_that_a_method_cannot_take_are_refused(void **state) {
    (void)state;
    bench *b = make("cifar_resnet20", 1);
    pm_configuration *c = NULL;
    pm_attribution good, a;
    pm_attribution_defaults(&good);
#define REFUSED(SAYS, CHANGE)                                                                      \
    do {                                                                                           \
        a = good;                                                                                  \
        CHANGE;                                                                                    \
        assert_int_equal(pm_configuration_new(b->model, &a, NULL, &c), PM_E_USAGE);                \
        assert_null(c);                                                                            \
        if (!strstr(pm_error_text(), SAYS)) fail_msg("%s", pm_error_text());                       \
    } while (0)
    REFUSED("gather", a.method = PM_METHOD_GATHER);
    REFUSED("steps", (a.method = PM_METHOD_IG, a.steps = 0));
    REFUSED("1000", (a.method = PM_METHOD_IG, a.steps = 1001));
    REFUSED("samples", (a.method = PM_METHOD_SMOOTHGRAD, a.samples = 0));
    REFUSED("samples are 2", (a.method = PM_METHOD_VARGRAD, a.samples = 1));
    REFUSED("sigma", (a.method = PM_METHOD_SMOOTHGRAD, a.sigma = 0));
    REFUSED("sigma", (a.method = PM_METHOD_VARGRAD, a.sigma = INFINITY));
    REFUSED("'layer9.conv1'", (a.method = PM_METHOD_GRADCAM, strcpy(a.cam_layer, "layer9.conv1")));
    REFUSED("cam layer",
            (a.method = PM_METHOD_GRADCAM, memset(a.cam_layer, 'x', PM_CAM_LAYER_BYTES)));
    a = good;
    a.method = PM_METHOD_IG;
    a.baseline = PM_BASELINE_BLUR;
    assert_int_equal(pm_configuration_new(b->model, &a, NULL, &b->forms[b->form_count++]), PM_OK);
    const pm_request bare = {.configuration = b->forms[0], .target = 1};
    assert_int_equal(pm_context_attribute(b->context, b->input, &bare, 1, ignore, NULL),
                     PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "baseline blur"));
    release(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integrated_gradients_add_up_to_what_the_path_gives),
        cmocka_unit_test(requests_of_one_path_share_its_passes),
        cmocka_unit_test(the_image_is_passed_once_for_all_that_look_at_it),
        cmocka_unit_test(grad_cam_stops_where_nobody_needs_more),
        cmocka_unit_test(values_that_a_method_cannot_take_are_refused),
    };
    return cmocka_run_group_tests_name("engine_methods", tests, NULL, NULL);
}
