/* What every chart is written with: an SVG text that remembers its first failure, escaped texts,
 * numbers in the C locale whatever the program's is. Inside lib/chart only. */
#ifndef PM_CHART_SVG_H
#define PM_CHART_SVG_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/text.h"

/* Zero-initialise; svg_fini releases. Once `status` is set, nothing more is written. */
typedef struct svg {
    pm_buffer text;
    pm_status status;
} svg;

enum { NUMBER_BYTES = 48 };

void svg_fini(svg *out);
/* Markup as it is: integers and strings of our own only. */
__attribute__((format(printf, 2, 3))) void svg_put(svg *out, const char *format, ...);
/* Text of others, as pm_buffer_xml. */
void svg_text(svg *out, const char *text);
/* ` name="1.25"`: a length in CSS pixels, to 1/100. */
void svg_attribute(svg *out, const char *name, double pixels);
/* "12.5 3" for a path, to 1/100, with `command` in front. */
void svg_point(svg *out, char command, double x, double y);
/* <title>, made of name, "x: y" and the half width where it is finite. */
void svg_tooltip(svg *out, const char *name, const char *at, double value, double half_width);

/* `value` with at most `digits` significant ones, the shortest that says it. */
const char *number_text(double value, int digits, char out[NUMBER_BYTES]);
/* `value` with `decimals` places and the typographic minus. */
const char *fixed_text(double value, int decimals, char out[NUMBER_BYTES]);

/* Estimated width in pixels of a text at `size` pixels, and the longest part that fits `limit`
 * (bytes of `text`; all of it where it fits). */
double text_width(const char *text, double size);
size_t text_fit(const char *text, double size, double limit);

#endif
