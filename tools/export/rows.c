/* Owns how values look in CSV and JSON Lines. Must not know what they are. */
#include "tools/export/rows.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

struct pm_rows {
    pm_rows_format format;
    FILE *out;
    size_t columns, count;
    char **names;
};

pm_status pm_rows_new(pm_rows_format format, FILE *out, pm_rows **rows) {
    pm_rows *made = calloc(1, sizeof *made);
    if (!made) return pm_fail(PM_E_MEMORY, "no memory for a table");
    made->format = format;
    made->out = out;
    *rows = made;
    return PM_OK;
}

void pm_rows_free(pm_rows **rows) {
    if (!*rows) return;
    for (size_t c = 0; c < (*rows)->columns; c++) free((*rows)->names[c]);
    free((*rows)->names);
    free(*rows);
    *rows = NULL;
}

size_t pm_rows_count(const pm_rows *rows) { return rows->count; }

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

/* ---- both ---- */

static pm_status put_value(pm_rows *rows, const pm_value *value) {
    char number[PM_REAL_TEXT_BYTES];
    bool json = rows->format == PM_ROWS_JSONL;
    switch (value->kind) {
    case PM_VALUE_NULL:
        if (json) fputs("null", rows->out);
        return PM_OK;
    case PM_VALUE_INTEGER: fprintf(rows->out, "%" PRId64, value->integer); return PM_OK;
    case PM_VALUE_REAL:
        pm_real_text(value->real, number);
        fprintf(rows->out, json && isinf(value->real) ? "\"%s\"" : "%s", number);
        return PM_OK;
    case PM_VALUE_TEXT:
        (json ? json_text : csv_text)(rows->out, value->text, value->size);
        return PM_OK;
    case PM_VALUE_BLOB: break;
    }
    return pm_fail(PM_E_INTERNAL, "a table for text has a blob");
}

static pm_status take_columns(void *user, size_t count, const char *const *names,
                              const char *const *types) {
    pm_rows *rows = user;
    (void)types;
    rows->names = calloc(count + 1, sizeof *rows->names);
    if (!rows->names) return pm_fail(PM_E_MEMORY, "no memory for %zu columns", count);
    for (; rows->columns < count; rows->columns++)
        if (!(rows->names[rows->columns] = strdup(names[rows->columns])))
            return pm_fail(PM_E_MEMORY, "no memory for %zu columns", count);
    if (rows->format == PM_ROWS_JSONL) return PM_OK;
    for (size_t c = 0; c < count; c++) {
        if (c) fputc(',', rows->out);
        csv_text(rows->out, names[c], strlen(names[c]));
    }
    fputs("\r\n", rows->out);
    return PM_OK;
}

static pm_status take_row(void *user, size_t count, const pm_value *values) {
    pm_rows *rows = user;
    pm_status status = PM_OK;
    bool json = rows->format == PM_ROWS_JSONL;
    errno = 0;
    for (size_t c = 0; c < count && !status; c++) {
        if (json) {
            fputs(c ? ", " : "{", rows->out);
            json_text(rows->out, rows->names[c], strlen(rows->names[c]));
            fputs(": ", rows->out);
        } else if (c) {
            fputc(',', rows->out);
        }
        status = put_value(rows, &values[c]);
    }
    fputs(json ? "}\n" : "\r\n", rows->out);
    rows->count++;
    if (!status && ferror(rows->out)) status = pm_fail_errno(errno);
    return status;
}

pm_query_sink pm_rows_sink(pm_rows *rows) {
    return (pm_query_sink){.user = rows, .columns = take_columns, .row = take_row};
}
