/* What a worker process answers is what the engine says, whatever the configuration asks for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/spec/heat_map.h"
#include "parchgrad.h"
#include "tests/engine/tensor_file.h"
#include "tests/worker/fixture.h"
#include "worker/engine/builder.h"

static void items_are_answered_in_order_as_the_engine_says(void **state) {
    fixture *f = *state;
    begin(f, NULL);
    send_task(f, 1, 0, IMAGES);
    for (size_t i = 0; i < IMAGES; i++) {
        pm_message message;
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
        assert_true(message.body->item_result->ordinal == i);
        assert_int_equal(message.body->item_result->width, SIDE);
        assert_memory_equal(message.body->item_result->token.data, f->token, PM_TOKEN_BYTES);
        expect_as_direct(f, i, &message);
        pm_message_fini(&message);
        acknowledge(f, 1, i);
    }
}

/* The next run of the worker, with another configuration. */
static void change_run(fixture *f) {
    pm_sha256 hash;
    f->run++;
    free(f->config_text);
    assert_int_equal(pm_config_format(&f->config, &f->config_text, &hash), PM_OK);
    send_run(f);
}

static void expect_run_as_direct(fixture *f) {
    send_task(f, f->run, 0, 2);
    for (size_t i = 0; i < 2; i++) {
        pm_message message;
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
        expect_as_direct(f, i, &message);
        pm_message_fini(&message);
        acknowledge(f, f->run, i);
    }
}

static void inputs_change_the_photograph_by_its_hash_and_the_seed(void **state) {
    fixture *f = *state;
    begin(f, NULL);
    assert_int_equal(pm_input_parse("noise:sigma=0.3", &f->config.input), PM_OK);
    f->config.attribution.seed = 9;
    change_run(f);
    expect_run_as_direct(f);
}

/* Baselines and noise are those of the engine called by hand with PM_BASELINE_BLUR's tensor, the
 * photograph's tensor, and pm_normal_draw by seed, image and number. */
static void methods_of_many_passes_get_what_they_need(void **state) {
    fixture *f = *state;
    pm_attribution *a = &f->config.attribution;
    f->has_start = true;
    begin(f, NULL);
    a->steps = 3;
    a->samples = 3;
    a->seed = 11;
    a->method = PM_METHOD_IG;
    f->config.baseline_image = f->hashes[IMAGES - 1];
    for (int baseline = 0; baseline < PM_BASELINE_COUNT; baseline++) {
        a->baseline = (pm_baseline)baseline;
        change_run(f);
        expect_run_as_direct(f);
    }
    a->baseline = PM_BASELINE_ZERO;
    static const pm_method methods[] = {PM_METHOD_SMOOTHGRAD, PM_METHOD_VARGRAD, PM_METHOD_GRADCAM};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        a->method = methods[i];
        change_run(f);
        expect_run_as_direct(f);
    }
}

/* GoogLeNet from the counter hash, for ten classes. */
static void make_googlenet(fixture *f) {
    const pm_arch_info *arch;
    pm_builder b;
    uint8_t *bytes = NULL;
    size_t size;
    assert_int_equal(pm_arch_find("googlenet", &arch), PM_OK);
    assert_int_equal(pm_builder_init(&b, arch, 10), PM_OK);
    pm_file_tensor *tensors = calloc(b.parameter_count, sizeof *tensors);
    assert_non_null(tensors);
    for (size_t i = 0; i < b.parameter_count; i++) {
        const pm_parameter *p = &b.parameters[i];
        float *values = malloc(p->count * sizeof *values);
        assert_non_null(values);
        pm_synth(p->name, 0, values, p->count);
        const float fan = (float)sqrt(6.0 * (double)p->shape[0] / (double)p->count);
        for (size_t k = 0; k < p->count; k++)
            values[k] = p->rank > 1                 ? values[k] * fan
                        : p->slot == PM_SLOT_VAR    ? 1 + 0.5F * values[k]
                        : p->slot == PM_SLOT_WEIGHT ? 1 + 0.2F * values[k]
                                                    : 0.1F * values[k];
        tensors[i] = (pm_file_tensor){.rank = p->rank, .values = values};
        snprintf(tensors[i].name, sizeof tensors[i].name, "%s", p->name);
        memcpy(tensors[i].shape, p->shape, sizeof tensors[i].shape);
    }
    path_in(f, "googlenet.safetensors", f->weights);
    pm_tensor_file_write(f->weights, tensors, b.parameter_count);
    for (size_t i = 0; i < b.parameter_count; i++) free((void *)(uintptr_t)tensors[i].values);
    free(tensors);
    pm_builder_fini(&b);
    assert_int_equal(pm_file_read(f->weights, (size_t)1 << 26, &bytes, &size), PM_OK);
    f->config.weights = f->weights_hash = pm_sha256_of(bytes, size);
    f->weights_size = size;
    free(bytes);
    strcpy(f->config.arch, "googlenet");
}

/* One run with the transform, one without: the same warm context serves both. */
static void input_transforms_come_and_go_with_the_run(void **state) {
    fixture *f = *state;
    pm_sha256 hash;
    make_googlenet(f);
    start_worker(f, NULL);
    welcome_worker(f);
    for (int on = 1; on >= 0; on--) {
        pm_message message;
        f->config.transform_input = on;
        free(f->config_text);
        assert_int_equal(pm_config_format(&f->config, &f->config_text, &hash), PM_OK);
        send_run(f);
        send_task(f, f->run, 0, 1);
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
        expect_as_direct(f, 0, &message);
        pm_message_fini(&message);
        acknowledge(f, f->run, 0);
        f->run++;
    }
}

/* Share of the map in the boxes of put_boxes, moved by the crop's offset of 4. */
static double share_inside(const pm_message *message, bool all) {
    enum { CROP = 32 };
    static float map[CROP * CROP];
    double inside = 0, total = 0;
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, message->frames[2].bytes,
                                        message->frames[2].size, 1, CROP, map),
                     PM_OK);
    for (size_t y = 0; y < CROP; y++)
        for (size_t x = 0; x < CROP; x++) {
            bool first = x >= 6 && x < 16 && y >= 8 && y < 18;
            bool second = x >= 11 && x < 26 && y >= 11 && y < 21;
            total += (double)map[y * CROP + x];
            if (first || (all && second)) inside += (double)map[y * CROP + x];
        }
    return inside / total;
}

static void all_boxes_or_the_first_score_the_map(void **state) {
    fixture *f = *state;
    f->boxed = true;
    begin(f, NULL);
    for (int all = 0; all < 2; all++) {
        pm_message message;
        send_task(f, f->run, 0, 1);
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
        const Pm__Wire__Result *got = message.body->item_result->results[0];
        assert_true(got->has_mu_in);
        assert_true(fabs(got->mu_in - share_inside(&message, all)) < 1e-12);
        pm_message_fini(&message);
        acknowledge(f, f->run, 0);
        f->config.all_boxes = true;
        change_run(f);
    }
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH(items_are_answered_in_order_as_the_engine_says),
        WITH(inputs_change_the_photograph_by_its_hash_and_the_seed),
        WITH(input_transforms_come_and_go_with_the_run),
        WITH(methods_of_many_passes_get_what_they_need),
        WITH(all_boxes_or_the_first_score_the_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
