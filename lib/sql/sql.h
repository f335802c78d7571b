/* Functions of our own for SQL: values of blobs, statistics, pictures (docs/SQL.md).
 *
 * All of them are deterministic and innocuous: a query's answer depends on nothing but its rows,
 * and a schema that names one can do no harm. Their memory is SQLite's, under its limits; what
 * does not fit ends the query. NULLs are left out of aggregates; without a value the answer is
 * NULL. A value of the wrong kind is an error, in one line. */
#ifndef PM_SQL_H
#define PM_SQL_H

#include <stddef.h>

#include "lib/base/status.h"

struct sqlite3;

/* On one connection. PM_E_MEMORY, PM_E_INTERNAL. */
pm_status pm_sql_register(struct sqlite3 *db);

typedef struct pm_sql_function {
    const char *name;
    const char *use;     /* "f32(blob, i)" */
    const char *meaning; /* one line */
} pm_sql_function;

/* What there is, `count` rows in the order to show. */
const pm_sql_function *pm_sql_functions(size_t *count);

#endif
