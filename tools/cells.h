/* How values look in CSV (RFC 4180) and in JSON: the same bytes from `parchmill sql` and `parchmill
 * export`.
 *
 * NULL is an empty field, null in JSON; an empty text is "". A real number is the shortest text
 * that reads back the same, infinity is Inf (JSON has no number for it: the text "Inf"; NaN is
 * null). Of text, bytes that are no UTF-8 become U+FFFD. A blob is lower-case hexadecimal (JSON: a
 * text). What fails is the stream, and the caller looks at it (ferror). */
#ifndef PM_TOOLS_CELLS_H
#define PM_TOOLS_CELLS_H

#include <stdio.h>

#include "lib/base/rows.h"

/* One line of CSV: names [count], or values [count]; `end` is its end, "\n" or "\r\n". */
void pm_cells_csv_names(FILE *out, const char *const *names, size_t count, const char *end);
void pm_cells_csv(FILE *out, const pm_value *values, size_t count, const char *end);

/* {"name": value, ...} without a line's end; names [count], values [count]. */
void pm_cells_json(FILE *out, char *const *names, const pm_value *values, size_t count);

/* ---- shared with other formats ---- */

enum { PM_REAL_TEXT_BYTES = 40 };

/* The shortest of 15, 16 and 17 significant digits that reads back the same; Inf, -Inf. */
void pm_real_text(double value, char out[PM_REAL_TEXT_BYTES]);
/* Bytes of UTF-8 at `at`, control characters included; 0 where it is malformed. */
size_t pm_utf8_any(const char *at, size_t left);
/* The bytes of a blob as hexadecimal. */
void pm_cells_hex(FILE *out, const pm_value *blob);

#endif
