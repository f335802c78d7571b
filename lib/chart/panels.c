/* Owns panels of small maps: cells of one level that touch are one rectangle, in a colour map of
 * even steps to the eye (lightness in OKLab), dark for 0. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/colormap.h"
#include "lib/chart/frame.h"

enum { LEVELS = 64, CELLS_MAX = 64 };

/* From dark violet by way of blue and green to light yellow. */
static void level_colour(size_t level, char out[8]) {
    double t = (double)level / (LEVELS - 1), pi = acos(-1);
    double light = 0.20 + 0.74 * t, hue = (300 - 195 * t) * pi / 180;
    double chroma = 0.075 + 0.065 * sin(pi * fmin(1, t * 0.9 + 0.1));
    double rgb[3];
    pm_oklab_light(light, chroma * cos(hue), chroma * sin(hue), rgb);
    snprintf(out, 8, "#%02x%02x%02x", pm_srgb_byte(rgb[0]), pm_srgb_byte(rgb[1]),
             pm_srgb_byte(rgb[2]));
}

/* What is drawn of a panel: levels [height][width], LEVELS for a cell without a value. */
typedef struct cells {
    size_t width, height;
    double most, shown; /* of the values; of the cells */
    double value[CELLS_MAX * CELLS_MAX];
    unsigned char level[CELLS_MAX * CELLS_MAX];
} cells;

/* The mean of the values that a cell stands for: one value where the map is small. */
static double mean_of(const pm_panel *p, const cells *c, size_t row, size_t column) {
    double sum = 0;
    size_t n = 0;
    for (size_t y = row * p->height / c->height; y < (row + 1) * p->height / c->height; y++)
        for (size_t x = column * p->width / c->width; x < (column + 1) * p->width / c->width; x++)
            if (isfinite(p->values[y * p->width + x])) {
                sum += p->values[y * p->width + x];
                n++;
            }
    return n ? sum / (double)n : NAN;
}

static void make_cells(const pm_panel *p, cells *c) {
    c->width = p->width < CELLS_MAX ? p->width : CELLS_MAX;
    c->height = p->height < CELLS_MAX ? p->height : CELLS_MAX;
    c->most = c->shown = -INFINITY;
    for (size_t i = 0; i < p->width * p->height; i++)
        if (isfinite(p->values[i])) c->most = fmax(c->most, p->values[i]);
    for (size_t i = 0; i < c->width * c->height; i++) {
        c->value[i] = mean_of(p, c, i / c->width, i % c->width);
        if (isfinite(c->value[i])) c->shown = fmax(c->shown, c->value[i]);
    }
    for (size_t i = 0; i < c->width * c->height; i++) {
        double share = c->shown > 0 ? fmax(0, c->value[i] / c->shown) : 0;
        c->level[i] = isfinite(c->value[i]) ? (unsigned char)lround(share * (LEVELS - 1)) : LEVELS;
    }
}

static void put_level(svg *out, const cells *c, size_t level) {
    char colour[8];
    bool any = memchr(c->level, (int)level, c->width * c->height) != NULL;
    if (!any) return;
    level_colour(level, colour);
    svg_put(out, "<g fill=\"%s\">", colour);
    for (size_t y = 0; y < c->height; y++)
        for (size_t x = 0, end; x < c->width; x = end) {
            end = x + 1;
            if (c->level[y * c->width + x] != level) continue;
            while (end < c->width && c->level[y * c->width + end] == level) end++;
            svg_put(out, "<rect x=\"%zu\" y=\"%zu\" width=\"%zu\" height=\"1\"/>", x, y, end - x);
        }
    svg_put(out, "</g>");
}

static void put_panel(frame *f, const pm_panel *p, const cells *c, double left, double top,
                      double side) {
    svg *out = &f->marks;
    char most[NUMBER_BYTES] = "no value";
    double unit = side / (double)(c->width > c->height ? c->width : c->height);
    if (isfinite(c->most)) number_text(c->most, 3, most);
    svg_put(out, "<text class=\"middle\"");
    svg_attribute(out, "x", left + side / 2);
    svg_attribute(out, "y", top - 6);
    svg_put(out, ">");
    svg_text(out, p->name ? p->name : "");
    svg_put(out, "</text><text class=\"middle faint\"");
    svg_attribute(out, "x", left + side / 2);
    svg_attribute(out, "y", top + side + 15);
    svg_put(out, ">max %s</text><g class=\"mark cells\" transform=\"translate(", most);
    svg_point(out, ' ', left + (side - unit * (double)c->width) / 2, top);
    svg_put(out, ") scale(%.4g)\"><title>", unit);
    svg_text(out, p->name ? p->name : "");
    svg_put(out, ": maximum %s</title>", most);
    for (size_t level = 0; level < LEVELS; level++) put_level(out, c, level);
    svg_put(out, "</g>");
}

/* What the colours mean, at the upper right. */
static void put_key(frame *f, double y) {
    svg *out = &f->below;
    char colour[8];
    double left = f->width - 12 - 90 - 62, step = 90.0 / 16;
    svg_put(out, "<text class=\"end\"");
    svg_attribute(out, "x", left - 6);
    svg_attribute(out, "y", y + 4);
    svg_put(out, ">0</text><g class=\"cells\">");
    for (size_t i = 0; i < 16; i++) {
        level_colour(i * (LEVELS - 1) / 15, colour);
        svg_put(out, "<rect fill=\"%s\"", colour);
        svg_attribute(out, "x", left + (double)i * step);
        svg_attribute(out, "y", y - 5);
        svg_attribute(out, "width", step);
        svg_put(out, " height=\"10\"/>");
    }
    svg_put(out, "</g><text");
    svg_attribute(out, "x", left + 96);
    svg_attribute(out, "y", y + 4);
    svg_put(out, ">maximum</text>");
}

static pm_status check_panels(const pm_panel *panels, size_t count, size_t columns) {
    if (count == 0 || columns == 0) return pm_fail(PM_E_USAGE, "a chart without panels");
    for (size_t i = 0; i < count; i++)
        if (panels[i].width == 0 || panels[i].height == 0)
            return pm_fail(PM_E_USAGE, "panel %zu of a chart has no cells", i);
    return PM_OK;
}

pm_status pm_chart_panels(const pm_chart *chart, const pm_panel *panels, size_t count,
                          size_t columns, pm_buffer *out) {
    frame f;
    const double gap = 18, name = 20, below = 24, head = 52;
    pm_status status = check_panels(panels, count, columns);
    if (status) return status;
    size_t rows = (count + columns - 1) / columns;
    double width = chart->width ? (double)chart->width : 640;
    double side = (width - 24 - gap * (double)(columns - 1)) / (double)columns;
    if (chart->height)
        side = fmin(side, ((double)chart->height - head) / (double)rows - name - below);
    if (side < 8) return pm_fail(PM_E_USAGE, "no room for %zu panels of a chart", count);
    cells *c = malloc(sizeof *c);
    if (!c) return pm_fail(PM_E_MEMORY, "no memory for a panel");
    frame_begin_bare(&f, chart, head + (double)rows * (side + name + below));
    double first = (f.width - side * (double)columns - gap * (double)(columns - 1)) / 2;
    frame_title(&f);
    put_key(&f, 40);
    for (size_t i = 0; i < count; i++) {
        size_t row = i / columns, column = i % columns;
        make_cells(&panels[i], c);
        put_panel(&f, &panels[i], c, first + (double)column * (side + gap),
                  head + name + (double)row * (side + name + below), side);
    }
    free(c);
    return frame_end(&f, out);
}
