/* parchmill inspect: what it prints, as text and JSON, and what it refuses. */
#include "tests/weights/support.h"

#include <jansson.h>
#include <sys/wait.h>

/* Runs `parchmill inspect ARGUMENTS`; both streams in one text. */
static char *inspect(const char *arguments, int *exit_code) {
    char command[2 * PATH_BYTES];
    const char *bin = getenv("PARCHMILL_BIN_DIR");
    size_t capacity = 1 << 20;
    char *text = malloc(capacity);
    assert_non_null(text);
    if (!bin) fail_msg("PARCHMILL_BIN_DIR is not set");
    snprintf(command, sizeof command, "%s/parchmill inspect %s 2>&1", bin, arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t size = fread(text, 1, capacity - 1, pipe);
    text[size] = 0;
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    *exit_code = WEXITSTATUS(status);
    return text;
}

static char *inspect_vector(const char *option, const char *name, int *exit_code) {
    char path[PATH_BYTES], arguments[2 * PATH_BYTES];
    snprintf(arguments, sizeof arguments, "%s %s", option, vector_path(name, path));
    return inspect(arguments, exit_code);
}

static void check_contains(const char *text, const char *words) {
    if (!strstr(text, words)) fail_msg("no '%s' in: %s", words, text);
}

static void text_lists_tensors_and_totals(void **state) {
    (void)state;
    int code;
    char *text = inspect_vector("", "plain_zip.pth", &code);
    assert_int_equal(code, 0);
    check_contains(text, "conv.weight          F32    [2, 3, 2, 2]  24\n");
    check_contains(text, "num_batches_tracked  I64    []            1\n");
    check_contains(text, "pytorch-zip, 2087 bytes");
    check_contains(text, "6 (2 F32, 1 F16, 1 BF16, 2 I64), 63 elements");
    check_contains(text, "fits      none of the");
    free(text);
}

static void json_holds_the_same(void **state) {
    (void)state;
    int code;
    json_int_t elements, rows;
    const char *format, *name, *dtype, *sha256;
    json_t *tensors;
    char *text = inspect_vector("--json", "plain.safetensors", &code);
    assert_int_equal(code, 0);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_int_equal(json_unpack(root, "{s:s, s:s, s:I, s:o, s:[], s:n}", "format", &format,
                                 "sha256", &sha256, "elements", &elements, "tensors", &tensors,
                                 "fits", "classes"),
                     0);
    assert_string_equal(format, "safetensors");
    assert_int_equal(strlen(sha256), 64);
    assert_int_equal(elements, 63);
    assert_int_equal(json_array_size(tensors), 6);
    assert_int_equal(json_unpack(json_array_get(tensors, 1), "{s:s, s:s, s:[I, i]}", "name", &name,
                                 "dtype", &dtype, "shape", &rows, &(int){0}),
                     0);
    assert_string_equal(name, "half");
    assert_string_equal(dtype, "F16");
    assert_int_equal(rows, 4);
    json_decref(root);
    free(text);
}

static void a_near_miss_names_the_model_and_the_first_difference(void **state) {
    (void)state;
    static const char header[] =
        "{\"conv1.weight\":{\"dtype\":\"F32\",\"shape\":[64,3,7,7],\"data_offsets\":[0,37632]},"
        "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[3,512],\"data_offsets\":[37632,43776]}}  ";
    size_t size = 8 + sizeof header - 1 + 43776;
    char *bytes = calloc(1, size);
    int code;
    assert_non_null(bytes);
    bytes[0] = (char)(sizeof header - 1);
    memcpy(bytes + 8, header, sizeof header - 1);
    char *path = temporary(bytes, size);
    char *text = inspect(path, &code);
    assert_int_equal(code, 0);
    check_contains(text, "nearest   resnet18: 2 of its 102 tensors fit, 0 of the file are not");
    check_contains(text, "tensor 'bn1.weight' [64] is missing (and 99 more)");
    unlink(path);
    free(path);
    free(text);
    free(bytes);
}

static void a_bad_file_is_one_line_and_a_failure(void **state) {
    (void)state;
    int code;
    char *text = inspect_vector("", "bad_os_system.pth", &code);
    assert_int_equal(code, 1);
    check_contains(text, "pickle names os.system, which is not part of a weights file; refused\n");
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    free(text);
    text = inspect("", &code);
    assert_int_equal(code, 2);
    free(text);
}

static void real_files_fit_their_models(void **state) {
    (void)state;
    static const struct {
        const char *file, *words;
    } cases[] = {
        {"resnet18.pth", "fits      resnet18 (1000 classes)\n"},
        {"cifar_resnet20.th", "fits      cifar_resnet20 (10 classes)\n"},
    };
    const char *data = getenv("PARCHMILL_DATA");
    if (!data) skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[PATH_BYTES];
        int code;
        snprintf(path, sizeof path, "%s/weights/%s", data, cases[i].file);
        char *text = inspect(path, &code);
        assert_int_equal(code, 0);
        check_contains(text, cases[i].words);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_lists_tensors_and_totals),
        cmocka_unit_test(json_holds_the_same),
        cmocka_unit_test(a_near_miss_names_the_model_and_the_first_difference),
        cmocka_unit_test(a_bad_file_is_one_line_and_a_failure),
        cmocka_unit_test(real_files_fit_their_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
