/* Owns the figures of variance-conservation: bars by threshold for the first choice of layers, and
 * points by layer ratio. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/chart/chart.h"
#include "tools/experiment/conservation.h"

enum { COLOUR_PLAIN = 7, SERIES_MAX = 8 };

static double mean_of(const pm_cell *c) { return c && c->mu_w.count ? c->mu_w.mean : (double)NAN; }
static double half_of(const pm_cell *c) { return c ? pm_ci95(&c->mu_w) : (double)NAN; }

typedef struct bars {
    double y[3][PM_VALUES_MAX], half[3][PM_VALUES_MAX];
} bars;

static pm_status draw_bars(const pm_cells *cells, const pm_study *study, const char *mask) {
    const char *thresholds[PM_VALUES_MAX], *layers[PM_VALUES_MAX];
    const size_t count = pm_cells_thresholds(cells, thresholds);
    const pm_cell *plain = pm_cells_plain(cells);
    bars b;
    char title[256], name[64];
    pm_buffer svg = {0};
    if (!pm_cells_layers(cells, layers)) return PM_OK;
    for (size_t i = 0; i < count; i++) {
        const pm_cell *const three[3] = {plain,
                                         pm_cells_find(cells, layers[0], mask, thresholds[i], 0),
                                         pm_cells_find(cells, layers[0], mask, thresholds[i], 1)};
        for (size_t k = 0; k < 3; k++) {
            b.y[k][i] = mean_of(three[k]);
            b.half[k][i] = half_of(three[k]);
        }
    }
    const pm_series series[3] = {{.name = "plain gradient",
                                  .y = b.y[0],
                                  .half_width = b.half[0],
                                  .count = count,
                                  .colour = COLOUR_PLAIN},
                                 {.name = "without conservation",
                                  .y = b.y[1],
                                  .half_width = b.half[1],
                                  .count = count,
                                  .colour = 1},
                                 {.name = "with conservation",
                                  .y = b.y[2],
                                  .half_width = b.half[2],
                                  .count = count,
                                  .colour = 0}};
    snprintf(title, sizeof title, "%s, %s: mask %s, layers %s", cells->model, cells->data_set, mask,
             layers[0]);
    pm_chart chart = pm_chart_new(title, "share of channels kept", "mean mu_in_w, 95 % interval");
    chart.reference = 1;
    chart.reference_label = "chance";
    snprintf(name, sizeof name, "bars-%s.svg", mask);
    pm_status status = pm_chart_bars(&chart, thresholds, count, series, 3, &svg);
    if (!status) status = pm_study_chart(study, name, &svg);
    pm_buffer_fini(&svg);
    return status;
}

typedef struct points {
    char name[48];
    double x[PM_VALUES_MAX], y[PM_VALUES_MAX], half[PM_VALUES_MAX];
    size_t count;
} points;

/* Points of one ratio stand side by side, or their whiskers hide each other. */
static void take_points(const pm_cells *cells, const char *mask, const char *threshold,
                        int conserved, double aside, points *out) {
    const char *layers[PM_VALUES_MAX];
    const size_t count = pm_cells_layers(cells, layers);
    snprintf(out->name, sizeof out->name, "%s, %s", threshold, conserved ? "conserved" : "not");
    out->count = 0;
    for (size_t i = 0; i < count; i++) {
        const pm_cell *c = pm_cells_find(cells, layers[i], mask, threshold, conserved);
        if (strncmp(layers[i], "ratio:", 6) != 0 || !c) continue;
        out->x[out->count] = strtod(layers[i] + 6, NULL) + aside;
        out->y[out->count] = mean_of(c);
        out->half[out->count++] = half_of(c);
    }
}

/* The series of a figure, thresholds in order; those that have no room left go to `left_out`. */
static size_t choose_points(const pm_cells *cells, const char *mask, points p[SERIES_MAX],
                            const char *left_out[PM_VALUES_MAX], size_t *left_count) {
    const char *thresholds[PM_VALUES_MAX];
    const size_t kinds = pm_cells_thresholds(cells, thresholds);
    size_t count = 0;
    *left_count = 0;
    for (size_t i = 0; i < kinds; i++) {
        points both[2];
        const size_t before = count;
        size_t with_points = 0;
        for (int conserved = 0; conserved < 2; conserved++) {
            points *one = &both[with_points];
            take_points(cells, mask, thresholds[i], conserved,
                        0.012 * ((double)(before + with_points) - 1.5), one);
            with_points += one->count > 0;
        }
        if (before + with_points > SERIES_MAX) {
            left_out[(*left_count)++] = thresholds[i];
            continue;
        }
        for (size_t k = 0; k < with_points; k++) p[count++] = both[k];
    }
    return count;
}

size_t pm_conservation_left_out(const pm_cells *cells, const char *mask,
                                const char *out[PM_VALUES_MAX]) {
    static points p[SERIES_MAX];
    size_t count = 0;
    (void)choose_points(cells, mask, p, out, &count);
    return count;
}

static pm_status draw_ratios(const pm_cells *cells, const pm_study *study, const char *mask) {
    static points p[SERIES_MAX];
    pm_series series[SERIES_MAX];
    const char *left_out[PM_VALUES_MAX];
    const pm_cell *plain = pm_cells_plain(cells);
    char title[256], name[64];
    size_t left_count;
    pm_buffer svg = {0};
    const size_t count = choose_points(cells, mask, p, left_out, &left_count);
    for (size_t i = 0; i < count; i++)
        series[i] = (pm_series){.name = p[i].name,
                                .x = p[i].x,
                                .y = p[i].y,
                                .half_width = p[i].half,
                                .count = p[i].count,
                                .colour = (unsigned)i};
    if (!count) return PM_OK;
    snprintf(title, sizeof title, "%s, %s: mask %s, by layer ratio", cells->model, cells->data_set,
             mask);
    pm_chart chart = pm_chart_new(title, "share of the convolutions, from the last on",
                                  "mean mu_in_w, 95 % interval");
    chart.reference = mean_of(plain);
    chart.reference_label = "plain gradient";
    snprintf(name, sizeof name, "ratios-%s.svg", mask);
    pm_status status = pm_chart_points(&chart, series, count, &svg);
    if (!status) status = pm_study_chart(study, name, &svg);
    pm_buffer_fini(&svg);
    return status;
}

pm_status pm_conservation_figures(const pm_cells *cells, const pm_study *study) {
    const char *masks[PM_VALUES_MAX];
    const size_t count = pm_cells_masks(cells, masks);
    pm_status status = PM_OK;
    for (size_t i = 0; i < count && !status; i++) {
        status = draw_bars(cells, study, masks[i]);
        if (!status) status = draw_ratios(cells, study, masks[i]);
    }
    return status;
}
