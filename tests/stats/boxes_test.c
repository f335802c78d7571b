/* Box scores and the pointing game against NumPy's masks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/stats/boxes.h"
#include "tests/stats/samples.h"

/* h = np.abs(synth("heat", 1200)).reshape(30, 40).astype(float)
 * i = h[5:20, 7:33].sum() / h.sum(); area, size = 1200, 15 * 26
 * i, i * area / size, 1 - i, (1 - i) * area / (area - size) */
static void box_score_is_the_references(void **state) {
    (void)state;
    float map[30 * 40];
    pm_synth("heat", 0, map, 30 * 40);
    for (size_t i = 0; i < 30 * 40; i++) map[i] = fabsf(map[i]);
    pm_box_score score = pm_box_score_of(map, 30, 40, 7, 5, 33, 20);
    assert_null(score.reason);
    close_to(score.mu_in, 0.31714335270578892, 1e-14, "mu_in");
    close_to(score.mu_in_w, 0.97582570063319662, 1e-14, "mu_in_w");
    close_to(score.mu_out, 0.68285664729421103, 1e-14, "mu_out");
    close_to(score.mu_out_w, 1.0116394774729052, 1e-14, "mu_out_w");
}

static void no_score_has_a_reason(void **state) {
    (void)state;
    float map[4] = {1, 2, 3, 4}, zero[4] = {0};
    assert_string_equal(pm_box_score_of(map, 2, 2, 1, 0, 1, 2).reason, "box-empty");
    assert_string_equal(pm_box_score_of(map, 2, 2, 2, 0, 1, 2).reason, "box-empty");
    assert_string_equal(pm_box_score_of(map, 2, 2, 0, 0, 2, 2).reason, "box-full");
    assert_string_equal(pm_box_score_of(zero, 2, 2, 0, 0, 1, 1).reason, "map-zero");
    assert_null(pm_box_score_of(map, 2, 2, 0, 0, 1, 1).reason);
    assert_true(pm_box_score_of(map, 2, 2, 0, 0, 1, 1).mu_in == 0.1);
}

typedef struct table_row {
    char kind[16], stream[32], boxes[160], reason[16], pointing[8];
    size_t height, width;
    double mu_in, mu_in_w, mu_out, mu_out_w;
} table_row;

static bool read_row(FILE *in, table_row *row) {
    return fscanf(in, "%15[^,],%31[^,],%zu,%zu,%159[^,],%15[^,],%7[^,],%lf,%lf,%lf,%lf\n",
                  row->kind, row->stream, &row->height, &row->width, row->boxes, row->reason,
                  row->pointing, &row->mu_in, &row->mu_in_w, &row->mu_out, &row->mu_out_w) == 11;
}

static void read_boxes(const char *text, pm_pixel_box boxes[4]) {
    size_t sides[16];
    char *at = (char *)(uintptr_t)text;
    for (size_t i = 0; i < 16; i++) sides[i] = strtoul(at, &at, 10);
    memcpy(boxes, sides, sizeof sides);
}

static float *map_new(const table_row *row) {
    size_t pixels = row->height * row->width;
    float *map = malloc(pixels * sizeof *map);
    assert_non_null(map);
    pm_synth(row->stream, 0, map, pixels);
    for (size_t i = 0; i < pixels; i++) {
        map[i] = fabsf(map[i]);
        if (!strcmp(row->kind, "coarse")) map[i] = floorf(map[i] * 4);
        if (!strcmp(row->kind, "zero")) map[i] = 0;
    }
    return map;
}

static void several_boxes_score_as_their_union_does(void **state) {
    (void)state;
    FILE *in = open_table("boxes.csv");
    size_t rows = 0;
    for (table_row row; read_row(in, &row); rows++) {
        pm_pixel_box boxes[4];
        read_boxes(row.boxes, boxes);
        float *map = map_new(&row);
        pm_box_score score = pm_boxes_score_of(map, row.height, row.width, boxes, 4);
        free(map);
        assert_string_equal(score.reason ? score.reason : "ok", row.reason);
        close_to(score.mu_in, row.mu_in, 1e-13, row.stream);
        close_to(score.mu_in_w, row.mu_in_w, 1e-13, row.stream);
        close_to(score.mu_out, row.mu_out, 1e-13, row.stream);
        close_to(score.mu_out_w, row.mu_out_w, 1e-13, row.stream);
        assert_string_equal(score.has_pointing ? score.pointing ? "1" : "0" : "none", row.pointing);
    }
    fclose(in);
    assert_int_equal(rows, 80);
}

static void same_bits(pm_box_score a, pm_box_score b) {
    const double of_a[] = {a.mu_in, a.mu_in_w, a.mu_out, a.mu_out_w};
    const double of_b[] = {b.mu_in, b.mu_in_w, b.mu_out, b.mu_out_w};
    assert_memory_equal(of_a, of_b, sizeof of_a);
    assert_true(a.pointing == b.pointing && a.has_pointing == b.has_pointing);
    assert_string_equal(a.reason ? a.reason : "ok", b.reason ? b.reason : "ok");
}

/* A box said once, twice, in parts, or beside empty ones is the same area in the same order. */
static void how_an_area_is_said_changes_no_bit(void **state) {
    (void)state;
    float map[30 * 40];
    pm_synth("heat", 0, map, 30 * 40);
    for (size_t i = 0; i < 30 * 40; i++) map[i] = fabsf(map[i]);
    pm_box_score want = pm_box_score_of(map, 30, 40, 7, 5, 33, 20);
    const pm_pixel_box twice[] = {{7, 5, 33, 20}, {7, 5, 33, 20}};
    const pm_pixel_box parts[] = {{20, 5, 33, 20}, {7, 5, 22, 12}, {0, 0, 0, 0}, {7, 9, 30, 20}};
    same_bits(pm_boxes_score_of(map, 30, 40, twice, 1), want);
    same_bits(pm_boxes_score_of(map, 30, 40, twice, 2), want);
    same_bits(pm_boxes_score_of(map, 30, 40, parts, 4), want);
}

static bool points(size_t x, size_t y, pm_pixel_box box) {
    enum { SIDE = 80 };
    float map[SIDE * SIDE] = {0};
    map[y * SIDE + x] = 1;
    map[SIDE * SIDE - 1] = 1; /* no less, but later */
    pm_box_score score = pm_boxes_score_of(map, SIDE, SIDE, &box, 1);
    assert_true(score.has_pointing);
    return score.pointing;
}

/* TorchRay accepts squared distances below, not at, 15^2 = 9^2 + 12^2. */
static void fifteen_pixels_away_is_a_miss_and_less_is_a_hit(void **state) {
    (void)state;
    const pm_pixel_box box = {30, 40, 33, 42};
    assert_true(points(30, 40, box) && points(32, 41, box));
    assert_true(points(16, 40, box) && !points(15, 40, box));
    assert_true(points(46, 41, box) && !points(47, 41, box));
    assert_true(points(31, 26, box) && !points(31, 25, box));
    assert_true(points(31, 55, box) && !points(31, 56, box));
    assert_true(!points(30 - 9, 40 - 12, box) && points(30 - 8, 40 - 12, box));
    assert_true(!points(32 + 12, 41 + 9, box) && points(32 + 12, 41 + 8, box));
}

static void a_full_box_is_pointed_at_and_no_boxes_are_not(void **state) {
    (void)state;
    float map[6] = {0, 0, 0, 0, 3, 0}, zero[6] = {0};
    pm_box_score score = pm_box_score_of(map, 2, 3, 0, 0, 3, 2);
    assert_string_equal(score.reason, "box-full");
    assert_true(score.has_pointing && score.pointing);
    assert_true(score.mu_in == 0 && score.mu_out == 0);
    const pm_pixel_box halves[] = {{0, 0, 3, 1}, {0, 1, 3, 2}};
    score = pm_boxes_score_of(map, 2, 3, halves, 2);
    assert_string_equal(score.reason, "box-full");
    score = pm_box_score_of(zero, 2, 3, 0, 0, 3, 2);
    assert_string_equal(score.reason, "box-full");
    assert_true(!score.has_pointing && !score.pointing);
    score = pm_boxes_score_of(map, 2, 3, NULL, 0);
    assert_string_equal(score.reason, "box-empty");
    assert_false(score.has_pointing);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(box_score_is_the_references),
        cmocka_unit_test(no_score_has_a_reason),
        cmocka_unit_test(several_boxes_score_as_their_union_does),
        cmocka_unit_test(how_an_area_is_said_changes_no_bit),
        cmocka_unit_test(fifteen_pixels_away_is_a_miss_and_less_is_a_hit),
        cmocka_unit_test(a_full_box_is_pointed_at_and_no_boxes_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
