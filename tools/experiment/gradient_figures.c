/* Owns the files of gradient-sum: three tables and three figures a distribution. */
#include <stdio.h>

#include "lib/chart/chart.h"
#include "tools/experiment/files.h"
#include "tools/experiment/gradient_sum.h"

enum { ARROWS = PM_GRADIENT_H + PM_GRADIENT_L + 3, BLUE = 0, RED = 1, BLACK = 7 };

static const char *name_of(const pm_gradient *g, const char *what, char out[80]) {
    snprintf(out, 80, "gradient-sum-%s-%s", pm_spread_name(g->spread), what);
    return out;
}

static pm_status arrows_of(const pm_gradient *g, pm_buffer *out) {
    pm_arrow arrows[ARROWS];
    size_t n = 0;
    const pm_vectors *v = &g->first;
    for (size_t i = 0; i < PM_GRADIENT_L; i++)
        arrows[n++] = (pm_arrow){v->l_u[i], v->l_v[i], RED, 0.7, ""};
    for (size_t i = 0; i < PM_GRADIENT_H; i++)
        arrows[n++] = (pm_arrow){v->h_u[i], v->h_v[i], BLUE, 0.9, ""};
    const pm_sums *s = &g->sums;
    arrows[n++] = (pm_arrow){s->h_u, s->h_v, BLUE, 3, "sum of H, 10 tall vectors"};
    arrows[n++] = (pm_arrow){s->l_u, s->l_v, RED, 3, "sum of L, 100 small vectors"};
    arrows[n++] = (pm_arrow){s->h_u + s->l_u, s->h_v + s->l_v, BLACK, 3, "sum of all"};
    char title[120], description[320];
    snprintf(title, sizeof title, "Sums of few tall vectors and many small ones (%s, seed %u)",
             pm_spread_name(g->spread), g->seed);
    snprintf(description, sizeof description,
             "Arrows from the origin. The sum of H is (%.4f, %.4f), the sum of L (%.4f, %.4f), the "
             "sum of all (%.4f, %.4f), %.1f degrees away from that of H.",
             s->h_u, s->h_v, s->l_u, s->l_v, s->h_u + s->l_u, s->h_v + s->l_v, g->angle);
    pm_chart chart = pm_chart_new(title, "u", "v");
    chart.description = description;
    chart.square = true;
    chart.height = 500;
    return pm_chart_arrows(&chart, arrows, n, out);
}

static pm_status histogram_of(const pm_gradient *g, pm_buffer *out) {
    const pm_series series = {.name = "", .y = g->counts, .count = PM_GRADIENT_BINS};
    char title[120], description[240];
    snprintf(title, sizeof title,
             "Angle between the sum of all and the sum of H, 10,000 draws (%s)",
             pm_spread_name(g->spread));
    snprintf(description, sizeof description,
             "Histogram. Mean %.1f degrees, median %.1f, beyond 45 degrees %.1f %% of the draws.",
             g->mean, g->median, 100 * g->beyond);
    pm_chart chart = pm_chart_new(title, "angle in degrees", "draws");
    chart.description = description;
    chart.x = (pm_axis){.label = "angle in degrees", .fixed = true, .least = 0, .most = 180};
    return pm_chart_histogram(&chart, g->edges, PM_GRADIENT_BINS, &series, 1, out);
}

static pm_status lines_of(const pm_gradient *g, pm_buffer *out) {
    const pm_series series[] = {
        {.name = "mean", .x = g->l, .y = g->means, .count = PM_GRADIENT_STEPS, .colour = 0},
        {.name = "median", .x = g->l, .y = g->medians, .count = PM_GRADIENT_STEPS, .colour = 1}};
    char title[120], description[240];
    snprintf(title, sizeof title, "The angle grows with the number of small vectors (%s)",
             pm_spread_name(g->spread));
    snprintf(description, sizeof description,
             "Lines over |L|. Without a small vector the angle is 0; with 1000 its mean is %.1f "
             "degrees, its median %.1f.",
             g->means[PM_GRADIENT_STEPS - 1], g->medians[PM_GRADIENT_STEPS - 1]);
    pm_chart chart = pm_chart_new(title, "small vectors, |L|", "angle in degrees");
    chart.description = description;
    chart.zero = true;
    return pm_chart_lines(&chart, series, 2, out);
}

static pm_status vectors_table(const pm_gradient *g, pm_buffer *out) {
    pm_status status = pm_buffer_printf(out, "group,u,v\n");
    for (size_t i = 0; !status && i < PM_GRADIENT_H; i++)
        status = pm_buffer_printf(out, "H,%.17g,%.17g\n", g->first.h_u[i], g->first.h_v[i]);
    for (size_t i = 0; !status && i < PM_GRADIENT_L; i++)
        status = pm_buffer_printf(out, "L,%.17g,%.17g\n", g->first.l_u[i], g->first.l_v[i]);
    return status;
}

static pm_status histogram_table(const pm_gradient *g, pm_buffer *out) {
    pm_status status = pm_buffer_printf(out, "from_degrees,to_degrees,draws\n");
    for (size_t i = 0; !status && i < PM_GRADIENT_BINS; i++)
        status = pm_buffer_printf(out, "%g,%g,%g\n", g->edges[i], g->edges[i + 1], g->counts[i]);
    return status;
}

static pm_status lines_table(const pm_gradient *g, pm_buffer *out) {
    pm_status status = pm_buffer_printf(out, "small_vectors,mean_degrees,median_degrees\n");
    for (size_t i = 0; !status && i < PM_GRADIENT_STEPS; i++)
        status = pm_buffer_printf(out, "%g,%.6f,%.6f\n", g->l[i], g->means[i], g->medians[i]);
    return status;
}

typedef pm_status (*maker)(const pm_gradient *g, pm_buffer *out);

static pm_status write_one(const pm_gradient *g, const char *dir, const char *what, maker make,
                           bool figure, bool say) {
    char name[80];
    pm_buffer text = {0};
    pm_status status = make(g, &text);
    name_of(g, what, name);
    if (!status)
        status = figure ? pm_experiment_chart(dir, name, &text, say)
                        : pm_experiment_write(dir, name, text.bytes, text.size, say);
    pm_buffer_fini(&text);
    return status;
}

pm_status pm_gradient_write(const pm_gradient *g, const char *dir, bool say) {
    pm_status status = write_one(g, dir, "vectors.csv", vectors_table, false, say);
    if (!status) status = write_one(g, dir, "vectors.svg", arrows_of, true, say);
    if (!status) status = write_one(g, dir, "angle.csv", histogram_table, false, say);
    if (!status) status = write_one(g, dir, "angle.svg", histogram_of, true, say);
    if (!status) status = write_one(g, dir, "angle-by-count.csv", lines_table, false, say);
    if (!status) status = write_one(g, dir, "angle-by-count.svg", lines_of, true, say);
    return status;
}
