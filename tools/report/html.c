/* Owns what is escaped, and the look of numbers. Knows no database and no page. */
#include "tools/report/html.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void pm_html_raw(pm_html *html, const void *bytes, size_t size) {
    if (!html->status) html->status = pm_buffer_append(html->out, bytes, size);
}

void pm_html_text(pm_html *html, const char *text) {
    if (!html->status) html->status = pm_buffer_xml(html->out, text);
}

/* One conversion; `at` stands behind its %. Returns what is behind it. */
static const char *convert(pm_html *html, const char *at, va_list *list) {
    char digits[400]; /* the longest double with %.9f has 320 */
    int precision = 6;
    if (*at == '.') {
        precision = at[1] - '0';
        at += 2;
    }
    if (*at == 's') {
        pm_html_text(html, va_arg(*list, const char *));
        return at + 1;
    }
    if (strncmp(at, "zu", 2) == 0) {
        snprintf(digits, sizeof digits, "%zu", va_arg(*list, size_t));
        at += 2;
    } else if (strncmp(at, "lld", 3) == 0) {
        snprintf(digits, sizeof digits, "%lld", va_arg(*list, long long));
        at += 3;
    } else if (*at == 'd') {
        snprintf(digits, sizeof digits, "%d", va_arg(*list, int));
        at++;
    } else if (*at == 'f') {
        snprintf(digits, sizeof digits, "%.*f", precision, va_arg(*list, double));
        at++;
    } else {
        html->status = pm_fail(PM_E_INTERNAL, "no conversion of a page: %%%.8s", at);
        return at + strlen(at);
    }
    pm_html_raw(html, digits, strlen(digits));
    return at;
}

void pm_html_put(pm_html *html, const char *format, ...) {
    va_list list;
    va_start(list, format);
    while (*format && !html->status) {
        size_t markup = strcspn(format, "%");
        pm_html_raw(html, format, markup);
        format += markup;
        if (!*format) break;
        if (format[1] == '%') {
            pm_html_raw(html, "%", 1);
            format += 2;
        } else {
            format = convert(html, format + 1, &list);
        }
    }
    va_end(list);
}

/* A minus as long as the digits are wide. */
static void sign(const char *number, char out[PM_NUMBER_BYTES]) {
    bool minus = number[0] == '-';
    snprintf(out, PM_NUMBER_BYTES, "%s%s", minus ? "−" : "", number + minus);
}

/* The same with commas between thousands. */
static void group(const char *number, char out[PM_NUMBER_BYTES]) {
    char grouped[PM_NUMBER_BYTES];
    size_t length = strlen(number), first = number[0] == '-', to = 0;
    for (size_t i = 0; i < length && to + 2 < sizeof grouped; i++) {
        if (i > first && (length - i) % 3 == 0) grouped[to++] = ',';
        grouped[to++] = number[i];
    }
    grouped[to] = 0;
    sign(grouped, out);
}

const char *pm_number(double value, int digits, char out[PM_NUMBER_BYTES]) {
    double size = fabs(value);
    char plain[PM_NUMBER_BYTES];
    if (!isfinite(value)) {
        snprintf(out, PM_NUMBER_BYTES, isinf(value) ? (value > 0 ? "∞" : "−∞") : "–");
    } else if (size == 0.0) {
        snprintf(out, PM_NUMBER_BYTES, "0");
    } else if (size < 1e-4 || size >= 1e12) {
        snprintf(plain, sizeof plain, "%.*e", digits > 1 ? digits - 1 : 0, value);
        sign(plain, out);
    } else {
        /* How many digits stand before the point once it is rounded: 99.96 becomes 100. */
        snprintf(plain, sizeof plain, "%.*e", digits > 1 ? digits - 1 : 0, size);
        int before = (int)strtol(strchr(plain, 'e') + 1, NULL, 10) + 1, after = digits - before;
        snprintf(plain, sizeof plain, "%.*f", after > 0 ? after : 0, value);
        if (after <= 0)
            group(plain, out);
        else
            sign(plain, out);
    }
    return out;
}

const char *pm_p_value(double p, char out[PM_NUMBER_BYTES]) {
    if (p < 1e-4)
        snprintf(out, PM_NUMBER_BYTES, "< 0.0001");
    else if (p < 0.1)
        pm_number(p, 2, out);
    else
        snprintf(out, PM_NUMBER_BYTES, "%.2f", p);
    return out;
}

const char *pm_duration(double ms, char out[PM_NUMBER_BYTES]) {
    double s = ms / 1e3;
    if (!isfinite(ms) || ms < 0)
        snprintf(out, PM_NUMBER_BYTES, "–");
    else if (s < 1)
        snprintf(out, PM_NUMBER_BYTES, "%.0f ms", ms);
    else if (s < 60)
        snprintf(out, PM_NUMBER_BYTES, "%.1f s", s);
    else if (s < 3600)
        snprintf(out, PM_NUMBER_BYTES, "%d min %d s", (int)(s / 60), (int)s % 60);
    else if (s < 86400)
        snprintf(out, PM_NUMBER_BYTES, "%d h %d min", (int)(s / 3600), (int)(s / 60) % 60);
    else
        snprintf(out, PM_NUMBER_BYTES, "%.0f d %d h", floor(s / 86400),
                 (int)(fmod(s, 86400) / 3600));
    return out;
}

const char *pm_wall_time(long long ms, char out[PM_NUMBER_BYTES]) {
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    if (!gmtime_r(&seconds, &parts) ||
        strftime(out, PM_NUMBER_BYTES, "%Y-%m-%d %H:%M UTC", &parts) == 0)
        snprintf(out, PM_NUMBER_BYTES, "–");
    return out;
}
