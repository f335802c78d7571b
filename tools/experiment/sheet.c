/* Owns tables of an experiment. How rows look is tools/table.h's. */
#include "tools/experiment/sheet.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tools/table.h"

void pm_sheet_fini(pm_sheet *sheet) {
    for (size_t i = 0; i < sheet->rows * sheet->columns; i++)
        free((char *)(uintptr_t)sheet->cells[i].text);
    free(sheet->cells);
    sheet->cells = NULL;
    sheet->rows = 0;
}

static pm_status text_cell(const char *text, pm_value *out) {
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy) return pm_fail(PM_E_MEMORY, "no memory for a table");
    if (copy) *out = (pm_value){.kind = PM_VALUE_TEXT, .text = copy, .size = strlen(copy)};
    return PM_OK;
}

pm_status pm_sheet_add(pm_sheet *sheet, const char *kinds, ...) {
    size_t size = (sheet->rows + 1) * sheet->columns;
    pm_status status = PM_OK;
    if (strlen(kinds) != sheet->columns)
        return pm_fail(PM_E_INTERNAL, "a row of another table: '%s'", kinds);
    pm_value *cells = realloc(sheet->cells, size * sizeof *cells);
    if (!cells) return pm_fail(PM_E_MEMORY, "no memory for a table");
    sheet->cells = cells;
    cells += sheet->rows++ * sheet->columns;
    memset(cells, 0, sheet->columns * sizeof *cells);
    va_list values;
    va_start(values, kinds);
    for (size_t i = 0; kinds[i] && !status; i++) {
        if (kinds[i] == 's') {
            status = text_cell(va_arg(values, const char *), &cells[i]);
        } else if (kinds[i] == 'd') {
            cells[i] = (pm_value){.kind = PM_VALUE_INTEGER, .integer = va_arg(values, int64_t)};
        } else {
            double value = va_arg(values, double);
            if (isfinite(value)) cells[i] = (pm_value){.kind = PM_VALUE_REAL, .real = value};
        }
    }
    va_end(values);
    return status;
}

static double rounded(double value, int digits) {
    char text[40];
    snprintf(text, sizeof text, "%.*g", digits, value);
    return strtod(text, NULL);
}

/* digits 0: as they are. */
static pm_status pour(const pm_sheet *sheet, int digits, pm_table_format format, FILE *out) {
    const char *types[PM_SHEET_COLUMNS];
    pm_table *table = NULL;
    pm_value row[PM_SHEET_COLUMNS];
    pm_status status = pm_table_new(format, out, &table);
    if (status) return status;
    const pm_query_sink sink = pm_table_sink(table);
    for (size_t i = 0; i < sheet->columns; i++) types[i] = "";
    status = sink.columns(sink.user, sheet->columns, sheet->names, types);
    for (size_t r = 0; r < sheet->rows && !status; r++) {
        memcpy(row, sheet->cells + r * sheet->columns, sheet->columns * sizeof *row);
        for (size_t i = 0; i < sheet->columns && digits; i++)
            if (row[i].kind == PM_VALUE_REAL) row[i].real = rounded(row[i].real, digits);
        status = sink.row(sink.user, sheet->columns, row);
    }
    if (!status) status = pm_table_end(table);
    pm_table_free(&table);
    return status;
}

pm_status pm_sheet_write(const pm_sheet *sheet, const pm_study *study, const char *name) {
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    if (!out) return pm_fail(PM_E_MEMORY, "no memory for %s", name);
    pm_status status = pour(sheet, 0, PM_TABLE_CSV, out);
    if (fclose(out) != 0 && !status) status = pm_fail(PM_E_MEMORY, "no memory for %s", name);
    if (!status) status = pm_study_write(study, name, bytes, size);
    free(bytes);
    return status;
}

pm_status pm_sheet_print(const pm_sheet *sheet, const pm_study *study, int digits) {
    if (pm_options_flag(study->options, PM_OPT_QUIET)) return PM_OK;
    fputc('\n', stdout);
    return pour(sheet, digits, PM_TABLE_TEXT, stdout);
}
