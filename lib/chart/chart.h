/* Charts as SVG: bars, lines, points, histograms, arrows, small maps. Pure text, no file, no font.
 *
 * Use: fill a pm_chart (what is around the data) and the data, call pm_chart_KIND: it appends one
 * <svg> element to a pm_buffer. pm_chart_file makes of it a file of its own. The same data give the
 * same bytes. Colours are CSS classes c0 .. c7 (Okabe and Ito, Color Universal Design, 2008, safe
 * for every colour vision) and currentColor for text and axes; pm_chart_style gives the rules, for
 * a page once, in a file within. Each element has role="img", <title> and <desc>. NaN and infinite
 * values are left out of the drawing and of the ranges. Failures: PM_E_MEMORY, and PM_E_USAGE for
 * shapes that fit nothing (no series, a log axis without a value above 0); `out` is then as it was.
 */
#ifndef PM_CHART_H
#define PM_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/base/text.h"

enum { PM_CHART_COLOURS = 8 };

typedef struct pm_axis {
    const char *label; /* "" for none */
    bool log;          /* decades; values at or below 0 are left out */
    bool fixed;        /* least .. most as given; else from the data, rounded to half a tick */
    double least, most;
} pm_axis;

/* Texts are plain UTF-8 and escaped here. */
typedef struct pm_chart {
    const char *title;
    const char *description; /* what a reader who does not see it is told; NULL: the title */
    size_t width, height;    /* CSS pixels; 0: 640 x 400 */
    pm_axis x, y;
    bool zero;        /* y begins at 0 (bars, histograms always) */
    bool square;      /* one unit is as long on x as on y (arrows, maps) */
    double reference; /* a thin line across at this y; NAN: none */
    const char *reference_label;
} pm_chart;

/* pm_chart with reference NAN and the rest zero, so that designated fields may follow. */
pm_chart pm_chart_new(const char *title, const char *x_label, const char *y_label);

/* One line, or one set of points: x, y [count]; half_width [count]: half an interval around y,
 * drawn as a band (lines) or whiskers (points); NULL: none. colour: 0 .. 7. */
typedef struct pm_series {
    const char *name; /* in the legend; "" keeps it out */
    const double *x, *y, *half_width;
    size_t count;
    unsigned colour;
} pm_series;

pm_status pm_chart_lines(const pm_chart *chart, const pm_series *series, size_t count,
                         pm_buffer *out);
pm_status pm_chart_points(const pm_chart *chart, const pm_series *series, size_t count,
                          pm_buffer *out);

/* Groups of bars: series [count] with y [group_count] (x is not read), groups [group_count] name
 * them. A y that is NAN has no bar. */
pm_status pm_chart_bars(const pm_chart *chart, const char *const *groups, size_t group_count,
                        const pm_series *series, size_t count, pm_buffer *out);

/* Counts by bin over edges [bin_count + 1], ascending: series [count] with y [bin_count], drawn as
 * filled steps, translucent where there are several. */
pm_status pm_chart_histogram(const pm_chart *chart, const double *edges, size_t bin_count,
                             const pm_series *series, size_t count, pm_buffer *out);

/* Arrows from (0, 0) to (u, v). */
typedef struct pm_arrow {
    double u, v;
    unsigned colour;
    double stroke;    /* CSS pixels */
    const char *name; /* in the legend, once for each name; "" keeps it out */
} pm_arrow;
pm_status pm_chart_arrows(const pm_chart *chart, const pm_arrow *arrows, size_t count,
                          pm_buffer *out);

/* Panels of small maps, columns to a row: values [height][width], each in a colour of its own
 * range 0 .. its maximum, the maximum written below. */
typedef struct pm_panel {
    const char *name;
    const double *values;
    size_t width, height;
} pm_panel;
pm_status pm_chart_panels(const pm_chart *chart, const pm_panel *panels, size_t count,
                          size_t columns, pm_buffer *out);

/* The CSS rules that the elements' classes need, light and dark, screen and print. */
const char *pm_chart_style(void);

/* `svg`, one element made above, as the bytes of a .svg file: with its own style. */
pm_status pm_chart_file(const pm_buffer *svg, pm_buffer *out);

#endif
