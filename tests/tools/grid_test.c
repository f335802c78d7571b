/* From options to configurations: the product, doubles, and what does not combine. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/order.h"

enum { ARGUMENTS_MAX = 32 };

static char *const no_names[1] = {NULL};
static char *const names[3] = {"cat", "dog", "cat"};

static pm_config base_config(void) {
    pm_config base = {.arch = "resnet18",
                      .has_statistics = true,
                      .resize = 256,
                      .crop = 224,
                      .mean = {0.5f, 0.5f, 0.5f},
                      .std = {0.25f, 0.25f, 0.25f}};
    return base;
}

static pm_status grid(const char *line, char *const *class_names, size_t class_name_count,
                      pm_config **configs, size_t *count) {
    char copy[1024];
    char *argv[ARGUMENTS_MAX];
    int argc = 0;
    pm_options *options = NULL;
    pm_config base = base_config();
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    assert_int_equal(pm_options_parse(PM_CMD_RUN, "run", argc, argv, &options), PM_OK);
    pm_status status = pm_grid_make(options, &base, PM_TARGET_RULE_LABEL, class_names,
                                    class_name_count, configs, count);
    pm_options_free(&options);
    return status;
}

static size_t grid_count(const char *line) {
    pm_config *configs = NULL;
    size_t count = 0;
    assert_int_equal(grid(line, no_names, 0, &configs, &count), PM_OK);
    free(configs);
    return count;
}

static void grid_is_the_product(void **state) {
    (void)state;
    assert_int_equal(grid_count(""), 1);
    assert_int_equal(grid_count("--mask cls --quantile 0.05,0.1,0.2 --gamma inf,2"), 6);
    assert_int_equal(grid_count("--mask cls --quantile 0.05,0.1 --layers default,ratio:0.5 "
                                "--variance-conservation on,off --target top,label,3"),
                     24);
}

static void mask_off_with_mask_options_is_one_configuration(void **state) {
    (void)state;
    assert_int_equal(grid_count("--mask off --quantile 0.05,0.1,0.2 --gamma inf,2"), 1);
    assert_int_equal(grid_count("--mask off,cls --quantile 0.05,0.1,0.2"), 4);
    assert_int_equal(grid_count("--mask off,off"), 1);
    /* With gamma infinite --exact says nothing: 2 + 1, not 4. */
    assert_int_equal(grid_count("--mask cls --gamma inf,2 --exact on,off"), 3);
}

static void every_field_reaches_its_place(void **state) {
    (void)state;
    pm_config *configs = NULL;
    size_t count = 0;
    assert_int_equal(grid("--mask cls --alpha 1e-10 --p-value-threshold 0.01 --test student "
                          "--layers layer3.*+layer4.1.conv2 --gamma 2.5 --exact "
                          "--variance-conservation=off --target dog",
                          names, 3, &configs, &count),
                     PM_OK);
    assert_int_equal(count, 1);
    const pm_attribution *a = &configs[0].attribution;
    assert_int_equal(a->mask, PM_MASK_CLS);
    assert_int_equal(a->threshold_kind, PM_THRESHOLD_ALPHA);
    assert_true(a->threshold == 1e-10);
    assert_true(a->p_value_threshold == 0.01);
    assert_int_equal(a->test, PM_TEST_STUDENT);
    assert_string_equal(a->layers, "layer3.*,layer4.1.conv2");
    assert_true(a->gamma == 2.5);
    assert_true(a->exact);
    assert_false(a->variance_conservation);
    assert_int_equal(configs[0].target_rule, PM_TARGET_RULE_CLASS);
    assert_int_equal(configs[0].target_class, 1);
    assert_string_equal(configs[0].arch, "resnet18");
    assert_int_equal(configs[0].crop, 224);
    free(configs);
}

static void assert_refused(const char *line, const char *text) {
    pm_config *configs = NULL;
    size_t count = 77;
    assert_int_equal(grid(line, names, 3, &configs, &count), PM_E_USAGE);
    assert_null(configs);
    assert_int_equal(count, 77);
    if (!strstr(pm_error_text(), text))
        fail_msg("'%s' was refused with '%s', not with '%s'", line, pm_error_text(), text);
    assert_null(strchr(pm_error_text(), '\n'));
}

static void what_does_not_combine_is_refused_in_one_line(void **state) {
    (void)state;
    assert_refused("--quantile 0.1 --alpha 0.05", "use one of them");
    assert_refused("--mask cls --quantile 0", "out of range");
    assert_refused("--mask cls --quantile 1.5", "out of range");
    assert_refused("--mask cls --quantile abc", "not a number");
    assert_refused("--mask cls --alpha -1", "out of range");
    assert_refused("--mask cls --gamma 0", "above 0");
    assert_refused("--mask cls --exact", "finite --gamma");
    assert_refused("--mask inst", "off, cls, ins");
    assert_refused("--method lime", "grad, inputgrad, ig, smoothgrad, vargrad, gradcam");
    assert_refused("--method gather", "no heat map");
    assert_refused("--test z", "welch, student");
    assert_refused("--method ig --steps 0", "1 to 1000");
    assert_refused("--method ig --steps 2.5", "not a whole number");
    assert_refused("--method vargrad --samples 1", "2 to 1000");
    assert_refused("--method smoothgrad --sigma 0", "sigma 0");
    assert_refused("--method smoothgrad --sigma much", "not a number");
    assert_refused("--method smoothgrad --seed -1", "not a whole number");
    assert_refused("--input smear", "there are: none, jigsaw");
    assert_refused("--input none,jigsaw:grid=1", "2 to 64");
    assert_refused("--box-rule some", "first or all");
    assert_refused("--boxes all --box-rule first", "use one of them");
    assert_refused("--target bird", "class index");
    assert_refused("--target cat", "2 classes");
    assert_refused("--target -1", "class index");
}

/* What is typed and heeded by nothing is a mistake; a default is none. */
static void options_that_nothing_heeds_are_refused(void **state) {
    (void)state;
    assert_refused("--steps 50", "for --method ig");
    assert_refused("--method grad,smoothgrad --baseline blur", "for --method ig");
    assert_refused("--method ig --samples 50", "--method smoothgrad and vargrad");
    assert_refused("--method gradcam --sigma 0.1", "--method smoothgrad and vargrad");
    assert_refused("--cam-layer layer4", "--method gradcam");
    assert_refused("--seed 1", "--input jigsaw and noise");
    assert_refused("--input blur:radius=2 --seed 1", "--input jigsaw and noise");
    assert_int_equal(grid_count("--method grad,ig --steps 10,50"), 3);
    assert_int_equal(grid_count("--method smoothgrad,vargrad --samples 5,10 --sigma 0.1,0.2"), 8);
    assert_int_equal(grid_count("--method grad,gradcam --cam-layer default,layer3.1.conv2"), 3);
    assert_int_equal(grid_count("--input none,blur:radius=2,noise:sigma=0.1 --seed 1,2,3"), 5);
    assert_int_equal(grid_count("--method grad,ig --baseline zero,blur,photo.png --guided on,off"),
                     8);
    assert_int_equal(grid_count("--box-rule first,all --method grad,inputgrad"), 4);
}

static void every_later_field_reaches_its_place(void **state) {
    (void)state;
    pm_config *configs = NULL;
    size_t count = 0;
    assert_int_equal(grid("--method ig --steps 7 --baseline photo.png --guided --boxes all "
                          "--input jigsaw:grid=3,swaps=2 --seed 5",
                          names, 3, &configs, &count),
                     PM_OK);
    assert_int_equal(count, 1);
    const pm_attribution *a = &configs[0].attribution;
    assert_int_equal(a->method, PM_METHOD_IG);
    assert_int_equal(a->steps, 7);
    assert_int_equal(a->baseline, PM_BASELINE_IMAGE);
    assert_true(a->guided && configs[0].all_boxes);
    assert_int_equal(configs[0].input.kind, PM_INPUT_JIGSAW);
    assert_int_equal(configs[0].input.grid, 3);
    assert_int_equal(configs[0].input.swaps, 2);
    assert_true(a->seed == 5);
    free(configs);
    assert_int_equal(
        grid("--method vargrad,gradcam --samples 9 --sigma 0.25 --seed 6 --boxes folder "
             "--cam-layer features.28 --mask ins --alpha 0.01",
             names, 3, &configs, &count),
        PM_OK);
    assert_int_equal(count, 2);
    a = &configs[0].attribution;
    assert_int_equal(a->method, PM_METHOD_VARGRAD);
    assert_int_equal(a->mask, PM_MASK_INS);
    assert_int_equal(a->samples, 9);
    assert_true(a->sigma == 0.25 && a->seed == 6 && !configs[0].all_boxes);
    assert_int_equal(configs[1].attribution.method, PM_METHOD_GRADCAM);
    assert_string_equal(configs[1].attribution.cam_layer, "features.28");
    free(configs);
}

static void a_grid_has_a_limit(void **state) {
    (void)state;
    char line[1024] = "--mask cls --target 0";
    for (int i = 1; i < 150; i++) snprintf(line + strlen(line), 8, ",%d", i);
    strcat(line, " --quantile 0.1");
    for (int i = 11; i < 90; i++) snprintf(line + strlen(line), 8, ",0.%d", i);
    assert_refused(line, "more than 10000");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grid_is_the_product),
        cmocka_unit_test(mask_off_with_mask_options_is_one_configuration),
        cmocka_unit_test(every_field_reaches_its_place),
        cmocka_unit_test(what_does_not_combine_is_refused_in_one_line),
        cmocka_unit_test(options_that_nothing_heeds_are_refused),
        cmocka_unit_test(every_later_field_reaches_its_place),
        cmocka_unit_test(a_grid_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
