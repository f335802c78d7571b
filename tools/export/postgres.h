/* A run as one SQL script for PostgreSQL: the tables of docs/SCHEMA.md in a schema of their own,
 * parchmill_run_N, with comments, keys and indexes, in one transaction. */
#ifndef PM_TOOLS_EXPORT_POSTGRES_H
#define PM_TOOLS_EXPORT_POSTGRES_H

#include <stdint.h>
#include <stdio.h>

#include "lib/store/query.h"

/* `query`: on a database that holds this run alone (pm_store_extract). */
pm_status pm_export_postgres(pm_query *query, int64_t run, FILE *out);

#endif
