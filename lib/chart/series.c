/* Owns lines with bands and points with whiskers. */
#include <math.h>
#include <stdio.h>

#include "lib/chart/frame.h"

enum { DOTS_MAX = 40, HIT_MAX = 200 };

static double half_at(const pm_series *s, size_t i) {
    return s->half_width ? s->half_width[i] : NAN;
}

static void add_ranges(const pm_chart *chart, const pm_series *s, range *x, range *y) {
    for (size_t i = 0; i < s->count; i++) {
        if (!isfinite(s->x[i]) || !isfinite(s->y[i])) continue;
        if ((chart->x.log && s->x[i] <= 0) || (chart->y.log && s->y[i] <= 0)) continue;
        range_add(x, s->x[i]);
        range_add(y, s->y[i]);
        range_add(y, s->y[i] - half_at(s, i));
        range_add(y, s->y[i] + half_at(s, i));
    }
}

static bool has_place(const scale *of, double value) {
    return isfinite(value) && (!of->log || value > 0);
}

static bool point_has_place(const frame *f, const pm_series *s, size_t i) {
    return has_place(&f->x, s->x[i]) && has_place(&f->y, s->y[i]);
}

static const char *x_text(const pm_series *s, size_t i, char out[NUMBER_BYTES]) {
    return number_text(s->x[i], 6, out);
}

/* A value that is left out parts the line. */
static void put_polyline(frame *f, const pm_series *s) {
    svg *out = &f->marks;
    bool on = false;
    svg_put(out, "<path class=\"mark line c%u\" d=\"", s->colour % PM_CHART_COLOURS);
    for (size_t i = 0; i < s->count; i++) {
        bool there = point_has_place(f, s, i);
        if (there)
            svg_point(out, on ? 'L' : 'M', scale_at(&f->x, s->x[i]), scale_at(&f->y, s->y[i]));
        on = there;
    }
    svg_put(out, "\"><title>");
    svg_text(out, s->name ? s->name : "");
    svg_put(out, "</title></path>");
}

static double band_edge(const frame *f, const pm_series *s, size_t i, double sign) {
    double half = half_at(s, i);
    double value = s->y[i] + (isfinite(half) ? sign * half : 0);
    if (f->y.log && value <= 0) value = f->y.least;
    return scale_at(&f->y, value);
}

static bool has_band(const frame *f, const pm_series *s, size_t i) {
    return i < s->count && point_has_place(f, s, i) && isfinite(half_at(s, i));
}

static void put_band(frame *f, const pm_series *s) {
    svg *out = &f->marks;
    if (!s->half_width) return;
    svg_put(out, "<path class=\"band c%u\" d=\"", s->colour % PM_CHART_COLOURS);
    for (size_t first = 0; first < s->count; first++) {
        size_t end = first;
        while (has_band(f, s, end)) end++;
        for (size_t i = first; i < end; i++)
            svg_point(out, i == first ? 'M' : 'L', scale_at(&f->x, s->x[i]), band_edge(f, s, i, 1));
        for (size_t i = end; i > first; i--)
            svg_point(out, 'L', scale_at(&f->x, s->x[i - 1]), band_edge(f, s, i - 1, -1));
        if (end > first) svg_put(out, "z");
        first = end;
    }
    svg_put(out, "\"/>");
}

static void put_points(frame *f, const pm_series *s, double radius, const char *name) {
    char at[NUMBER_BYTES];
    for (size_t i = 0; i < s->count; i++) {
        if (!scale_shows(&f->x, s->x[i]) || !scale_shows(&f->y, s->y[i])) continue;
        double x = scale_at(&f->x, s->x[i]), y = scale_at(&f->y, s->y[i]);
        svg_put(&f->marks, "<g class=\"mark %s c%u\">", name, s->colour % PM_CHART_COLOURS);
        svg_tooltip(&f->marks, s->name ? s->name : "", x_text(s, i, at), s->y[i], half_at(s, i));
        put_marker(&f->marks, x, y, radius, s->colour);
        svg_put(&f->marks, "</g>");
    }
}

static pm_status begin(frame *f, const pm_chart *chart, const pm_series *series, size_t count,
                       swatch kind) {
    legend names = {.kind = kind};
    range x = range_new(&chart->x), y = range_new(&chart->y);
    pm_status status = legend_of_series(&names, series, count);
    if (status) return status;
    for (size_t i = 0; i < count; i++) add_ranges(chart, &series[i], &x, &y);
    return frame_begin(f, chart, &names, &x, &y, NULL);
}

pm_status pm_chart_lines(const pm_chart *chart, const pm_series *series, size_t count,
                         pm_buffer *out) {
    frame f;
    pm_status status = begin(&f, chart, series, count, SWATCH_LINE);
    if (status) return status;
    for (size_t i = 0; i < count; i++) put_band(&f, &series[i]);
    for (size_t i = 0; i < count; i++) {
        put_polyline(&f, &series[i]);
        if (series[i].count <= HIT_MAX)
            put_points(&f, &series[i], series[i].count <= DOTS_MAX ? 2.4 : 4,
                       series[i].count <= DOTS_MAX ? "fill" : "hit");
    }
    return frame_end(&f, out);
}

pm_status pm_chart_points(const pm_chart *chart, const pm_series *series, size_t count,
                          pm_buffer *out) {
    frame f;
    pm_status status = begin(&f, chart, series, count, SWATCH_POINT);
    if (status) return status;
    f.clip = false; /* points outside are left out, those at the edge are drawn whole */
    for (size_t i = 0; i < count; i++) {
        const pm_series *s = &series[i];
        for (size_t k = 0; s->half_width && k < s->count; k++)
            if (scale_shows(&f.x, s->x[k]) && scale_shows(&f.y, s->y[k]))
                frame_whisker(&f, scale_at(&f.x, s->x[k]), s->y[k], s->half_width[k], s->colour);
        put_points(&f, s, s->count > 400 ? 2.2 : 3.6, s->count > 100 ? "fill many" : "fill");
    }
    return frame_end(&f, out);
}
