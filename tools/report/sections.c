/* Owns what the sections share, and those of what was run, how far it is, and how fast. */
#include "tools/report/sections.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void pm_page_section_begin(pm_html *h, const char *id, const char *heading) {
    pm_html_put(h,
                "<section id=\"%s\" aria-labelledby=\"%s-heading\"><h2 id=\"%s-heading\">%s</h2>\n",
                id, id, id, heading);
}

void pm_page_section_end(pm_html *h) { pm_html_put(h, "</section>\n"); }

void pm_page_table_begin(pm_html *h, const char *caption) {
    pm_html_put(h,
                "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table>"
                "<caption>%s</caption>\n",
                caption, caption);
}

void pm_page_table_end(pm_html *h) { pm_html_put(h, "</tbody></table></div>\n"); }

void pm_page_table_heads(pm_html *h, const char *const *names, size_t count, size_t number_from) {
    pm_html_put(h, "<thead><tr>");
    for (size_t i = 0; i < count; i++) {
        pm_html_put(h, i >= number_from ? "<th scope=\"col\" class=\"n\">" : "<th scope=\"col\">");
        pm_html_put(h, "%s</th>", names[i]);
    }
    pm_html_put(h, "</tr></thead><tbody>\n");
}

void pm_page_table_configuration(pm_html *h, const pm_report *r, size_t index) {
    const pm_report_configuration *c = &r->configurations[index];
    pm_html_put(h, "<th scope=\"row\"><b class=\"letter\">%s</b> %s</th>", c->letter, c->label);
}

void pm_page_table_number(pm_html *h, double value, int digits) {
    char text[PM_NUMBER_BYTES];
    pm_html_put(h, "<td class=\"n\">%s</td>", pm_number(value, digits, text));
}

void pm_page_table_interval(pm_html *h, double mean, double half) {
    char text[PM_NUMBER_BYTES];
    if (!isfinite(mean) || !isfinite(half) || half == 0.0) {
        pm_page_table_number(h, mean, 3);
        return;
    }
    int decimals = 1 - (int)floor(log10(half));
    if (decimals > 9 || decimals < 0) {
        pm_html_put(h, "<td class=\"n\">%s", pm_number(mean, 3, text));
        pm_html_put(h, " ± %s</td>", pm_number(half, 2, text));
        return;
    }
    char format_mean[64], format_half[64];
    snprintf(format_mean, sizeof format_mean, "%.*f", decimals, mean);
    snprintf(format_half, sizeof format_half, "%.*f", decimals, half);
    bool minus = format_mean[0] == '-';
    pm_html_put(h, "<td class=\"n\">%s%s <span class=\"ci\">± %s</span></td>", minus ? "−" : "",
                format_mean + minus, format_half);
}

void pm_page_chart(pm_html *h, pm_status status, pm_buffer *svg) {
    if (status == PM_E_MEMORY) h->status = h->status ? h->status : status;
    if (!status) {
        pm_html_put(h, "<div class=\"chart\">");
        pm_html_raw(h, svg->bytes, svg->size);
        pm_html_put(h, "</div>\n");
    }
    pm_buffer_fini(svg);
}

/* ---- what was run ---- */

static void fact(pm_html *h, const char *name, const char *value) {
    if (value && value[0]) pm_html_put(h, "<div><dt>%s</dt><dd>%s</dd></div>\n", name, value);
}

static bool same_in_all(const pm_report *r, size_t parameter) {
    const char *first = r->configurations[0].parameters[parameter];
    for (size_t c = 1; c < r->configuration_count; c++) {
        const char *other = r->configurations[c].parameters[parameter];
        if (!first != !other || (first && strcmp(first, other) != 0)) return false;
    }
    return true;
}

static void common_parameters(pm_html *h, const pm_report *r) {
    pm_html_put(h, "<p class=\"common\"><b>Common to %s:</b> ",
                r->configuration_count > 1 ? "all configurations" : "the run");
    for (size_t p = 0; p < r->parameter_count; p++) {
        const char *value = r->configurations[0].parameters[p];
        if (same_in_all(r, p) && value)
            pm_html_put(h, "<span class=\"pair\">%s <b>%s</b></span> ", r->parameter_names[p],
                        value);
    }
    pm_html_put(h, "</p>\n");
}

static void configurations(pm_html *h, const pm_report *r) {
    const char *heads[PM_REPORT_PARAMETERS_MAX + 1] = {"configuration"};
    size_t columns[PM_REPORT_PARAMETERS_MAX], count = 0;
    for (size_t p = 0; p < r->parameter_count; p++)
        if (!same_in_all(r, p)) {
            columns[count++] = p;
            heads[count] = r->parameter_names[p];
        }
    pm_page_table_begin(h, "Configurations, by what they differ in");
    pm_page_table_heads(h, heads, count + 1, SIZE_MAX);
    for (size_t c = 0; c < r->configuration_count; c++) {
        pm_html_put(h, "<tr>");
        pm_page_table_configuration(h, r, c);
        for (size_t i = 0; i < count; i++) {
            const char *value = r->configurations[c].parameters[columns[i]];
            pm_html_put(h, "<td>%s</td>", value ? value : "–");
        }
        pm_html_put(h, "</tr>\n");
    }
    pm_page_table_end(h);
    common_parameters(h, r);
}

void pm_section_run(pm_html *h, const pm_report *r) {
    char text[PM_NUMBER_BYTES], hash[16];
    pm_page_section_begin(h, "run", "What was run");
    snprintf(hash, sizeof hash, "%.12s", r->weights_sha256);
    pm_html_put(h, "<dl class=\"facts\">\n");
    pm_html_put(h,
                "<div><dt>model</dt><dd>%s <span class=\"soft\">weights <code>%s</code></span>"
                "</dd></div>\n",
                r->arch, hash);
    pm_html_put(h,
                "<div><dt>data set</dt><dd>%s <span class=\"soft\">%s images</span></dd></div>\n",
                r->data_set, pm_number((double)r->items, 1, text));
    if (r->item_count < r->items)
        pm_html_put(h,
                    "<div><dt>repeats</dt><dd>%s of the images; a photograph counts once</dd>"
                    "</div>\n",
                    pm_number((double)(r->items - r->item_count), 1, text));
    const char *file = strrchr(r->statistics, '/');
    fact(h, "statistics", file ? file + 1 : r->statistics);
    fact(h, "evaluation", r->evaluation[0] ? r->evaluation : "none (--evaluate)");
    fact(h, "channels kept", r->channels_kept);
    fact(h, "heat maps kept", r->heat_maps_kept);
    fact(h, "engine", r->engine);
    fact(h, "submitted", pm_wall_time(r->submitted_ms, text));
    if (r->finished_ms) {
        fact(h, "took", pm_duration((double)(r->finished_ms - r->submitted_ms), text));
    }
    pm_html_put(h, "</dl>\n");
    if (r->configuration_count) configurations(h, r);
    pm_page_section_end(h);
}

/* ---- progress and failures ---- */

static void failures(pm_html *h, const pm_report *r) {
    char text[PM_NUMBER_BYTES];
    pm_html_put(h, "<h3>Failures</h3>\n");
    if (!r->failure_count) {
        pm_html_put(h, "<p>Nothing failed.</p>\n");
        return;
    }
    for (size_t i = 0; i < r->failure_count; i++) {
        const pm_report_failure *f = &r->failures[i];
        pm_html_put(h, "<div class=\"failure\"><h4>%s: %s <span class=\"soft\">%s %s</span></h4>\n",
                    f->stage, f->reason, pm_number((double)f->images, 1, text),
                    f->images == 1 ? "image" : "images");
        if (f->hint[0]) pm_html_put(h, "<p>%s</p>\n", f->hint);
        pm_html_put(h, "<ul>");
        for (size_t k = 0; k < f->examples; k++)
            pm_html_put(h, "<li><code>%s</code>: %s</li>\n", f->paths[k], f->texts[k]);
        if (f->images > f->examples)
            pm_html_put(h, "<li class=\"soft\">and %s more</li>",
                        pm_number((double)(f->images - f->examples), 1, text));
        pm_html_put(h, "</ul></div>\n");
    }
    pm_html_put(h,
                "<p class=\"soft\"><code>parchmill failures %lld</code> lists all of them; "
                "<code>parchmill retry %lld</code> computes them again.</p>\n",
                (long long)r->run, (long long)r->run);
}

static void state_words(pm_html *h, const pm_report *r) {
    if (strcmp(r->state, "done") == 0) return;
    if (strcmp(r->state, "cancelled") == 0)
        pm_html_put(h, "<p class=\"notice\">This run was cancelled; what it had computed until "
                       "then is told here.</p>\n");
    else
        pm_html_put(h,
                    "<p class=\"notice\">This run is not finished (%s%s): the numbers are of what "
                    "was there when the report was written. The same command writes it anew.</p>\n",
                    r->state, r->paused ? ", paused" : "");
}

void pm_section_progress(pm_html *h, const pm_report *r) {
    static const char *const heads[] = {"configuration", "results", "errors", "open", "heat maps"};
    char done[PM_NUMBER_BYTES], all[PM_NUMBER_BYTES], failed[PM_NUMBER_BYTES];
    pm_page_section_begin(h, "progress", "Progress and failures");
    state_words(h, r);
    pm_html_put(h,
                "<p><b>%s</b> of %s images done, %s with a failure.</p>\n"
                "<progress max=\"%zu\" value=\"%zu\" aria-label=\"images done\"></progress>\n",
                pm_number((double)r->items_done, 1, done), pm_number((double)r->items, 1, all),
                pm_number((double)r->items_failed, 1, failed), r->items ? r->items : 1,
                r->items_done);
    pm_page_table_begin(h, "Results by configuration");
    pm_page_table_heads(h, heads, 5, 1);
    for (size_t c = 0; c < r->configuration_count; c++) {
        const pm_report_configuration *f = &r->configurations[c];
        size_t known = f->results + f->errors;
        pm_html_put(h, "<tr>");
        pm_page_table_configuration(h, r, c);
        pm_page_table_number(h, (double)f->results, 1);
        pm_page_table_number(h, (double)f->errors, 1);
        pm_page_table_number(h, (double)(r->item_count > known ? r->item_count - known : 0), 1);
        pm_page_table_number(h, (double)f->heat_maps, 1);
        pm_html_put(h, "</tr>\n");
    }
    pm_page_table_end(h);
    if (r->results_reused)
        pm_html_put(h, "<p>%s results were in the database before.</p>\n",
                    pm_number((double)r->results_reused, 1, all));
    failures(h, r);
    pm_page_section_end(h);
}

/* ---- timings ---- */

void pm_section_timings(pm_html *h, const pm_report *r) {
    static const char *const heads[] = {"worker",  "threads",  "kernels",    "images",
                                        "results", "images/s", "ms, median", "ms, 95 %"};
    pm_page_section_begin(h, "timings", "Workers and timings");
    if (!r->worker_count) {
        pm_html_put(h, "<p>No worker computed anything for this run%s.</p>\n",
                    r->results_reused ? ": all of its results were there before" : " yet");
        pm_page_section_end(h);
        return;
    }
    pm_page_table_begin(h, "By worker; ms are compute time of one result");
    pm_page_table_heads(h, heads, 8, 3);
    for (size_t i = 0; i < r->worker_count; i++) {
        const pm_report_worker *w = &r->workers[i];
        double span_s = (double)(w->last_ms - w->first_ms) / 1e3;
        pm_html_put(h, "<tr><th scope=\"row\">%s</th><td>%d</td><td>%s</td>",
                    w->name ? w->name : "–", w->threads, w->isa ? w->isa : "–");
        pm_page_table_number(h, (double)w->images, 1);
        pm_page_table_number(h, (double)w->results, 1);
        pm_page_table_number(h, span_s > 0 ? (double)w->images / span_s : (double)NAN, 3);
        pm_page_table_number(h, pm_report_quantile(w->ms, w->results, 0.5), 3);
        pm_page_table_number(h, pm_report_quantile(w->ms, w->results, 0.95), 3);
        pm_html_put(h, "</tr>\n");
    }
    pm_page_table_end(h);
    pm_html_put(h, "<p class=\"soft\">images/s: between a worker's first and last result. Results "
                   "that other runs had computed are not counted.</p>\n");
    pm_page_section_end(h);
}
