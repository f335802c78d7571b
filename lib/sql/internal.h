/* Inside lib/sql: what its files share. As an extension, every sqlite3_ call goes through the table
 * that the loading program hands over. */
#ifndef PM_SQL_INTERNAL_H
#define PM_SQL_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef PM_SQL_EXTENSION
#include <sqlite3ext.h>
extern const sqlite3_api_routines *sqlite3_api;
#else
#include <sqlite3.h>
#endif

typedef void pm_sql_call(sqlite3_context *context, int count, sqlite3_value **values);
typedef void pm_sql_answer(sqlite3_context *context);

/* scalars.c */
pm_sql_call pm_sql_f32, pm_sql_f32_count, pm_sql_bit, pm_sql_student_t_p;
/* picture.c */
pm_sql_call pm_sql_heat_png;
/* order.c */
pm_sql_call pm_sql_median_step, pm_sql_percentile_step;
pm_sql_answer pm_sql_median, pm_sql_percentile;
/* moments.c */
pm_sql_call pm_sql_moments_step, pm_sql_pairs_step, pm_sql_corr_step;
pm_sql_answer pm_sql_stddev, pm_sql_ci95, pm_sql_ttest_t, pm_sql_ttest_p, pm_sql_corr;
/* elementwise.c */
pm_sql_call pm_sql_mean_f32_step, pm_sql_count_bits_step;
pm_sql_answer pm_sql_mean_f32, pm_sql_count_bits;
/* values.c: one module, which knows by the name that it is registered by what the blob holds */
#define PM_SQL_VALUES_F32 "values_f32"
#define PM_SQL_VALUES_BITS "values_bits"
extern const sqlite3_module pm_sql_values;

/* ---- what an argument must be; an error names the function that it belongs to (user data) ---- */

__attribute__((format(printf, 2, 3))) void pm_sql_fail(sqlite3_context *context, const char *format,
                                                       ...);
/* A number into *out. False: it is NULL, or no number, which is an error. */
bool pm_sql_number(sqlite3_context *context, sqlite3_value *value, double *out);
/* A blob. False: it is NULL, or no blob. */
bool pm_sql_blob(sqlite3_context *context, sqlite3_value *value, const uint8_t **bytes,
                 size_t *size);
/* A blob of whole float32 values; their number. */
bool pm_sql_floats(sqlite3_context *context, sqlite3_value *value, const uint8_t **bytes,
                   size_t *count);

/* Blobs are little endian on every machine. */
float pm_sql_get_f32(const uint8_t *bytes, size_t i);
void pm_sql_put_f32(uint8_t *bytes, size_t i, float value);
/* Bit i, the low one of a byte first. */
int pm_sql_get_bit(const uint8_t *bytes, size_t i);

#endif
