/* lib/base: hashes and random streams against published values, files written whole. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static int refuse_with; /* 0: as the file system does */

int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    if (!refuse_with) return __real_renameat2(from_fd, from, to_fd, to, flags);
    errno = refuse_with;
    return -1;
}

static void make_folder(const char *folder, const char *file) {
    char path[128];
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    assert_int_equal(pm_file_write(path, file, 1), PM_OK);
}

static bool holds(const char *folder, const char *file) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    return access(path, F_OK) == 0;
}

static void remove_folder(const char *folder, const char *file) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* Also on file systems that know no flags of renameat2 (NFS). */
static void folder_takes_its_place_on_any_file_system(void **state) {
    static const int refusals[] = {0, EINVAL, ENOSYS};
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        char root[] = "/tmp/pm-base-XXXXXX", made[64], place[64];
        assert_non_null(mkdtemp(root));
        snprintf(made, sizeof made, "%s/made", root);
        snprintf(place, sizeof place, "%s/place", root);
        refuse_with = refusals[i];
        make_folder(made, "a");
        assert_int_equal(pm_dir_put_in_place(made, place, false), PM_OK);
        assert_true(holds(place, "a"));
        make_folder(made, "b");
        assert_int_equal(pm_dir_put_in_place(made, place, false), PM_E_USAGE);
        assert_true(holds(place, "a") && holds(made, "b"));
        assert_int_equal(pm_dir_put_in_place(made, place, true), PM_OK);
        assert_true(holds(place, "b") && holds(made, "a"));
        refuse_with = 0;
        remove_folder(made, "a");
        remove_folder(place, "b");
        assert_int_equal(rmdir(root), 0); /* nothing else is left */
    }
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
        cmocka_unit_test(folder_takes_its_place_on_any_file_system),
        cmocka_unit_test(error_lines_take_context),
        cmocka_unit_test(unknown_names_list_the_known),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
