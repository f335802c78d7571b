/* Owns the other way to a result: the same photograph through the same code in this process. */
#include "tests/worker/fixture.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/draw.h"
#include "lib/base/file.h"
#include "lib/image/inputs.h"
#include "lib/spec/heat_map.h"
#include "parchgrad.h"

typedef struct direct {
    const fixture *f;
    const pm_message *message;
} direct;

static pm_status compare(void *user, const pm_attribution_result *expected) {
    const direct *d = user;
    const Pm__Wire__Result *got = d->message->body->item_result->results[0];
    size_t at = 0;
    float *map = malloc(expected->height * expected->width * sizeof *map);
    assert_non_null(map);
    assert_null(got->failure);
    assert_int_equal(got->target, expected->target);
    assert_int_equal(got->predicted, expected->predicted);
    assert_true(got->p_target == (double)expected->p_target);
    assert_int_equal(got->n_layers, expected->layer_count);
    assert_int_equal(d->message->frame_count, 3);
    for (size_t i = 0; i < expected->layer_count; i++) {
        const pm_layer_gradient *layer = &expected->layers[i];
        assert_true(got->layers[i]->variance_before == layer->variance_before);
        assert_memory_equal((const float *)d->message->frames[0].bytes + at,
                            layer->channel_variance, layer->channels * sizeof(float));
        assert_memory_equal((const uint8_t *)d->message->frames[1].bytes + at, layer->in_h,
                            layer->channels);
        at += layer->channels;
    }
    assert_int_equal(d->message->frames[0].size, at * sizeof(float));
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, d->message->frames[2].bytes,
                                        d->message->frames[2].size, 1, expected->width, map),
                     PM_OK);
    assert_memory_equal(map, expected->heat_map, expected->height * expected->width * sizeof *map);
    free(map);
    return PM_OK;
}

static void decode_image(const fixture *f, size_t image, pm_image *out) {
    char path[128];
    uint8_t *bytes = NULL;
    size_t size = 0;
    path_in(f, f->names[image], path);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    assert_int_equal(pm_image_decode(path, bytes, size, &pm_image_default_limits, out), PM_OK);
    free(bytes);
}

typedef struct direct_noise {
    const fixture *f;
    size_t image;
} direct_noise;

static void draw_noise(void *user, size_t draw, float *out) {
    const direct_noise *n = user;
    size_t side = n->f->config.crop;
    pm_normal_draw(n->f->config.attribution.seed, &n->f->hashes[n->image], draw, out,
                   3 * side * side);
}

/* Where ig starts, [3][side][side]. */
static void make_start(const fixture *f, const pm_preprocessing *how, const float *input,
                       float *out) {
    pm_image picture = {0};
    if (f->config.attribution.baseline == PM_BASELINE_BLUR) {
        assert_int_equal(pm_image_blur_tensor(input, how->crop, 10.0, out), PM_OK);
        return;
    }
    decode_image(f, IMAGES - 1, &picture);
    assert_int_equal(pm_image_tensor(&picture, how, out, NULL), PM_OK);
    pm_image_fini(&picture);
}

void expect_as_direct(const fixture *f, size_t image, const pm_message *message) {
    size_t side = f->config.crop;
    pm_image picture = {0}, crop = {0};
    pm_weights *weights = NULL;
    pm_model *model = NULL;
    pm_configuration *configuration = NULL;
    pm_context *context = NULL;
    pm_preprocessing how = {.resize = f->config.resize, .crop = side, .filter = f->config.filter};
    memcpy(how.mean, f->config.mean, sizeof how.mean);
    memcpy(how.std, f->config.std, sizeof how.std);
    decode_image(f, image, &picture);
    float *input = malloc(3 * side * side * sizeof *input);
    assert_non_null(input);
    assert_int_equal(pm_image_crop(&picture, &how, &crop, NULL), PM_OK);
    assert_int_equal(
        pm_image_input(&f->config.input, f->config.attribution.seed, &f->hashes[image], &crop),
        PM_OK);
    pm_image_normalise(&crop, &how, input);
    assert_int_equal(pm_weights_open(f->weights, &weights), PM_OK);
    assert_int_equal(pm_model_new(f->config.arch, weights, &model), PM_OK);
    assert_int_equal(pm_configuration_new(model, &f->config.attribution, NULL, &configuration),
                     PM_OK);
    assert_int_equal(pm_context_new(model, side, side, 1, &context), PM_OK);
    if (f->config.transform_input) {
        float scale[3], shift[3];
        assert_int_equal(pm_arch_transform_input(pm_model_arch(model), scale, shift), PM_OK);
        pm_context_set_input_transform(context, scale, shift);
    }
    float *start = malloc(3 * side * side * sizeof *start);
    assert_non_null(start);
    direct_noise noise = {f, image};
    pm_request request = {.configuration = configuration,
                          .target = image == 1 ? 3 : PM_TARGET_TOP,
                          .noise = draw_noise,
                          .noise_user = &noise};
    if (f->config.attribution.baseline != PM_BASELINE_ZERO) {
        make_start(f, &how, input, start);
        request.baseline = start;
    }
    direct d = {f, message};
    assert_int_equal(pm_context_attribute(context, input, &request, 1, compare, &d), PM_OK);
    pm_context_free(&context);
    pm_configuration_free(&configuration);
    pm_model_free(&model);
    pm_weights_free(&weights);
    pm_image_fini(&picture);
    pm_image_fini(&crop);
    free(input);
    free(start);
}
