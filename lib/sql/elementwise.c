/* Owns the aggregates of blobs, element by element. */
#include <string.h>

#include "lib/sql/internal.h"

typedef struct column {
    void *sums;  /* [size] doubles, or counts a bit; sqlite3_free */
    size_t size; /* elements */
    uint64_t blobs;
    bool failed;
} column;

/* The aggregate's state, whose first blob settles the size. NULL: it has failed. */
static column *column_of(sqlite3_context *context, size_t size, size_t each) {
    column *c = sqlite3_aggregate_context(context, sizeof *c);
    if (!c) sqlite3_result_error_nomem(context);
    if (!c || c->failed) return NULL;
    c->failed = true;
    if (c->blobs && c->size != size) {
        pm_sql_fail(context, "the blobs are not equally long: %lld and %lld values",
                    (long long)c->size, (long long)size);
        return NULL;
    }
    if (!c->blobs) {
        const int most = sqlite3_limit(sqlite3_context_db_handle(context), SQLITE_LIMIT_LENGTH, -1);
        if (size > (size_t)most / sizeof(float)) {
            sqlite3_result_error_toobig(context);
            return NULL;
        }
        c->sums = sqlite3_malloc64((size + 1) * each);
        if (!c->sums) {
            sqlite3_result_error_nomem(context);
            return NULL;
        }
        memset(c->sums, 0, (size + 1) * each);
        c->size = size;
    }
    c->failed = false;
    c->blobs++;
    return c;
}

static void give(sqlite3_context *context, column *c, uint8_t *floats) {
    if (floats)
        sqlite3_result_blob64(context, floats, 4 * c->size, sqlite3_free);
    else
        sqlite3_result_error_nomem(context);
}

void pm_sql_mean_f32_step(sqlite3_context *context, int count, sqlite3_value **values) {
    const uint8_t *bytes = NULL;
    size_t size = 0;
    (void)count;
    if (!pm_sql_floats(context, values[0], &bytes, &size)) return;
    column *c = column_of(context, size, sizeof(double));
    if (!c) return;
    double *sums = c->sums;
    for (size_t i = 0; i < size; i++) sums[i] += (double)pm_sql_get_f32(bytes, i);
}

void pm_sql_mean_f32(sqlite3_context *context) {
    column *c = sqlite3_aggregate_context(context, 0);
    if (!c) return;
    if (!c->failed && c->sums) {
        const double *sums = c->sums;
        uint8_t *floats = sqlite3_malloc64(4 * c->size + 1);
        for (size_t i = 0; floats && i < c->size; i++)
            pm_sql_put_f32(floats, i, (float)(sums[i] / (double)c->blobs));
        give(context, c, floats);
    }
    sqlite3_free(c->sums);
    c->sums = NULL;
}

/* Whole counts: a float32 would stand still at 2^24. */
void pm_sql_count_bits_step(sqlite3_context *context, int count, sqlite3_value **values) {
    const uint8_t *bytes = NULL;
    size_t size = 0;
    (void)count;
    if (!pm_sql_blob(context, values[0], &bytes, &size)) return;
    column *c = column_of(context, 8 * size, sizeof(uint32_t));
    if (!c) return;
    uint32_t *counts = c->sums;
    for (size_t i = 0; i < 8 * size; i++) counts[i] += (uint32_t)pm_sql_get_bit(bytes, i);
}

void pm_sql_count_bits(sqlite3_context *context) {
    column *c = sqlite3_aggregate_context(context, 0);
    if (!c) return;
    if (!c->failed && c->sums) {
        const uint32_t *counts = c->sums;
        uint8_t *floats = sqlite3_malloc64(4 * c->size + 1);
        for (size_t i = 0; floats && i < c->size; i++) pm_sql_put_f32(floats, i, (float)counts[i]);
        give(context, c, floats);
    }
    sqlite3_free(c->sums);
    c->sums = NULL;
}
