/* Real weights, where env PARCHMILL_DATA points at them: counts, shapes and every value.
 *
 * The hashes are PyTorch's: SHA-256 over each tensor's name, a NUL, and its float32 bytes, in
 * state-dict order. They come from
 *   d = torch.load(f, map_location="cpu"); d = d.get("state_dict", d)   (pickle.load for .pkl)
 *   h.update(name.removeprefix("module.").encode() + b"\0" +
 * t.float().contiguous().numpy().tobytes())
 */
#include "tests/weights/support.h"

#include "lib/base/hash.h"

static const struct {
    const char *file, *format;
    size_t count;
    const char *sha256;
} expected[] = {
    {"weights/resnet18.pth", "pytorch-zip", 122,
     "68d207ffaad6aabcd25186469f27d3967cff4e6467b83b7b44af8ae8bb7de543"},
    {"weights/mobilenet_v2.pth", "pytorch-zip", 314,
     "a2a89be178a11762ce6e73f417cab41d2d08f71b4bde9fc0327e2012d5ac4d30"},
    {"weights/squeezenet1_1.pth", "pytorch-zip", 52,
     "4e08fa3b621a90eb59bdb1abc0e12f42a54d82a4f46573dcd508329a0bd8647d"},
    {"weights/cifar_resnet20.th", "pytorch-stream", 97,
     "d190fcb8478dc11c803c7034ad0b3ea771a0fb95fb49c8b2455825e8d665c4af"},
    {"weights/resnet18_shapiro_p_values.pkl", "pickle", 20,
     "59a8e497c5e195baafa05b8450272cfddaea2b9d255056bad7c6ff5ee37d39be"},
    {"weights/vgg16_shapiro_p_values.pkl", "pickle", 13,
     "ae411fdc7965b4116590248925b8d2fc8e327fe6f9d399bfee91bb337efb235d"},
    {"expected/resnet18_tiny_stats.safetensors", "safetensors", 101,
     "e6d5cff1d2e746ad7cace44db4bbf152b6c1d11481f22d2c1d9065e5d6b47cc3"},
};

static void hash_tensor(pm_sha256_stream *stream, const pm_weights *weights,
                        const pm_tensor_info *info) {
    float *values = malloc((info->count + 1) * sizeof *values);
    assert_non_null(values);
    if (pm_weights_read(weights, info, values)) fail_msg("%s", pm_error_text());
    pm_sha256_update(stream, info->name, strlen(info->name) + 1);
    pm_sha256_update(stream, values, info->count * sizeof *values);
    free(values);
}

static void real_weights_hold_the_values_that_pytorch_reads(void **state) {
    (void)state;
    const char *data = getenv("PARCHMILL_DATA");
    if (!data) skip();
    for (size_t f = 0; f < sizeof expected / sizeof *expected; f++) {
        char path[PATH_BYTES], hex[PM_SHA256_HEX_BYTES];
        pm_weights *weights = NULL;
        pm_sha256_stream stream;
        snprintf(path, sizeof path, "%s/%s", data, expected[f].file);
        if (pm_weights_open(path, &weights)) fail_msg("%s", pm_error_text());
        assert_string_equal(pm_weights_format(weights), expected[f].format);
        assert_int_equal(pm_weights_count(weights), expected[f].count);
        pm_sha256_begin(&stream);
        for (size_t i = 0; i < expected[f].count; i++)
            hash_tensor(&stream, weights, pm_weights_at(weights, i));
        pm_sha256 hash = pm_sha256_end(&stream);
        pm_sha256_hex(&hash, hex);
        assert_string_equal(hex, expected[f].sha256);
        pm_weights_free(&weights);
    }
}

static void real_weights_have_their_shapes(void **state) {
    (void)state;
    static const struct {
        const char *file, *name;
        size_t rank, shape[4];
    } shapes[] = {
        {"resnet18.pth", "conv1.weight", 4, {64, 3, 7, 7}},
        {"resnet18.pth", "fc.weight", 2, {1000, 512}},
        {"resnet18.pth", "bn1.num_batches_tracked", 0, {0}},
        {"cifar_resnet20.th", "linear.weight", 2, {10, 64}},
        {"mobilenet_v2.pth", "classifier.1.weight", 2, {1000, 1280}},
        {"squeezenet1_1.pth", "classifier.1.weight", 4, {1000, 512, 1, 1}},
        {"resnet18_shapiro_p_values.pkl", "0", 1, {64}},
    };
    const char *data = getenv("PARCHMILL_DATA");
    if (!data) skip();
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        char path[PATH_BYTES];
        pm_weights *weights = NULL;
        snprintf(path, sizeof path, "%s/weights/%s", data, shapes[s].file);
        if (pm_weights_open(path, &weights)) fail_msg("%s", pm_error_text());
        const pm_tensor_info *info = pm_weights_find(weights, shapes[s].name);
        assert_non_null(info);
        assert_int_equal(info->rank, shapes[s].rank);
        for (size_t i = 0; i < info->rank; i++)
            assert_int_equal(info->shape[i], shapes[s].shape[i]);
        pm_weights_free(&weights);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_weights_hold_the_values_that_pytorch_reads),
        cmocka_unit_test(real_weights_have_their_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
