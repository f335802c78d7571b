/* Reading a database that others own: live (WAL) or closed, and never a byte changed.
 *
 * mode=ro, an authorizer that lets only reads through, DEFENSIVE, and limits on rows, time and
 * size, and functions of our own (lib/sql). A query has one user at a time; any number may be open
 * beside the broker. */
#ifndef PM_QUERY_H
#define PM_QUERY_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/rows.h"
#include "lib/base/status.h"

typedef struct pm_query pm_query;

typedef struct pm_query_limits {
    size_t rows_max;     /* rows given out; then it stops with *cut; 0: no limit */
    int64_t time_ms;     /* then PM_E_TIMEOUT; 0: no limit */
    size_t length_bytes; /* of one value or row; then PM_E_LIMIT; 0: SQLite's own */
    size_t memory_bytes; /* of SQLite in the whole process, so not for a broker; 0: no limit */
    /* Of all files that sorting spills into, in the whole process; then PM_E_LIMIT; 0: no limit. */
    size_t temporary_bytes;
    const volatile sig_atomic_t *stop; /* may be NULL; once set: PM_E_CANCELLED */
} pm_query_limits;
extern const pm_query_limits pm_query_default_limits; /* 60 s, 64 MiB of a value, else none */

/* PM_E_NOT_FOUND; PM_E_FORMAT: not a database; PM_E_MISMATCH: not parchmill's, or newer. */
pm_status pm_query_open(const char *path, const pm_query_limits *limits, pm_query **out);
void pm_query_close(pm_query **query);
/* PM_E_MISMATCH: the database is of an older schema than this program's; `path` is for the text. */
pm_status pm_query_current(pm_query *query, const char *path);

/* One statement. `parameters` [parameter_count] are bound to ?1, ?2 ...; NULL and 0 for none. *cut
 * (may be NULL): the row limit ended it. PM_E_USAGE: does not parse, or is more than one
 * statement; PM_E_DENIED: would write, attach or set; PM_E_TIMEOUT, PM_E_LIMIT, PM_E_IO. */
pm_status pm_query_run(pm_query *query, const char *sql, const pm_value *parameters,
                       size_t parameter_count, const pm_query_sink *sink, bool *cut);

/* From here on every question sees the database as it is now, whatever a broker writes, until the
 * query is closed; the database's log grows meanwhile. */
pm_status pm_query_hold(pm_query *query);

/* Where the columns of a question come from: `type` as declared, `table` and `column` of the
 * schema, all "" for expressions. Errors as pm_query_run. */
typedef pm_status (*pm_query_origin)(void *user, const char *name, const char *type,
                                     const char *table, const char *column);
pm_status pm_query_origins(pm_query *query, const char *sql, pm_query_origin take, void *user);

/* The query that runs ends at its next look: PM_E_CANCELLED. From any thread or a signal handler,
 * while the query is open. */
void pm_query_interrupt(pm_query *query);

/* Whether the text is one or more whole statements, each with its semicolon. */
bool pm_query_is_whole(const char *sql);

/* Every item-level table as text, ordered by natural key, numbers to the bit; times, workers,
 * attempts and row ids left out: two databases with the same results give the same bytes. */
pm_status pm_store_dump(const char *path, FILE *out);

#endif
