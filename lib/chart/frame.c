/* Owns what surrounds the data: how the room is shared out, grid, axes, legend, the element. */
#include "lib/chart/frame.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/random.h"

static const double font = 12, title_font = 14, margin = 12, row = 19;

void legend_add(legend *to, const char *name, unsigned colour) {
    if (!name || !name[0] || to->count == LEGEND_MAX) return;
    for (size_t i = 0; i < to->count; i++)
        if (strcmp(to->entries[i].name, name) == 0) return;
    to->entries[to->count++] = (legend_entry){name, colour % PM_CHART_COLOURS};
}

pm_status legend_of_series(legend *to, const pm_series *series, size_t count) {
    if (count == 0) return pm_fail(PM_E_USAGE, "a chart without a series");
    for (size_t i = 0; i < count; i++) legend_add(to, series[i].name, series[i].colour);
    return PM_OK;
}

void put_marker(svg *out, double x, double y, double radius, unsigned colour) {
    double r = radius, d = radius * 1.3;
    switch (colour % 4) {
    case 0:
        svg_put(out, "<circle");
        svg_attribute(out, "cx", x);
        svg_attribute(out, "cy", y);
        svg_attribute(out, "r", r);
        svg_put(out, "/>");
        return;
    case 1:
        svg_put(out, "<rect");
        svg_attribute(out, "x", x - r * 0.9);
        svg_attribute(out, "y", y - r * 0.9);
        svg_attribute(out, "width", r * 1.8);
        svg_attribute(out, "height", r * 1.8);
        svg_put(out, "/>");
        return;
    case 2:
        svg_put(out, "<path d=\"");
        svg_point(out, 'M', x, y - d);
        svg_point(out, 'L', x + d, y);
        svg_point(out, 'L', x, y + d);
        svg_point(out, 'L', x - d, y);
        break;
    default:
        svg_put(out, "<path d=\"");
        svg_point(out, 'M', x, y - d);
        svg_point(out, 'L', x + d, y + r);
        svg_point(out, 'L', x - d, y + r);
    }
    svg_put(out, "z\"/>");
}

static void put_line(svg *out, const char *name, double x1, double y1, double x2, double y2) {
    svg_put(out, "<path class=\"%s\" d=\"", name);
    svg_point(out, 'M', x1, y1);
    svg_point(out, 'L', x2, y2);
    svg_put(out, "\"/>");
}

void frame_whisker(frame *f, double x, double y, double half_width, unsigned colour) {
    if (!isfinite(half_width) || !isfinite(y) || (f->y.log && y <= 0)) return;
    svg *out = &f->marks;
    double low = f->y.log && y - half_width <= 0 ? f->y.least : y - half_width;
    double top = scale_clamped(&f->y, y + half_width), bottom = scale_clamped(&f->y, low);
    svg_put(out, "<path class=\"whisker c%u\" d=\"", colour % PM_CHART_COLOURS);
    svg_point(out, 'M', x, top);
    svg_point(out, 'L', x, bottom);
    svg_point(out, 'M', x - 3, top);
    svg_point(out, 'L', x + 3, top);
    svg_point(out, 'M', x - 3, bottom);
    svg_point(out, 'L', x + 3, bottom);
    svg_put(out, "\"/>");
}

static void put_swatch(svg *out, swatch kind, double x, double y, unsigned colour) {
    svg_put(out, "<g class=\"c%u", colour);
    switch (kind) {
    case SWATCH_LINE:
    case SWATCH_ARROW:
        svg_put(out, "\"><path class=\"line\" d=\"");
        svg_point(out, 'M', x, y);
        svg_point(out, 'L', x + 14, y);
        svg_put(out, "\"/>");
        break;
    case SWATCH_POINT:
        svg_put(out, " fill\">");
        put_marker(out, x + 7, y, 4, colour);
        break;
    case SWATCH_AREA:
        svg_put(out, " fill\"><rect");
        svg_attribute(out, "x", x + 1);
        svg_attribute(out, "y", y - 5.5);
        svg_put(out, " width=\"11\" height=\"11\" rx=\"1.5\"/>");
        break;
    }
    svg_put(out, "</g>");
}

/* Above the plot, in as many rows as it takes; the y below it. */
static double put_legend(frame *f, const legend *names, double y) {
    double x = f->left, limit = f->width - margin;
    if (names->count == 0) return y;
    for (size_t i = 0; i < names->count; i++) {
        const legend_entry *e = &names->entries[i];
        double width = 20 + text_width(e->name, font);
        if (i > 0 && x + width > limit) {
            x = f->left;
            y += row;
        }
        put_swatch(&f->below, names->kind, x, y + row / 2, e->colour);
        svg_put(&f->below, "<text");
        svg_attribute(&f->below, "x", x + 19);
        svg_attribute(&f->below, "y", y + row / 2 + 4);
        svg_put(&f->below, ">");
        svg_text(&f->below, e->name);
        svg_put(&f->below, "</text>");
        x += width + 16;
    }
    return y + row;
}

static void put_cut(svg *out, const char *text, double size, double limit) {
    char part[256];
    if (text_width(text, size) <= limit) {
        svg_text(out, text);
        return;
    }
    size_t n = text_fit(text, size, limit - size * 0.8);
    snprintf(part, sizeof part, "%.*s", (int)(n < 250 ? n : 250), text);
    svg_text(out, part);
    svg_put(out, "\xe2\x80\xa6");
}

double frame_title(frame *f) {
    const char *title = f->chart->title ? f->chart->title : "";
    if (!title[0]) return margin;
    svg_put(&f->below, "<text class=\"title\"");
    svg_attribute(&f->below, "x", margin);
    svg_put(&f->below, " y=\"22\">");
    put_cut(&f->below, title, title_font * 1.06, f->width - 2 * margin);
    svg_put(&f->below, "</text>");
    return 33;
}

void frame_begin_bare(frame *f, const pm_chart *chart, double height) {
    *f = (frame){.chart = chart, .left = margin};
    f->width = chart->width ? (double)chart->width : 640;
    f->height = chart->height ? (double)chart->height : height;
}

/* How the names of groups stand: level where they fit, else sloping, each `every`-th. */
typedef struct slope {
    bool sloping;
    size_t every;
    double height, limit;
} slope;

static slope choose_slope(const frame *f, const group_names *groups) {
    double room = (f->right - f->left) / (double)groups->count, widest = 0;
    for (size_t i = 0; i < groups->count; i++)
        widest = fmax(widest, text_width(groups->names[i], font));
    slope s = {.every = 1, .height = font + 8, .limit = room - 6};
    if (widest <= s.limit) return s;
    s.sloping = true;
    s.limit = fmin(widest, 150);
    s.height = s.limit * 0.643 + font + 6; /* sin 40 degrees */
    s.every = room < 15 ? (size_t)ceil(15 / room) : 1;
    return s;
}

static void put_groups(frame *f, const group_names *groups, const slope *s) {
    svg *out = &f->below;
    double room = (f->right - f->left) / (double)groups->count;
    for (size_t i = 0; i < groups->count; i += s->every) {
        double x = f->left + room * ((double)i + 0.5), y = f->bottom + font + 5;
        if (s->sloping) {
            svg_put(out, "<text class=\"end\" transform=\"translate(");
            svg_point(out, ' ', x + 4, f->bottom + 12);
            svg_put(out, ") rotate(-40)\">");
        } else {
            svg_put(out, "<text class=\"middle\"");
            svg_attribute(out, "x", x);
            svg_attribute(out, "y", y);
            svg_put(out, ">");
        }
        put_cut(out, groups->names[i], font, s->limit + 1);
        svg_put(out, "</text>");
    }
}

static void put_label(svg *out, const char *name, double x, double y, const char *text) {
    svg_put(out, "<text class=\"%s\"", name);
    svg_attribute(out, "x", x);
    svg_attribute(out, "y", y);
    svg_put(out, ">%s</text>", text);
}

static void put_y_axis(frame *f) {
    svg *out = &f->below;
    char text[NUMBER_BYTES];
    for (size_t i = 0; i < f->y.tick_count; i++) {
        double y = scale_at(&f->y, f->y.ticks[i]);
        put_line(out, "grid", f->left, y, f->right, y);
        put_label(out, "end", f->left - 7, y + 4, scale_label(&f->y, i, text));
    }
    if (!f->chart->y.label || !(f->chart->y.label[0] || f->y.power)) return;
    svg_put(out, "<text class=\"middle\" transform=\"translate(");
    svg_point(out, ' ', margin + 5, (f->top + f->bottom) / 2);
    svg_put(out, ") rotate(-90)\">");
    scale_put_name(out, &f->y, f->chart->y.label);
    svg_put(out, "</text>");
}

static void put_x_axis(frame *f, const group_names *groups, const slope *s) {
    svg *out = &f->below;
    char text[NUMBER_BYTES];
    for (size_t i = 0; !groups && i < f->x.tick_count; i++) {
        double x = scale_at(&f->x, f->x.ticks[i]);
        put_line(out, "axis", x, f->bottom, x, f->bottom + 4);
        put_label(out, "middle", x, f->bottom + font + 6, scale_label(&f->x, i, text));
    }
    if (groups) put_groups(f, groups, s);
    put_line(out, "axis", f->left, f->bottom, f->right, f->bottom);
    if (!f->chart->x.label || !(f->chart->x.label[0] || f->x.power)) return;
    svg_put(out, "<text class=\"middle\"");
    svg_attribute(out, "x", (f->left + f->right) / 2);
    svg_attribute(out, "y", f->height - margin + 3);
    svg_put(out, ">");
    scale_put_name(out, &f->x, f->chart->x.label);
    svg_put(out, "</text>");
}

/* One unit as long on x as on y: the axis with room to spare gets more of it. */
static void make_square(const frame *f, range *x, range *y) {
    double across = f->right - f->left, down = f->bottom - f->top;
    double unit = fmax((x->most - x->least) / across, (y->most - y->least) / down);
    if (!(unit > 0)) unit = 1 / fmin(across, down);
    unit *= 1.04;
    double x_more = unit * across - (x->most - x->least);
    double y_more = unit * down - (y->most - y->least);
    *x = (range){.least = x->least - x_more / 2, .most = x->most + x_more / 2};
    *y = (range){.least = y->least - y_more / 2, .most = y->most + y_more / 2};
}

static size_t ticks_that_fit(const frame *f, const range *x, bool exact) {
    size_t target = (size_t)fmax(2, (f->right - f->left) / 70);
    for (; target > 2; target--) {
        scale s = scale_new(&f->chart->x, x, target, exact);
        double room = (f->right - f->left) / (double)(s.tick_count ? s.tick_count : 1);
        if (scale_label_width(&s, font) + 12 <= room) break;
    }
    return target;
}

static pm_status check(const pm_axis *axis, const char *name, const range *seen) {
    if (range_is_empty(seen))
        return pm_fail(PM_E_USAGE, "a chart without a value that its %s axis can show%s", name,
                       axis->log ? " (above 0, it is logarithmic)" : "");
    if (axis->fixed && (!(axis->least < axis->most) || (axis->log && axis->least <= 0)))
        return pm_fail(PM_E_USAGE, "a chart's %s axis runs from %g to %g", name, axis->least,
                       axis->most);
    return PM_OK;
}

static void set_scales(frame *f, const range *x, const range *y) {
    bool square = f->chart->square && x;
    range across = x ? *x : (range){.most = 1}, down = *y;
    size_t y_target = (size_t)fmax(2, (f->bottom - f->top) / 48);
    f->left = margin + (f->chart->y.label && f->chart->y.label[0] ? 20 : 0) + 8;
    scale y_first = scale_new(&f->chart->y, y, y_target, false);
    f->left += square ? 36 : scale_label_width(&y_first, font);
    if (square) make_square(f, &across, &down);
    f->y = scale_new(&f->chart->y, &down, y_target, square);
    f->x =
        scale_new(&f->chart->x, &across, x ? ticks_that_fit(f, &across, square) : 2, square || !x);
    if (!x) f->x.power = 0;
    f->x.from = f->left;
    f->x.to = f->right;
    f->y.from = f->bottom;
    f->y.to = f->top;
}

pm_status frame_begin(frame *f, const pm_chart *chart, const legend *names, const range *x,
                      const range *y, const group_names *groups) {
    range down = *y;
    frame_begin_bare(f, chart, 400);
    if (chart->y.log == false && chart->zero) range_add(&down, 0);
    pm_status status = x ? check(&chart->x, "x", x) : PM_OK;
    if (!status) status = check(&chart->y, "y", &down);
    if (status) return status;
    bool label = chart->reference_label && chart->reference_label[0];
    range_add(&down, chart->reference);
    f->right = f->width - margin - 6;
    if (label && isfinite(chart->reference))
        f->right -= fmin(text_width(chart->reference_label, font), f->width * 0.3);
    f->left = margin + 48;
    double y_begin = frame_title(f);
    slope s = groups ? choose_slope(f, groups) : (slope){.height = font + 10};
    bool named = chart->x.label && chart->x.label[0];
    f->bottom = f->height - margin - s.height - (named ? font + 4 : 0);
    f->top = y_begin + 8; /* until the legend is measured */
    set_scales(f, x, &down);
    f->top = put_legend(f, names, y_begin) + 8;
    if (f->bottom - f->top < 20 || f->right - f->left < 20) {
        svg_fini(&f->below);
        return pm_fail(PM_E_USAGE, "a chart of %g x %g pixels has no room for its data", f->width,
                       f->height);
    }
    set_scales(f, x, &down);
    f->clip = chart->x.fixed || chart->y.fixed;
    put_y_axis(f);
    put_x_axis(f, groups, &s);
    return PM_OK;
}

static void put_clip(const frame *f, svg *all, uint64_t id) {
    svg_put(all, "<clipPath id=\"pm%016" PRIx64 "c\"><rect", id);
    svg_attribute(all, "x", f->left);
    svg_attribute(all, "y", f->top);
    svg_attribute(all, "width", f->right - f->left);
    svg_attribute(all, "height", f->bottom - f->top);
    svg_put(all, "/></clipPath><g clip-path=\"url(#pm%016" PRIx64 "c)\">", id);
}

static void put_part(svg *all, const svg *part) {
    if (!all->status) all->status = part->status;
    if (!all->status && part->text.size)
        all->status = pm_buffer_append(&all->text, part->text.bytes, part->text.size);
}

static void put_reference(const frame *f, svg *out) {
    double at = f->chart->reference;
    if (f->y.tick_count == 0 || !scale_shows(&f->y, at)) return;
    double y = scale_at(&f->y, at);
    put_line(out, "reference", f->left, y, f->right, y);
    if (!f->chart->reference_label || !f->chart->reference_label[0]) return;
    svg_put(out, "<text");
    svg_attribute(out, "x", f->right + 6);
    svg_attribute(out, "y", y + 4);
    svg_put(out, ">");
    put_cut(out, f->chart->reference_label, font, f->width - f->right - 8);
    svg_put(out, "</text>");
}

static void put_element(const frame *f, svg *all) {
    const char *title = f->chart->title ? f->chart->title : "";
    const char *more = f->chart->description ? f->chart->description : title;
    const svg *parts[] = {&f->below, &f->marks};
    uint64_t id = pm_splitmix64(pm_fnv1a64(title)) ^ pm_fnv1a64(more);
    for (size_t i = 0; i < 2; i++)
        if (parts[i]->text.size)
            id = pm_splitmix64(id) ^ pm_fnv1a64((const char *)parts[i]->text.bytes);
    svg_put(all, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"pm-chart\" role=\"img\"");
    svg_put(all, " aria-labelledby=\"pm%016" PRIx64 "t pm%016" PRIx64 "d\"", id, id);
    svg_put(all, " viewBox=\"0 0 %.0f %.0f\"", f->width, f->height);
    svg_put(all, " width=\"%.0f\" height=\"%.0f\">", f->width, f->height);
    svg_put(all, "<title id=\"pm%016" PRIx64 "t\">", id);
    svg_text(all, title);
    svg_put(all, "</title><desc id=\"pm%016" PRIx64 "d\">", id);
    svg_text(all, more);
    svg_put(all, "</desc>");
    put_part(all, &f->below);
    if (f->clip) put_clip(f, all, id);
    put_part(all, &f->marks);
    if (f->clip) svg_put(all, "</g>");
    put_reference(f, all);
    svg_put(all, "</svg>\n");
}

pm_status frame_end(frame *f, pm_buffer *out) {
    svg all = {0};
    put_element(f, &all);
    pm_status status = all.status;
    if (!status) status = pm_buffer_append(out, all.text.bytes, all.text.size);
    svg_fini(&all);
    svg_fini(&f->below);
    svg_fini(&f->marks);
    return status;
}
