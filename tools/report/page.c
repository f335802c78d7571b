/* Owns the page around the sections, and the whole of a report from question to folder. */
#include <stdio.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/chart/chart.h"
#include "tools/queries/catalogue.h"
#include "tools/report/pictures.h"
#include "tools/report/report.h"
#include "tools/report/sections.h"

/* Files that are part of the program. */
#define EMBED(symbol, path)                                                                        \
    __asm__(".pushsection .rodata\n" #symbol "_begin:\n"                                           \
            ".incbin \"" path "\"\n" #symbol "_end:\n"                                             \
            ".popsection\n");                                                                      \
    extern const char symbol##_begin[], symbol##_end[]

EMBED(pm_report_css, PM_REPORT_CSS);
EMBED(pm_report_js, PM_REPORT_JS);

/* A million results are read in some seconds; a disk may be slow. */
static const pm_query_limits limits = {.time_ms = 30 * 60 * 1000, .length_bytes = 256 << 20};

/* RFC 4648. */
static void base64(const uint8_t *bytes, size_t size, char *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        unsigned group = (unsigned)bytes[i] << 16;
        if (i + 1 < size) group |= (unsigned)bytes[i + 1] << 8;
        if (i + 2 < size) group |= bytes[i + 2];
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = i + 1 < size ? digits[group >> 6 & 63] : '=';
        *out++ = i + 2 < size ? digits[group & 63] : '=';
    }
    *out = 0;
}

typedef struct embedded {
    pm_buffer style, script; /* all that stands between the tags */
    char style_hash[48], script_hash[48];
} embedded;

static pm_status gather(embedded *e) {
    const char *chart = pm_chart_style();
    pm_status status = pm_buffer_append(&e->style, pm_report_css_begin,
                                        (size_t)(pm_report_css_end - pm_report_css_begin));
    if (!status) status = pm_buffer_append(&e->style, chart, strlen(chart));
    /* Script that is XML too: its & and < are within CDATA, which script sees as comments. */
    if (!status) status = pm_buffer_printf(&e->script, "/*<![CDATA[*/\n");
    if (!status)
        status = pm_buffer_append(&e->script, pm_report_js_begin,
                                  (size_t)(pm_report_js_end - pm_report_js_begin));
    if (!status) status = pm_buffer_printf(&e->script, "/*]]>*/");
    if (status) return status;
    pm_sha256 hash = pm_sha256_of(e->style.bytes, e->style.size);
    base64(hash.bytes, sizeof hash.bytes, e->style_hash);
    hash = pm_sha256_of(e->script.bytes, e->script.size);
    base64(hash.bytes, sizeof hash.bytes, e->script_hash);
    return PM_OK;
}

static void head(pm_html *h, const pm_report *r, const embedded *e) {
    pm_html_put(h,
                "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head>"
                "<meta charset=\"utf-8\"/>\n" PM_REPORT_MARK "\n");
    pm_html_put(
        h,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src &#39;none&#39;; "
        "img-src &#39;self&#39; file:; style-src &#39;sha256-%s&#39;; script-src "
        "&#39;sha256-%s&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;\"/>\n",
        e->style_hash, e->script_hash);
    pm_html_put(h,
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
                "<title>Run %lld%s%s: %s on %s</title>\n<style>",
                (long long)r->run, r->name[0] ? " " : "", r->name, r->arch, r->data_set);
    pm_html_raw(h, e->style.bytes, e->style.size);
    pm_html_put(h, "</style></head>\n");
}

/* How the grey of a heat map becomes colour: by the browser, without a script. */
static void filter(pm_html *h, pm_colours colours, const char *id) {
    static const char channels[] = "RGB";
    uint8_t rgb[PM_PICTURES_STEPS][3];
    pm_pictures_table(colours, rgb);
    pm_html_put(h,
                "<filter id=\"%s\" x=\"0\" y=\"0\" width=\"1\" height=\"1\" "
                "color-interpolation-filters=\"sRGB\"><feComponentTransfer>",
                id);
    for (size_t c = 0; c < 3; c++) {
        char name[2] = {channels[c], 0};
        pm_html_put(h, "<feFunc%s type=\"table\" tableValues=\"", name);
        for (size_t i = 0; i < PM_PICTURES_STEPS; i++)
            pm_html_put(h, i ? " %.3f" : "%.3f", rgb[i][c] / 255.0);
        pm_html_put(h, "\"/>");
    }
    pm_html_put(h, "</feComponentTransfer></filter>");
}

static void top(pm_html *h, const pm_report *r) {
    static const char *const links[][2] = {{"run", "Run"},         {"progress", "Progress"},
                                           {"scores", "Scores"},   {"curves", "Curves"},
                                           {"layers", "Layers"},   {"channels", "Channels"},
                                           {"timings", "Timings"}, {"gallery", "Gallery"}};
    pm_html_put(h, "<body><a class=\"skip\" href=\"#main\">Skip to the content</a>\n"
                   "<svg class=\"filters\" width=\"0\" height=\"0\" aria-hidden=\"true\">");
    filter(h, PM_COLOURS_UNIFORM, "uniform");
    filter(h, PM_COLOURS_SEISMIC, "seismic");
    pm_html_put(h,
                "</svg>\n<header><div class=\"title\"><p class=\"soft\">parchmill report</p>"
                "<h1>Run %lld%s%s</h1><p>%s on %s, %zu %s × %zu %s</p></div>\n",
                (long long)r->run, r->name[0] ? ": " : "", r->name, r->arch, r->data_set, r->items,
                r->items == 1 ? "image" : "images", r->configuration_count,
                r->configuration_count == 1 ? "configuration" : "configurations");
    pm_html_put(h, "<button type=\"button\" id=\"theme\" hidden=\"hidden\">Dark</button></header>\n"
                   "<nav aria-label=\"Sections\"><ul>");
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        pm_html_put(h, "<li><a href=\"#%s\">%s</a></li>", links[i][0], links[i][1]);
    pm_html_put(h, "</ul></nav>\n<main id=\"main\" tabindex=\"-1\">\n");
}

static void bottom(pm_html *h, const pm_report *r, const char *db, const embedded *e) {
    const char *folder_end = strrchr(db, '/');
    if (folder_end) db = folder_end + 1;
    pm_html_put(h,
                "</main>\n<footer><p>Written by <code>parchmill report %lld --db %s</code>, engine "
                "%s. The numbers: <code>parchmill sql --db %s</code>.</p></footer>\n<script>",
                (long long)r->run, db, r->engine, db);
    pm_html_raw(h, e->script.bytes, e->script.size);
    pm_html_put(h, "</script></body></html>\n");
}

static pm_status write_page(const pm_report_order *order, pm_query *query, const pm_report *r,
                            const pm_report_folder *folder, size_t *size) {
    pm_buffer page = {0};
    embedded parts = {0};
    pm_html h = {.out = &page};
    pm_status status = gather(&parts);
    if (status) goto done;
    head(&h, r, &parts);
    top(&h, r);
    pm_section_run(&h, r);
    pm_section_progress(&h, r);
    pm_section_scores(&h, r);
    pm_section_curves(&h, r);
    pm_section_layers(&h, r);
    pm_section_channels(&h, r);
    pm_section_timings(&h, r);
    status = pm_section_gallery(&h, r, query, folder, order->items_max);
    bottom(&h, r, order->db, &parts);
    if (!status) status = h.status;
    if (!status) status = pm_report_folder_write(folder, "index.html", page.bytes, page.size);
    *size = page.size;
done:
    pm_buffer_fini(&parts.style);
    pm_buffer_fini(&parts.script);
    pm_buffer_fini(&page);
    return status;
}

static pm_status ask_query(void *user, const char *sql, const pm_value *parameters, size_t count,
                           const pm_query_sink *sink) {
    return pm_query_run(user, sql, parameters, count, sink, NULL);
}

pm_status pm_report_write(const pm_report_order *order, pm_report_made *out) {
    pm_query *query = NULL;
    pm_report report = {0};
    pm_report_folder folder;
    pm_report_made made = {.run = order->run};
    pm_status status = pm_query_open(order->db, &limits, &query);
    const pm_asker asker = {.user = query, .ask = ask_query};
    if (!status) status = pm_query_current(query, order->db);
    /* Counts, curves and gallery of one moment, also where the run goes on. */
    if (!status) status = pm_query_hold(query);
    if (!status && made.run == 0) status = pm_newest_run(&asker, &made.run);
    if (!status) status = pm_report_load(query, made.run, &report);
    if (!status) status = pm_report_folder_begin(order->dir, &folder);
    if (!status) {
        status = write_page(order, query, &report, &folder, &made.page_bytes);
        if (!status) status = pm_report_folder_put(&folder);
        if (status) pm_report_folder_drop(&folder);
    }
    made.items = report.items;
    made.cards = report.items < order->items_max ? report.items : order->items_max;
    pm_report_fini(&report);
    pm_query_close(&query);
    if (!status) *out = made;
    return status;
}
