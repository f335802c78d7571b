/* Rows on the wire: what is written is read, to the bit; what is damaged is refused. */
#include "lib/net/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const pm_value samples[] = {
    {.kind = PM_VALUE_NULL},
    {.kind = PM_VALUE_INTEGER, .integer = INT64_MIN},
    {.kind = PM_VALUE_INTEGER, .integer = INT64_MAX},
    {.kind = PM_VALUE_INTEGER, .integer = -1},
    {.kind = PM_VALUE_REAL, .real = -0.0},
    {.kind = PM_VALUE_REAL, .real = 4.9406564584124654e-324},
    {.kind = PM_VALUE_REAL, .real = 0.1},
    {.kind = PM_VALUE_REAL, .real = HUGE_VAL},
    {.kind = PM_VALUE_TEXT, .text = "", .size = 0},
    {.kind = PM_VALUE_TEXT, .text = "a\0b", .size = 3},
    {.kind = PM_VALUE_BLOB, .text = "", .size = 0},
    {.kind = PM_VALUE_BLOB, .text = "\0\xff\x80", .size = 3},
};
enum { SAMPLES = sizeof samples / sizeof *samples };

static pm_status compare(void *user, size_t count, const pm_value *v) {
    size_t *rows = user;
    assert_int_equal(count, SAMPLES);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(v[i].kind, samples[i].kind);
        assert_int_equal(v[i].integer, samples[i].integer);
        assert_memory_equal(&v[i].real, &samples[i].real, sizeof v[i].real);
        assert_int_equal(v[i].size, samples[i].size);
        if (samples[i].text) assert_memory_equal(v[i].text, samples[i].text, samples[i].size + 1);
    }
    ++*rows;
    return PM_OK;
}

static pm_status look(void *user, size_t count, const pm_value *v) {
    size_t *sum = user;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < v[i].size; k++) *sum += (unsigned char)v[i].text[k];
    return PM_OK;
}

static void every_kind_of_value_comes_back_to_the_bit(void **state) {
    (void)state;
    pm_buffer rows = {0};
    pm_value one[PM_ROWS_COLUMNS_MAX];
    size_t seen = 0, count = 0;
    const pm_query_sink sink = {.user = &seen, .row = compare};
    for (int i = 0; i < 3; i++) assert_int_equal(pm_rows_add(&rows, SAMPLES, samples), PM_OK);
    assert_int_equal(pm_rows_read(rows.bytes, rows.size, 3, SAMPLES, &sink), PM_OK);
    assert_int_equal(seen, 3);
    assert_int_equal(pm_rows_read_one(rows.bytes, rows.size / 3, one, &count), PM_OK);
    assert_int_equal(compare(&seen, count, one), PM_OK);
    assert_int_equal(pm_rows_read(NULL, 0, 0, SAMPLES, &sink), PM_OK);
    pm_buffer_fini(&rows);
}

/* Copied to a block of its very size, so that a sanitizer sees a step too far. */
static pm_status read_copy(const uint8_t *bytes, size_t size, size_t rows) {
    size_t sum = 0;
    const pm_query_sink sink = {.user = &sum, .row = look};
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    pm_status status = pm_rows_read(copy, size, rows, SAMPLES, &sink);
    free(copy);
    return status;
}

static void damaged_frames_are_refused(void **state) {
    (void)state;
    pm_buffer rows = {0};
    assert_int_equal(pm_rows_add(&rows, SAMPLES, samples), PM_OK);
    for (size_t size = 0; size < rows.size; size++)
        assert_int_equal(read_copy(rows.bytes, size, 1), PM_E_PROTOCOL);
    assert_int_equal(read_copy(rows.bytes, rows.size, 0), PM_E_PROTOCOL);
    assert_int_equal(read_copy(rows.bytes, rows.size, 2), PM_E_PROTOCOL);
    for (size_t i = 0; i < rows.size; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            rows.bytes[i] ^= (uint8_t)(1u << bit);
            pm_status status = read_copy(rows.bytes, rows.size, 1);
            assert_true(status == PM_OK || status == PM_E_PROTOCOL);
            rows.bytes[i] ^= (uint8_t)(1u << bit);
        }
    pm_buffer_fini(&rows);
}

static void a_row_has_a_limit(void **state) {
    (void)state;
    pm_buffer rows = {0};
    const pm_value large = {
        .kind = PM_VALUE_BLOB, .text = "never read", .size = PM_ROWS_ROW_BYTES_MAX};
    assert_int_equal(pm_rows_add(&rows, 1, &large), PM_E_LIMIT);
    assert_int_equal(rows.size, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_comes_back_to_the_bit),
        cmocka_unit_test(damaged_frames_are_refused),
        cmocka_unit_test(a_row_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
