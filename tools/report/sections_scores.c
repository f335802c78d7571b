/* Owns the sections of numbers: scores, paired differences, curves, layers, channels. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/chart/chart.h"
#include "tools/report/sections.h"

enum { CHART_WIDTH = 480, CHART_HEIGHT = 300 };

/* Colours are as many as charts can tell apart; tables have all. */
static size_t drawn(const pm_report *r) {
    return r->configuration_count < PM_CHART_COLOURS ? r->configuration_count : PM_CHART_COLOURS;
}

static void say_undrawn(pm_html *h, const pm_report *r) {
    if (drawn(r) < r->configuration_count)
        pm_html_put(h,
                    "<p class=\"soft\">Charts show the first %zu of %zu configurations; tables "
                    "have all.</p>\n",
                    drawn(r), r->configuration_count);
}

static pm_chart chart_of(const char *title, const char *x, const char *y) {
    pm_chart chart = pm_chart_new(title, x, y);
    chart.width = CHART_WIDTH;
    chart.height = CHART_HEIGHT;
    return chart;
}

/* ---- scores ---- */

/* Bars of a mean, one for each configuration, in the configuration's colour. */
static void means_chart(pm_html *h, const pm_report *r, pm_metric metric, bool differences) {
    const char *groups[PM_CHART_COLOURS];
    double y[PM_CHART_COLOURS], half[PM_CHART_COLOURS];
    size_t count = 0;
    char title[128];
    pm_buffer svg = {0};
    for (size_t c = 0; c < r->configuration_count && count < PM_CHART_COLOURS; c++) {
        const pm_report_configuration *f = &r->configurations[c];
        const pm_moments *m = differences ? &f->differences[metric] : &f->moments[metric];
        if ((differences && c == r->reference) || !m->count) continue;
        groups[count] = f->letter;
        y[count] = m->mean;
        half[count++] = pm_ci95(m);
    }
    if (!count) return;
    const char *reference = r->configurations[r->reference].letter;
    if (differences)
        snprintf(title, sizeof title, "%s: difference from %s", pm_metrics[metric].name, reference);
    else
        snprintf(title, sizeof title, "%s", pm_metrics[metric].name);
    pm_chart chart = chart_of(title, "configuration", differences ? "difference" : "mean");
    if (!differences && metric == PM_METRIC_MU_IN_W) {
        chart.reference = 1;
        chart.reference_label = "chance";
    }
    if (!differences && metric == PM_METRIC_POINTING) {
        chart.y.fixed = true;
        chart.y.most = 1;
    }
    const pm_series series = {.name = "", .y = y, .half_width = half, .count = count};
    pm_page_chart(h, pm_chart_bars(&chart, groups, count, &series, 1, &svg), &svg);
}

/* One row a configuration: n, then mean and interval of each metric that there is. */
/* Which means are over fewer results than the table says: a box may fill the crop, or be missing.
 */
static void say_fewer(pm_html *h, const pm_report *r, const pm_metric *shown, size_t count) {
    bool any = false;
    for (size_t c = 0; c < r->configuration_count; c++)
        for (size_t i = 0; i < count; i++) {
            const size_t n = (size_t)r->configurations[c].moments[shown[i]].count;
            if (n == r->configurations[c].results) continue;
            if (any)
                pm_html_put(h, ", ");
            else
                pm_html_put(h, "<p class=\"soft\">Of fewer results, the others have no value: ");
            pm_html_put(h, "<b class=\"letter\">%s</b> %s %zu", r->configurations[c].letter,
                        pm_metrics[shown[i]].name, n);
            any = true;
        }
    if (any) pm_html_put(h, ".</p>\n");
}

static void scores_table(pm_html *h, const pm_report *r) {
    const char *heads[PM_METRIC_COUNT + 2] = {"configuration", "results"};
    pm_metric shown[PM_METRIC_COUNT];
    size_t count = 0;
    for (size_t m = 0; m < PM_METRIC_COUNT; m++)
        if (pm_report_has(r, (pm_metric)m)) {
            shown[count] = (pm_metric)m;
            heads[2 + count++] = pm_metrics[m].name;
        }
    pm_page_table_begin(h, "Means over images, with 95 % intervals");
    pm_page_table_heads(h, heads, count + 2, 1);
    for (size_t c = 0; c < r->configuration_count; c++) {
        const pm_report_configuration *f = &r->configurations[c];
        pm_html_put(h, "<tr id=\"scores-%s\">", f->letter);
        pm_page_table_configuration(h, r, c);
        pm_page_table_number(h, (double)f->results, 1);
        for (size_t i = 0; i < count; i++)
            pm_page_table_interval(
                h, f->moments[shown[i]].count ? f->moments[shown[i]].mean : (double)NAN,
                pm_ci95(&f->moments[shown[i]]));
        pm_html_put(h, "</tr>\n");
    }
    pm_page_table_end(h);
    say_fewer(h, r, shown, count);
    pm_html_put(h, "<dl class=\"meanings\">");
    for (size_t i = 0; i < count; i++)
        pm_html_put(h, "<div><dt>%s</dt><dd>%s; <code>%s</code></dd></div>\n",
                    pm_metrics[shown[i]].name, pm_metrics[shown[i]].meaning,
                    pm_metrics[shown[i]].column);
    pm_html_put(h, "</dl>\n");
}

static void paired_row(pm_html *h, const pm_report *r, size_t c, pm_metric metric) {
    char text[PM_NUMBER_BYTES];
    pm_paired test = pm_paired_test(&r->configurations[c].differences[metric]);
    if (!test.n) return;
    bool sure = isfinite(test.ci95) && fabs(test.mean) > test.ci95;
    pm_html_put(h,
                "<tr><th scope=\"row\"><b class=\"letter\">%s</b> − <b class=\"letter\">%s</b>"
                "</th><td>%s</td><td>%s</td>",
                r->configurations[c].letter, r->configurations[r->reference].letter,
                pm_metrics[metric].name,
                !sure                                                ? "within chance"
                : (test.mean > 0) == (pm_metrics[metric].better > 0) ? "better"
                                                                     : "worse");
    pm_page_table_number(h, (double)test.n, 1);
    pm_page_table_interval(h, test.mean, test.ci95);
    pm_page_table_number(h, isinf(test.t) ? NAN : fabs(test.t) < 1e-9 ? 0 : test.t, 3);
    pm_html_put(h, "<td class=\"n\">%s</td></tr>\n", pm_p_value(test.p, text));
}

static void paired(pm_html *h, const pm_report *r) {
    static const char *const heads[] = {"difference", "metric", "reading", "n", "mean", "t", "p"};
    const pm_report_configuration *reference = &r->configurations[r->reference];
    pm_html_put(h,
                "<h3>Paired differences</h3>\n<p>Each configuration less <b class=\"letter\">%s"
                "</b> %s, on the same images.</p>\n",
                reference->letter, reference->label);
    pm_html_put(h, "<div class=\"charts\">");
    means_chart(h, r, PM_METRIC_MU_IN_W, true);
    means_chart(h, r, PM_METRIC_DELETION, true);
    means_chart(h, r, PM_METRIC_INSERTION, true);
    pm_html_put(h, "</div>\n");
    pm_page_table_begin(h, "Paired differences with 95 % intervals and the paired t-test");
    pm_page_table_heads(h, heads, 7, 3);
    for (size_t m = 0; m < PM_METRIC_COUNT; m++) {
        if (m == PM_METRIC_P_TARGET || m == PM_METRIC_GAP) continue;
        for (size_t c = 0; c < r->configuration_count; c++)
            if (c != r->reference) paired_row(h, r, c, (pm_metric)m);
    }
    pm_page_table_end(h);
    pm_html_put(h, "<p class=\"soft\">p is two-sided and not corrected for the number of rows; "
                   "“within chance”: the interval holds 0.</p>\n");
}

void pm_section_scores(pm_html *h, const pm_report *r) {
    pm_page_section_begin(h, "scores", "Scores");
    if (!pm_report_has(r, PM_METRIC_P_TARGET)) {
        pm_html_put(h, "<p>There is no result with numbers yet.</p>\n");
        pm_page_section_end(h);
        return;
    }
    if (!pm_report_has(r, PM_METRIC_MU_IN_W))
        pm_html_put(h, "<p>No image has a box that can be scored: <code>labels.csv</code> with "
                       "boxes, or <code>--boxes</code>.</p>\n");
    say_undrawn(h, r);
    for (size_t c = 1; c < r->configuration_count; c++)
        if (r->configurations[c].results != r->configurations[0].results) {
            pm_html_put(h, "<p class=\"notice\">The configurations have results of different "
                           "images: compare them by the paired differences.</p>\n");
            break;
        }
    pm_html_put(h, "<div class=\"charts\">");
    means_chart(h, r, PM_METRIC_MU_IN_W, false);
    means_chart(h, r, PM_METRIC_POINTING, false);
    pm_html_put(h, "</div>\n");
    scores_table(h, r);
    if (r->configuration_count > 1) paired(h, r);
    pm_page_section_end(h);
}

/* ---- curves ---- */

static void curve_chart(pm_html *h, const pm_report *r, bool lerf) {
    size_t room = r->curve_count + 1, count = 0, used = 0;
    double *numbers = malloc(3 * room * sizeof *numbers);
    pm_series series[PM_CHART_COLOURS];
    pm_buffer svg = {0};
    if (!numbers) {
        h->status = pm_report_no_memory();
        return;
    }
    double *x = numbers, *y = numbers + room, *half = numbers + 2 * room;
    for (size_t c = 0; c < drawn(r); c++) {
        size_t first = used;
        for (size_t i = 0; i < r->curve_count; i++) {
            const pm_report_curve_point *p = &r->curve[i];
            if (p->configuration != c || p->lerf != lerf) continue;
            x[used] = p->ratio;
            y[used] = p->p_target;
            half[used++] = p->half_width;
        }
        if (used > first)
            series[count++] = (pm_series){.name = r->configurations[c].letter,
                                          .x = x + first,
                                          .y = y + first,
                                          .half_width = half + first,
                                          .count = used - first,
                                          .colour = (unsigned)c};
    }
    pm_chart chart = chart_of(lerf ? "Least attributed pixels taken first (LeRF)"
                                   : "Most attributed pixels taken first (MoRF)",
                              "share of the pixels taken", "p(target)");
    chart.zero = true;
    if (count) pm_page_chart(h, pm_chart_lines(&chart, series, count, &svg), &svg);
    free(numbers);
}

static void curve_table(pm_html *h, const pm_report *r) {
    static const char *const heads[] = {"configuration", "curve", "share taken", "n", "p(target)"};
    pm_html_put(h, "<details><summary>The curves as a table</summary>\n");
    pm_page_table_begin(h, "Perturbation curves, means with 95 % intervals");
    pm_page_table_heads(h, heads, 5, 2);
    for (size_t i = 0; i < r->curve_count; i++) {
        const pm_report_curve_point *p = &r->curve[i];
        if (p->configuration >= r->configuration_count) continue;
        pm_html_put(h, "<tr>");
        pm_page_table_configuration(h, r, p->configuration);
        pm_html_put(h, "<td>%s</td>", p->lerf ? "LeRF" : "MoRF");
        pm_page_table_number(h, p->ratio, 2);
        pm_page_table_number(h, (double)p->n, 1);
        pm_page_table_interval(h, p->p_target, p->half_width);
        pm_html_put(h, "</tr>\n");
    }
    pm_page_table_end(h);
    pm_html_put(h, "</details>\n");
}

void pm_section_curves(pm_html *h, const pm_report *r) {
    pm_page_section_begin(h, "curves", "Perturbation curves");
    if (!r->curve_count) {
        pm_html_put(h, "<p>No curves: <code>parchmill run … --evaluate</code> records them.</p>\n");
        pm_page_section_end(h);
        return;
    }
    pm_html_put(h,
                "<p>What is left of the answer as pixels are taken away. A good attribution falls "
                "early in MoRF and late in LeRF; the bands are 95 %% intervals. Their areas are "
                "the deletion and insertion AUC of the scores above.</p>\n<div class=\"charts\">");
    curve_chart(h, r, false);
    curve_chart(h, r, true);
    pm_html_put(h, "</div>\n");
    say_undrawn(h, r);
    curve_table(h, r);
    pm_page_section_end(h);
}

/* ---- layers ---- */

typedef double (*layer_value)(const pm_report_layer *layer);
static double share_of_m(const pm_report_layer *l) { return l->share_h; }
static double share_of_h(const pm_report_layer *l) {
    return l->channels ? l->selected / (double)l->channels : (double)NAN;
}
static double beta_of(const pm_report_layer *l) { return l->beta; }

/* The layers of a run by name, in the network's order; every configuration's may be others. */
static size_t layer_names(const pm_report *r, const char **names, int *convs) {
    size_t count = 0;
    for (size_t i = 0; i < r->layer_count; i++) {
        size_t at = 0;
        while (at < count && convs[at] < r->layers[i].conv) at++;
        if (at < count && convs[at] == r->layers[i].conv) continue;
        memmove(names + at + 1, names + at, (count - at) * sizeof *names);
        memmove(convs + at + 1, convs + at, (count - at) * sizeof *convs);
        names[at] = r->layers[i].name;
        convs[at] = r->layers[i].conv;
        count++;
    }
    return count;
}

/* By layer, one line a masked configuration; x is the layer's place among those hooked. */
static void layer_chart(pm_html *h, const pm_report *r, const char *title, const char *y_label,
                        layer_value value) {
    size_t room = r->layer_count + 1, series_count = 0, used = 0;
    const char **names = calloc(room, sizeof *names);
    int *convs = calloc(room, sizeof *convs);
    double *x = calloc(room * 2, sizeof *x), *y = x ? x + room : NULL;
    pm_series series[PM_CHART_COLOURS];
    pm_buffer svg = {0};
    if (!names || !convs || !x) {
        h->status = pm_report_no_memory();
    } else {
        size_t count = layer_names(r, names, convs);
        for (size_t c = 0; c < drawn(r); c++) {
            size_t first = used;
            if (!r->configurations[c].masked) continue;
            for (size_t k = 0; k < count; k++)
                for (size_t i = 0; i < r->layer_count; i++) {
                    const pm_report_layer *l = &r->layers[i];
                    if (l->configuration != c || l->conv != convs[k]) continue;
                    x[used] = (double)(k + 1);
                    y[used++] = value(l);
                }
            if (used > first)
                series[series_count++] = (pm_series){.name = r->configurations[c].letter,
                                                     .x = x + first,
                                                     .y = y + first,
                                                     .count = used - first,
                                                     .colour = (unsigned)c};
        }
        pm_chart chart = chart_of(title, "hooked layer, in the network's order", y_label);
        chart.zero = true;
        if (series_count)
            pm_page_chart(h, pm_chart_lines(&chart, series, series_count, &svg), &svg);
    }
    free(names);
    free(convs);
    free(x);
}

static void layer_table(pm_html *h, const pm_report *r) {
    static const char *const heads[] = {"configuration", "layer",       "channels", "|H|",
                                        "|H| / C",       "M / (M + N)", "β",        "n"};
    pm_html_put(h, "<details><summary>The layers as a table</summary>\n");
    pm_page_table_begin(h, "Gradients by configuration and layer: means over images");
    pm_page_table_heads(h, heads, 8, 2);
    for (size_t i = 0; i < r->layer_count; i++) {
        const pm_report_layer *l = &r->layers[i];
        if (l->configuration >= r->configuration_count) continue;
        pm_html_put(h, "<tr>");
        pm_page_table_configuration(h, r, l->configuration);
        pm_html_put(h, "<td>%s</td>", l->name);
        pm_page_table_number(h, (double)l->channels, 1);
        pm_page_table_number(h, l->selected, 3);
        pm_page_table_number(h, share_of_h(l), 3);
        pm_page_table_number(h, l->share_h, 3);
        pm_page_table_number(h, l->beta, 3);
        pm_page_table_number(h, (double)l->results, 1);
        pm_html_put(h, "</tr>\n");
    }
    pm_page_table_end(h);
    pm_html_put(h, "</details>\n");
}

void pm_section_layers(pm_html *h, const pm_report *r) {
    bool masked = false;
    for (size_t i = 0; i < r->layer_count; i++) masked |= isfinite(r->layers[i].share_h);
    pm_page_section_begin(h, "layers", "Layers");
    if (!r->layer_count)
        pm_html_put(h, "<p>Nothing is known of layers yet.</p>\n");
    else if (!masked)
        pm_html_put(h,
                    "<p>No configuration parts channels into H and L (mask <code>off</code>), so "
                    "there is no M, N or β to show.</p>\n");
    if (masked) {
        pm_html_put(h, "<p>How much of each hooked layer’s gradient variance lies in the chosen "
                       "channels H: M is that of their sum, N that of the rest’s.</p>\n"
                       "<div class=\"charts\">");
        layer_chart(h, r, "Variance that lies in H", "M / (M + N)", share_of_m);
        layer_chart(h, r, "Channels that lie in H", "|H| / C", share_of_h);
        layer_chart(h, r, "Factor that conserves the variance", "β", beta_of);
        pm_html_put(h, "</div>\n");
    }
    if (r->layer_count) layer_table(h, r);
    pm_page_section_end(h);
}

/* ---- channels ---- */

static void channel_table(pm_html *h, const pm_report *r, size_t c, bool by_selection) {
    static const char *const heads[] = {"layer", "channel", "variance, mean", "std", "in H", "n"};
    bool any = false;
    for (size_t i = 0; i < r->channel_count; i++) {
        const pm_report_channel *k = &r->channels[i];
        if (k->configuration != c || k->by_selection != by_selection) continue;
        if (!any) {
            char caption[64];
            snprintf(caption, sizeof caption, "%s: top channels by %s", r->configurations[c].letter,
                     by_selection ? "times in H" : "mean gradient variance");
            pm_page_table_begin(h, caption);
            pm_page_table_heads(h, heads, 6, 1);
        }
        any = true;
        pm_html_put(h, "<tr><th scope=\"row\">%s</th><td class=\"n\">%d</td>", k->layer,
                    k->channel);
        pm_page_table_number(h, k->mean, 3);
        pm_page_table_number(h, k->std, 3);
        if (r->configurations[c].masked)
            pm_html_put(h, "<td class=\"n\">%.1f %%</td>",
                        k->count ? 100.0 * (double)k->selected / (double)k->count : 0.0);
        else
            pm_html_put(h, "<td class=\"n\">–</td>");
        pm_page_table_number(h, (double)k->count, 1);
        pm_html_put(h, "</tr>\n");
    }
    if (any) pm_page_table_end(h);
}

void pm_section_channels(pm_html *h, const pm_report *r) {
    pm_page_section_begin(h, "channels", "Channels");
    if (!r->channel_count) {
        pm_html_put(h,
                    strcmp(r->channels_kept, "none") == 0
                        ? "<p>Nothing is kept of channels: <code>--channels summary</code>.</p>\n"
                        : "<p>No sums of channels yet: they are written when a run ends, or by "
                          "<code>parchmill refresh</code>.</p>\n");
        pm_page_section_end(h);
        return;
    }
    pm_html_put(h,
                "<p>Which channels carry the gradient: the variance over space of each channel’s "
                "gradient, over all images that its configuration has results of in this "
                "database.</p>\n");
    pm_channel_shares(h, r);
    for (size_t c = 0; c < r->configuration_count; c++) {
        pm_html_put(h, c == r->reference ? "<details open=\"open\">" : "<details>");
        pm_html_put(h, "<summary><b class=\"letter\">%s</b> %s</summary><div class=\"tables\">\n",
                    r->configurations[c].letter, r->configurations[c].label);
        channel_table(h, r, c, false);
        channel_table(h, r, c, true);
        pm_html_put(h, "</div></details>\n");
    }
    pm_page_section_end(h);
}
