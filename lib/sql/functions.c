/* Owns the list of functions: name, arguments, code, one line for people. */
#include "lib/sql/sql.h"

#include "lib/sql/internal.h"

typedef struct function {
    const char *name;
    int arguments;
    pm_sql_call *scalar, *step;
    pm_sql_answer *answer;
} function;

static const function functions[] = {
    {"f32", 2, pm_sql_f32, NULL, NULL},
    {"f32_count", 1, pm_sql_f32_count, NULL, NULL},
    {"bit", 2, pm_sql_bit, NULL, NULL},
    {"student_t_p", 2, pm_sql_student_t_p, NULL, NULL},
    {"heat_png", 1, pm_sql_heat_png, NULL, NULL},
    {"heat_png", 2, pm_sql_heat_png, NULL, NULL},
    {"median", 1, NULL, pm_sql_median_step, pm_sql_median},
    {"percentile", 2, NULL, pm_sql_percentile_step, pm_sql_percentile},
    {"stddev", 1, NULL, pm_sql_moments_step, pm_sql_stddev},
    {"ci95", 1, NULL, pm_sql_moments_step, pm_sql_ci95},
    {"ttest_paired_t", 2, NULL, pm_sql_pairs_step, pm_sql_ttest_t},
    {"ttest_paired_p", 2, NULL, pm_sql_pairs_step, pm_sql_ttest_p},
    {"corr", 2, NULL, pm_sql_corr_step, pm_sql_corr},
    {"mean_f32", 1, NULL, pm_sql_mean_f32_step, pm_sql_mean_f32},
    {"count_bits", 1, NULL, pm_sql_count_bits_step, pm_sql_count_bits},
};

static const pm_sql_function shown[] = {
    {"f32", "f32(blob, i)", "value i, from 0, of a blob of float32; NULL beyond its end"},
    {"f32_count", "f32_count(blob)", "how many float32 a blob holds"},
    {"bit", "bit(blob, i)", "bit i, from 0, low bits first (in_h: one a channel); NULL beyond"},
    {"values_f32", "FROM values_f32(blob)", "a row (i, value) a float32 of the blob"},
    {"values_bits", "FROM values_bits(blob)", "a row (i, value) a bit of the blob, 0 or 1"},
    {"mean_f32", "mean_f32(blob)", "aggregate: element by element, the mean of float32 blobs"},
    {"count_bits", "count_bits(blob)",
     "aggregate: how often each bit is set, 8 float32 a byte of the blobs"},
    {"median", "median(x)", "aggregate: the middle value"},
    {"percentile", "percentile(x, p)", "aggregate: p of 0 .. 100, linear between neighbours"},
    {"stddev", "stddev(x)", "aggregate: standard deviation of the sample (n - 1)"},
    {"ci95", "ci95(x)", "aggregate: half the width of the mean's 95 % interval (Student's t)"},
    {"ttest_paired_t", "ttest_paired_t(a, b)", "aggregate: t of the paired test, of b - a"},
    {"ttest_paired_p", "ttest_paired_p(a, b)", "aggregate: its two-sided p"},
    {"corr", "corr(x, y)", "aggregate: Pearson's correlation"},
    {"student_t_p", "student_t_p(t, df)", "two-sided p of Student's t"},
    {"heat_png", "heat_png(zstd [, 'magma-like' | 'seismic'])",
     "heat_map.zstd as a PNG; least to greatest value, or -10 to 10 times the mean of |value|"},
};

const pm_sql_function *pm_sql_functions(size_t *count) {
    *count = sizeof shown / sizeof *shown;
    return shown;
}

pm_status pm_sql_register(sqlite3 *db) {
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    int code = SQLITE_OK;
    for (size_t i = 0; i < sizeof functions / sizeof *functions && code == SQLITE_OK; i++) {
        const function *f = &functions[i];
        code = sqlite3_create_function_v2(db, f->name, f->arguments, flags, (void *)f->name,
                                          f->scalar, f->step, f->answer, NULL);
    }
    if (code == SQLITE_OK)
        code = sqlite3_create_module_v2(db, PM_SQL_VALUES_F32, &pm_sql_values, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_create_module_v2(db, PM_SQL_VALUES_BITS, &pm_sql_values, NULL, NULL);
    if (code == SQLITE_OK) return PM_OK;
    return pm_fail(code == SQLITE_NOMEM ? PM_E_MEMORY : PM_E_INTERNAL,
                   "SQL functions cannot be registered: %s", sqlite3_errmsg(db));
}
