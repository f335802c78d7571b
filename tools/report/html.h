/* HTML that is XML as well, with everything that is not markup escaped: the one place for it.
 *
 * Use: pm_html_put(h, "<td>%s</td>", text): %s is escaped, wherever it stands between quotes or
 * tags; the format itself is markup. Also %d, %zu, %lld and %.Nf. A first failure stays in
 * h->status and everything after it does nothing, so that only the end has to be checked. */
#ifndef PM_TOOLS_REPORT_HTML_H
#define PM_TOOLS_REPORT_HTML_H

#include "lib/base/status.h"
#include "lib/base/text.h"

typedef struct pm_html {
    pm_buffer *out;
    pm_status status;
} pm_html;

__attribute__((format(printf, 2, 3))) void pm_html_put(pm_html *html, const char *format, ...);
/* Bytes that are markup already: a chart, a style sheet. */
void pm_html_raw(pm_html *html, const void *bytes, size_t size);
/* Escaped, as pm_buffer_xml. */
void pm_html_text(pm_html *html, const char *text);

enum { PM_NUMBER_BYTES = 32 };
/* `digits` significant ones, "0.0123", "1,234,568", "1.2e-07"; an en dash where there is none. */
const char *pm_number(double value, int digits, char out[PM_NUMBER_BYTES]);
/* "< 0.0001", "0.031", "0.57". */
const char *pm_p_value(double p, char out[PM_NUMBER_BYTES]);
/* "420 ms", "12.3 s", "4 min 10 s", "3 h 20 min", "2 d 4 h". */
const char *pm_duration(double ms, char out[PM_NUMBER_BYTES]);
/* "2026-11-25 16:04 UTC". */
const char *pm_wall_time(long long ms, char out[PM_NUMBER_BYTES]);

#endif
