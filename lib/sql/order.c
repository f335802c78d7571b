/* Owns the aggregates that need every value: median and percentile. */
#include <string.h>

#include "lib/sql/internal.h"

enum { FIRST_VALUES = 64, DIGIT_BITS = 8 };

typedef struct sample {
    double *values; /* [capacity], `count` of them in use; sqlite3_free */
    size_t count, capacity;
    double percent;
    bool has_percent;
    bool failed;
} sample;

static void add(sqlite3_context *context, sample *s, double value) {
    if (s->count == s->capacity) {
        const size_t capacity = s->capacity ? 2 * s->capacity : FIRST_VALUES;
        double *more = sqlite3_realloc64(s->values, capacity * sizeof *more);
        if (!more) {
            s->failed = true;
            sqlite3_result_error_nomem(context);
            return;
        }
        s->values = more;
        s->capacity = capacity;
    }
    s->values[s->count++] = value;
}

static sample *sample_of(sqlite3_context *context) {
    sample *s = sqlite3_aggregate_context(context, sizeof *s);
    if (!s) sqlite3_result_error_nomem(context);
    return s && !s->failed ? s : NULL;
}

void pm_sql_median_step(sqlite3_context *context, int count, sqlite3_value **values) {
    double x = 0;
    (void)count;
    if (!pm_sql_number(context, values[0], &x)) return;
    sample *s = sample_of(context);
    if (s) add(context, s, x);
}

/* p is one for all rows: it is read where x is NULL, too, so that the error does not hang on x. */
void pm_sql_percentile_step(sqlite3_context *context, int count, sqlite3_value **values) {
    double x = 0, p = 0;
    (void)count;
    if (!pm_sql_number(context, values[1], &p)) return;
    sample *s = sample_of(context);
    if (!s) return;
    if (!(p >= 0 && p <= 100)) {
        s->failed = true;
        pm_sql_fail(context, "p is within 0 and 100, not %g", p);
        return;
    }
    if (s->has_percent && (p < s->percent || p > s->percent)) {
        s->failed = true;
        pm_sql_fail(context, "p is the same in every row; there are %g and %g", s->percent, p);
        return;
    }
    s->has_percent = true;
    s->percent = p;
    if (pm_sql_number(context, values[0], &x)) add(context, s, x);
}

/* Ascending as unsigned as the numbers are. */
static uint64_t key_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

/* Value number `rank` in order, from 0, digit by digit from the top: time grows with `count` alone,
 * whatever the values, for no time limit looks into it; and no memory but SQLite's. */
static double select_value(const double *values, size_t count, size_t rank) {
    uint64_t known = 0;
    for (int shift = 64 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        size_t counts[1 << DIGIT_BITS] = {0};
        const uint64_t mask = shift + DIGIT_BITS == 64 ? 0 : ~UINT64_C(0) << (shift + DIGIT_BITS);
        uint64_t digit = 0;
        for (size_t i = 0; i < count; i++) {
            const uint64_t key = key_of(values[i]);
            if ((key & mask) == known) counts[key >> shift & ((1 << DIGIT_BITS) - 1)]++;
        }
        for (; rank >= counts[digit]; digit++) rank -= counts[digit];
        known |= digit << shift;
    }
    known = known >> 63 ? known ^ UINT64_C(1) << 63 : ~known;
    double value;
    memcpy(&value, &known, sizeof value);
    return value;
}

/* Linear between the order statistics around (n - 1) p / 100: NumPy's default, number 7 of Hyndman
 * and Fan, The American Statistician 50 (1996). */
static void answer(sqlite3_context *context, double percent) {
    sample *s = sqlite3_aggregate_context(context, 0);
    if (!s) return;
    if (!s->failed && s->count) {
        const double at = (double)(s->count - 1) * percent / 100;
        const size_t left = (size_t)at;
        const double share = at - (double)left;
        const double a = select_value(s->values, s->count, left);
        const double b = share > 0 ? select_value(s->values, s->count, left + 1) : a;
        sqlite3_result_double(context, a < b ? a * (1 - share) + b * share : a);
    }
    sqlite3_free(s->values);
    s->values = NULL;
    s->count = s->capacity = 0;
}

void pm_sql_median(sqlite3_context *context) { answer(context, 50); }

void pm_sql_percentile(sqlite3_context *context) {
    const sample *s = sqlite3_aggregate_context(context, 0);
    if (s) answer(context, s->percent);
}
