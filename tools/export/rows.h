/* One table as CSV (RFC 4180) or as JSON Lines, row by row; nothing is held.
 *
 * CSV: a line of names, then rows that end in CRLF. NULL is an empty field, an empty text is "".
 * JSON Lines: one object a line, keys in the order of the columns; NULL is null. In both a real
 * number is the shortest text that reads back the same, infinity is Inf (JSON: the text "Inf"), and
 * bytes that are no UTF-8 become U+FFFD. Blobs have no place in either. */
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

/* ---- shared with other formats ---- */

enum { PM_REAL_TEXT_BYTES = 40 };

/* The shortest of 15, 16 and 17 significant digits that reads back the same; Inf, -Inf. */
void pm_real_text(double value, char out[PM_REAL_TEXT_BYTES]);
/* Bytes of UTF-8 at `at`, control characters included; 0 where it is malformed. */
size_t pm_utf8_any(const char *at, size_t left);

#endif
