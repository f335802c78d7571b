/* Bad files: each is refused with the right status and one line that says why. */
#include "tests/weights/support.h"

#include <ctype.h>
#include <fcntl.h>

#include "worker/engine/weights/pickle.h"

static void check_refused(const char *path, pm_status expected, const char *words) {
    pm_weights *weights = (pm_weights *)&expected; /* must stay as it is */
    pm_status status = pm_weights_open(path, &weights);
    if (status != expected || !strstr(pm_error_text(), words))
        fail_msg("%s: %s: '%s', not '%s'", path, pm_status_name(status), pm_error_text(), words);
    assert_ptr_equal(weights, &expected);
    for (const char *c = pm_error_text(); *c; c++) assert_true(isprint((unsigned char)*c));
}

static void check_vector_refused(const char *name, pm_status expected, const char *words) {
    char path[PATH_BYTES];
    check_refused(vector_path(name, path), expected, words);
}

static void check_bytes_refused(const void *bytes, size_t size, pm_status expected,
                                const char *words) {
    char *path = temporary(bytes, size);
    check_refused(path, expected, words);
    unlink(path);
    free(path);
}

static void archives_that_lie_are_refused(void **state) {
    (void)state;
    check_vector_refused("bad_missing_entry.pth", PM_E_FORMAT, "data/1 is missing");
    check_vector_refused("bad_short_entry.pth", PM_E_FORMAT, "has 92 bytes, 96 were declared");
    check_vector_refused("bad_big_endian.pth", PM_E_UNSUPPORTED, "not little-endian");
    check_vector_refused("bad_torchscript.pth", PM_E_UNSUPPORTED, "TorchScript");
    check_vector_refused("bad_no_pickle.pth", PM_E_FORMAT, "without data.pkl");
    check_vector_refused("bad_twice.pth", PM_E_FORMAT, "data/0: is there twice");
    check_vector_refused("bad_bomb.pth", PM_E_FORMAT, "more bytes than it can hold");
    check_vector_refused("bad_bomb_pickle.pth", PM_E_FORMAT, "more bytes than it can hold");
    check_vector_refused("bad_double.pth", PM_E_UNSUPPORTED,
                         "tensor w lies in a torch.DoubleStorage");
}

static void damage_to_the_data_is_found_when_it_is_read(void **state) {
    (void)state;
    char path[PATH_BYTES];
    pm_weights *weights = NULL;
    assert_int_equal(pm_weights_open(vector_path("bad_crc.pth", path), &weights), PM_OK);
    assert_int_equal(read_everything(weights), PM_E_FORMAT);
    assert_non_null(strstr(pm_error_text(), "CRC"));
    pm_weights_free(&weights);
}

static void os_system_is_refused_by_name(void **state) {
    (void)state;
    static const char words[] =
        "pickle names os.system, which is not part of a weights file; refused";
    check_vector_refused("bad_os_system.pth", PM_E_UNSUPPORTED, words);
    check_vector_refused("bad_os_system_stream.pth", PM_E_UNSUPPORTED, words);
}

/* Sparse, so that it takes no room. */
static void a_pickle_beyond_the_limit_is_refused_unread(void **state) {
    (void)state;
    char *path = temporary("\x80\x04]", 3);
    assert_int_equal(truncate(path, ((off_t)1 << 30) + 1), 0);
    check_refused(path, PM_E_LIMIT, "a pickle of 1073741825 bytes, the limit is 1073741824");
    unlink(path);
    free(path);
}

static void what_is_no_weights_file_is_refused(void **state) {
    (void)state;
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
    check_refused("/nonexistent/x.pth", PM_E_NOT_FOUND, "No such file");
    check_refused("/tmp", PM_E_FORMAT, "not a regular file");
    check_bytes_refused("", 0, PM_E_FORMAT, "too short");
    check_bytes_refused("<html>not found</html>", 22, PM_E_FORMAT, "not a weights file");
    check_bytes_refused(lfs, sizeof lfs - 1, PM_E_FORMAT, "Git LFS pointer");
}

/* ---- safetensors ---- */

static char *safetensors(const char *header, size_t data_bytes, size_t *out_size) {
    size_t size = strlen(header);
    char *bytes = calloc(1, 8 + size + data_bytes);
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++) bytes[i] = (char)((uint64_t)size >> (8 * i));
    memcpy(bytes + 8, header, size);
    *out_size = 8 + size + data_bytes;
    return bytes;
}

static void safetensors_headers_get_the_reference_checks(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
        pm_status expected;
        const char *words;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         12, PM_E_FORMAT, "tensor b overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}",
         20, PM_E_FORMAT, "a hole of 4 bytes before tensor b"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, PM_E_FORMAT,
         "a hole of 4 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 12, PM_E_FORMAT,
         "4 bytes behind the last tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, PM_E_FORMAT,
         "cut short"},
        {"{}", 1, PM_E_FORMAT, "1 bytes behind"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, PM_E_UNSUPPORTED,
         "tensor a has dtype F64"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, PM_E_FORMAT,
         "reaches beyond"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, PM_E_FORMAT,
         "needs 4 bytes by its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],"
         "\"data_offsets\":[0,0]}}",
         0, PM_E_LIMIT, "over the limit"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2147483648,2147483648,4],"
         "\"data_offsets\":[0,8]}}",
         8, PM_E_LIMIT, "over the limit"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", 8,
         PM_E_FORMAT, "too big integer"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, PM_E_FORMAT,
         "other than a size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, PM_E_FORMAT,
         "not begin and end"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, PM_E_FORMAT,
         "not begin and end"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, PM_E_FORMAT, "data_offsets is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, PM_E_FORMAT, "shape is missing"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, PM_E_FORMAT, "dtype is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
         PM_E_LIMIT, "shape has 9 numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, PM_E_FORMAT, "duplicate"},
        {"{\"a\\u001b[31m\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         PM_E_FORMAT, "not printable"},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, PM_E_FORMAT,
         "name of 0 bytes"},
        {"{\"__metadata__\":{\"n\":1}}", 0, PM_E_FORMAT, "other than text"},
        {"{\"a\":3}", 0, PM_E_FORMAT, "not an object"},
        {"{\"a\":", 0, PM_E_FORMAT, "safetensors header, byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size;
        char *bytes = safetensors(cases[i].header, cases[i].data_bytes, &size);
        check_bytes_refused(bytes, size, cases[i].expected, cases[i].words);
        free(bytes);
    }
}

static void absurd_header_lengths_are_one_clear_line(void **state) {
    (void)state;
    static const char huge[] = "\0\0\0\0\0\0\0\x10{\"a\":1}"; /* 2^60 */
    static const char most[] = "\xff\xff\xff\xff\xff\xff\xff\xff{\"a\":1}";
    static const char past[] = "\x01\xe1\xf5\x05\0\0\0\0{}"; /* 100,000,001 */
    static const char beyond[] = "\x40\0\0\0\0\0\0\0{}";
    check_bytes_refused(huge, sizeof huge - 1, PM_E_LIMIT,
                        "header of 1152921504606846976 bytes, the limit is 100000000");
    check_bytes_refused(most, sizeof most - 1, PM_E_LIMIT, "header of 18446744073709551615 bytes");
    check_bytes_refused(past, sizeof past - 1, PM_E_LIMIT, "header of 100000001 bytes");
    check_bytes_refused(beyond, sizeof beyond - 1, PM_E_FORMAT, "cut short");
}

/* ---- the pickle machine ---- */

static void check_pickle_refused(const char *bytes, size_t size, pm_status expected,
                                 const char *words) {
    pm_pickle *pickle = NULL;
    pm_status status = pm_pickle_read("p", (const uint8_t *)bytes, size, &pickle);
    if (status != expected || !strstr(pm_error_text(), words))
        fail_msg("%s: '%s', not '%s'", pm_status_name(status), pm_error_text(), words);
    assert_null(pickle);
}
#define CHECK_PICKLE(text, status, words) check_pickle_refused(text, sizeof text - 1, status, words)

static void pickles_are_limited_to_known_names_and_opcodes(void **state) {
    (void)state;
    CHECK_PICKLE("\x80\x02"
                 "cposix\nsystem\n.",
                 PM_E_UNSUPPORTED, "names posix.system,");
    CHECK_PICKLE("\x80\x04\x8c\x08"
                 "builtins\x8c\x04"
                 "eval\x93.",
                 PM_E_UNSUPPORTED, "names builtins.eval,");
    CHECK_PICKLE("\x80\x02"
                 "ctorch._utils._rebuild_tensor_v2\n\n.",
                 PM_E_UNSUPPORTED, "refused");
    CHECK_PICKLE("\x80\x02"
                 "c\x1b[31m\nx\n.",
                 PM_E_UNSUPPORTED, "names ?[31m.x,");
    CHECK_PICKLE("\x80\x02"
                 "(ios\nsystem\n.",
                 PM_E_UNSUPPORTED, "opcode 0x69 at byte 3");
    CHECK_PICKLE("\x80\x02"
                 "(o.",
                 PM_E_UNSUPPORTED, "opcode 0x6f at byte 3");
    CHECK_PICKLE("\x80\x02"
                 ")\x81.",
                 PM_E_UNSUPPORTED, "opcode 0x81 at byte 3");
    CHECK_PICKLE("\x80\x02\x82\x01.", PM_E_UNSUPPORTED, "opcode 0x82 at byte 2");
    CHECK_PICKLE("\x80\x02"
                 "ctorch\nFloatStorage\n)R.",
                 PM_E_FORMAT, "cannot be called");
    CHECK_PICKLE("\x80\x02K\x01)R.", PM_E_FORMAT, "cannot be called");
    CHECK_PICKLE("\x80\x02]}b.", PM_E_FORMAT, "state set on something");
    CHECK_PICKLE("\x80\x06N.", PM_E_FORMAT, "protocol 2 to 5");
    CHECK_PICKLE("N.", PM_E_FORMAT, "protocol 2 to 5");
}

static void pickles_cannot_reach_outside_themselves(void **state) {
    (void)state;
    CHECK_PICKLE("\x80\x02.", PM_E_FORMAT, "other than one value");
    CHECK_PICKLE("\x80\x02NN.", PM_E_FORMAT, "other than one value");
    CHECK_PICKLE("\x80\x02(N.", PM_E_FORMAT, "other than one value");
    CHECK_PICKLE("\x80\x02N", PM_E_FORMAT, "cut short");
    CHECK_PICKLE("\x80\x02t.", PM_E_FORMAT, "no mark");
    CHECK_PICKLE("\x80\x02N(\x85.", PM_E_FORMAT, "nothing on the stack");
    CHECK_PICKLE("\x80\x02N(0.", PM_E_FORMAT, "nothing on the stack");
    CHECK_PICKLE("\x80\x02"
                 "a.",
                 PM_E_FORMAT, "nothing on the stack");
    CHECK_PICKLE("\x80\x02NNa.", PM_E_FORMAT, "other than a list");
    CHECK_PICKLE("\x80\x02](NNu.", PM_E_FORMAT, "other than a dictionary");
    CHECK_PICKLE("\x80\x02}(Nu.", PM_E_FORMAT, "a key without a value");
    CHECK_PICKLE("\x80\x02h\x05.", PM_E_FORMAT, "never stored");
    CHECK_PICKLE("\x80\x02Nr\xff\xff\xff\xff.", PM_E_LIMIT, "memo entries");
    /* within the limit, yet more than a pickle of nine bytes could have counted to */
    CHECK_PICKLE("\x80\x02Nr\xff\xff\x0f\x00.", PM_E_FORMAT, "beyond any");
    CHECK_PICKLE("\x80\x02X\xff\xff\xff\xff.", PM_E_FORMAT, "beyond the end");
    CHECK_PICKLE("\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", PM_E_FORMAT, "beyond the end");
    CHECK_PICKLE("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", PM_E_FORMAT, "a frame beyond");
    CHECK_PICKLE("\x80\x02"
                 "ctorch\n",
                 PM_E_FORMAT, "name without end");
}

static void a_pickle_cannot_grow_without_bound(void **state) {
    (void)state;
    size_t size = PM_PICKLE_VALUES_MAX + 64;
    char *bytes = malloc(size);
    assert_non_null(bytes);
    memcpy(bytes, "\x80\x02", 2);
    memset(bytes + 2, '(', size - 2);
    check_pickle_refused(bytes, size, PM_E_LIMIT, "levels of nesting");
    memset(bytes + 2, 'N', size - 2);
    check_pickle_refused(bytes, size, PM_E_LIMIT, "values on the stack");
    for (size_t i = 2; i < size; i++) bytes[i] = i % 2 ? '0' : 'N'; /* push, pop ... */
    check_pickle_refused(bytes, size, PM_E_FORMAT, "cut short");
    free(bytes);
}

/* A stream with one float storage "0" of 4 elements and this tensor: first, shape, stride. */
static void check_tensor(const char *tail, size_t tail_size, const char *words) {
    static const char head[] = "\x80\x02\x8a\nl\xfc\x9c"
                               "F\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
                               "\x80\x02}X\x0d\0\0\0little_endian\x88s."
                               "\x80\x02}X\x01\0\0\0w"
                               "ctorch._utils\n_rebuild_tensor\n"
                               "((X\x07\0\0\0storage"
                               "ctorch\nFloatStorage\nX\x01\0\0\0"
                               "0X\x03\0\0\0cpuK\x04NtQ";
    static const char foot[] = "tRs.\x80\x02]X\x01\0\0\0"
                               "0a.\x04\0\0\0\0\0\0\0"
                               "0123456789abcdef";
    char bytes[512];
    size_t size = 0;
    memcpy(bytes, head, size += sizeof head - 1);
    memcpy(bytes + size, tail, tail_size);
    memcpy(bytes + (size += tail_size), foot, sizeof foot - 1);
    size += sizeof foot - 1;
    if (words) {
        check_bytes_refused(bytes, size, strstr(words, "limit") ? PM_E_LIMIT : PM_E_FORMAT, words);
        return;
    }
    char *path = temporary(bytes, size);
    pm_weights *weights = NULL;
    if (pm_weights_open(path, &weights)) fail_msg("%s", pm_error_text());
    assert_int_equal(read_everything(weights), PM_OK);
    pm_weights_free(&weights);
    unlink(path);
    free(path);
}
#define CHECK_TENSOR(tail, words) check_tensor(tail, sizeof tail - 1, words)

static void a_name_that_is_there_twice_is_refused(void **state) {
    (void)state;
    CHECK_TENSOR("K\0K\x04\x85K\x01\x85tRsX\x01\0\0\0w"
                 "ctorch._utils\n_rebuild_tensor\n((X\x07\0\0\0storage"
                 "ctorch\nFloatStorage\nX\x01\0\0\0"
                 "0X\x03\0\0\0cpuK\x04NtQK\0K\x02\x85K\x01\x85",
                 "tensor w is there twice");
}

static void bytes_behind_the_end_are_refused(void **state) {
    (void)state;
    static const char *const files[] = {"plain_stream.pth", "list_p2.pkl", "plain.safetensors"};
    for (size_t i = 0; i < 3; i++) {
        size_t size = 0;
        uint8_t *bytes = vector_bytes(files[i], &size);
        uint8_t *longer = calloc(1, size + 1);
        assert_non_null(longer);
        memcpy(longer, bytes, size);
        check_bytes_refused(longer, size + 1, PM_E_FORMAT, "behind the");
        free(longer);
        free(bytes);
    }
}

static void tensors_stay_inside_their_storage(void **state) {
    (void)state;
    CHECK_TENSOR("K\0K\x04\x85K\x01\x85", NULL);
    CHECK_TENSOR("K\x03K\x64\x85K\0\x85", NULL);
    CHECK_TENSOR("K\x01K\x04\x85K\x01\x85", "reaches beyond its storage");
    CHECK_TENSOR("K\0K\x05\x85K\x01\x85", "reaches beyond its storage");
    CHECK_TENSOR("K\0K\x02\x85K\x04\x85", "reaches beyond its storage");
    CHECK_TENSOR("K\x04K\x01\x85K\x01\x85", "reaches beyond its storage");
    CHECK_TENSOR("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x02\x85K\x01\x85", "reaches beyond");
    CHECK_TENSOR("K\0K\x02\x85\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "over the limit");
    CHECK_TENSOR("K\0\x8a\x05\0\0\0\0\x01\x8a\x05\0\0\0\0\x01\x86K\0K\0\x86", "over the limit");
    CHECK_TENSOR("K\0K\x02\x85J\xff\xff\xff\xff\x85", "negative size or stride");
    CHECK_TENSOR("J\xff\xff\xff\xffK\x02\x85K\x01\x85", "no valid offset");
    CHECK_TENSOR("K\0K\x02K\x02\x86K\x01\x85", "no valid offset, shape or strides");
    CHECK_TENSOR("K\0N)", "no valid offset, shape or strides");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archives_that_lie_are_refused),
        cmocka_unit_test(damage_to_the_data_is_found_when_it_is_read),
        cmocka_unit_test(os_system_is_refused_by_name),
        cmocka_unit_test(what_is_no_weights_file_is_refused),
        cmocka_unit_test(a_pickle_beyond_the_limit_is_refused_unread),
        cmocka_unit_test(safetensors_headers_get_the_reference_checks),
        cmocka_unit_test(absurd_header_lengths_are_one_clear_line),
        cmocka_unit_test(pickles_are_limited_to_known_names_and_opcodes),
        cmocka_unit_test(pickles_cannot_reach_outside_themselves),
        cmocka_unit_test(a_pickle_cannot_grow_without_bound),
        cmocka_unit_test(a_name_that_is_there_twice_is_refused),
        cmocka_unit_test(bytes_behind_the_end_are_refused),
        cmocka_unit_test(tensors_stay_inside_their_storage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
