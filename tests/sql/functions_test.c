/* Functions for SQL: what NumPy and SciPy answer (tests/data/make_sql_vectors.py), pictures against
 * naive loops, and an error line for what is of the wrong kind. */
#include <math.h>
#include <png.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/colormap.h"
#include "lib/spec/heat_map.h"
#include "lib/sql/sql.h"

static int open_db(void **state) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(pm_sql_register(db), PM_OK);
    *state = db;
    return 0;
}

static int close_db(void **state) { return sqlite3_close(*state) != SQLITE_OK; }

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    return statement;
}

/* The one value of the one row. */
static sqlite3_stmt *ask(sqlite3 *db, const char *sql) {
    sqlite3_stmt *statement = prepare(db, sql);
    if (sqlite3_step(statement) != SQLITE_ROW) fail_msg("%.200s: %s", sql, sqlite3_errmsg(db));
    return statement;
}

static void check_answer(sqlite3_stmt *got, const char *kind, const char *want, const char *sql) {
    const int type = sqlite3_column_type(got, 0);
    if (strcmp(kind, "null") == 0) {
        if (type != SQLITE_NULL) fail_msg("%.200s is not NULL", sql);
        return;
    }
    if (type == SQLITE_NULL) fail_msg("%.200s is NULL", sql);
    if (strcmp(kind, "number") == 0) {
        const double value = sqlite3_column_double(got, 0), expected = strtod(want, NULL);
        if (!(fabs(value - expected) <= 1e-9 * fabs(expected) + 1e-12 * (fabs(expected) < 1e-3)))
            fail_msg("%.200s: %.17g, not %.17g", sql, value, expected);
        return;
    }
    const uint8_t *bytes = sqlite3_column_blob(got, 0);
    const size_t size = (size_t)sqlite3_column_bytes(got, 0);
    assert_int_equal(2 * size, strlen(want));
    for (size_t i = 0; i < size; i++) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", bytes[i]);
        assert_memory_equal(hex, want + 2 * i, 2);
    }
}

static void answers_are_numpys_and_scipys(void **state) {
    char path[1024], *line = NULL;
    size_t capacity = 0, rows = 0;
    snprintf(path, sizeof path, "%s/tests/data/sql/answers.tsv", getenv("PARCHMILL_SOURCE_DIR"));
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (getline(&line, &capacity, in) > 0) {
        char *want = strchr(line, '\t'), *sql = strchr(want + 1, '\t');
        *want++ = *sql++ = '\0';
        sql[strcspn(sql, "\n")] = '\0';
        sqlite3_stmt *got = ask(*state, sql);
        check_answer(got, line, want, sql);
        sqlite3_finalize(got);
        rows++;
    }
    free(line);
    fclose(in);
    assert_true(rows > 150);
}

static void nothing_in_is_null_out(void **state) {
    static const char *const questions[] = {
        "SELECT median(x) FROM (SELECT 1 x WHERE 0)",
        "SELECT median(NULL)",
        "SELECT percentile(NULL, 5)",
        "SELECT percentile(x, 5) FROM (SELECT 1 x WHERE 0)",
        "SELECT percentile(1, NULL)",
        "SELECT stddev(NULL)",
        "SELECT ci95(x) FROM (SELECT 1 x WHERE 0)",
        "SELECT ttest_paired_p(1, 2)",
        "SELECT ttest_paired_t(1, NULL)",
        "SELECT corr(NULL, 1)",
        "SELECT mean_f32(NULL)",
        "SELECT count_bits(NULL)",
        "SELECT count_bits(x) FROM (SELECT x'' x WHERE 0)",
        "SELECT f32(NULL, 0)",
        "SELECT f32(x'00000000', NULL)",
        "SELECT f32(x'00000000', -1)",
        "SELECT f32(x'00000000', 9223372036854775807)",
        "SELECT f32(x'0000c07f', 0)", /* NaN */
        "SELECT bit(NULL, 0)",
        "SELECT bit(x'', 0)",
        "SELECT f32_count(NULL)",
        "SELECT heat_png(NULL)",
        "SELECT heat_png(x'00', NULL)",
        "SELECT student_t_p(NULL, 1)",
        "SELECT student_t_p(1, 0)",
        "SELECT max(i) FROM values_f32(NULL)",
        "SELECT max(i) FROM values_bits(x'')",
        "SELECT max(i) FROM values_f32(x'0000803f') WHERE i = 1",
        "SELECT max(i) FROM values_f32(x'0000803f') WHERE i = 0.5",
        "SELECT max(i) FROM values_f32(x'0000803f') WHERE i = 'x'",
    };
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        sqlite3_stmt *got = ask(*state, questions[i]);
        check_answer(got, "null", "", questions[i]);
        sqlite3_finalize(got);
    }
}

static void wrong_kinds_are_one_line(void **state) {
    static const char *const wrong[][2] = {
        {"SELECT f32('text', 0)", "f32: takes a blob, not text"},
        {"SELECT f32(x'00000000', 'a')", "f32: the index is a whole number, from 0"},
        {"SELECT f32(x'0102030405', 0)", "f32: a blob of 5 bytes holds no whole float32"},
        {"SELECT f32_count(7)", "f32_count: takes a blob, not a number"},
        {"SELECT median('high')", "median: takes numbers, not text"},
        {"SELECT stddev(x'00')", "stddev: takes numbers, not a blob"},
        {"SELECT percentile(1, 101)", "percentile: p is within 0 and 100, not 101"},
        {"SELECT percentile(1, column1) FROM (VALUES (5), (6))",
         "percentile: p is the same in every row; there are 5 and 6"},
        {"SELECT mean_f32(column1) FROM (VALUES (x'00000000'), (x''))",
         "mean_f32: the blobs are not equally long: 1 and 0 values"},
        {"SELECT i FROM values_f32(x'010203')",
         "values_f32: a blob of 3 bytes holds no whole float32"},
        {"SELECT i FROM values_bits('abc')", "values_bits: takes a blob, not text"},
        {"SELECT i FROM values_bits", "values_bits: takes a blob: FROM values_bits(blob)"},
        {"SELECT heat_png(x'0102')", "heat_png: this is no stored heat map"},
        {"SELECT heat_png(x'00', 'jet')",
         "heat_png: no colours 'jet'; there are: magma-like, seismic"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sqlite3_stmt *statement = prepare(*state, wrong[i][0]);
        assert_int_equal(sqlite3_step(statement), SQLITE_ERROR);
        assert_string_equal(sqlite3_errmsg(*state), wrong[i][1]);
        sqlite3_finalize(statement);
    }
}

static void limits_of_sqlite_bound_what_is_taken(void **state) {
    sqlite3 *db = *state;
    static const char *const large[] = {
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT median(i) FROM n",
        "SELECT mean_f32(zeroblob(30000000))",
        "SELECT count_bits(zeroblob(3000000))",
        "SELECT count(*) FROM values_f32(zeroblob(30000000))",
    };
    sqlite3_hard_heap_limit64(16 << 20);
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        sqlite3_stmt *statement = prepare(db, large[i]);
        assert_int_equal(sqlite3_step(statement), SQLITE_NOMEM);
        sqlite3_finalize(statement);
    }
    sqlite3_hard_heap_limit64(0);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 100000);
    sqlite3_stmt *statement = prepare(db, "SELECT count_bits(zeroblob(90000))");
    assert_int_equal(sqlite3_step(statement), SQLITE_TOOBIG);
    sqlite3_finalize(statement);
}

static void views_of_an_untrusted_schema_may_use_them(void **state) {
    sqlite3 *db = *state;
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE VIEW v AS SELECT median(value) m FROM"
                                  " values_f32(x'0000803f0000803f')",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_stmt *got = ask(db, "SELECT m FROM v");
    check_answer(got, "number", "1", "the view");
    sqlite3_finalize(got);
    assert_int_not_equal(
        sqlite3_exec(db, "CREATE VIRTUAL TABLE t USING values_f32(1)", NULL, NULL, NULL),
        SQLITE_OK);
}

/* ---- heat_png ---- */

enum { SIDE = 9 };

static void pixels_of(sqlite3 *db, pm_heat_maps format, const float *map, const char *colours,
                      uint8_t rgb[SIDE * SIDE * 3]) {
    pm_stored_map packed;
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_int_equal(pm_heat_map_encode(format, map, SIDE, &packed), PM_OK);
    sqlite3_stmt *statement =
        prepare(db, colours ? "SELECT heat_png(?1, ?2)" : "SELECT heat_png(?1)");
    sqlite3_bind_blob(statement, 1, packed.bytes, (int)packed.size, SQLITE_STATIC);
    if (colours) sqlite3_bind_text(statement, 2, colours, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_true(png_image_begin_read_from_memory(&image, sqlite3_column_blob(statement, 0),
                                                 (size_t)sqlite3_column_bytes(statement, 0)));
    assert_int_equal(image.width, SIDE);
    assert_int_equal(image.height, SIDE);
    image.format = PNG_FORMAT_RGB;
    assert_true(png_image_finish_read(&image, NULL, rgb, 0, NULL));
    sqlite3_finalize(statement);
    free(packed.bytes);
}

/* Halves hold these exactly. */
static void fill(float map[SIDE * SIDE]) {
    for (int i = 0; i < SIDE * SIDE; i++) map[i] = (float)((i * 37) % 81 - 40) / 8;
}

static void heat_png_paints_least_dark_and_greatest_light(void **state) {
    float map[SIDE * SIDE];
    uint8_t half[SIDE * SIDE * 3], whole[SIDE * SIDE * 3], colours[PM_COLORMAP_STEPS][3];
    fill(map);
    map[3] = NAN;
    pixels_of(*state, PM_HEAT_MAPS_F32, map, NULL, whole);
    pixels_of(*state, PM_HEAT_MAPS_F16, map, "magma-like", half);
    assert_memory_equal(half, whole, sizeof half);
    pm_colormap_even(colours);
    for (int i = 0; i < SIDE * SIDE; i++) {
        const long step = i == 3 ? 0 : lround(((double)map[i] + 5) / 10 * 255);
        assert_memory_equal(whole + 3 * i, colours[step], 3);
    }
}

/* Between ends of 10 times the mean of |value|: near white; and once far beyond. */
static void heat_png_seismic_is_blue_white_red_by_the_mean(void **state) {
    float map[SIDE * SIDE];
    uint8_t rgb[SIDE * SIDE * 3];
    double mean = 0;
    fill(map);
    map[7] = 4096;
    map[8] = 0;
    for (int i = 0; i < SIDE * SIDE; i++) mean += fabs((double)map[i]) / (SIDE * SIDE);
    pixels_of(*state, PM_HEAT_MAPS_F32, map, "seismic", rgb);
    for (int i = 0; i < SIDE * SIDE; i++) {
        const double share = (double)map[i] / (10 * mean); /* -1 .. 1 is the scale */
        double red = 1 + 2 * share, green = 1 - 2 * fabs(share), blue = 1 - 2 * share;
        if (share > 1) red = 0.5, green = 0, blue = 0;
        const double want[3] = {red > 1 ? 1 : red, green, blue > 1 ? 1 : blue};
        for (int c = 0; c < 3; c++) assert_true(fabs(rgb[3 * i + c] - 255 * want[c]) <= 0.5 + 1e-6);
    }
    memset(map, 0, sizeof map);
    pixels_of(*state, PM_HEAT_MAPS_F16, map, "seismic", rgb);
    for (size_t i = 0; i < sizeof rgb; i++) assert_int_equal(rgb[i], 255);
}

/* Matplotlib's five knots. */
static void seismic_passes_its_knots(void **state) {
    static const double at[] = {-1, 0, 0.25, 0.5, 0.75, 1, 2, 0.125, 0.875};
    static const uint8_t want[][3] = {{0, 0, 77},      {0, 0, 77},  {0, 0, 255},
                                      {255, 255, 255}, {255, 0, 0}, {128, 0, 0},
                                      {128, 0, 0},     {0, 0, 166}, {191, 0, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        uint8_t rgb[3];
        pm_colormap_seismic(at[i], rgb);
        for (int c = 0; c < 3; c++) assert_true(abs(rgb[c] - want[i][c]) <= 1);
    }
}

static void size_tells_side_and_format(void **state) {
    float *map = calloc(300 * 300, sizeof *map);
    (void)state;
    assert_non_null(map);
    for (size_t n = 1; n <= 300; n += n < 40 ? 1 : 37)
        for (pm_heat_maps f = PM_HEAT_MAPS_F16; f <= PM_HEAT_MAPS_F32; f++) {
            pm_stored_map packed;
            size_t side = 0;
            pm_heat_maps format = PM_HEAT_MAPS_NONE;
            assert_int_equal(pm_heat_map_encode(f, map, n, &packed), PM_OK);
            assert_int_equal(pm_heat_map_shape(packed.bytes, packed.size, &format, &side), PM_OK);
            assert_int_equal(side, n);
            assert_int_equal(format, f);
            free(packed.bytes);
        }
    free(map);
}

#define DB_TEST(f) cmocka_unit_test_setup_teardown(f, open_db, close_db)

int main(void) {
    const struct CMUnitTest tests[] = {
        DB_TEST(answers_are_numpys_and_scipys),
        DB_TEST(nothing_in_is_null_out),
        DB_TEST(wrong_kinds_are_one_line),
        DB_TEST(limits_of_sqlite_bound_what_is_taken),
        DB_TEST(views_of_an_untrusted_schema_may_use_them),
        DB_TEST(heat_png_paints_least_dark_and_greatest_light),
        DB_TEST(heat_png_seismic_is_blue_white_red_by_the_mean),
        cmocka_unit_test(seismic_passes_its_knots),
        cmocka_unit_test(size_tells_side_and_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
