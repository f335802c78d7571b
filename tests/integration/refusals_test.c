/* Bad input: one clear line and the right exit code, nothing written; bad photographs: one error
 * row each and the rest done. */
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

#include "lib/base/file.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"

enum { IMAGES = 6, LINE_BYTES = 2048 };

static pm_fixture fixture;

static int make_all(void **state) {
    (void)state;
    pm_fixture_make(&fixture, IMAGES);
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    pm_fixture_remove(&fixture);
    return 0;
}

static void assert_one_line(const pm_program *program, int code, const char *says) {
    size_t length = strlen(program->err);
    if (program->code != code || !strstr(program->err, says) || !length ||
        strchr(program->err, '\n') != program->err + length - 1)
        fail_msg("wanted exit %d and one line with '%s', got exit %d and:\n%s", code, says,
                 program->code, program->err);
    assert_string_equal(program->out, "");
}

/* A run with these words changed; refused before anything is written. */
static void assert_refused(const char *weights, const char *images, const char *more, int code,
                           const char *says) {
    char line[LINE_BYTES], db[PM_FIXTURE_PATH];
    pm_program program;
    pm_fixture_path(&fixture, "refused.db", db);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db %s --quiet %s", weights,
             images, db, more);
    pm_program_run(&program, line);
    assert_one_line(&program, code, says);
    assert_int_not_equal(access(db, F_OK), 0);
}

static void write_text(const char *name, const void *bytes, size_t size,
                       char path[PM_FIXTURE_PATH]) {
    pm_fixture_path(&fixture, name, path);
    assert_int_equal(pm_file_write(path, bytes, size), 0);
}

static void options_that_do_not_combine(void **state) {
    (void)state;
    const char *w = fixture.weights, *i = fixture.images;
    assert_refused(w, i, "--quantile 0.1 --alpha 0.1", 2, "use one of them");
    assert_refused(w, i, "--mask cls", 2, "--stats");
    assert_refused(w, i, "--mask off,ins", 2, "--mask ins needs --stats");
    assert_refused(w, i, "--method lime", 2, "grad, inputgrad, ig");
    assert_refused(w, i, "--steps 50", 2, "--method ig");
    assert_refused(w, i, "--method ig --baseline a.png,b.png", 2, "one photograph");
    assert_refused(w, i, "--method ig --baseline zeor", 1, "zero, blur or a photograph");
    assert_refused(w, i, "--transform-input", 2, "only googlenet and inception_v3");
    assert_refused(w, i, "--transform-input on,off", 2, "one value");
    assert_refused(w, i, "--input jigsaw:grid=64", 2, "a crop of 32 pixels");
    assert_refused(w, i, "--input blur:radius=0", 2, "more than 0, at most 100");
    assert_refused(w, i, "--target 10", 2, "0 to 9");
    assert_refused(w, i, "--layers nothing*", 2, "nothing*");
    assert_refused(w, i, "--wrokers 2", 2, "did you mean --workers?");
    assert_refused(w, i, "--workers 0", 2, "out of range");
    assert_refused(w, i, "--stats imagenet --mask cls", 1, "--stats imagenet is no file");
}

static void weights_that_are_damaged_or_foreign(void **state) {
    (void)state;
    char path[PM_FIXTURE_PATH], line[LINE_BYTES];
    uint8_t *bytes = NULL;
    size_t size;
    pm_program program;
    assert_refused("/nonexistent.pth", fixture.images, "", 1, "/nonexistent.pth");
    assert_int_equal(pm_file_read(fixture.weights, 64 << 20, &bytes, &size), 0);
    write_text("short.safetensors", bytes, size / 2, path);
    assert_refused(path, fixture.images, "", 1, "short.safetensors");
    memset(bytes, 0, 8);
    bytes[7] = 0x10; /* a header of 2^60 bytes */
    write_text("huge.safetensors", bytes, size, path);
    assert_refused(path, fixture.images, "", 1, "huge.safetensors");
    free(bytes);
    snprintf(line, sizeof line, "run --model resnet18 --weights %s --images %s --db %s/x.db",
             fixture.weights, fixture.images, fixture.folder);
    pm_program_run(&program, line);
    assert_one_line(&program, 1, "resnet18");
    snprintf(line, sizeof line, "run --model resnet19 --weights %s --images %s", fixture.weights,
             fixture.images);
    pm_program_run(&program, line);
    assert_one_line(&program, 2, "resnet1");
}

static void data_sets_without_photographs_or_with_wrong_labels(void **state) {
    (void)state;
    char path[PM_FIXTURE_PATH], labels[PM_FIXTURE_PATH];
    const char text[] = "path,label\np.png,10\n";
    pm_fixture_path(&fixture, "empty", path);
    assert_int_equal(pm_dir_make(path), 0);
    assert_refused(fixture.weights, path, "", 1, "empty");
    assert_refused(fixture.weights, "/nonexistent", "", 1, "/nonexistent");
    pm_fixture_path(&fixture, "wrong", path);
    assert_int_equal(pm_dir_make(path), 0);
    write_text("wrong/labels.csv", text, sizeof text - 1, labels);
    write_text("wrong/p.png", "x", 1, labels);
    assert_refused(fixture.weights, path, "", 1, "10");
}

/* A photograph cut in half, and text named .jpg: each an error row, the rest is done. */
static void bad_photographs_are_error_rows(void **state) {
    (void)state;
    char from[PM_FIXTURE_PATH + 16], path[PM_FIXTURE_PATH], db[PM_FIXTURE_PATH], line[LINE_BYTES];
    uint8_t *bytes = NULL;
    size_t size;
    pm_program program;
    pm_fixture_path(&fixture, "mixed", path);
    assert_int_equal(pm_dir_make(path), 0);
    for (int i = 0; i < IMAGES; i++) {
        char name[64];
        snprintf(from, sizeof from, "%s/p%04d.png", fixture.images, i);
        assert_int_equal(pm_file_read(from, 1 << 20, &bytes, &size), 0);
        snprintf(name, sizeof name, "mixed/p%d.png", i);
        write_text(name, bytes, i == 2 ? size / 2 : size, path);
        free(bytes);
    }
    write_text("mixed/text.jpg", "this is no photograph\n", 22, path);
    pm_fixture_path(&fixture, "mixed", path);
    pm_fixture_path(&fixture, "mixed.db", db);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db %s --threads 1",
             fixture.weights, path, db);
    pm_program_run(&program, line);
    if (program.code != 0) fail_msg("exit %d:\n%s%s", program.code, program.out, program.err);
    assert_non_null(strstr(program.out, "2 images failed"));
    assert_non_null(strstr(program.out, "\n    the file is damaged or no photograph: "));
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result"), IMAGES + 1);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result WHERE stage = 'decode'"), 2);
    /* Once the photograph is whole another data set results; retry does the rows that failed. */
    snprintf(line, sizeof line, "retry 1 --db %s", db);
    assert_int_equal(pm_program_run(&program, line), 0);
    assert_non_null(strstr(program.out, "2 failed"));
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result"), IMAGES - 1);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db %s --threads 1",
             fixture.weights, path, db);
    assert_int_equal(pm_program_run(&program, line), 0);
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM result"), IMAGES + 1);
}

static void databases_that_cannot_be_written(void **state) {
    (void)state;
    char line[LINE_BYTES], path[PM_FIXTURE_PATH];
    pm_program program;
    write_text("notes.db", "these are notes, not a database, and they are not touched", 57, path);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db %s --quiet", fixture.weights,
             fixture.images, path);
    pm_program_run(&program, line);
    assert_one_line(&program, 1, "notes.db");
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db /nonexistent/x.db --quiet",
             fixture.weights, fixture.images);
    pm_program_run(&program, line);
    assert_one_line(&program, 1, "/nonexistent/x.db");
    if (geteuid() == 0) return; /* for whom nothing is read-only */
    write_text("readonly.db", "", 0, path);
    assert_int_equal(chmod(path, 0444), 0);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db %s --quiet", fixture.weights,
             fixture.images, path);
    pm_program_run(&program, line);
    assert_one_line(&program, 1, "readonly.db");
}

static void questions_are_read_only(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    pm_fixture_path(&fixture, "mixed.db", db);
    snprintf(line, sizeof line, "sql 'DELETE FROM result' --db %s", db);
    pm_program_run(&program, line);
    assert_int_not_equal(program.code, 0);
    snprintf(line, sizeof line, "sql 'SELEC 1' --db %s", db);
    pm_program_run(&program, line);
    assert_one_line(&program, 2, "SELEC");
    snprintf(line, sizeof line, "sql 'SELECT 1' --db %s --format xml", db);
    pm_program_run(&program, line);
    assert_one_line(&program, 2, "table, csv, json");
    snprintf(line, sizeof line, "status 99 --db %s", db);
    pm_program_run(&program, line);
    assert_one_line(&program, 1, "99");
    assert_int_equal(pm_program_run(&program, "statuss"), 2);
    assert_non_null(strstr(program.err, "did you mean 'status'?"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_that_do_not_combine),
        cmocka_unit_test(weights_that_are_damaged_or_foreign),
        cmocka_unit_test(data_sets_without_photographs_or_with_wrong_labels),
        cmocka_unit_test(bad_photographs_are_error_rows),
        cmocka_unit_test(databases_that_cannot_be_written),
        cmocka_unit_test(questions_are_read_only),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
