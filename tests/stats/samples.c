/* Owns the samples of the statistics tests. */
#include "tests/stats/samples.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"

/* a and b in [0, 1). What the math library gives is rounded, so that its last bit cannot matter. */
static double value(const char *kind, double a, double b) {
    if (!strcmp(kind, "uniform")) return a;
    if (!strcmp(kind, "exponential")) return floor(-log(1 - a) * 4096) / 4096;
    if (!strcmp(kind, "ties")) return floor(a * 4);
    double normal = floor(sqrt(-2 * log(1 - a)) * cos(2 * M_PI * b) * 4096) / 4096;
    if (!strcmp(kind, "relu")) return normal > 0.5 ? normal - 0.5 : 0;
    if (!strcmp(kind, "offset")) return 1000 + normal / 16;
    assert_string_equal(kind, "normal");
    return normal;
}

float *sample_new(const char *kind, const char *stream, size_t n) {
    float *values = malloc(2 * n * sizeof *values);
    assert_non_null(values);
    pm_synth(stream, 0, values, 2 * n);
    for (size_t i = 0; i < n; i++)
        values[i] =
            (float)value(kind, ((double)values[i] + 1) / 2, ((double)values[n + i] + 1) / 2);
    return values;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void sample_sort(float *values, size_t n) { qsort(values, n, sizeof *values, by_value); }

FILE *open_table(const char *file) {
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    char path[4096], line[512];
    snprintf(path, sizeof path, "%s/tests/data/stats/%s", root ? root : ".", file);
    FILE *in = fopen(path, "r");
    if (!in) fail_msg("%s is missing: set PARCHMILL_SOURCE_DIR", path);
    assert_non_null(fgets(line, sizeof line, in));
    return in;
}

void close_to(double got, double want, double relative, const char *what) {
    if (!(fabs(got - want) <= relative * fabs(want)))
        fail_msg("%s: %.17g is not %.17g", what, got, want);
}
