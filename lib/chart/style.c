/* Owns the colours and strokes: Okabe and Ito's hues, darker on white and lighter on black, so
 * that each has a contrast of at least 3 to 1 (WCAG 2.1, 1.4.11). */
#include "lib/chart/chart.h"

#include <math.h>
#include <string.h>

static const char style[] =
    ".pm-chart{max-width:100%;height:auto;font-family:system-ui,-apple-system,\"Segoe UI\","
    "Roboto,\"Helvetica Neue\",Arial,sans-serif;font-size:12px;font-variant-numeric:tabular-nums;"
    "print-color-adjust:exact;-webkit-print-color-adjust:exact}\n"
    ".pm-chart text{fill:currentColor;stroke:none}\n"
    ".pm-chart .title{font-size:14px;font-weight:600}\n"
    ".pm-chart .middle{text-anchor:middle}.pm-chart .end{text-anchor:end}\n"
    ".pm-chart .faint{opacity:.75}\n"
    ".pm-chart .grid{stroke:currentColor;stroke-opacity:.13;fill:none}\n"
    ".pm-chart .axis{stroke:currentColor;stroke-opacity:.6;fill:none}\n"
    ".pm-chart .reference{stroke:currentColor;stroke-opacity:.75;stroke-dasharray:5 3;fill:none}\n"
    ".pm-chart .fill{fill:currentColor;stroke:none}.pm-chart .many{fill-opacity:.55}\n"
    ".pm-chart .line{fill:none;stroke:currentColor;stroke-width:1.6;stroke-linejoin:round}\n"
    ".pm-chart .band{fill:currentColor;fill-opacity:.18;stroke:none}\n"
    ".pm-chart .whisker{fill:none;stroke:currentColor;stroke-opacity:.7;stroke-width:1.2}\n"
    ".pm-chart .steps{fill:currentColor;fill-opacity:.75;stroke:currentColor;stroke-width:1}\n"
    ".pm-chart .several{fill-opacity:.3}\n"
    ".pm-chart .hit{fill:currentColor;fill-opacity:0;stroke:none;pointer-events:all}\n"
    ".pm-chart .cells{shape-rendering:crispEdges}\n"
    ".pm-chart .c0{color:#0072b2}.pm-chart .c1{color:#d55e00}.pm-chart .c2{color:#00855f}"
    ".pm-chart .c3{color:#b3548a}.pm-chart .c4{color:#b07900}.pm-chart .c5{color:#3594cf}"
    ".pm-chart .c6{color:#8c8300}.pm-chart .c7{color:#1a1a1a}\n"
    "@media screen and (prefers-color-scheme:dark){"
    ".pm-chart .c0{color:#4a9fe0}.pm-chart .c1{color:#f0763a}.pm-chart .c2{color:#1fbf8f}"
    ".pm-chart .c3{color:#e08fc0}.pm-chart .c4{color:#e69f00}.pm-chart .c5{color:#9fd6fa}"
    ".pm-chart .c6{color:#f0e442}.pm-chart .c7{color:#f0f0f0}}\n";

/* A file stands alone: it has its own ground. */
static const char ground[] = "svg{color:#1a1a1a;background:#fff}\n"
                             "@media screen and (prefers-color-scheme:dark){"
                             "svg{color:#f0f0f0;background:#161616}}\n";

pm_chart pm_chart_new(const char *title, const char *x_label, const char *y_label) {
    return (pm_chart){
        .title = title, .x.label = x_label, .y.label = y_label, .reference = (double)NAN};
}

const char *pm_chart_style(void) { return style; }

pm_status pm_chart_file(const pm_buffer *svg, pm_buffer *out) {
    const char *text = svg->size ? (const char *)svg->bytes : "";
    const char *inside = strchr(text, '>');
    if (strncmp(text, "<svg ", 5) != 0 || !inside)
        return pm_fail(PM_E_USAGE, "a chart's file is made of one <svg> element");
    pm_buffer all = {0};
    pm_status status = pm_buffer_printf(&all, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    size_t head = (size_t)(inside - text) + 1;
    if (!status) status = pm_buffer_append(&all, text, head);
    if (!status) status = pm_buffer_printf(&all, "<style>\n%s%s</style>", ground, style);
    if (!status) status = pm_buffer_append(&all, text + head, svg->size - head);
    if (!status) status = pm_buffer_append(out, all.bytes, all.size);
    pm_buffer_fini(&all);
    return status;
}
