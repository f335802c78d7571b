/* Rows of a query for people and programs: an aligned table, CSV (RFC 4180), JSON, JSON
 * Lines or Markdown.
 *
 * CSV and JSON as tools/cells.h says, lines that end in "\n".
 * Give pm_table_sink() to pm_query_run, then pm_table_end. A table is aligned over its first
 * PM_TABLE_SAMPLE rows and streams on from there. */
#ifndef PM_TOOLS_TABLE_H
#define PM_TOOLS_TABLE_H

#include <stdio.h>

#include "lib/store/query.h"

typedef enum pm_table_format {
    PM_TABLE_TEXT,
    PM_TABLE_CSV,
    PM_TABLE_JSON,
    PM_TABLE_JSONL,
    PM_TABLE_MARKDOWN
} pm_table_format;

enum { PM_TABLE_SAMPLE = 200 };

typedef struct pm_table pm_table;

/* PM_E_USAGE lists what there is. */
pm_status pm_table_format_parse(const char *name, pm_table_format *out);

pm_status pm_table_new(pm_table_format format, FILE *out, pm_table **table);
void pm_table_free(pm_table **table);
pm_query_sink pm_table_sink(pm_table *table);
/* Write what is held back, and JSON's end. */
pm_status pm_table_end(pm_table *table);
size_t pm_table_rows(const pm_table *table);

#endif
