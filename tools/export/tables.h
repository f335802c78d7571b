/* The tidy tables of a run: which there are, what is in them, and a folder of them. */
#ifndef PM_TOOLS_EXPORT_TABLES_H
#define PM_TOOLS_EXPORT_TABLES_H

#include <stdint.h>

#include "lib/store/query.h"
#include "tools/export/out.h"
#include "tools/export/rows.h"

typedef struct pm_export_run {
    int64_t run;
    pm_query *query;  /* held at one moment */
    const char *name; /* of the run; may be "" */
    const char *state;
} pm_export_run;

/* A folder: one file a table, tables.json and README.txt. *results: rows of results. */
pm_status pm_export_tables(const pm_export_run *run, pm_rows_format format, pm_out *out,
                           size_t *results);
/* One of them alone. PM_E_USAGE lists what there is. */
pm_status pm_export_table(const pm_export_run *run, pm_rows_format format, const char *table,
                          pm_out *out, size_t *rows);

#endif
