/* Owns what an argument must be, and the functions of one row. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "lib/sql/internal.h"
#include "lib/stats/ttest.h"

/* ---- arguments ---- */

void pm_sql_fail(sqlite3_context *context, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *what = sqlite3_vmprintf(format, arguments);
    va_end(arguments);
    char *text = what ? sqlite3_mprintf("%s: %s", sqlite3_user_data(context), what) : NULL;
    if (text)
        sqlite3_result_error(context, text, -1);
    else
        sqlite3_result_error_nomem(context);
    sqlite3_free(what);
    sqlite3_free(text);
}

static const char *kind_of(sqlite3_value *value) {
    switch (sqlite3_value_type(value)) {
    case SQLITE_BLOB: return "a blob";
    case SQLITE_TEXT: return "text";
    default: return "a number";
    }
}

bool pm_sql_number(sqlite3_context *context, sqlite3_value *value, double *out) {
    switch (sqlite3_value_numeric_type(value)) {
    case SQLITE_NULL: return false;
    case SQLITE_INTEGER:
    case SQLITE_FLOAT: *out = sqlite3_value_double(value); return true;
    default: pm_sql_fail(context, "takes numbers, not %s", kind_of(value)); return false;
    }
}

bool pm_sql_blob(sqlite3_context *context, sqlite3_value *value, const uint8_t **bytes,
                 size_t *size) {
    switch (sqlite3_value_type(value)) {
    case SQLITE_NULL: return false;
    case SQLITE_BLOB: break;
    default: pm_sql_fail(context, "takes a blob, not %s", kind_of(value)); return false;
    }
    const void *at = sqlite3_value_blob(value); /* zeroblob(N) is written out here */
    *size = (size_t)sqlite3_value_bytes(value);
    if (!at && *size) {
        sqlite3_result_error_nomem(context);
        return false;
    }
    *bytes = at ? at : (const uint8_t *)"";
    return true;
}

bool pm_sql_floats(sqlite3_context *context, sqlite3_value *value, const uint8_t **bytes,
                   size_t *count) {
    size_t size = 0;
    if (!pm_sql_blob(context, value, bytes, &size)) return false;
    if (size % 4) {
        pm_sql_fail(context, "a blob of %lld bytes holds no whole float32", (long long)size);
        return false;
    }
    *count = size / 4;
    return true;
}

/* An index; false where there is none, NULL included. */
static bool index_below(sqlite3_context *context, sqlite3_value *value, size_t count, size_t *out) {
    switch (sqlite3_value_numeric_type(value)) {
    case SQLITE_NULL: return false;
    case SQLITE_INTEGER: break;
    default: pm_sql_fail(context, "the index is a whole number, from 0"); return false;
    }
    const int64_t i = sqlite3_value_int64(value);
    if (i < 0 || (uint64_t)i >= count) return false;
    *out = (size_t)i;
    return true;
}

float pm_sql_get_f32(const uint8_t *bytes, size_t i) {
    const uint8_t *b = bytes + 4 * i;
    const uint32_t bits =
        (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void pm_sql_put_f32(uint8_t *bytes, size_t i, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (size_t k = 0; k < 4; k++) bytes[4 * i + k] = (uint8_t)(bits >> 8 * k);
}

int pm_sql_get_bit(const uint8_t *bytes, size_t i) { return bytes[i / 8] >> i % 8 & 1; }

/* ---- functions: what they do not answer stays NULL ---- */

void pm_sql_f32(sqlite3_context *context, int count, sqlite3_value **values) {
    const uint8_t *bytes = NULL;
    size_t have = 0, i = 0;
    (void)count;
    if (pm_sql_floats(context, values[0], &bytes, &have) &&
        index_below(context, values[1], have, &i))
        sqlite3_result_double(context, (double)pm_sql_get_f32(bytes, i));
}

void pm_sql_f32_count(sqlite3_context *context, int count, sqlite3_value **values) {
    const uint8_t *bytes = NULL;
    size_t have = 0;
    (void)count;
    if (pm_sql_floats(context, values[0], &bytes, &have))
        sqlite3_result_int64(context, (sqlite3_int64)have);
}

void pm_sql_bit(sqlite3_context *context, int count, sqlite3_value **values) {
    const uint8_t *bytes = NULL;
    size_t size = 0, i = 0;
    (void)count;
    if (pm_sql_blob(context, values[0], &bytes, &size) &&
        index_below(context, values[1], 8 * size, &i))
        sqlite3_result_int(context, pm_sql_get_bit(bytes, i));
}

void pm_sql_student_t_p(sqlite3_context *context, int count, sqlite3_value **values) {
    double t = 0, df = 0;
    (void)count;
    if (!pm_sql_number(context, values[0], &t) || !pm_sql_number(context, values[1], &df)) return;
    if (!(df > 0)) return;
    sqlite3_result_double(context, fmin(1, 2 * pm_t_upper_tail(fabs(t), df)));
}
