/* Owns arrows from the origin. */
#include <math.h>

#include "lib/chart/frame.h"

static void put_cross(frame *f) {
    svg *out = &f->below;
    if (scale_shows(&f->y, 0)) {
        svg_put(out, "<path class=\"axis\" d=\"");
        svg_point(out, 'M', f->left, scale_at(&f->y, 0));
        svg_point(out, 'L', f->right, scale_at(&f->y, 0));
        svg_put(out, "\"/>");
    }
    if (!scale_shows(&f->x, 0)) return;
    svg_put(out, "<path class=\"axis\" d=\"");
    svg_point(out, 'M', scale_at(&f->x, 0), f->top);
    svg_point(out, 'L', scale_at(&f->x, 0), f->bottom);
    svg_put(out, "\"/>");
}

/* The shaft ends inside the head, so that a thick one does not blunt the tip. */
static void put_arrow(frame *f, const pm_arrow *arrow) {
    svg *out = &f->marks;
    if (!isfinite(arrow->u) || !isfinite(arrow->v)) return;
    double x0 = scale_at(&f->x, 0), y0 = scale_at(&f->y, 0);
    double x1 = scale_at(&f->x, arrow->u), y1 = scale_at(&f->y, arrow->v);
    double stroke = arrow->stroke > 0 ? arrow->stroke : 1, length = hypot(x1 - x0, y1 - y0);
    double head = fmin(4 + 2.6 * stroke, length * 0.6), half = head * 0.38;
    double dx = length > 0 ? (x1 - x0) / length : 0, dy = length > 0 ? (y1 - y0) / length : 0;
    char u[NUMBER_BYTES], v[NUMBER_BYTES];
    svg_put(out, "<g class=\"mark c%u\"><title>", arrow->colour % PM_CHART_COLOURS);
    svg_text(out, arrow->name ? arrow->name : "");
    svg_put(out, "%s(%s, %s)</title><path class=\"line\"",
            arrow->name && arrow->name[0] ? ": " : "", number_text(arrow->u, 5, u),
            number_text(arrow->v, 5, v));
    svg_attribute(out, "stroke-width", stroke);
    svg_put(out, " d=\"");
    svg_point(out, 'M', x0, y0);
    svg_point(out, 'L', x1 - dx * head * 0.8, y1 - dy * head * 0.8);
    svg_put(out, "\"/><path class=\"fill\" d=\"");
    svg_point(out, 'M', x1, y1);
    svg_point(out, 'L', x1 - dx * head - dy * half, y1 - dy * head + dx * half);
    svg_point(out, 'L', x1 - dx * head + dy * half, y1 - dy * head - dx * half);
    svg_put(out, "z\"/></g>");
}

pm_status pm_chart_arrows(const pm_chart *chart, const pm_arrow *arrows, size_t count,
                          pm_buffer *out) {
    frame f;
    legend names = {.kind = SWATCH_ARROW};
    range x = range_new(&chart->x), y = range_new(&chart->y);
    if (chart->x.log || chart->y.log)
        return pm_fail(PM_E_USAGE, "arrows begin at 0, which a logarithmic axis does not have");
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(arrows[i].u) || !isfinite(arrows[i].v)) continue;
        legend_add(&names, arrows[i].name, arrows[i].colour);
        range_add(&x, arrows[i].u);
        range_add(&y, arrows[i].v);
    }
    if (range_is_empty(&x)) return pm_fail(PM_E_USAGE, "a chart without an arrow");
    range_add(&x, 0);
    range_add(&y, 0);
    pm_status status = frame_begin(&f, chart, &names, &x, &y, NULL);
    if (status) return status;
    put_cross(&f);
    for (size_t i = 0; i < count; i++) put_arrow(&f, &arrows[i]);
    return frame_end(&f, out);
}
