/* What holds of every chart whatever it shows: texts of others are harmless, the same data give the
 * same bytes in any locale, a reader who does not see it is told, shapes that fit nothing are
 * refused with nothing written, colours can be told from the ground. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/chart/chart.h"
#include "svg_reader.h"

static const double xs[] = {0.25, 0.5, 1.5}, ys[] = {0.125, 1234.5, 2.75};

static pm_status draw(const char *title, const char *name, pm_buffer *out) {
    const pm_series series[] = {{.name = name, .x = xs, .y = ys, .count = 3}};
    pm_chart chart = pm_chart_new(title, name, name);
    chart.reference = 1;
    chart.reference_label = name;
    return pm_chart_lines(&chart, series, 1, out);
}

static void texts_of_others_are_escaped(void **state) {
    (void)state;
    static const char hostile[] = "<&\">]]>\x01\x1b[31m\x7f\xff\xc3( \xef\xbf\xbf '";
    static const char want[] =
        "<&\">]]>\xef\xbf\xbd\xef\xbf\xbd[31m\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd( \xef\xbf\xbd '";
    pm_buffer svg = {0}, file = {0};
    svg_tree t;
    assert_int_equal(draw(hostile, hostile, &svg), PM_OK);
    svg_read(&svg, &t);
    assert_true(svg_says(&t, want));
    svg_free(&t);
    assert_int_equal(pm_chart_file(&svg, &file), PM_OK);
    svg_read(&file, &t);
    svg_free(&t);
    pm_buffer_fini(&svg);
    pm_buffer_fini(&file);
}

static void a_reader_who_does_not_see_it_is_told(void **state) {
    (void)state;
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(draw("One", "a", &svg), PM_OK);
    assert_int_equal(draw("Two", "a", &svg), PM_OK); /* appended: two elements of a page */
    pm_buffer page = {0};
    assert_int_equal(pm_buffer_printf(&page, "<div>%s</div>", (const char *)svg.bytes), PM_OK);
    svg_read(&page, &t);
    assert_int_equal(t.id_count, 4);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < i; k++) assert_string_not_equal(t.ids[i], t.ids[k]);
    char last[128];
    snprintf(last, sizeof last, "%.60s %.60s", t.ids[2], t.ids[3]);
    assert_string_equal(t.labelled_by, last);
    assert_non_null(strstr((const char *)svg.bytes, "role=\"img\""));
    svg_free(&t);
    pm_buffer_fini(&svg);
    pm_buffer_fini(&page);
}

static void same_data_give_same_bytes_in_any_locale(void **state) {
    (void)state;
    pm_buffer a = {0}, b = {0};
    assert_int_equal(draw("Title", "a", &a), PM_OK);
    const char *comma = setlocale(LC_ALL, "de_DE.UTF-8");
    if (!comma) comma = setlocale(LC_ALL, "fr_FR.UTF-8");
    assert_int_equal(draw("Title", "a", &b), PM_OK);
    setlocale(LC_ALL, "C");
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.bytes, b.bytes, a.size);
    if (!comma) print_message("no locale with a decimal comma here: the same locale twice\n");
    pm_buffer_fini(&a);
    pm_buffer_fini(&b);
}

static void what_fits_nothing_is_refused_and_nothing_written(void **state) {
    (void)state;
    const double none[] = {NAN, INFINITY, NAN}, below[] = {-1, 0, -2}, same[] = {1, 1, 2};
    const char *const groups[] = {"a", "b", "c"};
    pm_chart chart = pm_chart_new("t", "x", "y"), log = chart, back = chart, tiny = chart;
    log.y.log = true;
    back.x = (pm_axis){.label = "", .fixed = true, .least = 1, .most = 1};
    tiny.width = tiny.height = 40;
    const pm_series s = {.name = "s", .x = xs, .y = ys, .count = 3};
    const pm_series nan = {.name = "s", .x = xs, .y = none, .count = 3};
    const pm_series low = {.name = "s", .x = xs, .y = below, .count = 3};
    const pm_panel panel = {"p", xs, 0, 3};
    const pm_arrow arrow = {NAN, 1, 0, 1, ""};
    pm_buffer out = {0};
    assert_int_equal(pm_buffer_append(&out, "as it was", 9), PM_OK);
    assert_int_equal(pm_chart_lines(&chart, &s, 0, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_points(&chart, &nan, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_lines(&log, &low, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_bars(&log, groups, 3, &low, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_lines(&back, &s, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_lines(&tiny, &s, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_bars(&chart, groups, 0, &s, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_bars(&chart, groups, 3, &nan, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_histogram(&chart, same, 2, &s, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_histogram(&chart, same, 0, &s, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_arrows(&chart, &arrow, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_arrows(&log, &arrow, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_panels(&chart, &panel, 1, 1, &out), PM_E_USAGE);
    assert_int_equal(pm_chart_panels(&chart, &panel, 0, 1, &out), PM_E_USAGE);
    pm_buffer text = {0};
    assert_int_equal(pm_chart_file(&out, &text), PM_E_USAGE);
    assert_int_equal(text.size, 0);
    assert_int_equal(out.size, 9);
    assert_memory_equal(out.bytes, "as it was", 9);
    pm_buffer_fini(&out);
}

static void ranges_of_one_value_and_of_extremes_have_a_chart(void **state) {
    (void)state;
    static const double spans[][2] = {
        {5, 5},          {0, 0},           {-3, -3},  {1e300, 1e300}, {1e-300, 0},
        {-1e307, 1e307}, {1e15, 1e15 + 1}, {0, 1e-9}, {1e6, 3e6},     {DBL_MIN, 1}};
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        const double y[] = {spans[i][0], spans[i][1]}, x[] = {0, 1};
        const pm_series s = {.name = "s", .x = x, .y = y, .count = 2};
        for (int log = 0; log < 2; log++) {
            pm_chart chart = pm_chart_new("t", "x", "y");
            pm_buffer svg = {0};
            svg_tree t;
            chart.y.log = log;
            bool can = !log || spans[i][0] > 0 || spans[i][1] > 0;
            assert_int_equal(pm_chart_lines(&chart, &s, 1, &svg), can ? PM_OK : PM_E_USAGE);
            if (can) {
                svg_read(&svg, &t);
                assert_true(svg_count(&t, "grid") >= 2);
                assert_null(strstr((const char *)svg.bytes, "nan"));
                svg_free(&t);
            }
            pm_buffer_fini(&svg);
        }
    }
}

static void names_of_groups_do_not_overlap(void **state) {
    (void)state;
    char names[60][40];
    const char *groups[60];
    double y[60];
    for (size_t i = 0; i < 60; i++) {
        snprintf(names[i], sizeof names[i], "features.%zu.block.1.conv", i);
        groups[i] = names[i];
        y[i] = (double)i;
    }
    const pm_series s = {.name = "", .y = y, .count = 60};
    pm_chart chart = pm_chart_new("t", "", "y");
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(pm_chart_bars(&chart, groups, 60, &s, 1, &svg), PM_OK);
    svg_read(&svg, &t);
    double last = -100;
    size_t sloping = 0;
    for (const char *at = (const char *)svg.bytes; (at = strstr(at, "translate( ")); at++) {
        double x = atof(at + 11);
        if (!strstr(at, "rotate(-40)") || strstr(at, "rotate(-40)") > at + 40) continue;
        assert_true(x - last >= 14); /* a line's height across the slope */
        last = x;
        sloping++;
    }
    assert_true(sloping >= 15);
    assert_int_equal(svg_count(&t, "mark"), 60);
    svg_free(&t);
    pm_buffer_fini(&svg);
}

/* Relative luminance and contrast: WCAG 2.1. */
static double luminance(const char *hex) {
    const double share[] = {0.2126, 0.7152, 0.0722};
    double sum = 0;
    for (size_t i = 0; i < 3; i++) {
        char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
        double v = (double)strtol(two, NULL, 16) / 255;
        sum += share[i] * (v <= 0.03928 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4));
    }
    return sum;
}

static void colours_stand_out_on_white_and_on_black(void **state) {
    (void)state;
    const char *style = pm_chart_style();
    const char *dark = strstr(style, "prefers-color-scheme:dark");
    assert_non_null(dark);
    for (int i = 0; i < PM_CHART_COLOURS; i++) {
        char rule[24];
        snprintf(rule, sizeof rule, ".c%d{color:#", i);
        const char *on_white = strstr(style, rule), *on_black = strstr(dark, rule);
        assert_true(on_white && on_white < dark && on_black);
        assert_true(1.05 / (luminance(on_white + strlen(rule)) + 0.05) >= 3);
        assert_true((luminance(on_black + strlen(rule)) + 0.05) / 0.05 >= 4.5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_others_are_escaped),
        cmocka_unit_test(a_reader_who_does_not_see_it_is_told),
        cmocka_unit_test(same_data_give_same_bytes_in_any_locale),
        cmocka_unit_test(what_fits_nothing_is_refused_and_nothing_written),
        cmocka_unit_test(ranges_of_one_value_and_of_extremes_have_a_chart),
        cmocka_unit_test(names_of_groups_do_not_overlap),
        cmocka_unit_test(colours_stand_out_on_white_and_on_black),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
