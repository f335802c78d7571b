/* Rows of a query, wherever they come from: a database file or a broker. */
#ifndef PM_BASE_ROWS_H
#define PM_BASE_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

typedef enum pm_value_kind {
    PM_VALUE_NULL,
    PM_VALUE_INTEGER,
    PM_VALUE_REAL,
    PM_VALUE_TEXT,
    PM_VALUE_BLOB
} pm_value_kind;

typedef struct pm_value {
    pm_value_kind kind;
    int64_t integer;
    double real;
    const char *text; /* TEXT: UTF-8, NUL behind `size`; BLOB: bytes */
    size_t size;      /* bytes of text */
} pm_value;

typedef struct pm_query_sink {
    void *user;
    /* Once before the first row, also when there is none; may be NULL. types: declared types, ""
     * for expressions. */
    pm_status (*columns)(void *user, size_t count, const char *const *names,
                         const char *const *types);
    /* Each row; the values are valid during the call. Not PM_OK stops and is returned. */
    pm_status (*row)(void *user, size_t count, const pm_value *values);
} pm_query_sink;

/* Something that can be asked in SQL, with its errors. */
typedef struct pm_asker {
    void *user;
    pm_status (*ask)(void *user, const char *sql, const pm_value *parameters, size_t count,
                     const pm_query_sink *sink);
} pm_asker;

#endif
