/* Owns the chart of how the gradient's variance is spread over a layer's channels (a Lorenz curve,
 * read from the greatest on: Lorenz, Publications of the ASA 9, 1905). */
#include <math.h>
#include <stdlib.h>

#include "lib/chart/chart.h"
#include "tools/report/sections.h"

enum { LINES_MOST = 6, POINTS_MOST = 40, WIDTH = 640, HEIGHT = 340 };

typedef struct stretch {
    size_t first, count; /* of pm_report.shares */
    double sum;
} stretch;

/* One stretch a layer; a layer without any variance has none. */
static size_t layers_of(const pm_report *r, stretch *out) {
    size_t count = 0;
    for (size_t i = 0; i < r->share_count;) {
        stretch s = {.first = i};
        for (; i < r->share_count && r->shares[i].conv == r->shares[s.first].conv; i++)
            s.sum += r->shares[i].mean;
        s.count = i - s.first;
        if (s.sum > 0) out[count++] = s;
    }
    return count;
}

/* The first and the last layer, and others evenly between them. */
static size_t chosen(size_t k, size_t lines, size_t layers) {
    return lines < 2 ? 0 : (k * (layers - 1) + (lines - 1) / 2) / (lines - 1);
}

/* x, y [POINTS_MOST + 1]; returns how many. */
static size_t curve_of(const pm_report *r, const stretch *s, double *x, double *y) {
    const size_t points = s->count < POINTS_MOST ? s->count : POINTS_MOST;
    size_t taken = 0;
    double sum = 0;
    x[0] = y[0] = 0;
    for (size_t p = 1; p <= points; p++) {
        for (const size_t end = s->count * p / points; taken < end; taken++)
            sum += r->shares[s->first + taken].mean;
        x[p] = (double)taken / (double)s->count;
        y[p] = sum / s->sum;
    }
    return points + 1;
}

/* The least share of the channels that carry half. */
static double half_of(const pm_report *r, const stretch *s) {
    double sum = 0;
    size_t k = 0;
    while (k < s->count && sum < 0.5 * s->sum) sum += r->shares[s->first + k++].mean;
    return (double)k / (double)s->count;
}

static void draw(pm_html *h, const pm_report *r, const stretch *layers, size_t count) {
    const size_t lines = count < LINES_MOST ? count : LINES_MOST;
    double *x = calloc(2 * lines * (POINTS_MOST + 1) + 1, sizeof *x);
    double *y = x ? x + lines * (POINTS_MOST + 1) : NULL;
    pm_series series[LINES_MOST];
    pm_buffer svg = {0};
    if (!x) {
        h->status = pm_report_no_memory();
        return;
    }
    for (size_t k = 0; k < lines; k++) {
        const stretch *s = &layers[chosen(k, lines, count)];
        const size_t at = k * (POINTS_MOST + 1);
        series[k] = (pm_series){.name = r->shares[s->first].layer,
                                .x = x + at,
                                .y = y + at,
                                .count = curve_of(r, s, x + at, y + at),
                                .colour = (unsigned)k};
    }
    pm_chart chart =
        pm_chart_new("How few channels carry the variance",
                     "share of the channels, the greatest first", "share of the layer's variance");
    chart.width = WIDTH;
    chart.height = HEIGHT;
    chart.zero = true;
    pm_html_put(h, "<div class=\"charts\">");
    pm_page_chart(h, pm_chart_lines(&chart, series, lines, &svg), &svg);
    pm_html_put(h, "</div>\n");
    free(x);
}

void pm_channel_shares(pm_html *h, const pm_report *r) {
    stretch *layers = calloc(r->share_count + 1, sizeof *layers);
    if (!layers) {
        h->status = pm_report_no_memory();
        return;
    }
    const size_t count = layers_of(r, layers);
    if (count) {
        const stretch *first = &layers[0], *last = &layers[count - 1];
        draw(h, r, layers, count);
        pm_html_put(
            h,
            "<p>Of <b class=\"letter\">%s</b>: half of the variance lies in %.0f %% of the "
            "channels of %s, in %.0f %% of those of %s.%s</p>\n",
            r->configurations[r->reference].letter, 100 * half_of(r, first),
            r->shares[first->first].layer, 100 * half_of(r, last), r->shares[last->first].layer,
            count > LINES_MOST ? " Six layers are drawn, evenly from the first to the last." : "");
    }
    free(layers);
}
