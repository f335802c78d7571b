/* How values look in CSV and JSON Lines, and how an export takes its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "tools/cells.h"
#include "tools/export/out.h"
#include "tools/export/rows.h"

static pm_value text(const char *bytes, size_t size) {
    return (pm_value){.kind = PM_VALUE_TEXT, .text = bytes, .size = size};
}

/* One row of one format; free it. */
static char *row_of(pm_rows_format format, const pm_value *values, size_t count) {
    static const char *const names[] = {"a", "b,\"", "c", "d"}, *const types[] = {"", "", "", ""};
    char *out = NULL;
    size_t size = 0;
    pm_rows *rows = NULL;
    FILE *stream = open_memstream(&out, &size);
    assert_int_equal(pm_rows_new(format, stream, &rows), PM_OK);
    const pm_query_sink sink = pm_rows_sink(rows);
    assert_int_equal(sink.columns(sink.user, count, names, types), PM_OK);
    assert_int_equal(sink.row(sink.user, count, values), PM_OK);
    assert_int_equal(pm_rows_count(rows), 1);
    pm_rows_free(&rows);
    fclose(stream);
    return out;
}

static void expect(pm_rows_format format, const pm_value *values, size_t count, const char *want) {
    char *got = row_of(format, values, count);
    assert_string_equal(got, want);
    free(got);
}

static void csv_is_rfc_4180_and_null_is_not_an_empty_text(void **state) {
    (void)state;
    const pm_value values[] = {
        {.kind = PM_VALUE_NULL}, text("", 0), text("x,y", 3), text("say \"ja\"\n", 9)};
    expect(PM_ROWS_CSV, values, 4, "a,\"b,\"\"\",c,d\r\n,\"\",\"x,y\",\"say \"\"ja\"\"\n\"\r\n");
}

static void json_has_null_escapes_and_no_infinity(void **state) {
    (void)state;
    const pm_value values[] = {{.kind = PM_VALUE_NULL},
                               text("\x01\"\\\n\x7f", 5),
                               {.kind = PM_VALUE_REAL, .real = INFINITY},
                               {.kind = PM_VALUE_INTEGER, .integer = INT64_MIN}};
    expect(PM_ROWS_JSONL, values, 4,
           "{\"a\": null, \"b,\\\"\": \"\\u0001\\\"\\\\\\u000a\x7f\", \"c\": \"Inf\", \"d\": "
           "-9223372036854775808}\n");
}

static void bytes_that_are_no_utf8_become_the_replacement_character(void **state) {
    (void)state;
    const pm_value value = text("\xc3\xbc\xff\xc2\x80\xed\xa0\x80", 8);
    expect(PM_ROWS_CSV, &value, 1,
           "a\r\n\xc3\xbc\xef\xbf\xbd\xc2\x80\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\r\n");
    expect(PM_ROWS_JSONL, &value, 1,
           "{\"a\": \"\xc3\xbc\xef\xbf\xbd\xc2\x80\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}\n");
}

static void real_numbers_read_back_to_the_bit(void **state) {
    (void)state;
    char out[PM_REAL_TEXT_BYTES];
    for (uint64_t i = 0; i < 200000; i++) {
        uint64_t bits = i * UINT64_C(0x9E3779B97F4A7C15) ^ i << 40;
        double value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        pm_real_text(value, out);
        back = strtod(out, NULL);
        assert_memory_equal(&back, &value, sizeof back);
    }
    pm_real_text(0.1, out);
    assert_string_equal(out, "0.1");
    pm_real_text(-INFINITY, out);
    assert_string_equal(out, "-Inf");
}

static void a_stream_that_fails_is_told(void **state) {
    (void)state;
    pm_rows *rows = NULL;
    FILE *full = fopen("/dev/full", "wb");
    const pm_value value = text("x", 1);
    pm_status status = PM_OK;
    assert_int_equal(pm_rows_new(PM_ROWS_CSV, full, &rows), PM_OK);
    const pm_query_sink sink = pm_rows_sink(rows);
    for (size_t i = 0; i < 100000 && !status; i++) status = sink.row(sink.user, 1, &value);
    assert_int_equal(status, PM_E_FULL);
    pm_rows_free(&rows);
    fclose(full);
}

/* ---- where it goes ---- */

static char folder[64];

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/pm_export_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static const char *in(const char *name) {
    static char path[4][128];
    static size_t next;
    char *out = path[next++ % 4];
    snprintf(out, 128, "%s/%s", folder, name);
    return out;
}

static size_t entries(void) {
    size_t count = 0;
    DIR *dir = opendir(folder);
    while (readdir(dir)) count++;
    closedir(dir);
    return count - 2;
}

static void write_in(pm_out *out, const char *name, const char *words) {
    FILE *stream = NULL;
    assert_int_equal(pm_out_stream(out, name, &stream), PM_OK);
    fputs(words, stream);
    assert_int_equal(pm_out_close(out, name, &stream, PM_OK), PM_OK);
}

static void expect_file(const char *path, const char *words) {
    uint8_t *bytes;
    size_t size;
    if (pm_file_read(path, 1000, &bytes, &size)) fail_msg("%s", pm_error_text());
    assert_int_equal(size, strlen(words));
    assert_memory_equal(bytes, words, size);
    free(bytes);
}

static void put_folder(const char *name, const char *words, bool force, pm_status want) {
    pm_out *out = NULL;
    pm_status status = pm_out_open(in(name), PM_OUT_FOLDER, force, &out);
    assert_int_equal(status, want);
    if (status) return;
    write_in(out, "tables.json", "{\"" PM_OUT_MARK_KEY "\": 1, \"file\": \"t.csv\"}");
    write_in(out, "t.csv", words);
    assert_int_equal(pm_out_end(&out, PM_OK), PM_OK);
}

static void a_folder_replaces_a_former_export_and_nothing_else(void **state) {
    (void)state;
    put_folder("x/", "one", false, PM_OK); /* the slash is no part of the name */
    expect_file(in("x/t.csv"), "one");
    put_folder("x", "two", false, PM_OK);
    expect_file(in("x/t.csv"), "two");
    assert_int_equal(pm_file_write(in("x/mine"), "", 0), PM_OK); /* somebody works in it */
    put_folder("x", "three", false, PM_E_USAGE);
    expect_file(in("x/t.csv"), "two");
    put_folder("x", "three", true, PM_E_USAGE); /* whatever is said: it would go with the rest */
    expect_file(in("x/t.csv"), "two");
    assert_int_equal(access(in("x/mine"), F_OK), 0);
    assert_int_equal(mkdir(in("photos"), 0777), 0);
    put_folder("photos", "three", false, PM_OK); /* an empty folder holds nothing to lose */
    assert_int_equal(mkdir(in("other"), 0777), 0);
    assert_int_equal(pm_file_write(in("other/mine"), "mine", 4), PM_OK);
    put_folder("other", "four", false, PM_E_USAGE);
    expect_file(in("other/mine"), "mine");
    put_folder("other", "four", true, PM_E_USAGE);
    expect_file(in("other/mine"), "mine");
    assert_int_equal(pm_file_write(in("file"), "mine", 4), PM_OK);
    put_folder("file", "five", true, PM_E_USAGE); /* a file is no folder, forced or not */
    assert_int_equal(entries(), 4);
}

static void a_full_disk_is_told_with_the_name_of_the_file(void **state) {
    (void)state;
    pm_out *out = NULL;
    FILE *stream = NULL;
    pm_rows *rows = NULL;
    char want[200];
    const pm_value value = text("x", 1);
    pm_status status = PM_OK;
    assert_int_equal(pm_out_open(in("x"), PM_OUT_FOLDER, false, &out), PM_OK);
    assert_int_equal(pm_out_stream(out, "t.csv", &stream), PM_OK);
    assert_non_null(freopen("/dev/full", "wb", stream));
    assert_int_equal(pm_rows_new(PM_ROWS_CSV, stream, &rows), PM_OK);
    const pm_query_sink sink = pm_rows_sink(rows);
    for (size_t i = 0; i < 100000 && !status; i++) status = sink.row(sink.user, 1, &value);
    assert_int_not_equal(status, PM_OK);
    pm_rows_free(&rows);
    assert_int_equal(pm_out_close(out, "t.csv", &stream, status), PM_E_FULL);
    snprintf(want, sizeof want, "%s: No space left on device", in("x/t.csv"));
    assert_string_equal(pm_error_text(), want);
    assert_int_equal(pm_out_end(&out, PM_E_FULL), PM_E_FULL);
    assert_int_equal(entries(), 0);
}

static void a_failure_leaves_what_was_there_and_no_trace(void **state) {
    (void)state;
    pm_out *out = NULL;
    put_folder("x", "one", false, PM_OK);
    assert_int_equal(pm_out_open(in("x"), PM_OUT_FOLDER, false, &out), PM_OK);
    write_in(out, "t.csv", "two");
    assert_int_equal(entries(), 2); /* it grows beside */
    assert_int_equal(pm_out_end(&out, PM_E_FULL), PM_E_FULL);
    assert_null(out);
    expect_file(in("x/t.csv"), "one");
    assert_int_equal(entries(), 1);
}

static void put_file(const char *name, const char *words, bool force, pm_status want) {
    pm_out *out = NULL;
    pm_status status = pm_out_open(in(name), PM_OUT_FILE, force, &out);
    assert_int_equal(status, want);
    if (status) return;
    write_in(out, NULL, words);
    assert_int_equal(pm_out_end(&out, PM_OK), PM_OK);
}

static void a_file_replaces_a_former_script_and_nothing_else(void **state) {
    (void)state;
    put_file("s.sql", PM_OUT_MARK_LINE "\none", false, PM_OK);
    put_file("s.sql", PM_OUT_MARK_LINE "\ntwo", false, PM_OK);
    expect_file(in("s.sql"), PM_OUT_MARK_LINE "\ntwo");
    assert_int_equal(pm_file_write(in("mine"), "mine", 4), PM_OK);
    put_file("mine", "no", false, PM_E_USAGE);
    expect_file(in("mine"), "mine");
    put_file("mine", "yes", true, PM_OK);
    expect_file(in("mine"), "yes");
    assert_int_equal(pm_file_write(in("mine-wal"), "", 0), PM_OK);
    put_file("mine", "no", true, PM_E_USAGE); /* a database in use, forced or not */
    assert_int_equal(entries(), 3);
}

static void what_came_into_being_meanwhile_is_not_replaced(void **state) {
    (void)state;
    pm_out *out = NULL;
    assert_int_equal(pm_out_open(in("new"), PM_OUT_FILE, false, &out), PM_OK);
    write_in(out, NULL, "ours");
    assert_int_equal(pm_file_write(in("new"), "theirs", 6), PM_OK);
    assert_int_equal(pm_out_end(&out, PM_OK), PM_E_USAGE);
    expect_file(in("new"), "theirs");
    assert_int_equal(entries(), 1);
}

#define FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_is_rfc_4180_and_null_is_not_an_empty_text),
        cmocka_unit_test(json_has_null_escapes_and_no_infinity),
        cmocka_unit_test(bytes_that_are_no_utf8_become_the_replacement_character),
        cmocka_unit_test(real_numbers_read_back_to_the_bit),
        cmocka_unit_test(a_stream_that_fails_is_told),
        cmocka_unit_test_setup_teardown(a_full_disk_is_told_with_the_name_of_the_file, set_up,
                                        tear_down),
        FOLDER(a_folder_replaces_a_former_export_and_nothing_else),
        FOLDER(a_failure_leaves_what_was_there_and_no_trace),
        FOLDER(a_file_replaces_a_former_script_and_nothing_else),
        FOLDER(what_came_into_being_meanwhile_is_not_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
