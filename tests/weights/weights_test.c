/* Good files, as PyTorch writes them: every format gives the same tensors and the exact values. */
#include "tests/weights/support.h"

#include "worker/engine/weights/weights.h"

static pm_weights *open_vector(const char *name) {
    char path[PATH_BYTES];
    pm_weights *weights = NULL;
    if (pm_weights_open(vector_path(name, path), &weights)) fail_msg("%s", pm_error_text());
    return weights;
}

static float *read_tensor(const pm_weights *weights, const char *name, pm_dtype dtype, size_t rank,
                          const size_t *shape) {
    const pm_tensor_info *info = pm_weights_find(weights, name);
    if (!info) fail_msg("no tensor %s", name);
    assert_string_equal(info->name, name);
    assert_int_equal(info->dtype, dtype);
    assert_int_equal(info->rank, rank);
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) {
        assert_int_equal(info->shape[i], shape[i]);
        count *= shape[i];
    }
    assert_int_equal(info->count, count);
    float *values = malloc((count + 1) * sizeof *values);
    assert_non_null(values);
    values[count] = 12345.0f; /* nothing is written behind the end */
    if (pm_weights_read(weights, info, values)) fail_msg("%s", pm_error_text());
    assert_true(values[count] == 12345.0f);
    return values;
}

/* The tensor holds its own stream, row-major. */
static void check_synth(const pm_weights *weights, const char *name, pm_dtype dtype, size_t rank,
                        const size_t *shape) {
    float *values = read_tensor(weights, name, dtype, rank, shape);
    size_t count = pm_weights_find(weights, name)->count;
    for (size_t i = 0; i < count; i++) assert_true(values[i] == synth_value(name, i));
    free(values);
}

static void check_plain(const char *file, const char *format) {
    static const char *const order[] = {"conv.weight",         "half", "bfloat", "long",
                                        "num_batches_tracked", "empty"};
    static const float longs[] = {0, 1, -1, 0x1p24f, -0x1p40f, 0x1p62f};
    pm_weights *weights = open_vector(file);
    assert_string_equal(pm_weights_format(weights), format);
    assert_int_equal(pm_weights_count(weights), 6);
    for (size_t i = 0; i < 6; i++) assert_string_equal(pm_weights_at(weights, i)->name, order[i]);
    check_synth(weights, "conv.weight", PM_DTYPE_F32, 4, (size_t[]){2, 3, 2, 2});
    check_synth(weights, "half", PM_DTYPE_F16, 2, (size_t[]){4, 5});
    check_synth(weights, "bfloat", PM_DTYPE_BF16, 2, (size_t[]){3, 4});
    float *values = read_tensor(weights, "long", PM_DTYPE_I64, 1, (size_t[]){6});
    for (size_t i = 0; i < 6; i++) assert_true(values[i] == longs[i]);
    free(values);
    values = read_tensor(weights, "num_batches_tracked", PM_DTYPE_I64, 0, NULL);
    assert_true(values[0] == 7.0f);
    free(values);
    free(read_tensor(weights, "empty", PM_DTYPE_F32, 2, (size_t[]){0, 3}));
    assert_null(pm_weights_find(weights, "nowhere"));
    pm_weights_free(&weights);
    assert_null(weights);
    pm_weights_free(&weights);
}

static void every_format_gives_the_same_state_dict(void **state) {
    (void)state;
    check_plain("plain_zip.pth", "pytorch-zip");
    check_plain("deflated.pth", "pytorch-zip");
    check_plain("plain_stream.pth", "pytorch-stream");
    check_plain("plain.safetensors", "safetensors");
}

static void check_strided(const char *file) {
    pm_weights *weights = open_vector(file);
    check_synth(weights, "base", PM_DTYPE_F32, 2, (size_t[]){6, 4});
    float *values = read_tensor(weights, "transposed", PM_DTYPE_F32, 2, (size_t[]){4, 6});
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 6; j++)
            assert_true(values[6 * i + j] == synth_value("base", 4 * j + i));
    free(values);
    values = read_tensor(weights, "stepped", PM_DTYPE_F32, 2, (size_t[]){2, 2});
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < 2; j++)
            assert_true(values[2 * i + j] == synth_value("base", 4 * (1 + 2 * i) + 2 * j));
    free(values);
    values = read_tensor(weights, "row", PM_DTYPE_F32, 1, (size_t[]){4});
    for (size_t i = 0; i < 4; i++) assert_true(values[i] == synth_value("base", 12 + i));
    free(values);
    values = read_tensor(weights, "expanded", PM_DTYPE_F32, 1, (size_t[]){5});
    for (size_t i = 0; i < 5; i++) assert_true(values[i] == synth_value("base", 9));
    free(values);
    values = read_tensor(weights, "one", PM_DTYPE_F32, 2, (size_t[]){1, 1});
    assert_true(values[0] == synth_value("base", 18));
    free(values);
    pm_weights_free(&weights);
}

static void views_of_one_storage_are_read_with_their_strides(void **state) {
    (void)state;
    check_strided("strided_zip.pth");
    check_strided("strided_stream.pth");
}

static void a_training_checkpoint_gives_its_state_dict_without_module(void **state) {
    (void)state;
    static const char *const files[] = {"training_zip.pth", "training_stream.pth"};
    for (size_t f = 0; f < 2; f++) {
        pm_weights *weights = open_vector(files[f]);
        assert_int_equal(pm_weights_count(weights), 2);
        check_synth(weights, "conv1.weight", PM_DTYPE_F32, 2, (size_t[]){3, 2});
        check_synth(weights, "fc.bias", PM_DTYPE_F32, 2, (size_t[]){3, 2});
        assert_null(pm_weights_find(weights, "module.fc.bias"));
        pm_weights_free(&weights);
    }
}

static void parameters_are_tensors(void **state) {
    (void)state;
    static const char *const files[] = {"parameters_zip.pth", "parameters_stream.pth"};
    for (size_t f = 0; f < 2; f++) {
        pm_weights *weights = open_vector(files[f]);
        check_synth(weights, "w", PM_DTYPE_F32, 2, (size_t[]){2, 3});
        check_synth(weights, "b", PM_DTYPE_F32, 2, (size_t[]){2, 3});
        pm_weights_free(&weights);
    }
}

static void a_pickled_list_gives_tensors_by_position(void **state) {
    (void)state;
    static const char *const files[] = {"list_p2.pkl", "list_p4.pkl", "list_p5.pkl"};
    for (size_t f = 0; f < 3; f++) {
        pm_weights *weights = open_vector(files[f]);
        assert_string_equal(pm_weights_format(weights), "pickle");
        assert_int_equal(pm_weights_count(weights), 3);
        check_synth(weights, "0", PM_DTYPE_F32, 1, (size_t[]){3});
        check_synth(weights, "1", PM_DTYPE_F32, 1, (size_t[]){5});
        check_synth(weights, "2", PM_DTYPE_F16, 1, (size_t[]){1});
        pm_weights_free(&weights);
    }
}

static void put(uint8_t **at, const void *bytes, size_t size) {
    memcpy(*at, bytes, size);
    *at += size;
}

static void put_number(uint8_t **at, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) *(*at)++ = (uint8_t)(value >> 8 * i);
}
#define PUT(text) put(&at, text, sizeof text - 1)

/* Class p-values of a large network come as one pickle that holds its storages: 18 million floats,
 * 72 MB, as the pickle module writes them in protocol 4. */
static void a_list_may_be_larger_than_the_pickles_of_a_stream(void **state) {
    (void)state;
    static const char stream[] = "\x80\x02\x8a\nl\xfc\x9c"
                                 "F\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
                                 "\x80\x02}X\x0d\0\0\0little_endian\x88s."
                                 "\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\n"
                                 "X\x01\0\0\0000X\x03\0\0\0cpuJ";
    static const char foot[] = "NtQ.\x80\x02]X\x01\0\0\0000a.";
    const uint64_t count = 18000000;
    const size_t nested = sizeof stream - 1 + 4 + sizeof foot - 1 + 8 + 4 * (size_t)count;
    uint8_t *bytes = calloc(1, nested + 1024), *at = bytes;
    assert_non_null(bytes);
    PUT("\x80\x04]\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93");
    PUT("(\x8c\x0dtorch.storage\x8c\x10_load_from_bytes\x93"
        "B");
    put_number(&at, nested, 4);
    PUT(stream);
    put_number(&at, count, 4);
    PUT(foot);
    put_number(&at, count, 8);
    for (uint64_t i = 0; i < count; i += 1000) {
        float value = synth_value("large", i);
        memcpy(at + 4 * i, &value, sizeof value);
    }
    at += 4 * count;
    PUT("\x85RK\0J");
    put_number(&at, count, 4);
    PUT("\x85K\x01\x85\x89NtRa.");
    char *path = temporary(bytes, (size_t)(at - bytes));
    free(bytes);
    pm_weights *weights = NULL;
    if (pm_weights_open(path, &weights)) fail_msg("%s", pm_error_text());
    assert_string_equal(pm_weights_format(weights), "pickle");
    float *values = read_tensor(weights, "0", PM_DTYPE_F32, 1, (size_t[]){(size_t)count});
    for (uint64_t i = 0; i < count; i += 1000) assert_true(values[i] == synth_value("large", i));
    free(values);
    pm_weights_free(&weights);
    unlink(path);
    free(path);
}

/* IEEE 754 binary16 by its definition, in double. */
static double half_by_definition(unsigned bits) {
    int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
    double size = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -size : size;
}

static void every_half_and_bfloat_converts_exactly(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 65536; bits++) {
        uint8_t bytes[2] = {(uint8_t)bits, (uint8_t)(bits >> 8)};
        float half, bfloat;
        uint32_t wide;
        pm_dtype_convert(PM_DTYPE_F16, bytes, 1, &half);
        pm_dtype_convert(PM_DTYPE_BF16, bytes, 1, &bfloat);
        assert_int_equal(!!signbit(half), bits >> 15);
        if ((bits & 0x7c00) == 0x7c00)
            assert_true(bits & 0x3ff ? isnan(half) : isinf(half));
        else
            assert_true((double)half == half_by_definition(bits));
        memcpy(&wide, &bfloat, sizeof wide);
        assert_int_equal(wide, bits << 16);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_gives_the_same_state_dict),
        cmocka_unit_test(views_of_one_storage_are_read_with_their_strides),
        cmocka_unit_test(a_training_checkpoint_gives_its_state_dict_without_module),
        cmocka_unit_test(parameters_are_tensors),
        cmocka_unit_test(a_pickled_list_gives_tensors_by_position),
        cmocka_unit_test(a_list_may_be_larger_than_the_pickles_of_a_stream),
        cmocka_unit_test(every_half_and_bfloat_converts_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
