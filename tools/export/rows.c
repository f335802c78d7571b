/* Owns the lines of a table in CSV and JSON Lines. Must not know what is in them. */
#include "tools/export/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cells.h"

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

static pm_status take_columns(void *user, size_t count, const char *const *names,
                              const char *const *types) {
    pm_rows *rows = user;
    (void)types;
    rows->names = calloc(count + 1, sizeof *rows->names);
    if (!rows->names) return pm_fail(PM_E_MEMORY, "no memory for %zu columns", count);
    for (; rows->columns < count; rows->columns++)
        if (!(rows->names[rows->columns] = strdup(names[rows->columns])))
            return pm_fail(PM_E_MEMORY, "no memory for %zu columns", count);
    if (rows->format == PM_ROWS_CSV) pm_cells_csv_names(rows->out, names, count, "\r\n");
    return PM_OK;
}

static pm_status take_row(void *user, size_t count, const pm_value *values) {
    pm_rows *rows = user;
    for (size_t c = 0; c < count; c++)
        if (values[c].kind == PM_VALUE_BLOB)
            return pm_fail(PM_E_INTERNAL, "a table for text has a blob");
    errno = 0;
    if (rows->format == PM_ROWS_CSV) {
        pm_cells_csv(rows->out, values, count, "\r\n");
    } else {
        pm_cells_json(rows->out, rows->names, values, count);
        fputc('\n', rows->out);
    }
    rows->count++;
    return ferror(rows->out) ? pm_fail_errno(errno) : PM_OK;
}

pm_query_sink pm_rows_sink(pm_rows *rows) {
    return (pm_query_sink){.user = rows, .columns = take_columns, .row = take_row};
}
