/* What tables and columns mean: the comments of the schema's own text (schema/sql), which the
 * program carries. */
#ifndef PM_STORE_DESCRIBE_H
#define PM_STORE_DESCRIBE_H

#include <stddef.h>

/* The comment of a column, or of a table or view (`column` NULL), one line, cut at `size` - 1
 * bytes; "" where there is none. */
void pm_schema_comment(const char *table, const char *column, char *out, size_t size);

#endif
