/* Graphs: names and shapes as PyTorch has them, and clear words where weights do not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/hash.h"
#include "lib/base/text.h"
#include "tests/engine/cases.h"
#include "tests/engine/tensor_file.h"
#include "worker/engine/builder.h"
#include "worker/engine/model.h"

static void check_hash(const pm_buffer *text, const char *want) {
    char hex[PM_SHA256_HEX_BYTES];
    pm_sha256 hash = pm_sha256_of(text->bytes, text->size);
    pm_sha256_hex(&hash, hex);
    assert_string_equal(hex, want);
}

/* keys.txt comes from torchvision: tests/data/make_engine_vectors.py. */
static void check_keys(const char *arch, size_t count, const char *shapes, size_t hooks,
                       const char *hook_names) {
    const pm_arch_info *info;
    pm_builder b;
    pm_buffer text = {0};
    assert_int_equal(pm_arch_find(arch, &info), PM_OK);
    assert_int_equal(pm_builder_init(&b, info, 7), PM_OK);
    assert_int_equal(b.parameter_count, count);
    for (size_t i = 0; i < b.parameter_count; i++) {
        pm_buffer_printf(&text, "%s ", b.parameters[i].name);
        for (size_t k = 0; k < b.parameters[i].rank; k++)
            pm_buffer_printf(&text, "%s%zu", k ? "," : "", b.parameters[i].shape[k]);
        pm_buffer_printf(&text, "\n");
    }
    check_hash(&text, shapes);
    pm_buffer_fini(&text);
    text = (pm_buffer){0};
    bool *hooked = calloc(b.graph->conv_count, sizeof *hooked);
    size_t found = 0;
    pm_model model = {.graph = b.graph};
    assert_int_equal(pm_layers_select(&model, "default", hooked), PM_OK);
    for (size_t i = 0; i < b.graph->conv_count; i++) {
        if (!hooked[i]) continue;
        found++;
        pm_buffer_printf(&text, "%s\n", b.graph->convs[i].name);
    }
    assert_int_equal(found, hooks);
    check_hash(&text, hook_names);
    pm_buffer_fini(&text);
    free(hooked);
    pm_builder_fini(&b);
}

static void keys_shapes_and_default_hooks_are_pytorchs(void **state) {
    (void)state;
    char path[1024], arch[64], shapes[65], names[65];
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/data/engine/keys.txt", root ? root : ".");
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t count, hooks, lines = 0;
    while (fscanf(file, "%63s %zu %64s %zu %64s", arch, &count, shapes, &hooks, names) == 5) {
        check_keys(arch, count, shapes, hooks, names);
        lines++;
    }
    fclose(file);
    assert_int_equal(lines, pm_arch_count());
}

static void unknown_architecture_names_near_ones(void **state) {
    (void)state;
    const pm_arch_info *info = NULL;
    assert_int_equal(pm_arch_find("resnet81", &info), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "resnet"));
    assert_int_equal(pm_arch_find("vgg16bn", &info), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "near: vgg16_bn"));
    assert_int_equal(pm_arch_find("", &info), PM_E_USAGE);
    assert_null(info);
}

/* The tensors of an architecture for ten classes, with `room` more slots behind them. */
static pm_file_tensor *tensors_of(const char *arch, size_t *count, size_t room) {
    const pm_arch_info *info;
    pm_builder b;
    assert_int_equal(pm_arch_find(arch, &info), PM_OK);
    assert_int_equal(pm_builder_init(&b, info, 10), PM_OK);
    pm_file_tensor *t = calloc(b.parameter_count + room, sizeof *t);
    assert_non_null(t);
    for (size_t i = 0; i < b.parameter_count; i++) {
        snprintf(t[i].name, sizeof t[i].name, "%s", b.parameters[i].name);
        t[i].rank = b.parameters[i].rank;
        memcpy(t[i].shape, b.parameters[i].shape, sizeof t[i].shape);
    }
    *count = b.parameter_count;
    pm_builder_fini(&b);
    return t;
}

static pm_file_tensor *cifar_tensors(size_t *count, size_t room) {
    return tensors_of("cifar_resnet20", count, room);
}

static pm_status check_file(const char *arch, const pm_file_tensor *tensors, size_t count) {
    const pm_arch_info *info;
    assert_int_equal(pm_arch_find(arch, &info), PM_OK);
    pm_weights *weights = pm_tensor_file(tensors, count);
    pm_status status = pm_arch_check(info, weights);
    pm_model *model = NULL;
    assert_int_equal(pm_model_new(arch, weights, &model), status);
    if (status)
        assert_null(model);
    else
        assert_int_equal(pm_model_classes(model), 10);
    pm_model_free(&model);
    pm_weights_free(&weights);
    return status;
}

static pm_status check_cifar(const pm_file_tensor *tensors, size_t count) {
    return check_file("cifar_resnet20", tensors, count);
}

static void right_weights_fit_with_and_without_counters(void **state) {
    (void)state;
    size_t count;
    pm_file_tensor *t = cifar_tensors(&count, 1);
    assert_int_equal(check_cifar(t, count), PM_OK);
    t[count] = (pm_file_tensor){"bn1.num_batches_tracked", 0, {0}, NULL};
    assert_int_equal(check_cifar(t, count + 1), PM_OK);
    t[count] = (pm_file_tensor){"linear.num_batches_tracked", 0, {0}, NULL};
    assert_int_equal(check_cifar(t, count + 1), PM_E_MISMATCH);
    free(t);
}

static void wrong_weights_are_named_with_what_was_expected(void **state) {
    (void)state;
    size_t count;
    pm_file_tensor *t = cifar_tensors(&count, 2), saved;
    /* missing */
    assert_string_equal(t[5].name, "layer1.0.conv1.weight");
    saved = t[5];
    t[5] = t[count - 1];
    assert_int_equal(check_cifar(t, count - 1), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'layer1.0.conv1.weight' [16, 16, 3, 3] is missing"));
    assert_null(strstr(pm_error_text(), "more"));
    /* of another shape, and one extra beside it */
    t[5] = saved;
    t[5].shape[1] = 8;
    t[count] = (pm_file_tensor){"fc.bias", 1, {3}, NULL};
    assert_int_equal(check_cifar(t, count + 1), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'layer1.0.conv1.weight' is [16, 8, 3, 3], expected "
                                            "[16, 16, 3, 3] (and 1 more)"));
    /* extra alone */
    t[5] = saved;
    assert_int_equal(check_cifar(t, count + 1), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'fc.bias' is not part of it"));
    /* no head: the class count cannot be known */
    assert_int_equal(check_cifar(t, 5), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'linear.weight'"));
    /* a head that is no matrix */
    assert_string_equal(t[count - 2].name, "linear.weight");
    t[count - 2].rank = 1;
    assert_int_equal(check_cifar(t, count), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "expected [classes, features]"));
    free(t);
}

static void class_count_must_agree_between_weight_and_bias(void **state) {
    (void)state;
    size_t count;
    pm_file_tensor *t = cifar_tensors(&count, 0);
    t[count - 2].shape[0] = 12;
    assert_int_equal(check_cifar(t, count), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'linear.bias' is [10], expected [12]"));
    free(t);
}

static void auxiliary_heads_may_be_there_or_not(void **state) {
    (void)state;
    size_t count;
    pm_file_tensor *t = tensors_of("googlenet", &count, 2);
    assert_int_equal(check_file("googlenet", t, count), PM_OK);
    t[count] = (pm_file_tensor){"aux1.conv.conv.weight", 4, {1, 2, 1, 1}, NULL};
    t[count + 1] = (pm_file_tensor){"aux2.fc2.bias", 1, {3}, NULL};
    assert_int_equal(check_file("googlenet", t, count + 2), PM_OK);
    t[count + 1] = (pm_file_tensor){"AuxLogits.fc.bias", 1, {3}, NULL};
    assert_int_equal(check_file("googlenet", t, count + 2), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "'AuxLogits.fc.bias' is not part of it"));
    free(t);
    t = tensors_of("inception_v3", &count, 1);
    t[count] = (pm_file_tensor){"AuxLogits.fc.bias", 1, {3}, NULL};
    assert_int_equal(check_file("inception_v3", t, count + 1), PM_OK);
    free(t);
}

static void a_head_may_be_a_convolution(void **state) {
    (void)state;
    size_t count;
    pm_file_tensor *t = tensors_of("squeezenet1_1", &count, 0);
    assert_int_equal(check_file("squeezenet1_1", t, count), PM_OK);
    assert_string_equal(t[count - 2].name, "classifier.1.weight");
    t[count - 2].rank = 2;
    assert_int_equal(check_file("squeezenet1_1", t, count), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "is [10, 512], expected [classes, features, 1, 1]"));
    free(t);
}

/* Keys that torchvision's _load_state_dict renames, and one as its files have it beside the new. */
static void densenets_of_old_have_dots_in_their_keys(void **state) {
    (void)state;
    size_t count, renamed = 0;
    pm_file_tensor *t = tensors_of("densenet121", &count, 1);
    for (size_t i = 0; i < count; i++) {
        static const char *const new[] = {".norm1.", ".norm2.", ".conv1.", ".conv2."};
        for (size_t k = 0; k < 4; k++) {
            char *at = strstr(t[i].name, new[k]);
            if (!at || !strstr(t[i].name, ".denselayer")) continue;
            memmove(at + 6, at + 5, strlen(at + 5) + 1);
            at[5] = '.';
            renamed++;
        }
    }
    assert_int_equal(renamed, 58 * 10); /* two BatchNorms and two convolutions a layer */
    bool found = false;
    for (size_t i = 0; i < count; i++)
        found |= !strcmp(t[i].name, "features.denseblock3.denselayer12.norm.2.running_var");
    assert_true(found);
    if (check_file("densenet121", t, count)) fail_msg("%s", pm_error_text());
    t[count] = t[count - 3]; /* the new key as well: one of them is too many */
    assert_string_equal(t[count].name, "features.norm5.running_var");
    snprintf(t[count].name, sizeof t[count].name,
             "features.denseblock1.denselayer1.norm1.running_var");
    t[count].shape[0] = 64;
    assert_int_equal(check_file("densenet121", t, count + 1), PM_E_MISMATCH);
    assert_non_null(
        strstr(pm_error_text(),
               "'features.denseblock1.denselayer1.norm.1.running_var' is not part of it"));
    free(t);
}

static void inputs_that_leave_no_pixel_are_refused(void **state) {
    (void)state;
    const pm_arch_info *info;
    pm_builder b;
    assert_int_equal(pm_arch_find("vgg11", &info), PM_OK);
    assert_int_equal(pm_builder_init(&b, info, 2), PM_OK);
    size_t(*sizes)[2] = calloc(b.graph->node_count, sizeof *sizes);
    assert_int_equal(pm_graph_sizes(b.graph, 32, 40, sizes), PM_OK);
    assert_int_equal(sizes[b.graph->output][0], 1);
    assert_int_equal(pm_graph_sizes(b.graph, 31, 40, sizes), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "40x31"));
    free(sizes);
    pm_builder_fini(&b);
}

/* Sizes that torch.nn.MaxPool2d(kernel, stride, pad, ceil_mode=True) gives for 1 to 12 pixels; 0
 * where it refuses. */
static void pools_that_hang_over_have_pytorchs_sizes(void **state) {
    (void)state;
    static const struct {
        size_t kernel, stride, pad, sizes[12];
    } pools[] = {
        {3, 2, 0, {0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6}},
        {2, 2, 0, {1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6}},
        {3, 1, 1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
        {3, 2, 1, {1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7}},
        {2, 3, 1, {1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5}},
        {3, 3, 1, {1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5}},
        {2, 2, 1, {1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7}},
    };
    pm_arch_info info = {.name = "pool"};
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++)
        for (size_t n = 1; n <= 12; n++) {
            const size_t k = pools[i].kernel, p = pools[i].pad, want = pools[i].sizes[n - 1];
            pm_node nodes[2] = {{.op = PM_OP_INPUT, .input = {-1, -1}},
                                {.op = PM_OP_MAXPOOL,
                                 .input = {0, -1},
                                 .kernel = {k, k},
                                 .stride = pools[i].stride,
                                 .pad = {p, p},
                                 .ceil = true}};
            const pm_graph graph = {.arch = &info, .nodes = nodes, .node_count = 2};
            size_t sizes[2][2];
            assert_int_equal(pm_graph_sizes(&graph, n, n, sizes), want ? PM_OK : PM_E_USAGE);
            if (want) assert_int_equal(sizes[1][0], want);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_shapes_and_default_hooks_are_pytorchs),
        cmocka_unit_test(unknown_architecture_names_near_ones),
        cmocka_unit_test(right_weights_fit_with_and_without_counters),
        cmocka_unit_test(wrong_weights_are_named_with_what_was_expected),
        cmocka_unit_test(class_count_must_agree_between_weight_and_bias),
        cmocka_unit_test(auxiliary_heads_may_be_there_or_not),
        cmocka_unit_test(a_head_may_be_a_convolution),
        cmocka_unit_test(densenets_of_old_have_dots_in_their_keys),
        cmocka_unit_test(inputs_that_leave_no_pixel_are_refused),
        cmocka_unit_test(pools_that_hang_over_have_pytorchs_sizes),
    };
    return cmocka_run_group_tests_name("engine_graph", tests, NULL, NULL);
}
