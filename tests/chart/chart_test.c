/* Every kind of chart, read back by expat: marks stand where their values say. Expected places are
 * computed here from the labels and lines of the axes alone, never from the room's scales. */
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

/* Pixels are written to 1/100. */
static const double near = 0.011;

static void is_near(double a, double b) {
    if (!(fabs(a - b) <= near)) fail_msg("%.4f is not %.4f", a, b);
}

static const char *const groups[] = {"layer1", "layer2", "layer3"};

static void bar_of_v_is_v_by_most_of_the_plot_high(void **state) {
    (void)state;
    const double a[] = {1, 2, 4}, b[] = {3, NAN, 0.5};
    const pm_series series[] = {{.name = "conserved", .y = a, .count = 3},
                                {.name = "plain", .y = b, .count = 3, .colour = 1}};
    pm_chart chart = pm_chart_new("Bars", "", "mu");
    chart.y = (pm_axis){.label = "mu", .fixed = true, .least = 0, .most = 8};
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(pm_chart_bars(&chart, groups, 3, series, 2, &svg), PM_OK);
    svg_read(&svg, &t);
    assert_int_equal(svg_count(&t, "mark"), 5); /* one is NAN */
    double top = 0, bottom = 0;
    size_t lines = svg_count(&t, "grid");
    sscanf(svg_find(&t, "grid", 0)->path, "M%*f %lf", &bottom);
    sscanf(svg_find(&t, "grid", lines - 1)->path, "M%*f %lf", &top);
    const double want[] = {1, 3, 2, 4, 0.5}; /* group by group */
    const char *const said[] = {"conserved, layer1: 1", "plain, layer1: 3", "conserved, layer2: 2",
                                "conserved, layer3: 4", "plain, layer3: 0.5"};
    for (size_t i = 0; i < 5; i++) {
        const element *bar = svg_find(&t, "mark", i);
        is_near(bar->height, want[i] / 8 * (bottom - top));
        is_near(bar->y + bar->height, bottom);
        assert_string_equal(bar->text, said[i]);
        if (i) assert_true(bar->x >= svg_find(&t, "mark", i - 1)->x + bar->width - near);
    }
    svg_free(&t);
    pm_buffer_fini(&svg);
}

static void bars_below_zero_hang_from_zero(void **state) {
    (void)state;
    const double a[] = {2, -1, 0.5}, half[] = {0.25, 0.5, NAN};
    const pm_series series[] = {{.name = "", .y = a, .half_width = half, .count = 3}};
    pm_chart chart = pm_chart_new("Differences", "", "");
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(pm_chart_bars(&chart, groups, 3, series, 1, &svg), PM_OK);
    svg_read(&svg, &t);
    const element *up = svg_find(&t, "mark", 0), *down = svg_find(&t, "mark", 1);
    double zero = up->y + up->height, unit = up->height / 2;
    is_near(down->y, zero);
    is_near(down->height, unit);
    assert_int_equal(svg_count(&t, "whisker"), 2);
    double top = 0, bottom = 0;
    sscanf(svg_find(&t, "whisker", 0)->path, "M%*f %lfL%*f %lf", &top, &bottom);
    is_near(top, zero - 2.25 * unit);
    is_near(bottom, zero - 1.75 * unit);
    assert_string_equal(up->text, "layer1: 2 \xc2\xb1 0.25");
    svg_free(&t);
    pm_buffer_fini(&svg);
}

/* Pixel of a value by two ticks whose labels are known. */
static double between(double at0, double at1, double v0, double v1, double value) {
    return at0 + (value - v0) / (v1 - v0) * (at1 - at0);
}

static void points_stand_where_their_axes_say(void **state) {
    (void)state;
    /* 0.3 / 0.05 is not 6 in doubles: the first was once left out. */
    const double x[] = {0.3, 0.5, NAN, 0.9, 1}, y[] = {1.2, 1.8, 1.5, INFINITY, 2.4};
    const pm_series series[] = {{.name = "s", .x = x, .y = y, .count = 5}};
    pm_chart chart = pm_chart_new("Points", "ratio", "mu");
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(pm_chart_points(&chart, series, 1, &svg), PM_OK);
    svg_read(&svg, &t);
    assert_int_equal(svg_count(&t, "mark"), 3);
    double left = 0, right = 0, low = 0, high = 0;
    size_t lines = svg_count(&t, "grid"); /* 1.2, 1.4 .. 2.4 */
    assert_int_equal(lines, 7);
    sscanf(svg_find(&t, "grid", 0)->path, "M%lf %lfL%lf", &left, &low, &right);
    sscanf(svg_find(&t, "grid", 6)->path, "M%*f %lf", &high);
    assert_true(svg_says(&t, "1.2") && svg_says(&t, "2.4"));
    const size_t kept[] = {0, 1, 4};
    for (size_t i = 0, k = 0; i < t.count; i++) {
        const element *e = &t.elements[i];
        if (strcmp(e->name, "circle") != 0 || e->depth < 2) continue;
        if (strncmp(t.elements[i - 2].class, "mark", 4) != 0) continue; /* the legend's */
        is_near(e->x, between(left, right, 0.3, 1, x[kept[k]]));
        is_near(e->y, between(low, high, 1.2, 2.4, y[kept[k]]));
        k++;
    }
    assert_true(svg_says(&t, "s, 0.5: 1.8"));
    svg_free(&t);
    pm_buffer_fini(&svg);
}

static void a_line_is_parted_where_a_value_is_missing(void **state) {
    (void)state;
    const double x[] = {0, 1, 2, 3, 4}, y[] = {0, 1, NAN, 3, 4}, half[] = {1, 1, 1, 1, 1};
    const pm_series series[] = {{.name = "s", .x = x, .y = y, .half_width = half, .count = 5}};
    pm_chart chart = pm_chart_new("Lines", "x", "y");
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(pm_chart_lines(&chart, series, 1, &svg), PM_OK);
    svg_read(&svg, &t);
    const char *path = svg_find(&t, "mark line", 0)->path;
    size_t begins = 0, goes_on = 0;
    for (const char *c = path; *c; c++) {
        begins += *c == 'M';
        goes_on += *c == 'L';
    }
    assert_int_equal(begins, 2);
    assert_int_equal(goes_on, 2);
    assert_int_equal(svg_count(&t, "band"), 1);
    assert_int_equal(svg_count(&t, "mark fill"), 4);
    svg_free(&t);
    pm_buffer_fini(&svg);
}

static void decades_are_evenly_apart_on_a_log_axis(void **state) {
    (void)state;
    const double x[] = {1, 2, 3, 4, 5}, y[] = {1e-3, 0, -1, 10, 1e3};
    const double half[] = {0.5, 1, 1, 1, NAN}; /* the first reaches below 0 */
    const pm_series series[] = {{.name = "s", .x = x, .y = y, .half_width = half, .count = 5}};
    pm_chart chart = pm_chart_new("Log", "x", "y");
    chart.y.log = true;
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(pm_chart_points(&chart, series, 1, &svg), PM_OK);
    svg_read(&svg, &t);
    assert_int_equal(svg_count(&t, "mark"), 3); /* those above 0 */
    double low = 0, high = 0;
    sscanf(svg_find(&t, "grid", 0)->path, "M%*f %lf", &low);
    sscanf(svg_find(&t, "grid", svg_count(&t, "grid") - 1)->path, "M%*f %lf", &high);
    double top = 0, bottom = 0;
    assert_int_equal(svg_count(&t, "whisker"), 2);
    sscanf(svg_find(&t, "whisker", 0)->path, "M%*f %lfL%*f %lf", &top, &bottom);
    is_near(bottom, low);
    is_near(top, low + (high - low) * (3 + log10(0.501)) / 6);
    bool seen = false;
    for (size_t i = 2; i < t.count; i++)
        if (strcmp(t.elements[i].name, "circle") == 0 &&
            strcmp(t.elements[i - 2].text, "s, 4: 10 \xc2\xb1 1") == 0) {
            is_near(t.elements[i].y, low + (high - low) * 4 / 6); /* 10 of 1e-3 .. 1e3 */
            seen = true;
        }
    assert_true(seen);
    svg_free(&t);
    pm_buffer_fini(&svg);
}

static void histogram_bins_stand_on_their_edges(void **state) {
    (void)state;
    const double edges[] = {0, 1, 3, 4}, counts[] = {5, 10, 0};
    const pm_series series[] = {{.name = "n", .y = counts, .count = 3}};
    pm_chart chart = pm_chart_new("Histogram", "angle", "count");
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(pm_chart_histogram(&chart, edges, 3, series, 1, &svg), PM_OK);
    svg_read(&svg, &t);
    assert_int_equal(svg_count(&t, "mark"), 2); /* an empty bin has none */
    const element *a = svg_find(&t, "mark", 0), *b = svg_find(&t, "mark", 1);
    is_near(b->width, 2 * a->width);
    is_near(b->x, a->x + a->width);
    is_near(b->height, 2 * a->height);
    double bottom = 0;
    sscanf(svg_find(&t, "grid", 0)->path, "M%*f %lf", &bottom);
    is_near(a->y + a->height, bottom);
    assert_string_equal(b->text, "n, 1 to 3: 10");
    svg_free(&t);
    pm_buffer_fini(&svg);
}

static void square_arrows_keep_their_angle(void **state) {
    (void)state;
    const pm_arrow arrows[] = {{3, 3, 0, 1, "a"}, {-1, 2, 1, 3, "b"}, {NAN, 1, 1, 3, "b"}};
    pm_chart chart = pm_chart_new("Arrows", "u", "v");
    chart.square = true;
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(pm_chart_arrows(&chart, arrows, 3, &svg), PM_OK);
    svg_read(&svg, &t);
    assert_int_equal(svg_count(&t, "mark"), 2);
    for (size_t i = 0; i < 2; i++) {
        double x0, y0, x1, y1;
        const char *shaft = svg_find(&t, "shaft", i)->path;
        assert_int_equal(sscanf(shaft, "M%lf %lfL%lf %lf", &x0, &y0, &x1, &y1), 4);
        double angle = atan2(y0 - y1, x1 - x0), want = atan2(arrows[i].v, arrows[i].u);
        assert_true(fabs(angle - want) < 2e-3);
    }
    assert_true(svg_says(&t, "b: (-1, 2)"));
    svg_free(&t);
    pm_buffer_fini(&svg);
}

static void panels_have_a_cell_a_value_and_their_maximum(void **state) {
    (void)state;
    const double map[] = {0, 0, 1, 2, NAN, 4}; /* runs: 2, 1 and 1, -, 1 */
    double large[100 * 80];
    for (size_t i = 0; i < 8000; i++) large[i] = (double)(i % 80);
    const pm_panel panels[] = {{"small", map, 3, 2}, {"large", large, 80, 100}};
    pm_chart chart = pm_chart_new("Panels", "", "");
    pm_buffer svg = {0};
    svg_tree t;
    assert_int_equal(pm_chart_panels(&chart, panels, 2, 2, &svg), PM_OK);
    svg_read(&svg, &t);
    assert_int_equal(svg_count(&t, "mark cells"), 2);
    assert_true(svg_says(&t, "small: maximum 4") && svg_says(&t, "large: maximum 79"));
    assert_true(svg_says(&t, "max 4"));
    const element *small = svg_find(&t, "mark cells", 0);
    double area = 0;
    size_t runs = 0;
    for (const element *e = small + 1; e->depth > small->depth; e++)
        if (strcmp(e->name, "rect") == 0) {
            area += e->width * e->height;
            runs++;
        }
    assert_int_equal(runs, 4);
    is_near(area, 5);
    svg_free(&t);
    pm_buffer_fini(&svg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bar_of_v_is_v_by_most_of_the_plot_high),
        cmocka_unit_test(bars_below_zero_hang_from_zero),
        cmocka_unit_test(points_stand_where_their_axes_say),
        cmocka_unit_test(a_line_is_parted_where_a_value_is_missing),
        cmocka_unit_test(decades_are_evenly_apart_on_a_log_axis),
        cmocka_unit_test(histogram_bins_stand_on_their_edges),
        cmocka_unit_test(square_arrows_keep_their_angle),
        cmocka_unit_test(panels_have_a_cell_a_value_and_their_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
