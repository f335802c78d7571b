/* Owns the gallery: which items, their cards, the controls that order them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report/pictures.h"
#include "tools/report/sections.h"

typedef struct gallery {
    pm_html *html;
    const pm_report *report;
    size_t *items; /* in the order of the page: best first */
    size_t count, candidates;
    bool any_heat_map;
} gallery;

/* ---- which items ---- */

typedef struct ranked {
    double key; /* ascending: best first */
    size_t item;
} ranked;

static int compare_ranked(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->key < y->key || x->key > y->key) return x->key < y->key ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

static double key_of(const pm_report *r, size_t item) {
    double v = pm_report_values(r, r->reference, r->main_metric)[item];
    return isfinite(v) ? -v * pm_metrics[r->main_metric].better : (double)INFINITY;
}

/* Of more than there is room for: a third the best, a third the worst, the rest evenly between. */
static pm_status choose(gallery *g, size_t most) {
    const pm_report *r = g->report;
    ranked *all = malloc((r->item_count + 1) * sizeof *all);
    g->items = malloc((most + 1) * sizeof *g->items);
    if (!all || !g->items) {
        free(all);
        return pm_report_no_memory();
    }
    for (size_t i = 0; i < r->item_count; i++)
        if (r->of_items[i].done) all[g->candidates++] = (ranked){key_of(r, i), i};
    qsort(all, g->candidates, sizeof *all, compare_ranked);
    if (g->candidates <= most) {
        for (size_t i = 0; i < g->candidates; i++) g->items[g->count++] = all[i].item;
    } else {
        size_t ends = most / 3, middle = most - 2 * ends, between = g->candidates - 2 * ends;
        for (size_t i = 0; i < ends; i++) g->items[g->count++] = all[i].item;
        for (size_t i = 0; i < middle; i++)
            g->items[g->count++] = all[ends + i * between / middle].item;
        for (size_t i = 0; i < ends; i++) g->items[g->count++] = all[g->candidates - ends + i].item;
    }
    free(all);
    return PM_OK;
}

/* ---- controls ---- */

static void option(pm_html *h, const char *value, const char *text, bool chosen) {
    pm_html_put(h,
                chosen ? "<option value=\"%s\" selected=\"selected\">%s</option>"
                       : "<option value=\"%s\">%s</option>",
                value, text);
}

static void select_begin(pm_html *h, const char *id, const char *label) {
    pm_html_put(h, "<label for=\"by-%s\">%s <select id=\"by-%s\">", id, label, id);
}

static void select_end(pm_html *h) { pm_html_put(h, "</select></label>\n"); }

static void metric_select(pm_html *h, const pm_report *r) {
    select_begin(h, "sort", "Sort by");
    for (size_t m = 0; m < PM_METRIC_COUNT; m++) {
        if (!pm_report_has(r, (pm_metric)m)) continue;
        pm_html_put(h, "<option value=\"%s\" data-at=\"%zu\" data-better=\"%d\"",
                    pm_metrics[m].column, m, pm_metrics[m].better);
        pm_html_put(h, m == r->main_metric ? " selected=\"selected\">%s</option>" : ">%s</option>",
                    pm_metrics[m].name);
    }
    option(h, "item", "item", false);
    select_end(h);
}

static void configuration_select(pm_html *h, const pm_report *r, const char *id, const char *label,
                                 bool none) {
    select_begin(h, id, label);
    if (none) option(h, "", "nothing", true);
    for (size_t c = 0; c < r->configuration_count; c++)
        option(h, r->configurations[c].letter, r->configurations[c].letter,
               !none && c == r->reference);
    select_end(h);
}

static int compare_ints(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static void label_select(gallery *g) {
    char name[64], number[16];
    int *labels = malloc((g->count + 1) * sizeof *labels);
    size_t count = 0;
    if (!labels) return;
    for (size_t i = 0; i < g->count; i++) {
        int label = g->report->of_items[g->items[i]].label;
        if (label >= 0) labels[count++] = label;
    }
    qsort(labels, count, sizeof *labels, compare_ints);
    if (count) {
        select_begin(g->html, "label", "Label");
        option(g->html, "", "all", true);
        for (size_t i = 0; i < count; i++) {
            if (i && labels[i] == labels[i - 1]) continue;
            snprintf(number, sizeof number, "%d", labels[i]);
            option(g->html, number, pm_report_class(g->report, labels[i], name), false);
        }
        select_end(g->html);
        select_begin(g->html, "show", "Prediction");
        option(g->html, "", "all", true);
        option(g->html, "right", "right", false);
        option(g->html, "wrong", "wrong", false);
        select_end(g->html);
    }
    free(labels);
}

static void controls(gallery *g) {
    const pm_report *r = g->report;
    pm_html *h = g->html;
    pm_html_put(h,
                "<form id=\"controls\" hidden=\"hidden\" aria-label=\"Order of the gallery\">\n");
    metric_select(h, r);
    configuration_select(h, r, "of", "of", false);
    if (r->configuration_count > 1) configuration_select(h, r, "minus", "minus", true);
    select_begin(h, "order", "Order");
    option(h, "best", "best first", true);
    option(h, "worst", "worst first", false);
    select_end(h);
    label_select(g);
    if (g->any_heat_map) {
        select_begin(h, "colours", "Colours");
        option(h, "uniform", "uniform", true);
        option(h, "seismic", "seismic", false);
        select_end(h);
    }
    pm_html_put(h, "<button type=\"reset\">Reset</button>\n"
                   "<p id=\"shown\" role=\"status\" aria-live=\"polite\"></p></form>\n");
}

/* ---- the scale of the colours ---- */

static void colour_bar(pm_html *h, pm_colours colours, const char *name) {
    uint8_t rgb[PM_PICTURES_STEPS][3];
    char hex[8];
    pm_pictures_table(colours, rgb);
    pm_html_put(h,
                "<svg class=\"bar only-%s\" viewBox=\"0 0 256 12\" role=\"img\" "
                "aria-label=\"colour scale %s\" preserveAspectRatio=\"none\">",
                name, name);
    for (size_t i = 0; i < PM_PICTURES_STEPS; i++) {
        snprintf(hex, sizeof hex, "#%02x%02x%02x", rgb[i][0], rgb[i][1], rgb[i][2]);
        pm_html_put(h, "<rect x=\"%zu\" width=\"4.5\" height=\"12\" fill=\"%s\"/>", i * 4, hex);
    }
    pm_html_put(h, "</svg>");
}

static void legend(pm_html *h) {
    pm_html_put(h, "<div class=\"legend\">");
    colour_bar(h, PM_COLOURS_UNIFORM, "uniform");
    colour_bar(h, PM_COLOURS_SEISMIC, "seismic");
    pm_html_put(
        h, "<p class=\"ticks\"><span>0</span><span>1</span><span>2.5</span><span>5</span>"
           "<span>10</span></p>"
           "<p class=\"soft only-uniform\">In multiples of each map’s own mean |R|. Uniform: equal "
           "steps look equal, also in grey and with any colour vision; root scale.</p>"
           "<p class=\"soft only-seismic\">In multiples of each map’s own mean |R|. Seismic: the "
           "field’s colours, ±10 mean |R|; these maps have no values below 0 (white).</p>"
           "</div>\n");
}

/* ---- cards ---- */

static void boxes(pm_html *h, const pm_picture_set *set) {
    if (!set->box_count) return;
    pm_html_put(h, "<svg class=\"boxes\" viewBox=\"0 0 %zu %zu\" aria-hidden=\"true\">", set->side,
                set->side);
    for (size_t i = 0; i < set->box_count; i++) {
        const pm_crop_box *b = &set->boxes[i];
        for (int line = 0; line < 2; line++)
            pm_html_put(h, "<rect class=\"%s\" x=\"%zu\" y=\"%zu\" width=\"%zu\" height=\"%zu\"/>",
                        line ? "inner" : "outer", b->xmin, b->ymin, b->xmax - b->xmin,
                        b->ymax - b->ymin);
    }
    pm_html_put(h, "</svg>");
}

static void photograph(pm_html *h, const pm_report_item *item, const pm_picture_set *set,
                       const char *label) {
    pm_html_put(h, "<figure><div class=\"frame\">");
    if (set->missing) {
        pm_html_put(h,
                    "<div class=\"missing\" role=\"img\" aria-label=\"no photograph: %s\"><span>"
                    "%s</span></div>",
                    set->missing, set->missing);
    } else {
        pm_html_put(h,
                    "<img class=\"%s\" loading=\"lazy\" decoding=\"async\" width=\"%zu\" "
                    "height=\"%zu\" src=\"%s\" alt=\"Photograph %s, label %s%s\"/>",
                    set->side <= 128 ? "small" : "large", set->side, set->side, set->photograph,
                    item->path, label, set->box_count ? ", boxed" : "");
    }
    boxes(h, set);
    pm_html_put(h, "</div><figcaption>photograph</figcaption></figure>\n");
}

static void alt_values(pm_html *h, const pm_report *r, size_t c, size_t item) {
    char text[PM_NUMBER_BYTES];
    for (size_t m = 0; m < PM_METRIC_COUNT; m++) {
        double v = pm_report_values(r, c, (pm_metric)m)[item];
        if (isfinite(v)) pm_html_put(h, ", %s %s", pm_metrics[m].name, pm_number(v, 3, text));
    }
}

static void heat_map(pm_html *h, const pm_report *r, size_t c, size_t item,
                     const pm_picture_set *set) {
    char name[PM_PICTURE_NAME_BYTES], text[PM_NUMBER_BYTES];
    const pm_report_configuration *f = &r->configurations[c];
    bool there = set->heat_maps[c];
    pm_pictures_heat_map_name(item, c, name);
    pm_html_put(h, "<figure data-configuration=\"%s\"><div class=\"frame\">", f->letter);
    if (there) {
        pm_html_put(h,
                    "<img class=\"heat %s\" loading=\"lazy\" decoding=\"async\" width=\"%zu\" "
                    "height=\"%zu\" src=\"%s\" alt=\"Heat map %s, %s",
                    set->side <= 128 ? "small" : "large", set->side, set->side, name, f->letter,
                    f->label);
        alt_values(h, r, c, item);
        pm_html_put(h, "\"/>");
        boxes(h, set);
    } else {
        pm_html_put(h, "<div class=\"missing\"><span>no heat map</span></div>");
    }
    pm_html_put(h,
                "</div><figcaption><b class=\"letter\">%s</b> <span class=\"value\">%s</span>"
                "</figcaption></figure>\n",
                f->letter, pm_number(pm_report_values(r, c, r->main_metric)[item], 3, text));
}

/* "v,v,v;v,v,v": by configuration, then by metric; empty where there is none. */
static void data_values(pm_html *h, const pm_report *r, size_t item) {
    char text[PM_NUMBER_BYTES];
    pm_html_put(h, " data-v=\"");
    for (size_t c = 0; c < r->configuration_count; c++)
        for (size_t m = 0; m < PM_METRIC_COUNT; m++) {
            double v = pm_report_values(r, c, (pm_metric)m)[item];
            text[0] = 0;
            if (isfinite(v)) snprintf(text, sizeof text, "%.6g", v);
            pm_html_put(h, m ? ",%s" : c ? ";%s" : "%s", text);
        }
    pm_html_put(h, "\"");
}

static void numbers(pm_html *h, const pm_report *r, size_t item) {
    pm_html_put(h, "<details><summary>All numbers</summary><div class=\"scroll\"><table><caption>"
                   "Numbers of this item by configuration</caption><thead><tr><th scope=\"col\">"
                   "configuration</th>");
    for (size_t m = 0; m < PM_METRIC_COUNT; m++)
        if (pm_report_has(r, (pm_metric)m))
            pm_html_put(h, "<th scope=\"col\" class=\"n\">%s</th>", pm_metrics[m].name);
    pm_html_put(h, "</tr></thead><tbody>");
    for (size_t c = 0; c < r->configuration_count; c++) {
        pm_html_put(h, "<tr><th scope=\"row\">%s</th>", r->configurations[c].letter);
        for (size_t m = 0; m < PM_METRIC_COUNT; m++)
            if (pm_report_has(r, (pm_metric)m))
                pm_page_table_number(h, pm_report_values(r, c, (pm_metric)m)[item], 3);
        pm_html_put(h, "</tr>");
    }
    pm_html_put(h, "</tbody></table></div></details>\n");
}

static void prediction(pm_html *h, const pm_report *r, const pm_report_item *i) {
    char label[64], predicted[64], target[64];
    const char *taken_for = pm_report_class(r, i->predicted, predicted);
    bool known = i->label >= 0, right = known && i->label == i->predicted;
    pm_html_put(h, "<p class=\"chips\">");
    if (known)
        pm_html_put(h, "<span class=\"chip\">label %s</span> ",
                    pm_report_class(r, i->label, label));
    pm_html_put(h, "<span class=\"chip %s\">%s %s <span class=\"soft\">%.2f</span></span>",
                !known  ? "unknown"
                : right ? "right"
                        : "wrong",
                !known  ? "predicted"
                : right ? "✓ predicted"
                        : "✗ predicted",
                taken_for, (double)i->p_predicted);
    if (i->target != i->predicted && i->target != i->label)
        pm_html_put(h, " <span class=\"chip\">target %s</span>",
                    pm_report_class(r, i->target, target));
    pm_html_put(h, "</p>\n");
}

static void card(gallery *g, size_t item, const pm_picture_set *set) {
    const pm_report *r = g->report;
    const pm_report_item *i = &r->of_items[item];
    pm_html *h = g->html;
    char label[64];
    pm_html_put(h, "<article class=\"card\" id=\"item-%zu\" data-item=\"%zu\"", item, item);
    if (i->label >= 0)
        pm_html_put(h, " data-label=\"%d\" data-right=\"%d\"", i->label, i->label == i->predicted);
    data_values(h, r, item);
    pm_html_put(h, " aria-labelledby=\"item-%zu-name\"><h3 id=\"item-%zu-name\">%s</h3>\n", item,
                item, i->path);
    prediction(h, r, i);
    pm_html_put(h, "<div class=\"strip\">");
    photograph(h, i, set, pm_report_class(r, i->label, label));
    if (g->any_heat_map)
        for (size_t c = 0; c < r->configuration_count; c++) heat_map(h, r, c, item, set);
    pm_html_put(h, "</div>\n");
    numbers(h, r, item);
    pm_html_put(h, "</article>\n");
}

static pm_status cards(gallery *g, pm_query *query, const pm_report_folder *folder) {
    const char *size = !g->any_heat_map                     ? "tiny"
                       : g->report->configuration_count > 2 ? "wide"
                                                            : "narrow";
    pm_pictures *pictures = NULL;
    const pm_picture_set *set;
    pm_status status = pm_pictures_open(query, g->report, folder, &pictures);
    pm_html_put(g->html, "<div id=\"cards\" class=\"%s\">\n", size);
    for (size_t i = 0; i < g->count && !status && !g->html->status; i++) {
        status = pm_pictures_write(pictures, g->items[i], &set);
        if (!status) card(g, g->items[i], set);
    }
    pm_html_put(g->html, "</div>\n");
    pm_pictures_close(&pictures);
    return status;
}

static void say_what(const gallery *g) {
    const pm_report *r = g->report;
    char all[PM_NUMBER_BYTES];
    if (g->count < g->candidates)
        pm_html_put(
            g->html,
            "<p>%zu of %s images: the %zu best and the %zu worst by %s of <b "
            "class=\"letter\">%s</b>, and an even sample between; <code>--items</code> shows "
            "more.</p>\n",
            g->count, pm_number((double)g->candidates, 1, all), g->count / 3, g->count / 3,
            pm_metrics[r->main_metric].name, r->configurations[r->reference].letter);
    else
        pm_html_put(
            g->html,
            "<p>All %zu images with results<span id=\"first-order\">, best first by %s of <b "
            "class=\"letter\">%s</b></span>.</p>\n",
            g->count, pm_metrics[r->main_metric].name, r->configurations[r->reference].letter);
    if (!g->any_heat_map)
        pm_html_put(g->html,
                    "<p class=\"notice\">This run kept no heat maps: <code>parchmill run … "
                    "--heatmaps f16</code> keeps them, and computes only what is missing."
                    "</p>\n");
}

pm_status pm_section_gallery(pm_html *h, const pm_report *r, pm_query *query,
                             const pm_report_folder *folder, size_t items_max) {
    gallery g = {.html = h, .report = r};
    pm_page_section_begin(h, "gallery", "Gallery");
    for (size_t c = 0; c < r->configuration_count; c++)
        g.any_heat_map |= r->configurations[c].heat_maps > 0;
    pm_status status = choose(&g, items_max);
    if (!status && g.count) {
        say_what(&g);
        controls(&g);
        if (g.any_heat_map) legend(h);
        status = cards(&g, query, folder);
    } else if (!status) {
        pm_html_put(h, "<p>No image has a result with numbers.</p>\n");
    }
    pm_page_section_end(h);
    free(g.items);
    return status;
}
