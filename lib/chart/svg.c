/* Owns the bytes of SVG: markup, numbers, an estimate of how wide a text will be. Knows nothing of
 * charts. */
#include "lib/chart/svg.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void svg_fini(svg *out) { pm_buffer_fini(&out->text); }

void svg_put(svg *out, const char *format, ...) {
    char text[512];
    if (out->status) return;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text)
        out->status = pm_fail(PM_E_INTERNAL, "a piece of a chart is too long");
    else
        out->status = pm_buffer_append(&out->text, text, (size_t)n);
}

void svg_text(svg *out, const char *text) {
    if (!out->status) out->status = pm_buffer_xml(&out->text, text);
}

/* Coordinates are written as integers: no locale has a say in them. */
static void put_length(svg *out, double pixels) {
    long hundredths = lround(fmin(fmax(pixels, -1e6), 1e6) * 100);
    long whole = labs(hundredths) / 100, part = labs(hundredths) % 100;
    const char *sign = hundredths < 0 ? "-" : "";
    if (part == 0)
        svg_put(out, "%s%ld", sign, whole);
    else if (part % 10 == 0)
        svg_put(out, "%s%ld.%ld", sign, whole, part / 10);
    else
        svg_put(out, "%s%ld.%02ld", sign, whole, part);
}

void svg_attribute(svg *out, const char *name, double pixels) {
    svg_put(out, " %s=\"", name);
    put_length(out, pixels);
    svg_put(out, "\"");
}

void svg_point(svg *out, char command, double x, double y) {
    svg_put(out, "%c", command);
    put_length(out, x);
    svg_put(out, " ");
    put_length(out, y);
}

void svg_tooltip(svg *out, const char *name, const char *at, double value, double half_width) {
    char number[NUMBER_BYTES];
    svg_put(out, "<title>");
    svg_text(out, name);
    if (name[0] && at[0]) svg_put(out, ", ");
    svg_text(out, at);
    if (name[0] || at[0]) svg_put(out, ": ");
    svg_put(out, "%s", number_text(value, 6, number));
    if (isfinite(half_width)) svg_put(out, " \xc2\xb1 %s", number_text(half_width, 3, number));
    svg_put(out, "</title>");
}

/* Undo what the program's locale does to the decimal point. */
static void use_point(char *text) {
    const char *point = localeconv()->decimal_point;
    size_t size = strlen(point);
    char *at = size ? strstr(text, point) : NULL;
    if (!at || strcmp(point, ".") == 0) return;
    *at = '.';
    memmove(at + 1, at + size, strlen(at + size) + 1);
}

/* "1e-05" as "1e-5", "1e+07" as "1e7". */
static void shorten_exponent(char *text) {
    char *at = strchr(text, 'e');
    if (!at) return;
    char *to = at + 1, *from = at + 1;
    if (*from == '-') to++;
    if (*from == '-' || *from == '+') from++;
    while (*from == '0' && from[1]) from++;
    memmove(to, from, strlen(from) + 1);
}

const char *number_text(double value, int digits, char out[NUMBER_BYTES]) {
    snprintf(out, NUMBER_BYTES, "%.*g", digits, value == 0 ? 0 : value);
    use_point(out);
    /* 1000, not 1e+03, though three digits are all that is meant. */
    if (strchr(out, 'e') && fabs(value) >= 1 && fabs(value) < 1e6)
        snprintf(out, NUMBER_BYTES, "%.0f", strtod(out, NULL));
    shorten_exponent(out);
    return out;
}

const char *fixed_text(double value, int decimals, char out[NUMBER_BYTES]) {
    char text[NUMBER_BYTES];
    int n = snprintf(text, sizeof text, "%.*f", decimals, fabs(value));
    if (n < 0 || (size_t)n >= sizeof text) return number_text(value, 6, out);
    use_point(text);
    bool minus = value < 0 && strspn(text, "0.") < strlen(text);
    snprintf(out, NUMBER_BYTES, "%s%s", minus ? "\xe2\x88\x92" : "", text);
    return out;
}

/* In em; between the common sans-serif faces, a little generous. */
static double glyph_width(const char *at, size_t n) {
    if (n == 1 && strchr("iljtfrI.,:;'|!()[] -", *at)) return 0.36;
    if (n == 1 && strchr("mwMW@%", *at)) return 0.92;
    if (n == 1 && *at >= 'A' && *at <= 'Z') return 0.70;
    if (n >= 3 && (unsigned char)at[0] >= 0xe3) return 1.0;
    return 0.61;
}

size_t text_fit(const char *text, double size, double limit) {
    double width = 0;
    size_t all = strlen(text), at = 0;
    while (at < all) {
        size_t n = pm_utf8_size(text + at, all - at);
        width += size * glyph_width(text + at, n ? n : 1);
        if (width > limit) return at;
        at += n ? n : 1;
    }
    return all;
}

double text_width(const char *text, double size) {
    double width = 0;
    for (size_t left = strlen(text); left > 0;) {
        size_t n = pm_utf8_size(text, left), taken = n ? n : 1;
        width += size * glyph_width(text, taken);
        text += taken;
        left -= taken;
    }
    return width;
}
