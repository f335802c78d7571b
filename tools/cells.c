/* Owns how values look in CSV and in JSON. Must not know what they are, nor of rows before. */
#include "tools/cells.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

void pm_real_text(double value, char out[PM_REAL_TEXT_BYTES]) {
    if (isinf(value)) {
        strcpy(out, value > 0 ? "Inf" : "-Inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, PM_REAL_TEXT_BYTES, "%.*g", digits, value);
        if (strtod(out, NULL) == value) return;
    }
}

size_t pm_utf8_any(const char *at, size_t left) {
    size_t n = left ? pm_utf8_size(at, left) : 0;
    if (n || !left) return n;
    unsigned char first = (unsigned char)at[0];
    if (first < 0x20 || first == 0x7f) return 1;
    return first == 0xc2 && left > 1 && ((unsigned char)at[1] & 0xc0) == 0x80 ? 2 : 0;
}

/* How many bytes from `at` on are ASCII that neither format touches. */
static size_t plain_run(const char *text, size_t at, size_t size) {
    size_t i = at;
    while (i < size && text[i] >= ' ' && text[i] < 0x7f && text[i] != '"' && text[i] != '\\') i++;
    return i - at;
}

void pm_cells_hex(FILE *out, const pm_value *blob) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < blob->size; i++) {
        const unsigned char byte = (unsigned char)blob->text[i];
        fputc(digits[byte >> 4], out);
        fputc(digits[byte & 15], out);
    }
}

/* ---- CSV ---- */

static void csv_text(FILE *out, const char *text, size_t size) {
    bool quoted = size == 0;
    for (size_t i = 0; i < size && !quoted; i++) quoted = strchr(",\"\r\n", text[i]) && text[i];
    if (quoted) fputc('"', out);
    for (size_t i = 0, n; i < size; i += n) {
        if ((n = plain_run(text, i, size)) || (n = pm_utf8_any(text + i, size - i)))
            fwrite(text + i, 1, n, out);
        else
            fputs(REPLACEMENT, out), n = 1;
        if (text[i] == '"') fputc('"', out);
    }
    if (quoted) fputc('"', out);
}

static void csv_value(FILE *out, const pm_value *value) {
    char number[PM_REAL_TEXT_BYTES];
    switch (value->kind) {
    case PM_VALUE_NULL: return;
    case PM_VALUE_INTEGER: fprintf(out, "%" PRId64, value->integer); return;
    case PM_VALUE_REAL:
        pm_real_text(value->real, number);
        fputs(number, out);
        return;
    case PM_VALUE_TEXT: csv_text(out, value->text, value->size); return;
    case PM_VALUE_BLOB: pm_cells_hex(out, value); return;
    }
}

void pm_cells_csv_names(FILE *out, const char *const *names, size_t count, const char *end) {
    for (size_t c = 0; c < count; c++) {
        if (c) fputc(',', out);
        csv_text(out, names[c], strlen(names[c]));
    }
    fputs(end, out);
}

void pm_cells_csv(FILE *out, const pm_value *values, size_t count, const char *end) {
    for (size_t c = 0; c < count; c++) {
        if (c) fputc(',', out);
        csv_value(out, &values[c]);
    }
    fputs(end, out);
}

/* ---- JSON ---- */

static void json_text(FILE *out, const char *text, size_t size) {
    fputc('"', out);
    for (size_t i = 0, n; i < size; i += n) {
        unsigned char first = (unsigned char)text[i];
        if ((n = plain_run(text, i, size)))
            fwrite(text + i, 1, n, out);
        else if ((n = pm_utf8_any(text + i, size - i)) == 0)
            fputs(REPLACEMENT, out), n = 1;
        else if (first == '"' || first == '\\')
            fprintf(out, "\\%c", first);
        else if (first < 0x20)
            fprintf(out, "\\u%04x", first);
        else
            fwrite(text + i, 1, n, out);
    }
    fputc('"', out);
}

static void json_value(FILE *out, const pm_value *value) {
    char number[PM_REAL_TEXT_BYTES];
    switch (value->kind) {
    case PM_VALUE_NULL: fputs("null", out); return;
    case PM_VALUE_INTEGER: fprintf(out, "%" PRId64, value->integer); return;
    case PM_VALUE_REAL:
        pm_real_text(value->real, number);
        if (isnan(value->real))
            fputs("null", out);
        else
            fprintf(out, isinf(value->real) ? "\"%s\"" : "%s", number);
        return;
    case PM_VALUE_TEXT: json_text(out, value->text, value->size); return;
    case PM_VALUE_BLOB:
        fputc('"', out);
        pm_cells_hex(out, value);
        fputc('"', out);
        return;
    }
}

void pm_cells_json(FILE *out, char *const *names, const pm_value *values, size_t count) {
    fputc('{', out);
    for (size_t c = 0; c < count; c++) {
        if (c) fputs(", ", out);
        json_text(out, names[c], strlen(names[c]));
        fputs(": ", out);
        json_value(out, &values[c]);
    }
    fputc('}', out);
}
