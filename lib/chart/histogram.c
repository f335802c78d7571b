/* Owns histograms: filled steps, with a rectangle a bin that tells its numbers. */
#include <math.h>
#include <stdio.h>

#include "lib/chart/frame.h"

static double height_of(const frame *f, double value) {
    if (!isfinite(value) || (f->y.log && value <= 0)) return f->bottom;
    return scale_clamped(&f->y, value);
}

static void put_steps(frame *f, const double *edges, size_t bin_count, const pm_series *s,
                      bool several) {
    svg *out = &f->marks;
    svg_put(out, "<path class=\"steps%s c%u\" d=\"", several ? " several" : "",
            s->colour % PM_CHART_COLOURS);
    svg_point(out, 'M', scale_at(&f->x, edges[0]), f->bottom);
    for (size_t i = 0; i < bin_count; i++) {
        double y = height_of(f, s->y[i]);
        svg_point(out, 'L', scale_at(&f->x, edges[i]), y);
        svg_point(out, 'L', scale_at(&f->x, edges[i + 1]), y);
    }
    svg_point(out, 'L', scale_at(&f->x, edges[bin_count]), f->bottom);
    svg_put(out, "\"/>");
}

static void put_bins(frame *f, const double *edges, size_t bin_count, const pm_series *s) {
    svg *out = &f->marks;
    for (size_t i = 0; i < bin_count; i++) {
        double y = height_of(f, s->y[i]), x = scale_at(&f->x, edges[i]);
        char low[NUMBER_BYTES], high[NUMBER_BYTES], at[2 * NUMBER_BYTES + 8];
        if (y >= f->bottom) continue;
        snprintf(at, sizeof at, "%s to %s", number_text(edges[i], 4, low),
                 number_text(edges[i + 1], 4, high));
        svg_put(out, "<rect class=\"mark hit\"");
        svg_attribute(out, "x", x);
        svg_attribute(out, "y", y);
        svg_attribute(out, "width", scale_at(&f->x, edges[i + 1]) - x);
        svg_attribute(out, "height", f->bottom - y);
        svg_put(out, ">");
        svg_tooltip(out, s->name ? s->name : "", at, s->y[i], NAN);
        svg_put(out, "</rect>");
    }
}

static pm_status check_edges(const pm_chart *chart, const double *edges, size_t bin_count) {
    if (bin_count == 0) return pm_fail(PM_E_USAGE, "a histogram without bins");
    for (size_t i = 0; i < bin_count; i++)
        if (!isfinite(edges[i]) || !isfinite(edges[i + 1]) || !(edges[i] < edges[i + 1]))
            return pm_fail(PM_E_USAGE, "edges of a histogram must ascend: %g, then %g", edges[i],
                           edges[i + 1]);
    if (chart->x.log && edges[0] <= 0)
        return pm_fail(PM_E_USAGE, "a histogram on a logarithmic axis from %g", edges[0]);
    return PM_OK;
}

pm_status pm_chart_histogram(const pm_chart *chart, const double *edges, size_t bin_count,
                             const pm_series *series, size_t count, pm_buffer *out) {
    frame f;
    legend names = {.kind = SWATCH_AREA};
    range x = range_new(&chart->x), y = range_new(&chart->y);
    pm_status status = legend_of_series(&names, series, count);
    if (!status) status = check_edges(chart, edges, bin_count);
    if (status) return status;
    range_add(&x, edges[0]);
    range_add(&x, edges[bin_count]);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < bin_count; k++) range_add(&y, series[i].y[k]);
    if (!range_is_empty(&y)) range_add(&y, 0);
    status = frame_begin(&f, chart, &names, &x, &y, NULL);
    if (status) return status;
    for (size_t i = 0; i < count; i++) put_steps(&f, edges, bin_count, &series[i], count > 1);
    for (size_t i = 0; i < count; i++) put_bins(&f, edges, bin_count, &series[i]);
    return frame_end(&f, out);
}
