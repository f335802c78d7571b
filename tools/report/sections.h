/* The page's sections, each of them <section> with a heading; one that has nothing to say writes
 * one line that says why. */
#ifndef PM_TOOLS_REPORT_SECTIONS_H
#define PM_TOOLS_REPORT_SECTIONS_H

#include "tools/report/data.h"
#include "tools/report/folder.h"
#include "tools/report/html.h"

void pm_section_run(pm_html *html, const pm_report *report);
void pm_section_progress(pm_html *html, const pm_report *report);
void pm_section_scores(pm_html *html, const pm_report *report);
void pm_section_curves(pm_html *html, const pm_report *report);
void pm_section_layers(pm_html *html, const pm_report *report);
void pm_section_channels(pm_html *html, const pm_report *report);
/* channel_shares.c: how few channels carry the variance, a chart with its reading. */
void pm_channel_shares(pm_html *html, const pm_report *report);
void pm_section_timings(pm_html *html, const pm_report *report);
/* Also writes its pictures; at most `items_max` cards. PM_E_* of those, else html->status. */
pm_status pm_section_gallery(pm_html *html, const pm_report *report, pm_query *query,
                             const pm_report_folder *folder, size_t items_max);

/* ---- shared by them ---- */

void pm_page_section_begin(pm_html *html, const char *id, const char *heading);
void pm_page_section_end(pm_html *html);
/* A table that scrolls within itself where it is wider than the page. */
void pm_page_table_begin(pm_html *html, const char *caption);
void pm_page_table_end(pm_html *html);
/* <th scope="col"> for each of `names` [count]; numbers from column `number_from` on. */
void pm_page_table_heads(pm_html *html, const char *const *names, size_t count, size_t number_from);
/* <th scope="row"> with a configuration's letter and label. */
void pm_page_table_configuration(pm_html *html, const pm_report *report, size_t index);
void pm_page_table_number(pm_html *html, double value, int digits);
/* "0.123 ± 0.004", with as many decimals as the interval bears. */
void pm_page_table_interval(pm_html *html, double mean, double half_width);
/* A chart made into `svg`, which is emptied; nothing where `status` says that there is none. */
void pm_page_chart(pm_html *html, pm_status status, pm_buffer *svg);

#endif
