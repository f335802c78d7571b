/* The option table: grids, duplicates, near names, and a spec file equal to the same flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "tools/options.h"

enum { ARGUMENTS_MAX = 32 };

static pm_status parse(unsigned command, const char *line, pm_options **out) {
    static char copy[1024];
    char *argv[ARGUMENTS_MAX];
    int argc = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    return pm_options_parse(command, "run", argc, argv, out);
}

static void assert_refused(const char *line, const char *text) {
    pm_options *options = NULL;
    assert_int_equal(parse(PM_CMD_RUN, line, &options), PM_E_USAGE);
    assert_null(options);
    if (!strstr(pm_error_text(), text))
        fail_msg("'%s' was refused with '%s', not with '%s'", line, pm_error_text(), text);
    assert_null(strchr(pm_error_text(), '\n'));
}

static void comma_list_and_repetition_make_the_same_grid(void **state) {
    (void)state;
    const char *const lines[] = {"--quantile 0.05,0.1,0.2", "--quantile=0.05 --quantile 0.1,0.2"};
    for (size_t i = 0; i < 2; i++) {
        pm_options *options = NULL;
        assert_int_equal(parse(PM_CMD_RUN, lines[i], &options), PM_OK);
        assert_int_equal(pm_options_count(options, PM_OPT_QUANTILE), 3);
        assert_string_equal(pm_options_value(options, PM_OPT_QUANTILE, 0), "0.05");
        assert_string_equal(pm_options_value(options, PM_OPT_QUANTILE, 2), "0.2");
        pm_options_free(&options);
        assert_null(options);
    }
}

static void defaults_stand_where_nothing_is_given(void **state) {
    (void)state;
    pm_options *options = NULL;
    assert_int_equal(parse(PM_CMD_RUN, "photo.png", &options), PM_OK);
    assert_string_equal(pm_options_text(options, PM_OPT_GAMMA), "inf");
    assert_int_equal(pm_options_count(options, PM_OPT_GAMMA), 1);
    assert_false(pm_options_given(options, PM_OPT_GAMMA));
    assert_null(pm_options_text(options, PM_OPT_MODEL));
    assert_int_equal(pm_options_count(options, PM_OPT_MODEL), 0);
    assert_string_equal(pm_options_operand(options, 0), "photo.png");
    pm_options_free(&options);
}

static void a_switch_stands_alone_or_takes_on_and_off(void **state) {
    (void)state;
    pm_options *options = NULL;
    assert_int_equal(
        parse(PM_CMD_RUN, "--exact --variance-conservation on,off --quiet x", &options), PM_OK);
    assert_string_equal(pm_options_text(options, PM_OPT_EXACT), "on");
    assert_int_equal(pm_options_count(options, PM_OPT_VARIANCE_CONSERVATION), 2);
    assert_true(pm_options_flag(options, PM_OPT_QUIET));
    assert_int_equal(pm_options_operand_count(options), 1);
    pm_options_free(&options);
    assert_refused("--exact=maybe", "on or off");
}

static void keys_belong_to_the_value_before_them(void **state) {
    (void)state;
    static const struct {
        const char *line;
        size_t count;
        const char *values[4];
    } cases[] = {
        {"--input none,blur:radius=3", 2, {"none", "blur:radius=3"}},
        {"--input jigsaw:grid=4,swaps=8", 1, {"jigsaw:grid=4,swaps=8"}},
        {"--input jigsaw:grid=4,swaps=8,blur,noise:sigma=0.1,none",
         4,
         {"jigsaw:grid=4,swaps=8", "blur", "noise:sigma=0.1", "none"}},
        {"--input blur:radius=1,blur:radius=2 --input jigsaw:swaps=1,grid=2",
         3,
         {"blur:radius=1", "blur:radius=2", "jigsaw:swaps=1,grid=2"}},
        {"--input swaps=8,none", 2, {"swaps=8", "none"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pm_options *options = NULL;
        assert_int_equal(parse(PM_CMD_RUN, cases[i].line, &options), PM_OK);
        assert_int_equal(pm_options_count(options, PM_OPT_INPUT), cases[i].count);
        for (size_t k = 0; k < cases[i].count; k++)
            assert_string_equal(pm_options_value(options, PM_OPT_INPUT, k), cases[i].values[k]);
        pm_options_free(&options);
    }
    assert_refused("--input none,", "empty value");
    assert_refused("--input jigsaw:grid=4,,swaps=8", "empty value");
}

static void one_name_is_another_option_for_another_command(void **state) {
    (void)state;
    pm_options *options = NULL;
    assert_int_equal(parse(PM_CMD_RUN, "--seed 3,4", &options), PM_OK);
    assert_int_equal(pm_options_count(options, PM_OPT_SEED), 2);
    assert_false(pm_options_given(options, PM_OPT_PICTURES_SEED));
    pm_options_free(&options);
    assert_int_equal(parse(PM_CMD_DEMO, "--seed 5", &options), PM_OK);
    assert_string_equal(pm_options_text(options, PM_OPT_PICTURES_SEED), "5");
    assert_false(pm_options_given(options, PM_OPT_SEED));
    pm_options_free(&options);
}

static void words_that_are_wrong_are_refused_with_what_to_do(void **state) {
    (void)state;
    assert_refused("--modle resnet18", "did you mean --model?");
    assert_refused("--quantle 0.1", "did you mean --quantile?");
    assert_refused("--zzzzzz 1", "--help");
    assert_refused("-m resnet18", "--name");
    assert_refused("--model", "needs a value");
    assert_refused("--model --weights x", "needs a value");
    assert_refused("--model a --model b", "given twice");
    assert_refused("--quantile 0.1,,0.2", "empty value");
    assert_refused("--quiet=yes", "takes no value");
    assert_refused("--watch", "not an option of run");
}

static void numbers_are_checked_against_their_range(void **state) {
    (void)state;
    pm_options *options = NULL;
    size_t workers = 77;
    assert_int_equal(parse(PM_CMD_RUN, "--workers 0", &options), PM_OK);
    assert_int_equal(pm_options_size(options, PM_OPT_WORKERS, 1, 64, &workers), PM_E_USAGE);
    assert_int_equal(workers, 77);
    pm_options_free(&options);
    assert_int_equal(parse(PM_CMD_RUN, "--workers 3", &options), PM_OK);
    assert_int_equal(pm_options_size(options, PM_OPT_WORKERS, 1, 64, &workers), PM_OK);
    assert_int_equal(workers, 3);
    pm_options_free(&options);
}

static void write_spec(char *path, const char *text) {
    strcpy(path, "/tmp/parchmill-spec-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(pm_file_write(path, text, strlen(text)), PM_OK);
}

static void assert_same_options(const pm_options *a, const pm_options *b) {
    for (int i = 0; i < PM_OPT_COUNT; i++) {
        pm_option_id id = (pm_option_id)i;
        if (id == PM_OPT_SPEC) continue;
        assert_int_equal(pm_options_count(a, id), pm_options_count(b, id));
        assert_int_equal(pm_options_given(a, id), pm_options_given(b, id));
        for (size_t k = 0; k < pm_options_count(a, id); k++)
            assert_string_equal(pm_options_value(a, id, k), pm_options_value(b, id, k));
    }
}

static void spec_file_equals_the_same_flags(void **state) {
    (void)state;
    char path[64], line[256];
    pm_options *flags = NULL, *file = NULL;
    write_spec(path, "{\"model\": \"resnet18\", \"mask\": [\"off\", \"cls\"],"
                     " \"quantile\": [0.05, 0.1], \"exact\": true, \"quiet\": true,"
                     " \"variance-conservation\": [true, false], \"limit\": 7,"
                     " \"mean\": [0.5, 0.25, 0.125], \"layers\": \"default,ratio:0.5\","
                     " \"input\": [\"none\", \"jigsaw:grid=2,swaps=1\"], \"seed\": [1, 2]}");
    snprintf(line, sizeof line, "--spec %s", path);
    assert_int_equal(parse(PM_CMD_RUN, line, &file), PM_OK);
    assert_int_equal(parse(PM_CMD_RUN,
                           "--model resnet18 --mask off,cls --quantile 0.05,0.1 --exact --quiet"
                           " --variance-conservation on,off --limit 7 --mean 0.5,0.25,0.125"
                           " --layers default --layers ratio:0.5"
                           " --input none,jigsaw:grid=2,swaps=1 --seed 1,2",
                           &flags),
                     PM_OK);
    assert_same_options(flags, file);
    pm_options_free(&file);
    pm_options_free(&flags);

    snprintf(line, sizeof line, "--spec %s --model vgg16", path);
    assert_int_equal(parse(PM_CMD_RUN, line, &file), PM_OK);
    assert_string_equal(pm_options_text(file, PM_OPT_MODEL), "vgg16");
    pm_options_free(&file);
    unlink(path);
}

static void bad_spec_files_are_one_line_each(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{\"modle\": \"x\"}", "did you mean model?"},
        {"[1]", "one JSON object"},
        {"{\"model\": ", "line 1"},
        {"{\"model\": [\"a\", \"b\"]}", "takes one value"},
        {"{\"model\": null}", "needs a string"},
        {"{\"quantile\": []}", "empty list"},
        {"{\"spec\": \"x\"}", "cannot stand"},
        {"{\"model\": \"a\", \"model\": \"b\"}", "duplicate"},
        {"", "line"},
        {"{\"model\": \"a\"} x", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64], line[128];
        write_spec(path, cases[i].text);
        snprintf(line, sizeof line, "--spec %s", path);
        assert_refused(line, cases[i].says);
        unlink(path);
    }
    assert_refused("--spec /nonexistent/spec.json", "/nonexistent/spec.json");
    assert_refused("--spec /tmp", "directory");
    assert_refused("--spec /dev/zero", "over");
}

static void near_names_are_near(void **state) {
    (void)state;
    const char *const names[] = {"run", "submit", "status", "attribute", "sql"};
    assert_string_equal(pm_near_name("atribute", names, 5), "attribute");
    assert_string_equal(pm_near_name("rnu", names, 5), "run");
    assert_string_equal(pm_near_name("stat", names, 5), "status");
    assert_null(pm_near_name("photograph", names, 5));
    assert_null(pm_near_name("", names, 5));
}

static void another_command_takes_what_both_take(void **state) {
    (void)state;
    pm_options *options = NULL, *derived = NULL;
    const char *const argv[] = {"--mask", "cls", "--db", "x.db", NULL};
    assert_int_equal(parse(PM_CMD_EXPERIMENT,
                           "--quantile 0.1,0.2 --mask off --seed 3 --out there --quiet", &options),
                     PM_OK);
    assert_int_equal(pm_options_derive(options, PM_CMD_RUN, "run", argv, &derived), PM_OK);
    assert_int_equal(pm_options_count(derived, PM_OPT_QUANTILE), 2);
    assert_string_equal(pm_options_value(derived, PM_OPT_QUANTILE, 1), "0.2");
    assert_int_equal(pm_options_count(derived, PM_OPT_MASK), 1); /* argv wins */
    assert_string_equal(pm_options_text(derived, PM_OPT_MASK), "cls");
    assert_string_equal(pm_options_text(derived, PM_OPT_DB), "x.db");
    assert_true(pm_options_flag(derived, PM_OPT_QUIET));
    assert_false(pm_options_given(derived, PM_OPT_OUT));
    assert_false(pm_options_given(derived, PM_OPT_SEED)); /* another option of that name */
    pm_options_free(&derived);
    pm_options_free(&options);
}

static void runs_are_numbered_from_1(void **state) {
    (void)state;
    static const char *const none[] = {"0", "00", "-1", "x", "9223372036854775808"};
    pm_options *options = NULL;
    uint64_t run = 7;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(pm_run_parse("RUN", none[i], &run), PM_E_USAGE);
        assert_int_equal(run, 7);
    }
    assert_int_equal(parse(PM_CMD_REPORT, "3", &options), PM_OK);
    assert_int_equal(pm_options_run(options, 0, &run), PM_OK);
    assert_int_equal(run, 3);
    assert_int_equal(pm_options_run(options, 1, &run), PM_OK);
    assert_int_equal(run, 0);
    pm_options_free(&options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comma_list_and_repetition_make_the_same_grid),
        cmocka_unit_test(defaults_stand_where_nothing_is_given),
        cmocka_unit_test(a_switch_stands_alone_or_takes_on_and_off),
        cmocka_unit_test(keys_belong_to_the_value_before_them),
        cmocka_unit_test(one_name_is_another_option_for_another_command),
        cmocka_unit_test(words_that_are_wrong_are_refused_with_what_to_do),
        cmocka_unit_test(numbers_are_checked_against_their_range),
        cmocka_unit_test(spec_file_equals_the_same_flags),
        cmocka_unit_test(bad_spec_files_are_one_line_each),
        cmocka_unit_test(near_names_are_near),
        cmocka_unit_test(another_command_takes_what_both_take),
        cmocka_unit_test(runs_are_numbered_from_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
