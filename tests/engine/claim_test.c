/* The claim of the research: in a network without shortcuts, conserving variance multiplies the
 * gradient of the input by one factor; in a residual network it changes the picture. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include <math.h>
#include <string.h>

#include "tests/engine/cases.h"

typedef struct kept {
    size_t classes;
    pm_oracle_result *result;
} kept;

static pm_status keep(void *user, const pm_attribution_result *result) {
    kept *k = user;
    return pm_case_copy_result(result, k->classes, &k->result);
}

/* The fast engine's answer to the case of that name; the caller frees it. */
static pm_oracle_result *attribute(const char *name) {
    pm_case_set set = {0};
    pm_case c;
    pm_context *context = NULL;
    size_t index = 0;
    while (index < pm_case_count() && strcmp(pm_case_name(index), name) != 0) index++;
    assert_true(index < pm_case_count());
    assert_int_equal(pm_case_load(&set, index, &c), PM_OK);
    assert_int_equal(pm_context_new(c.model, c.height, c.width, 1, &context), PM_OK);
    kept k = {pm_model_classes(c.model), NULL};
    assert_int_equal(pm_context_attribute(context, c.input, &c.request, 1, keep, &k), PM_OK);
    pm_context_free(&context);
    pm_case_set_fini(&set);
    return k.result;
}

static double cosine(const pm_oracle_result *a, const pm_oracle_result *b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a->height * a->width; i++) {
        ab += a->heat_map[i] * b->heat_map[i];
        aa += a->heat_map[i] * a->heat_map[i];
        bb += b->heat_map[i] * b->heat_map[i];
    }
    return ab / sqrt(aa * bb);
}

/* Cosine of the heat maps with and without conservation; the layers' scales must differ, else the
 * comparison says nothing. */
static double conserved_against_not(const char *with, const char *without) {
    pm_oracle_result *a = attribute(with), *b = attribute(without);
    bool scaled = false;
    for (size_t i = 0; i < a->layer_count; i++)
        scaled |= a->layers[i].scale_h > 1.01 && b->layers[i].scale_h == 1;
    assert_true(scaled);
    double same = cosine(a, b);
    print_message("%s against %s: cosine %.9f\n", with, without, same);
    pm_oracle_result_free(&a);
    pm_oracle_result_free(&b);
    return same;
}

static void conservation_leaves_the_grad_of_vgg_unchanged_up_to_a_factor(void **state) {
    (void)state;
    assert_true(conserved_against_not("vgg16_bn_64_cls", "vgg16_bn_64_novc") >= 0.999999);
}

static void conservation_leaves_the_inputgrad_of_vgg_unchanged_up_to_a_factor(void **state) {
    (void)state;
    assert_true(conserved_against_not("vgg16_bn_64_inputgrad", "vgg16_bn_64_inputgrad_novc") >=
                0.999999);
}

static void conservation_changes_the_grad_of_resnet(void **state) {
    (void)state;
    assert_true(conserved_against_not("resnet18_64_cls", "resnet18_64_novc") < 0.999);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conservation_leaves_the_grad_of_vgg_unchanged_up_to_a_factor),
        cmocka_unit_test(conservation_leaves_the_inputgrad_of_vgg_unchanged_up_to_a_factor),
        cmocka_unit_test(conservation_changes_the_grad_of_resnet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
