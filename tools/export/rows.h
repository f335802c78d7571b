/* One table as CSV (RFC 4180) or as JSON Lines, row by row; nothing is held.
 *
 * CSV: a line of names, then rows that end in CRLF. JSON Lines: one object a line, keys in the
 * order of the columns. Values look as tools/cells.h says; blobs have no place in either. */
#ifndef PM_TOOLS_EXPORT_ROWS_H
#define PM_TOOLS_EXPORT_ROWS_H

#include <stdio.h>

#include "lib/base/rows.h"

typedef enum pm_rows_format { PM_ROWS_CSV, PM_ROWS_JSONL } pm_rows_format;

typedef struct pm_rows pm_rows;

pm_status pm_rows_new(pm_rows_format format, FILE *out, pm_rows **rows);
void pm_rows_free(pm_rows **rows);
/* For a query. Where the stream fails, as pm_fail_errno: whose it is, the caller knows. */
pm_query_sink pm_rows_sink(pm_rows *rows);
size_t pm_rows_count(const pm_rows *rows);

#endif
