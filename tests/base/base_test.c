/* lib/base: hashes and random streams against published values, files written whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/attribution.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"
#include "lib/base/text.h"

static void sha256_is_fips_180(void **state) {
    (void)state;
    char hex[PM_SHA256_HEX_BYTES];
    pm_sha256 hash = pm_sha256_of("abc", 3), parsed;
    pm_sha256_hex(&hash, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(pm_sha256_parse(hex, &parsed), PM_OK);
    assert_true(pm_sha256_equal(&hash, &parsed));
    hex[63] = 'x';
    assert_int_equal(pm_sha256_parse(hex, &parsed), PM_E_FORMAT);
}

/* FNV-1a and SplitMix64 by their authors' published test values. */
static void counter_hash_is_the_published_one(void **state) {
    (void)state;
    assert_true(pm_fnv1a64("") == 0xcbf29ce484222325u);
    assert_true(pm_fnv1a64("foobar") == 0x85944171f73967e8u);
    assert_true(pm_splitmix64(0) == 0xe220a8397b1dcdafu);
    float whole[8], part[3];
    pm_synth("input/0", 0, whole, 8);
    pm_synth("input/0", 5, part, 3);
    assert_memory_equal(whole + 5, part, sizeof part);
}

static void numbers_are_parsed_whole_or_refused(void **state) {
    (void)state;
    size_t size;
    double real;
    assert_int_equal(pm_parse_size("--limit", "12", &size), PM_OK);
    assert_int_equal(size, 12);
    const char *const bad[] = {"", "-1", " 1", "1x", "99999999999999999999", "0x10"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pm_parse_size("--limit", bad[i], &size), PM_E_USAGE);
    assert_int_equal(pm_parse_double("--alpha", "1e-10", &real), PM_OK);
    assert_true(real == 1e-10);
    const char *const wrong[] = {"", "nan", "inf", "1,5", "1e999", "0x1p3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(pm_parse_double("--alpha", wrong[i], &real), PM_E_USAGE);
}

static void file_is_written_whole_or_not_at_all(void **state) {
    (void)state;
    char folder[] = "/tmp/pm-base-XXXXXX", path[64], missing[96];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a", folder);
    snprintf(missing, sizeof missing, "%s/no/a", folder);
    uint8_t *bytes;
    size_t size;
    assert_int_equal(pm_file_write(path, "one", 3), PM_OK);
    assert_int_equal(pm_file_write(missing, "two", 3), PM_E_NOT_FOUND);
    assert_int_equal(pm_file_read(path, 2, &bytes, &size), PM_E_LIMIT);
    assert_int_equal(pm_file_read(path, 3, &bytes, &size), PM_OK);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "one", 3);
    free(bytes);
    assert_int_equal(pm_file_read(folder, 100, &bytes, &size), PM_E_FORMAT);
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static void error_lines_take_context(void **state) {
    (void)state;
    assert_int_equal(pm_fail(PM_E_FORMAT, "tensor %d is cut", 3), PM_E_FORMAT);
    assert_int_equal(pm_fail_in(PM_E_FORMAT, "%s", "w.pth"), PM_E_FORMAT);
    assert_string_equal(pm_error_text(), "w.pth: tensor 3 is cut");
}

static void unknown_names_list_the_known(void **state) {
    (void)state;
    pm_mask mask;
    assert_int_equal(pm_mask_parse("cls", &mask), PM_OK);
    assert_int_equal(mask, PM_MASK_CLS);
    assert_int_equal(pm_mask_parse("clas", &mask), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "off, cls"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_is_fips_180),
        cmocka_unit_test(counter_hash_is_the_published_one),
        cmocka_unit_test(numbers_are_parsed_whole_or_refused),
        cmocka_unit_test(file_is_written_whole_or_not_at_all),
        cmocka_unit_test(error_lines_take_context),
        cmocka_unit_test(unknown_names_list_the_known),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
