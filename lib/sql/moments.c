/* Owns the aggregates that need no more than moments of what went by. */
#include <math.h>

#include "lib/sql/internal.h"
#include "lib/stats/paired.h"

static pm_moments *moments_of(sqlite3_context *context) {
    pm_moments *moments = sqlite3_aggregate_context(context, sizeof *moments);
    if (!moments) sqlite3_result_error_nomem(context);
    return moments;
}

void pm_sql_moments_step(sqlite3_context *context, int count, sqlite3_value **values) {
    double x = 0;
    (void)count;
    if (!pm_sql_number(context, values[0], &x)) return;
    pm_moments *moments = moments_of(context);
    if (moments) pm_moments_add(moments, x, false);
}

/* NaN becomes NULL. */
void pm_sql_stddev(sqlite3_context *context) {
    const pm_moments *moments = sqlite3_aggregate_context(context, 0);
    if (moments) sqlite3_result_double(context, pm_moments_std(moments));
}

void pm_sql_ci95(sqlite3_context *context) {
    const pm_moments *moments = sqlite3_aggregate_context(context, 0);
    if (moments) sqlite3_result_double(context, pm_ci95(moments));
}

void pm_sql_pairs_step(sqlite3_context *context, int count, sqlite3_value **values) {
    double a = 0, b = 0;
    (void)count;
    const bool has_a = pm_sql_number(context, values[0], &a);
    if (!pm_sql_number(context, values[1], &b) || !has_a) return;
    pm_moments *moments = moments_of(context);
    if (moments) pm_moments_add(moments, b - a, false);
}

void pm_sql_ttest_t(sqlite3_context *context) {
    const pm_moments *moments = sqlite3_aggregate_context(context, 0);
    const double t = moments ? pm_paired_test(moments).t : NAN;
    if (isfinite(t)) sqlite3_result_double(context, t);
}

/* One pair says nothing: NULL, not 1. */
void pm_sql_ttest_p(sqlite3_context *context) {
    const pm_moments *moments = sqlite3_aggregate_context(context, 0);
    if (moments && moments->count > 1) sqlite3_result_double(context, pm_paired_test(moments).p);
}

/* Welford's sums of squares and products. */
typedef struct products {
    uint64_t count;
    double mean_x, mean_y, xx, yy, xy;
} products;

void pm_sql_corr_step(sqlite3_context *context, int count, sqlite3_value **values) {
    double x = 0, y = 0;
    (void)count;
    const bool has_x = pm_sql_number(context, values[0], &x);
    if (!pm_sql_number(context, values[1], &y) || !has_x) return;
    products *p = sqlite3_aggregate_context(context, sizeof *p);
    if (!p) {
        sqlite3_result_error_nomem(context);
        return;
    }
    p->count++;
    const double dx = x - p->mean_x, dy = y - p->mean_y, n = (double)p->count;
    p->mean_x += dx / n;
    p->mean_y += dy / n;
    p->xx += dx * (x - p->mean_x);
    p->yy += dy * (y - p->mean_y);
    p->xy += dx * (y - p->mean_y);
}

void pm_sql_corr(sqlite3_context *context) {
    const products *p = sqlite3_aggregate_context(context, 0);
    if (!p || !(p->xx > 0) || !(p->yy > 0)) return;
    const double r = p->xy / sqrt(p->xx) / sqrt(p->yy);
    if (!isnan(r)) sqlite3_result_double(context, fmin(1, fmax(-1, r)));
}
