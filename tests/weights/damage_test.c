/* Damaged files: cut at every byte, changed at every byte. Run under the sanitizers. */
#include "tests/weights/support.h"

static void a_file_cut_at_any_byte_is_refused(void **state) {
    (void)state;
    for (size_t f = 0; f < GOOD_FILES; f++) {
        size_t size = 0;
        uint8_t *bytes = vector_bytes(good_files[f], &size);
        char *path = temporary(bytes, size);
        while (size-- > 0) {
            pm_weights *weights = NULL;
            assert_int_equal(truncate(path, (off_t)size), 0);
            pm_status status = pm_weights_open(path, &weights);
            if (!status) fail_msg("%s opens with only %zu bytes", good_files[f], size);
            assert_true(status == PM_E_FORMAT || status == PM_E_UNSUPPORTED ||
                        status == PM_E_LIMIT);
            assert_null(weights);
            assert_true(*pm_error_text());
        }
        unlink(path);
        free(path);
        free(bytes);
    }
}

static void a_changed_byte_gives_an_error_or_values_but_no_harm(void **state) {
    (void)state;
    static const uint8_t changes[] = {0xff, 0x01, 0x80};
    for (size_t f = 0; f < GOOD_FILES; f++) {
        size_t size = 0;
        uint8_t *bytes = vector_bytes(good_files[f], &size);
        char *path = temporary(bytes, size);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        setvbuf(file, NULL, _IONBF, 0);
        for (size_t i = 0; i < size * sizeof changes; i++) {
            long at = (long)(i / sizeof changes);
            pm_weights *weights = NULL;
            fseek(file, at, SEEK_SET);
            fputc(bytes[at] ^ changes[i % sizeof changes], file);
            if (!pm_weights_open(path, &weights)) (void)read_everything(weights);
            pm_weights_free(&weights);
            fseek(file, at, SEEK_SET);
            fputc(bytes[at], file);
        }
        fclose(file);
        unlink(path);
        free(path);
        free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_cut_at_any_byte_is_refused),
        cmocka_unit_test(a_changed_byte_gives_an_error_or_values_but_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
