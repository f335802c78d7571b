/* lib/base: the text of inputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/input.h"

static void every_input_is_read_and_written(void **state) {
    (void)state;
    static const struct {
        const char *text, *canonical;
        pm_input input;
    } cases[] = {
        {"none", "none", {.kind = PM_INPUT_NONE}},
        {"jigsaw", "jigsaw:grid=4,swaps=8", {PM_INPUT_JIGSAW, 4, 8, 0, 0}},
        {"jigsaw:swaps=0", "jigsaw:grid=4,swaps=0", {PM_INPUT_JIGSAW, 4, 0, 0, 0}},
        {"jigsaw:swaps=10000,grid=64",
         "jigsaw:grid=64,swaps=10000",
         {PM_INPUT_JIGSAW, 64, 10000, 0, 0}},
        {"blur:radius=3", "blur:radius=3", {.kind = PM_INPUT_BLUR, .radius = 3}},
        {"blur", "blur:radius=3", {.kind = PM_INPUT_BLUR, .radius = 3}},
        {"noise:sigma=1e-1",
         "noise:sigma=0.10000000000000001",
         {.kind = PM_INPUT_NOISE, .sigma = 0.1}},
        {"noise:sigma=1", "noise:sigma=1", {.kind = PM_INPUT_NOISE, .sigma = 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pm_input input, again;
        char text[PM_INPUT_BYTES];
        if (pm_input_parse(cases[i].text, &input)) fail_msg("%s", pm_error_text());
        assert_true(pm_input_equal(&input, &cases[i].input));
        pm_input_format(&input, text, sizeof text);
        assert_string_equal(text, cases[i].canonical);
        assert_int_equal(pm_input_parse(text, &again), PM_OK);
        assert_true(pm_input_equal(&input, &again));
    }
}

static void what_is_not_an_input_is_refused_in_one_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "not known"},
        {"jig", "not known"},
        {"blurred", "not known"},
        {"Blur:radius=3", "not known"},
        {"none:", "not KEY=VALUE"},
        {"none:grid=4", "no key 'grid'"},
        {"jigsaw:", "not KEY=VALUE"},
        {"jigsaw:grid=4,", "not KEY=VALUE"},
        {"jigsaw:grid=4,,swaps=8", "not KEY=VALUE"},
        {"jigsaw:grid=4,grid=4", "given twice"},
        {"jigsaw:grid=1", "2 to 64"},
        {"jigsaw:grid=65", "2 to 64"},
        {"jigsaw:grid=4.5", "not a whole number"},
        {"jigsaw:swaps=10001", "0 to 10000"},
        {"jigsaw:radius=3", "there are grid, swaps"},
        {"blur:radius=0", "more than 0, at most 100"},
        {"blur:radius=100.5", "more than 0, at most 100"},
        {"blur:radius=nan", "not a number"},
        {"blur:radius=", "not a number"},
        {"blur:sigma=3", "there is radius"},
        {"noise:sigma=1.5", "more than 0, at most 1"},
        {"noise:sigma=-0.1", "more than 0, at most 1"},
        {"noise:sigma=0.1000000000000000000000000000000000000000000000000000000001", "longer"},
    };
    pm_input untouched = {PM_INPUT_BLUR, 1, 2, 3, 4}, input = untouched;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (pm_input_parse(cases[i].text, &input) != PM_E_USAGE)
            fail_msg("'%s' is taken", cases[i].text);
        if (!strstr(pm_error_text(), cases[i].says) || strchr(pm_error_text(), '\n'))
            fail_msg("'%s': %s", cases[i].text, pm_error_text());
        assert_true(pm_input_equal(&input, &untouched));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_input_is_read_and_written),
        cmocka_unit_test(what_is_not_an_input_is_refused_in_one_line),
    };
    return cmocka_run_group_tests_name("base_input", tests, NULL, NULL);
}
