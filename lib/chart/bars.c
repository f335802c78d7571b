/* Owns groups of bars. */
#include <math.h>

#include "lib/chart/frame.h"

static double half_at(const pm_series *s, size_t i) {
    return s->half_width ? s->half_width[i] : NAN;
}

static void add_series(const pm_series *s, size_t group_count, range *y) {
    for (size_t i = 0; i < group_count; i++) {
        if (!isfinite(s->y[i]) || (y->log && s->y[i] <= 0)) continue;
        range_add(y, s->y[i]);
        range_add(y, s->y[i] - half_at(s, i));
        range_add(y, s->y[i] + half_at(s, i));
    }
}

static void put_bar(frame *f, const char *group, const pm_series *s, size_t i, double x,
                    double width) {
    svg *out = &f->marks;
    double value = s->y[i];
    if (!isfinite(value) || (f->y.log && value <= 0)) return;
    double zero = scale_clamped(&f->y, f->y.log ? f->y.least : 0);
    double end = scale_clamped(&f->y, value);
    svg_put(out, "<rect class=\"mark fill c%u\"", s->colour % PM_CHART_COLOURS);
    svg_attribute(out, "x", x);
    svg_attribute(out, "y", fmin(zero, end));
    svg_attribute(out, "width", width);
    svg_attribute(out, "height", fabs(end - zero));
    svg_put(out, ">");
    svg_tooltip(out, s->name ? s->name : "", group, value, half_at(s, i));
    svg_put(out, "</rect>");
}

static void put_groups(frame *f, const char *const *groups, size_t group_count,
                       const pm_series *series, size_t count) {
    double room = (f->right - f->left) / (double)group_count;
    double all = fmin(room * (group_count > 12 ? 0.84 : 0.74), 64.0 * (double)count);
    double gap = count > 1 && all / (double)count > 8 ? 2 : 0;
    double width = (all - gap * (double)(count - 1)) / (double)count;
    for (size_t g = 0; g < group_count; g++) {
        double x = f->left + room * ((double)g + 0.5) - all / 2;
        for (size_t i = 0; i < count; i++, x += width + gap) {
            put_bar(f, groups[g], &series[i], g, x, width);
            /* In the text's colour: on a bar of its own it would not be seen. */
            frame_whisker(f, x + width / 2, series[i].y[g], half_at(&series[i], g),
                          PM_CHART_COLOURS - 1);
        }
    }
    if (f->y.log || f->y.least >= 0) return;
    double zero = scale_clamped(&f->y, 0);
    svg_put(&f->marks, "<path class=\"axis\" d=\"");
    svg_point(&f->marks, 'M', f->left, zero);
    svg_point(&f->marks, 'L', f->right, zero);
    svg_put(&f->marks, "\"/>");
}

pm_status pm_chart_bars(const pm_chart *chart, const char *const *groups, size_t group_count,
                        const pm_series *series, size_t count, pm_buffer *out) {
    frame f;
    legend names = {.kind = SWATCH_AREA};
    range y = range_new(&chart->y);
    pm_status status = legend_of_series(&names, series, count);
    if (!status && group_count == 0) status = pm_fail(PM_E_USAGE, "a chart of bars without groups");
    if (status) return status;
    for (size_t i = 0; i < count; i++) add_series(&series[i], group_count, &y);
    if (!range_is_empty(&y)) range_add(&y, 0);
    status = frame_begin(&f, chart, &names, NULL, &y, &(group_names){groups, group_count});
    if (status) return status;
    f.clip = false;
    put_groups(&f, groups, group_count, series, count);
    return frame_end(&f, out);
}
