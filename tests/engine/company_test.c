/* What runs together gets the numbers that it gets alone: requests, points, images, batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/ways.h"
#include "worker/engine/kernels/kernels.h"
#include "worker/engine/plan/context.h"

/* All at once, the second image's the other way round. */
static void together(pm_ways *f, pm_context *c, size_t image, const uint64_t *want) {
    pm_request requests[REQUESTS], turned[REQUESTS];
    pm_kept k = {0};
    pm_ways_requests(f, requests, REQUESTS);
    for (size_t i = 0; i < REQUESTS; i++) turned[i] = requests[image ? REQUESTS - 1 - i : i];
    assert_int_equal(pm_context_attribute(c, f->input[image], turned, REQUESTS, pm_kept_keep, &k),
                     PM_OK);
    assert_int_equal(k.count, REQUESTS);
    for (size_t i = 0; i < REQUESTS; i++) {
        assert_int_equal(k.requests[i], i);
        if (k.hashes[i] != want[image ? REQUESTS - 1 - i : i]) fail_msg("request %zu differs", i);
    }
}

/* Three images at once, each with every request, the images' requests in turn. */
static void images_together(pm_ways *f, pm_context *c, uint64_t want[2][REQUESTS]) {
    enum { IMAGES = 3 };
    const float *const inputs[IMAGES] = {f->input[0], f->input[1], f->input[0]};
    pm_request one[REQUESTS], all[IMAGES * REQUESTS];
    pm_kept k = {0};
    pm_ways_requests(f, one, REQUESTS);
    for (size_t i = 0; i < IMAGES * REQUESTS; i++) {
        all[i] = one[i / IMAGES];
        all[i].image = i % IMAGES;
    }
    assert_int_equal(
        pm_context_attribute_images(c, inputs, IMAGES, all, IMAGES * REQUESTS, pm_kept_keep, &k),
        PM_OK);
    assert_int_equal(k.count, IMAGES * REQUESTS);
    for (size_t i = 0; i < IMAGES * REQUESTS; i++)
        if (k.hashes[i] != want[i % IMAGES % 2][i / IMAGES])
            fail_msg("request %zu of image %zu differs", i / IMAGES, i % IMAGES);
    assert_int_equal(
        pm_context_attribute_images(c, inputs, pm_context_images(c) + 1, all, 1, pm_kept_keep, &k),
        PM_E_USAGE);
    all[0].image = IMAGES;
    assert_int_equal(pm_context_attribute_images(c, inputs, IMAGES, all, 1, pm_kept_keep, &k),
                     PM_E_USAGE);
}

static void check_company(const char *arch, const char *isa) {
    setenv("PARCHMILL_ISA", isa, 1);
    pm_ways *f = pm_ways_new(arch);
    uint64_t want[2][REQUESTS];
    for (size_t image = 0; image < 2; image++) pm_ways_alone(f, image, want[image]);
    static const struct {
        size_t points, batch, turns;
    } sizes[] = {{1, 1, 1}, {3, 8, 2}, {4, 16, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        pm_context *c;
        assert_int_equal(
            pm_context_new_points(f->model, SIDE, SIDE, sizes[i].points, sizes[i].batch, &c),
            PM_OK);
        for (size_t turn = 0; turn < sizes[i].turns; turn++)
            together(f, c, turn % 2, want[turn % 2]);
        if (sizes[i].turns == 0) images_together(f, c, want);
        pm_context_free(&c);
    }
    pm_ways_free(f);
    unsetenv("PARCHMILL_ISA");
}

static void numbers_do_not_depend_on_company(void **state) {
    (void)state;
    const char *cases = getenv("PM_CASES");
    const bool small = cases && strcmp(cases, "small") == 0;
    for (size_t i = 0; i < 3; i++) {
        if (!pm_kernels_named(pm_isas[i])->usable()) continue;
        check_company("cifar_resnet20", pm_isas[i]);
        if (!small) check_company("resnet18", pm_isas[i]);
    }
    const pm_kernels *best;
    assert_int_equal(pm_kernels_choose(&best), PM_OK);
    check_company("squeezenet1_1", best->name);
    check_company("mobilenet_v2", best->name);
    if (small) return;
    check_company("vgg11_bn", best->name);
    check_company("convnext_tiny", best->name);
    check_company("densenet121", best->name);
    check_company("efficientnet_b0", best->name);
}

/* Requests for one target share a backward pass down to the first layer where one of them does
 * something of its own: some part high up, some low, some never. */
static void requests_part_where_they_differ(void **state) {
    (void)state;
    static const struct {
        pm_method method;
        pm_mask mask;
        const char *layers;
        double quantile;
    } ways[] = {{PM_METHOD_IG, PM_MASK_OFF, "default", 0.1},
                {PM_METHOD_IG, PM_MASK_OFF, "conv1", 0.1},
                {PM_METHOD_GRAD, PM_MASK_CLS, "layer1.0.conv1", 0.1},
                {PM_METHOD_GRAD, PM_MASK_CLS, "layer1.0.conv1", 0.4},
                {PM_METHOD_GRAD, PM_MASK_CLS, "conv1", 0.2},
                {PM_METHOD_GRAD, PM_MASK_OFF, "layer4.*", 0.1},
                {PM_METHOD_GRADCAM, PM_MASK_OFF, "conv1", 0.1}};
    enum { WAYS = sizeof ways / sizeof *ways };
    pm_ways *f = pm_ways_new("resnet18");
    pm_configuration *all[WAYS];
    pm_request requests[WAYS];
    pm_context *c;
    pm_kept k = {0};
    for (size_t i = 0; i < WAYS; i++) {
        pm_attribution a;
        pm_attribution_defaults(&a);
        a.method = ways[i].method;
        a.mask = ways[i].mask;
        a.threshold = ways[i].quantile;
        a.p_value_threshold = 0.5;
        a.steps = 3;
        strcpy(a.layers, ways[i].layers);
        assert_int_equal(pm_configuration_new(f->model, &a, f->statistics, &all[i]), PM_OK);
        requests[i] = (pm_request){.configuration = all[i], .target = 5};
    }
    assert_int_equal(pm_context_new_points(f->model, SIDE, SIDE, 2, 8, &c), PM_OK);
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, WAYS, pm_kept_keep, &k), PM_OK);
    pm_context_free(&c);
    for (size_t i = 0; i < WAYS; i++) {
        pm_kept one = {0};
        assert_int_equal(pm_context_new_points(f->model, SIDE, SIDE, 1, 1, &c), PM_OK);
        assert_int_equal(pm_context_attribute(c, f->input[0], &requests[i], 1, pm_kept_keep, &one),
                         PM_OK);
        if (one.hashes[0] != k.hashes[i]) fail_msg("way %zu differs", i);
        pm_context_free(&c);
        pm_configuration_free(&all[i]);
    }
    pm_ways_free(f);
}

static void count(void *user) { ++*(size_t *)user; }

/* ig's first point is pm_kept from image to image: of this configuration, class and transform
 * alone.
 */
static void zeros_are_remembered_for_what_they_were(void **state) {
    (void)state;
    static const float scale[3] = {0.5F, 0.5F, 0.5F}, shift[3] = {0.3F, 0.2F, 0.1F};
    pm_ways *f = pm_ways_new("cifar_resnet20");
    pm_request requests[2] = {{.configuration = f->forms[3], .target = 1},
                              {.configuration = f->forms[3], .target = 2}};
    pm_context *c, *fresh;
    size_t beats = 0, first = 0;
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
    pm_context_set_beat(c, count, &beats);
    for (size_t i = 0; i < 12; i++) {
        const bool moved = i % 4 >= 2;
        pm_kept got = {0}, want = {0};
        beats = 0;
        pm_context_set_input_transform(c, moved ? scale : NULL, moved ? shift : NULL);
        assert_int_equal(
            pm_context_attribute(c, f->input[i % 2], &requests[i % 3 / 2], 1, pm_kept_keep, &got),
            PM_OK);
        if (i == 0) first = beats;
        if (i == 1) assert_true(beats < first); /* the same class again: one point less */
        assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &fresh), PM_OK);
        pm_context_set_input_transform(fresh, moved ? scale : NULL, moved ? shift : NULL);
        assert_int_equal(pm_context_attribute(fresh, f->input[i % 2], &requests[i % 3 / 2], 1,
                                              pm_kept_keep, &want),
                         PM_OK);
        pm_context_free(&fresh);
        if (got.hashes[0] != want.hashes[0]) fail_msg("image %zu differs", i);
    }
    pm_context_free(&c);
    pm_ways_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_do_not_depend_on_company),
        cmocka_unit_test(requests_part_where_they_differ),
        cmocka_unit_test(zeros_are_remembered_for_what_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
