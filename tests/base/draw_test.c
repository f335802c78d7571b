/* lib/base: elementary functions against libm and mpmath, streams against RFC 8439 and SciPy
 * (tests/data/make_draw_vectors.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/draw.h"
#include "lib/base/random.h"
#include "lib/base/real.h"

static FILE *open_vector(const char *file) {
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/data/draws/%s", root ? root : ".", file);
    FILE *in = fopen(path, "r");
    if (!in) fail_msg("%s is missing: set PARCHMILL_SOURCE_DIR", path);
    return in;
}

/* In units of the last place of b. */
static double ulps(double a, double b) {
    return fabs(a - b) / (nextafter(fabs(b), INFINITY) - fabs(b));
}

static double uniform(uint64_t i) { return (double)(pm_splitmix64(i) >> 11) * 0x1p-53; }

static void log_and_exp_are_libms_to_one_unit(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 400000; i++) {
        double x = ldexp(0.5 + uniform(i), (int)(i % 2100) - 1070), near = 0.5 + 1.5 * uniform(~i);
        double y = 1400.0 * uniform(i) - 700.0, small = uniform(i) - 0.5;
        if (ulps(pm_real_log(x), log(x)) > 1 || ulps(pm_real_log(near), log(near)) > 1)
            fail_msg("log of %a or %a", x, near);
        if (ulps(pm_real_exp(y), exp(y)) > 1 || ulps(pm_real_exp(small), exp(small)) > 1)
            fail_msg("exp of %a or %a", y, small);
    }
    assert_true(pm_real_log(1.0) == 0.0 && pm_real_exp(0.0) == 1.0 && pm_real_exp(-701.0) == 0.0);
    assert_true(isinf(pm_real_exp(701.0)));
}

static void quantiles_of_the_normal_are_mpmaths(void **state) {
    (void)state;
    char line[128];
    double p, z;
    size_t done = 0;
    FILE *in = open_vector("normal.csv");
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, "%lf,%lf", &p, &z) != 2) continue;
        if (fabs(pm_real_normal(p) - z) > 1e-15 * fabs(z))
            fail_msg("p %a: %.17g, not %.17g", p, pm_real_normal(p), z);
        done++;
    }
    fclose(in);
    assert_true(done > 800);
}

/* RFC 8439, 2.3.2: key 00 .. 1f, block 1. */
static void stream_is_chacha20(void **state) {
    (void)state;
    pm_draw stream = {.nonce = {[3] = 9, [7] = 0x4a}, .block = 1, .used = PM_DRAW_BUFFER_BYTES};
    for (uint8_t i = 0; i < 32; i++) stream.key[i] = i;
    static const uint64_t block[8] = {
        0x15593bd1e4e7f110u, 0xc47120a31fdd0f50u, 0x0368c033c7f4d1c7u, 0x4e6cd4c39aaa2204u,
        0x09aa9f07466482d2u, 0xa2028bd905d7c214u, 0xb94e16ded19c12b5u, 0x4e3c50a2e883d0cbu,
    };
    for (size_t i = 0; i < 8; i++) assert_true(pm_draw_word(&stream) == block[i]);
}

typedef struct row {
    uint64_t seed, draw, n;
    pm_sha256 image;
    unsigned use;
    char kind[8];
    size_t first;
    char *values; /* inside the line */
} row;

static void check_words(const row *r, pm_draw *stream) {
    char *at = r->values;
    if (strcmp(r->kind, "word") == 0)
        for (size_t i = 0; i < r->first; i++) pm_draw_word(stream);
    while (*at == ',') {
        uint64_t expected = strtoull(at + 1, &at, 10);
        uint64_t got =
            strcmp(r->kind, "word") == 0 ? pm_draw_word(stream) : pm_draw_below(stream, r->n);
        assert_true(got == expected);
    }
}

static void check_normals(const row *r, pm_draw *stream) {
    char *at = r->values;
    float values[2048];
    pm_draw_normal(stream, values, sizeof values / sizeof *values);
    for (size_t i = r->first; *at == ','; i++) {
        float expected = strtof(at + 1, &at);
        if (values[i] != expected)
            fail_msg("normal %zu is %.9g, not %.9g", i, (double)values[i], (double)expected);
    }
}

static void streams_follow_their_description(void **state) {
    (void)state;
    char line[1024], hex[65];
    size_t done = 0;
    FILE *in = open_vector("draws.csv");
    while (fgets(line, sizeof line, in)) {
        row r;
        int used = 0;
        if (sscanf(line, "%lu,%64[^,],%u,%lu,%7[^,],%lu,%zu%n", &r.seed, hex, &r.use, &r.draw,
                   r.kind, &r.n, &r.first, &used) != 7)
            continue;
        r.values = line + used;
        assert_int_equal(pm_sha256_parse(hex, &r.image), PM_OK);
        pm_draw stream;
        pm_draw_begin(&stream, r.seed, &r.image, (pm_draw_use)r.use, r.draw);
        if (strcmp(r.kind, "normal") == 0)
            check_normals(&r, &stream);
        else
            check_words(&r, &stream);
        done++;
    }
    fclose(in);
    assert_int_equal(done, 78);
}

static void a_draw_in_pieces_is_the_draw(void **state) {
    (void)state;
    enum { COUNT = 5000 };
    float whole[COUNT], pieces[COUNT], prefix[77];
    pm_sha256 image = pm_sha256_of("photograph", 10);
    pm_normal_draw(7, &image, 3, whole, COUNT);
    pm_normal_draw(7, &image, 3, prefix, 77);
    assert_memory_equal(whole, prefix, sizeof prefix);
    pm_draw stream;
    pm_draw_begin(&stream, 7, &image, PM_DRAW_METHOD, 3);
    for (size_t at = 0, step = 1; at < COUNT; at += step, step = step * 2 % 1021) {
        if (step > COUNT - at) step = COUNT - at;
        pm_draw_normal(&stream, pieces + at, step);
    }
    assert_memory_equal(whole, pieces, sizeof whole);
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Moments within four standard errors, Kolmogorov-Smirnov below its 1 % point, neighbours and
 * draws uncorrelated. */
static void a_million_draws_are_normal(void **state) {
    (void)state;
    enum { COUNT = 1000000 };
    float *z = malloc(COUNT * sizeof *z), *other = malloc(COUNT * sizeof *other);
    assert_true(z && other);
    pm_sha256 image = pm_sha256_of("photograph", 10);
    pm_normal_draw(0, &image, 0, z, COUNT);
    pm_normal_draw(0, &image, 1, other, COUNT);
    double sum[5] = {0}, lagged = 0, across = 0, error = 1 / sqrt(COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        double v = (double)z[i], power = v;
        for (size_t k = 1; k < 5; k++, power *= v) sum[k] += power / COUNT;
        lagged += v * (double)z[(i + 1) % COUNT] / COUNT;
        across += v * (double)other[i] / COUNT;
    }
    assert_true(fabs(sum[1]) < 4 * error);
    assert_true(fabs(sum[2] - 1) < 4 * sqrt(2) * error);
    assert_true(fabs(sum[3]) < 4 * sqrt(15) * error);
    assert_true(fabs(sum[4] - 3) < 4 * sqrt(96) * error);
    assert_true(fabs(lagged) < 4 * error && fabs(across) < 4 * error);
    qsort(z, COUNT, sizeof *z, compare_floats);
    double apart = 0;
    for (size_t i = 0; i < COUNT; i++) {
        double p = 0.5 * erfc(-(double)z[i] / sqrt(2));
        apart = fmax(apart, fmax(p - (double)i / COUNT, (double)(i + 1) / COUNT - p));
    }
    assert_true(apart < 1.63 * error);
    free(z);
    free(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_and_exp_are_libms_to_one_unit),
        cmocka_unit_test(quantiles_of_the_normal_are_mpmaths),
        cmocka_unit_test(stream_is_chacha20),
        cmocka_unit_test(streams_follow_their_description),
        cmocka_unit_test(a_draw_in_pieces_is_the_draw),
        cmocka_unit_test(a_million_draws_are_normal),
    };
    return cmocka_run_group_tests_name("base_draw", tests, NULL, NULL);
}
