/* Owns the CSV grammar. Knows no column's meaning. */
#include "tools/dataset/csv.h"

#include <stdbool.h>
#include <string.h>

void pm_csv_init(pm_csv *csv, const char *name, char *text, size_t size) {
    *csv = (pm_csv){.name = name, .at = text, .end = text + size, .next_line = 1};
    *csv->end = '\0';
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) csv->at += 3;
}

static pm_status refuse(const pm_csv *csv, const char *why) {
    return pm_fail(PM_E_FORMAT, "%s:%zu: %s", csv->name, csv->line, why);
}

/* Cuts one field; *in stands behind it then, on a comma, a line end or the end. */
static pm_status cut_field(pm_csv *csv, char **in, char **end_of_field) {
    char *at = *in, *to = *in;
    if (*at != '"' || at == csv->end) {
        while (at < csv->end && *at != ',' && *at != '\n' && *at != '\r') {
            if (*at == '"') return refuse(csv, "a quote inside an unquoted field");
            if (*at == '\0') return refuse(csv, "a NUL byte");
            at++;
        }
        *in = *end_of_field = at;
        return PM_OK;
    }
    for (at++; at < csv->end; at++) {
        if (*at == '\0') return refuse(csv, "a NUL byte");
        if (*at == '"') {
            if (at + 1 == csv->end || at[1] != '"') break;
            at++;
        }
        if (*at == '\n') csv->next_line++;
        *to++ = *at;
    }
    if (at == csv->end) return refuse(csv, "a quoted field does not end");
    at++;
    if (at < csv->end && *at != ',' && *at != '\n' && *at != '\r')
        return refuse(csv, "text behind a closing quote");
    *in = at;
    *end_of_field = to;
    return PM_OK;
}

/* One record, blank lines too. */
static pm_status cut_record(pm_csv *csv) {
    csv->line = csv->next_line;
    csv->count = 0;
    for (;;) {
        char *field = csv->at, *field_end = NULL;
        if (csv->count == PM_CSV_FIELDS) return refuse(csv, "too many fields");
        pm_status status = cut_field(csv, &csv->at, &field_end);
        if (status) return status;
        csv->fields[csv->count++] = field;
        bool more = csv->at < csv->end && *csv->at == ',';
        if (!more && csv->at < csv->end && *csv->at == '\r') {
            csv->at++;
            if (csv->at < csv->end && *csv->at != '\n')
                return refuse(csv, "a carriage return without a line feed");
        }
        if (csv->at < csv->end) csv->at++;
        *field_end = '\0';
        if (!more) break;
    }
    csv->next_line++;
    return PM_OK;
}

pm_status pm_csv_next(pm_csv *csv) {
    while (csv->at < csv->end) {
        pm_status status = cut_record(csv);
        if (status) return status;
        if (csv->count > 1 || csv->fields[0][0]) return PM_OK;
    }
    csv->count = 0;
    return PM_OK;
}

pm_status pm_csv_header(pm_csv *csv, const char *const *names, size_t count, int *where,
                        size_t *width) {
    pm_status status = pm_csv_next(csv);
    if (status) return status;
    if (csv->count == 0) return pm_fail(PM_E_FORMAT, "%s: empty; it needs a header", csv->name);
    for (size_t i = 0; i < count; i++) where[i] = -1;
    for (size_t f = 0; f < csv->count; f++) {
        size_t i = 0;
        while (i < count && strcmp(csv->fields[f], names[i]) != 0) i++;
        if (i == count)
            return pm_fail(PM_E_FORMAT, "%s:%zu: column '%.60s' is not known", csv->name, csv->line,
                           csv->fields[f]);
        if (where[i] >= 0)
            return pm_fail(PM_E_FORMAT, "%s:%zu: column '%s' comes twice", csv->name, csv->line,
                           names[i]);
        where[i] = (int)f;
    }
    *width = csv->count;
    return PM_OK;
}
