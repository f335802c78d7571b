/* Rows of a query as the bulk frame of QueryRows (schema/wire.proto): every value with its kind,
 * doubles to the bit. */
#ifndef PM_NET_ROWS_H
#define PM_NET_ROWS_H

#include "lib/base/rows.h"
#include "lib/base/text.h"

enum {
    PM_ROWS_COLUMNS_MAX = 2000,         /* SQLite's own limit */
    PM_ROWS_FRAME_BYTES = 256 << 10,    /* a frame is closed once it is as large */
    PM_ROWS_ROW_BYTES_MAX = 65 << 20,   /* so that no frame is larger than this and the above */
    PM_QUERY_SQL_BYTES_MAX = 1 << 20,   /* the text, and again the parameters */
    PM_QUERY_CREDIT_BYTES = 1 << 20,    /* what a client gives at first */
    PM_QUERY_CREDIT_BYTES_MAX = 4 << 20 /* what a broker takes at most */
};

/* One row behind those that are there. PM_E_LIMIT: over PM_ROWS_ROW_BYTES_MAX; PM_E_MEMORY. */
pm_status pm_rows_add(pm_buffer *rows, size_t count, const pm_value *values);

/* Each row to the sink; its values are valid during the call. Trusts nothing: PM_E_PROTOCOL. */
pm_status pm_rows_read(const void *bytes, size_t size, size_t rows, size_t columns,
                       const pm_query_sink *sink);

/* The one row of a frame into values [PM_ROWS_COLUMNS_MAX]: they point into the frame. */
pm_status pm_rows_read_one(const void *bytes, size_t size, pm_value *values, size_t *count);

#endif
