/* Owns the figures of p-values: shares along the network, and a histogram a layer, in one file. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/chart/chart.h"
#include "tools/experiment/statistics.h"

enum { COLUMNS = 4, WIDTH = 340, HEIGHT = 240 };

static pm_status draw_shares(const pm_p_layers *layers, const pm_study *study, const char *title) {
    double *numbers = calloc(layers->count * 3, sizeof *numbers);
    pm_buffer svg = {0};
    if (!numbers) return pm_fail(PM_E_MEMORY, "no memory for a figure");
    double *x = numbers, *shapiro = x + layers->count, *by_class = shapiro + layers->count;
    for (size_t i = 0; i < layers->count; i++) {
        x[i] = (double)(i + 1);
        shapiro[i] = pm_p_share(&layers->layers[i].shapiro);
        by_class[i] = pm_p_share(&layers->layers[i].by_class);
    }
    const pm_series series[] = {
        {.name = "Shapiro-Wilk, of channels", .x = x, .y = shapiro, .count = layers->count},
        {.name = "class, of channels x classes",
         .x = x,
         .y = by_class,
         .count = layers->count,
         .colour = 1}};
    pm_chart chart = pm_chart_new(title, "convolution, in order", "share of p < 0.05");
    chart.x.fixed = chart.y.fixed = true;
    chart.x.most = (double)layers->count + 1;
    chart.y.most = 1.05; /* room for a point at 1 */
    pm_status status = pm_chart_lines(&chart, series, 2, &svg);
    if (!status) status = pm_study_chart(study, "shares.svg", &svg);
    pm_buffer_fini(&svg);
    free(numbers);
    return status;
}

static pm_status draw_layer(const pm_p_layer *layer, pm_buffer *out) {
    double edges[PM_P_BINS + 1];
    for (size_t i = 0; i <= PM_P_BINS; i++) edges[i] = (double)i / PM_P_BINS;
    const pm_series series[] = {
        {.name = "Shapiro-Wilk", .y = layer->shapiro.bins, .count = PM_P_BINS},
        {.name = "class", .y = layer->by_class.bins, .count = PM_P_BINS, .colour = 1}};
    pm_chart chart = pm_chart_new(layer->name, "p", "share");
    chart.width = WIDTH;
    chart.height = HEIGHT;
    chart.y.fixed = true;
    chart.y.most = 1;
    return pm_chart_histogram(&chart, edges, PM_P_BINS, series, layer->by_class.count ? 2 : 1, out);
}

/* Charts of lib/chart side by side are charts inside one <svg>. */
static pm_status draw_histograms(const pm_p_layers *layers, const pm_study *study,
                                 const char *title) {
    const size_t rows = (layers->count + COLUMNS - 1) / COLUMNS;
    pm_buffer svg = {0};
    pm_status status = pm_buffer_printf(
        &svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"%d\" height=\"%zu\" "
        "viewBox=\"0 0 %d %zu\"><title>%s, p-values by layer</title>",
        COLUMNS * WIDTH, rows * HEIGHT, COLUMNS * WIDTH, rows * HEIGHT, title);
    for (size_t i = 0; i < layers->count && !status; i++) {
        status = pm_buffer_printf(&svg, "<g transform=\"translate(%zu,%zu)\">", i % COLUMNS * WIDTH,
                                  i / COLUMNS * HEIGHT);
        if (!status) status = draw_layer(&layers->layers[i], &svg);
        if (!status) status = pm_buffer_printf(&svg, "</g>\n");
    }
    if (!status) status = pm_buffer_printf(&svg, "</svg>\n");
    if (!status) status = pm_study_chart(study, "histograms.svg", &svg);
    pm_buffer_fini(&svg);
    return status;
}

pm_status pm_p_figures(const pm_p_layers *layers, const pm_study *study, const char *title) {
    pm_status status = draw_shares(layers, study, title);
    return status ? status : draw_histograms(layers, study, title);
}
