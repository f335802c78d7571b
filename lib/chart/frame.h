/* What is around the data: title, legend, plot, grid, axes; and the finished element. Inside
 * lib/chart only.
 *
 * Use: frame_begin with the legend and the ranges, write marks into frame.marks by frame.x and
 * frame.y, frame_end appends the element to `out` (or nothing) and releases everything. */
#ifndef PM_CHART_FRAME_H
#define PM_CHART_FRAME_H

#include "lib/chart/axis.h"

typedef enum swatch { SWATCH_LINE, SWATCH_POINT, SWATCH_AREA, SWATCH_ARROW } swatch;

typedef struct legend_entry {
    const char *name;
    unsigned colour;
} legend_entry;

/* Names of groups along x in place of ticks; NULL: ticks. */
typedef struct group_names {
    const char *const *names;
    size_t count;
} group_names;

typedef struct frame {
    const pm_chart *chart;
    double width, height;            /* of the element */
    double left, top, right, bottom; /* of the plot */
    scale x, y;
    svg below; /* title, legend, grid: drawn first */
    svg marks;
    bool clip; /* marks may reach out of the plot */
} frame;

enum { LEGEND_MAX = 64 };

typedef struct legend {
    swatch kind;
    size_t count;
    legend_entry entries[LEGEND_MAX];
} legend;

/* Takes part once a name; "" and what is too many are passed over. */
void legend_add(legend *to, const char *name, unsigned colour);
/* A legend of the series, and PM_E_USAGE where there is none. */
pm_status legend_of_series(legend *to, const pm_series *series, size_t count);

/* PM_E_USAGE where a range is empty or a fixed axis runs backwards. `x` is NULL with groups. */
pm_status frame_begin(frame *f, const pm_chart *chart, const legend *names, const range *x,
                      const range *y, const group_names *groups);
pm_status frame_end(frame *f, pm_buffer *out);

/* For panels, which have no axes: width, height and the title only. */
void frame_begin_bare(frame *f, const pm_chart *chart, double height);
/* Where the first line below the title is. */
double frame_title(frame *f);

/* A vertical interval around y at pixel x, held within the plot. */
void frame_whisker(frame *f, double x, double y, double half_width, unsigned colour);
/* The marker of a colour (a shape of its own each) around a pixel. */
void put_marker(svg *out, double x, double y, double radius, unsigned colour);

#endif
