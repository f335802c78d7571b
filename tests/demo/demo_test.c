/* The demo's pictures and the network that the program carries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "parchgrad.h"
#include "tools/demo/data.h"
#include "tools/demo/shapes.h"

/* The pictures that the network was not trained on; see tools/demo/README.md. */
enum { SEED_HELD_OUT = 2, PICTURES = 100 };

static void a_picture_depends_on_seed_and_index_alone(void **state) {
    (void)state;
    static pm_demo_picture first, again, other;
    pm_demo_draw(1, 17, &first);
    pm_demo_draw(1, 18, &other);
    pm_demo_draw(1, 17, &again);
    assert_memory_equal(first.rgb, again.rgb, sizeof first.rgb);
    assert_memory_not_equal(first.rgb, other.rgb, sizeof first.rgb);
    pm_demo_draw(2, 17, &other);
    assert_memory_not_equal(first.rgb, other.rgb, sizeof first.rgb);
}

static void classes_take_turns_and_boxes_lie_inside(void **state) {
    (void)state;
    static pm_demo_picture p;
    for (uint64_t i = 0; i < 200; i++) {
        pm_demo_draw(3, i, &p);
        assert_int_equal(p.label, i % PM_DEMO_CLASSES);
        assert_true(p.xmin + 6 < p.xmax && p.xmax <= PM_DEMO_SIDE);
        assert_true(p.ymin + 6 < p.ymax && p.ymax <= PM_DEMO_SIDE);
    }
}

static void input_of(const pm_demo_picture *picture, const pm_arch_info *arch, float *out) {
    size_t pixels = PM_DEMO_SIDE * PM_DEMO_SIDE;
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < pixels; i++)
            out[c * pixels + i] =
                ((float)picture->rgb[i * 3 + c] / 255.0f - arch->mean[c]) / arch->std[c];
}

/* PyTorch gave every one of the first 1,000 held-out pictures its class (tools/demo/train.py). */
static void the_network_knows_the_held_out_pictures(void **state) {
    (void)state;
    char folder[] = "/tmp/pm-demo-XXXXXX", path[64];
    static pm_demo_picture picture;
    static float input[3 * PM_DEMO_SIDE * PM_DEMO_SIDE];
    float logits[PM_DEMO_CLASSES];
    pm_weights *weights = NULL;
    pm_model *model = NULL;
    pm_context *context = NULL;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/w.safetensors", folder);
    assert_int_equal(pm_demo_write_weights(path), PM_OK);
    assert_int_equal(pm_weights_open(path, &weights), PM_OK);
    assert_int_equal(pm_model_new("cifar_resnet20", weights, &model), PM_OK);
    assert_int_equal(pm_model_classes(model), PM_DEMO_CLASSES);
    assert_int_equal(pm_context_new(model, PM_DEMO_SIDE, PM_DEMO_SIDE, 1, &context), PM_OK);
    for (uint64_t i = 0; i < PICTURES; i++) {
        int best = 0;
        pm_demo_draw(SEED_HELD_OUT, i, &picture);
        input_of(&picture, pm_model_arch(model), input);
        assert_int_equal(pm_context_logits(context, input, logits), PM_OK);
        for (int k = 1; k < PM_DEMO_CLASSES; k++)
            if (logits[k] > logits[best]) best = k;
        assert_int_equal(best, picture.label);
    }
    pm_context_free(&context);
    pm_model_free(&model);
    pm_weights_free(&weights);
    unlink(path);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_depends_on_seed_and_index_alone),
        cmocka_unit_test(classes_take_turns_and_boxes_lie_inside),
        cmocka_unit_test(the_network_knows_the_held_out_pictures),
    };
    return cmocka_run_group_tests_name("demo", tests, NULL, NULL);
}
