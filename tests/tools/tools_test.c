/* Files and lines that the command writes: .npy, tables, progress, the children's last words. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <math.h>

#include "lib/base/file.h"
#include "tools/log_tail.h"
#include "tools/npy.h"
#include "tools/private_dir.h"
#include "tools/progress.h"
#include "tools/table.h"

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/parchmill-tools-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    pm_private_dir_remove(folder);
    return 0;
}

static void in_folder(char out[128], const char *name) {
    snprintf(out, 128, "%s/%s", folder, name);
}

static bool have_numpy(void) {
    return system("/usr/bin/python3 -c 'import numpy' 2>/dev/null") == 0;
}

/* numpy.lib.format, version 1.0: magic, version, header length, a dict, data from a multiple of
 * 64. */
static void npy_is_as_numpy_defines_it(void **state) {
    (void)state;
    char path[128], command[512];
    uint8_t *bytes = NULL;
    size_t size;
    const float values[6] = {0.0f, 1.5f, -2.25f, 1e-30f, 3.4e38f, 7.0f};
    in_folder(path, "heat.npy");
    assert_int_equal(pm_npy_write(path, values, 2, 3), PM_OK);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    assert_memory_equal(bytes, "\x93NUMPY\x01\x00", 8);
    size_t header = (size_t)bytes[8] + 256u * bytes[9] + 10;
    assert_int_equal(header % 64, 0);
    assert_int_equal(size, header + sizeof values);
    assert_int_equal(bytes[header - 1], '\n');
    assert_non_null(memmem(bytes, header, "'descr': '<f4'", 14));
    assert_non_null(memmem(bytes, header, "'shape': (2, 3)", 15));
    assert_memory_equal(bytes + header, values, sizeof values);
    free(bytes);
    if (!have_numpy()) return;
    snprintf(command, sizeof command,
             "/usr/bin/python3 -c \"import numpy as n; a = n.load('%s'); assert a.shape == (2, 3) "
             "and a.dtype == n.float32 and a[1, 1] == n.float32(3.4e38) and a[0, 2] == -2.25\"",
             path);
    assert_int_equal(system(command), 0);
}

static void npy_that_cannot_be_written_leaves_nothing(void **state) {
    (void)state;
    const float value = 1;
    assert_int_not_equal(pm_npy_write("/nonexistent/heat.npy", &value, 1, 1), PM_OK);
    assert_int_not_equal(access("/nonexistent/heat.npy", F_OK), 0);
}

/* ---- tables ---- */

static pm_value text_value(const char *text) {
    return (pm_value){.kind = PM_VALUE_TEXT, .text = text, .size = strlen(text)};
}

static char *table_of(pm_table_format format, size_t rows) {
    static const char *const names[] = {"image", "p", "note", "blob"};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    pm_table *table = NULL;
    assert_int_equal(pm_table_new(format, out, &table), PM_OK);
    pm_query_sink sink = pm_table_sink(table);
    assert_int_equal(sink.columns(sink.user, 4, names, names), PM_OK);
    for (size_t i = 0; i < rows; i++) {
        pm_value values[4] = {text_value(i ? "b, \"c\"" : "größe"),
                              {.kind = PM_VALUE_REAL, .real = i ? 0.1 : 1e300},
                              {.kind = PM_VALUE_NULL},
                              {.kind = PM_VALUE_BLOB, .text = "\x01\xff", .size = 2}};
        assert_int_equal(sink.row(sink.user, 4, values), PM_OK);
    }
    assert_int_equal(pm_table_end(table), PM_OK);
    assert_int_equal(pm_table_rows(table), rows);
    pm_table_free(&table);
    fclose(out);
    return text;
}

static void csv_quotes_what_must_be_quoted(void **state) {
    (void)state;
    char *text = table_of(PM_TABLE_CSV, 2);
    assert_string_equal(text, "image,p,note,blob\n"
                              "größe,1e+300,,01ff\n"
                              "\"b, \"\"c\"\"\",0.1,,01ff\n");
    free(text);
}

static void json_escapes_and_knows_null(void **state) {
    (void)state;
    char *text = table_of(PM_TABLE_JSON, 2);
    assert_string_equal(text, "[\n {\"image\": \"größe\", \"p\": 1e+300, \"note\": null, "
                              "\"blob\": \"01ff\"},\n"
                              " {\"image\": \"b, \\\"c\\\"\", \"p\": 0.1, \"note\": null, "
                              "\"blob\": \"01ff\"}\n]\n");
    free(text);
    text = table_of(PM_TABLE_JSON, 0);
    assert_string_equal(text, "[]\n");
    free(text);
}

/* RFC 8259 has JSON in UTF-8; values as exports have them. */
static void programs_can_read_any_text_and_tell_it_from_null(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d"};
    static const char *const want[] = {
        [PM_TABLE_CSV] = "a,b,c,d\n\"\",,\xef\xbf\xbdx,Inf\n",
        [PM_TABLE_JSONL] =
            "{\"a\": \"\", \"b\": null, \"c\": \"\xef\xbf\xbdx\", \"d\": \"Inf\"}\n"};
    const pm_value values[] = {text_value(""),
                               {.kind = PM_VALUE_NULL},
                               text_value("\xffx"),
                               {.kind = PM_VALUE_REAL, .real = INFINITY}};
    for (size_t f = 0; f < sizeof want / sizeof *want; f++) {
        char *text = NULL;
        size_t size;
        pm_table *table = NULL;
        if (!want[f]) continue;
        FILE *out = open_memstream(&text, &size);
        assert_int_equal(pm_table_new((pm_table_format)f, out, &table), PM_OK);
        const pm_query_sink sink = pm_table_sink(table);
        assert_int_equal(sink.columns(sink.user, 4, names, names), PM_OK);
        assert_int_equal(sink.row(sink.user, 4, values), PM_OK);
        assert_int_equal(pm_table_end(table), PM_OK);
        pm_table_free(&table);
        fclose(out);
        assert_string_equal(text, want[f]);
        free(text);
    }
}

static void table_shows_null_and_blobs_in_words(void **state) {
    (void)state;
    char *text = table_of(PM_TABLE_TEXT, 2);
    assert_non_null(strstr(text, "NULL"));
    assert_non_null(strstr(text, "blob(2 bytes)"));
    assert_non_null(strstr(text, "0.1"));
    free(text);
    text = table_of(PM_TABLE_TEXT, 0);
    assert_non_null(strstr(text, "image"));
    free(text);
    /* Past the sample rows stream on. */
    text = table_of(PM_TABLE_TEXT, PM_TABLE_SAMPLE + 3);
    size_t lines = 0;
    for (const char *p = text; *p; p++) lines += *p == '\n';
    assert_int_equal(lines, PM_TABLE_SAMPLE + 3 + 2);
    free(text);
}

/* ---- progress ---- */

static void progress_line_fits_every_width(void **state) {
    (void)state;
    char *text = NULL, line[512];
    size_t size;
    FILE *out = open_memstream(&text, &size);
    pm_progress progress = {.out = out};
    pm_progress_state now = {.items = 900};
    for (int i = 0; i <= 20; i++) {
        now.items_done = (uint64_t)i * 5;
        pm_progress_show(&progress, &now, 1000 + i * 500);
    }
    assert_true(pm_progress_rate(&progress) > 9.9 && pm_progress_rate(&progress) < 10.1);
    now.items_failed = 3;
    for (size_t columns = 1; columns < 200; columns++) {
        pm_progress_line(&progress, &now, columns, line, sizeof line);
        assert_true(strlen(line) <= columns);
    }
    assert_non_null(strstr(line, "100/900"));
    assert_non_null(strstr(line, "ETA 1:20"));
    assert_non_null(strstr(line, "3 failed"));
    fclose(out);
    free(text);
}

static void pauses_are_said_once_and_when_they_end(void **state) {
    (void)state;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    pm_progress progress = {.out = out, .quiet = true};
    pm_progress_state now = {.items = 9, .paused = "no room on the disk"};
    for (int i = 1; i < 50; i++) pm_progress_show(&progress, &now, i * 100);
    now.paused = NULL;
    pm_progress_show(&progress, &now, 6000);
    fclose(out);
    assert_string_equal(text, "paused: no room on the disk; it goes on by itself\ngoing on\n");
    free(text);
}

static void durations_read_as_on_a_clock(void **state) {
    (void)state;
    char text[32];
    pm_duration_text(39.4, text, sizeof text);
    assert_string_equal(text, "0:39");
    pm_duration_text(3723, text, sizeof text);
    assert_string_equal(text, "1:02:03");
}

/* ---- the children's log ---- */

static void last_words_are_the_childs_own(void **state) {
    (void)state;
    char path[128], line[256];
    in_folder(path, "x.log");
    const char before[] = "parchmill-broker: an older life\n";
    const char after[] = "2026-01-01 info store.open path=x\n"
                         "2026-01-01 error store.fail text=\"bad\"\n"
                         "parchmill-broker: results.db: disk I/O error\n"
                         "parchmill-worker: nobody answers\n"
                         "2026-01-01 info worker.gone name=x\n";
    char both[512];
    snprintf(both, sizeof both, "%s%s", before, after);
    assert_int_equal(pm_file_write(path, both, strlen(both)), PM_OK);
    pm_log_tail_last(path, (long)strlen(before), "parchmill-broker", line, sizeof line);
    assert_string_equal(line, "results.db: disk I/O error");
    pm_log_tail_last(path, pm_log_tail_size(path), "parchmill-broker", line, sizeof line);
    assert_string_equal(line, "");
    pm_log_tail_last("/nonexistent", 0, "x", line, sizeof line);
    assert_string_equal(line, "");
}

static void private_folder_is_private_and_goes(void **state) {
    (void)state;
    char path[PM_PRIVATE_DIR_BYTES];
    struct stat info;
    int lock;
    assert_int_equal(pm_private_dir_make(path, &lock), PM_OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_true(strlen(path) + strlen("/broker.w") <= 107);
    pm_private_dir_remove(path);
    close(lock);
    assert_int_not_equal(stat(path, &info), 0);
}

/* The number of a process that is no more, to us: it may be one in another PID namespace. */
static void folder_in_use_is_no_left_over(void **state) {
    (void)state;
    char base[] = "/tmp/pm_base_XXXXXX", made[PM_PRIVATE_DIR_BYTES], theirs[128], socket[160];
    int lock, ours;
    assert_non_null(mkdtemp(base));
    const pid_t gone = fork();
    if (gone == 0) _exit(0);
    assert_int_equal(waitpid(gone, NULL, 0), gone);
    snprintf(theirs, sizeof theirs, "%s/parchmill-run-%ld-abcdef", base, (long)gone);
    snprintf(socket, sizeof socket, "%s/broker", theirs);
    assert_int_equal(mkdir(theirs, 0700), 0);
    assert_int_equal(mknod(socket, S_IFREG | 0600, 0), 0);
    lock = open(theirs, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    assert_int_equal(setenv("XDG_RUNTIME_DIR", base, 1), 0);
    for (int used = 1; used >= 0; used--) {
        assert_int_equal(pm_private_dir_make(made, &ours), PM_OK);
        assert_int_equal(access(socket, F_OK), used ? 0 : -1);
        /* What is made here is in use, whoever asks. */
        const int other = open(made, O_RDONLY | O_DIRECTORY);
        assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
        close(other);
        pm_private_dir_remove(made);
        close(ours);
        if (used) close(lock);
    }
    assert_int_equal(access(theirs, F_OK), -1);
    assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
    assert_int_equal(rmdir(base), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_is_as_numpy_defines_it),
        cmocka_unit_test(npy_that_cannot_be_written_leaves_nothing),
        cmocka_unit_test(csv_quotes_what_must_be_quoted),
        cmocka_unit_test(json_escapes_and_knows_null),
        cmocka_unit_test(programs_can_read_any_text_and_tell_it_from_null),
        cmocka_unit_test(table_shows_null_and_blobs_in_words),
        cmocka_unit_test(progress_line_fits_every_width),
        cmocka_unit_test(pauses_are_said_once_and_when_they_end),
        cmocka_unit_test(durations_read_as_on_a_clock),
        cmocka_unit_test(last_words_are_the_childs_own),
        cmocka_unit_test(private_folder_is_private_and_goes),
        cmocka_unit_test(folder_in_use_is_no_left_over),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
