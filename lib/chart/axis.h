/* From values to pixels: the range of an axis, its ticks and their labels. Inside lib/chart only.
 * Ticks at 1, 2, 5 times a power of ten, or at decades. */
#ifndef PM_CHART_AXIS_H
#define PM_CHART_AXIS_H

#include "lib/chart/chart.h"
#include "lib/chart/svg.h"

/* What the data say of an axis; begin with range_new. */
typedef struct range {
    bool log;
    double least, most; /* least > most: nothing seen */
} range;

enum { TICKS_MAX = 64 };

typedef struct scale {
    bool log;
    double least, most; /* of values */
    double from, to;    /* of pixels: where least and most are */
    size_t tick_count;
    double ticks[TICKS_MAX];
    double step; /* between ticks; 0 on log axes */
    int power;   /* labels are of values / 10^power */
} scale;

range range_new(const pm_axis *axis);
/* Takes part where `value` is finite and, on a log axis, above 0. */
void range_add(range *seen, double value);
bool range_is_empty(const range *seen);
/* Whether a value has a place on the scale (finite, above 0 on a log axis, within). */
bool scale_shows(const scale *of, double value);

/* The scale of an axis with about `target` ticks; from and to are left to set. `exact`: not
 * rounded outwards to ticks. */
scale scale_new(const pm_axis *axis, const range *seen, size_t target, bool exact);
double scale_at(const scale *of, double value);
/* The same, held within the plot. */
double scale_clamped(const scale *of, double value);
/* The label of tick `index`; "" where it has none. */
const char *scale_label(const scale *of, size_t index, char out[NUMBER_BYTES]);
/* The widest label, in pixels. */
double scale_label_width(const scale *of, double size);
/* The axis' own label, with "(x10^6)" where tick labels are of millions. */
void scale_put_name(svg *out, const scale *of, const char *label);

#endif
