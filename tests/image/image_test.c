/* lib/image: equal to Pillow and torch on committed pictures of every mode (their hashes come from
 * tests/data/make_image_vectors.py); whatever is damaged is one clear line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/image/image.h"
#include "tests/image/image_files.h"

static const pm_preprocessing imagenet = {.mean = {0.485f, 0.456f, 0.406f},
                                          .std = {0.229f, 0.224f, 0.225f}};

typedef struct expected_row {
    char file[64], step[16], filter[16], sha256[65];
    size_t a, b;
} expected_row;

static void check_hash(const expected_row *row, const void *bytes, size_t size) {
    char hex[PM_SHA256_HEX_BYTES];
    pm_sha256 hash = pm_sha256_of(bytes, size);
    pm_sha256_hex(&hash, hex);
    if (strcmp(hex, row->sha256) != 0)
        fail_msg("%s %s %zu %zu %s differs from Pillow", row->file, row->step, row->a, row->b,
                 row->filter);
}

static void check_decode(const expected_row *row, const pm_image *image) {
    assert_int_equal(image->width, row->a);
    assert_int_equal(image->height, row->b);
    check_hash(row, image->rgb, image->width * image->height * 3);
}

static void check_resize(const expected_row *row, const pm_image *image) {
    pm_filter filter;
    pm_image out = {0};
    assert_int_equal(pm_filter_parse(row->step, &filter), PM_OK);
    assert_int_equal(pm_image_resize(image, row->a, row->b, filter, &out), PM_OK);
    check_hash(row, out.rgb, row->a * row->b * 3);
    pm_image_fini(&out);
}

static void check_tensor(const expected_row *row, const pm_image *image) {
    pm_preprocessing how = imagenet;
    how.resize = row->a;
    how.crop = row->b;
    assert_int_equal(pm_filter_parse(row->filter, &how.filter), PM_OK);
    size_t count = 3 * how.crop * how.crop;
    float *tensor = malloc(count * sizeof *tensor);
    assert_non_null(tensor);
    assert_int_equal(pm_image_tensor(image, &how, tensor, NULL), PM_OK);
    check_hash(row, tensor, count * sizeof *tensor);
    free(tensor);
}

/* Runs every row of expected.csv with this step. */
static void check_rows(const char *prefix, void (*check)(const expected_row *, const pm_image *)) {
    expected_row row;
    char line[256];
    size_t done = 0;
    FILE *in = open_vector("expected.csv");
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, "%63[^,],%15[^,],%zu,%zu,%15[^,],%64s", row.file, row.step, &row.a, &row.b,
                   row.filter, row.sha256) != 6 ||
            strncmp(row.step, prefix, strlen(prefix)) != 0)
            continue;
        pm_image image = {0};
        file_bytes file = read_vector(row.file);
        if (pm_image_decode(row.file, file.data, file.size, NULL, &image) != PM_OK)
            fail_msg("%s", pm_error_text());
        check(&row, &image);
        pm_image_fini(&image);
        free(file.data);
        done++;
    }
    fclose(in);
    assert_true(done >= 14);
}

static void every_mode_decodes_to_pillows_rgb(void **state) {
    (void)state;
    check_rows("decode", check_decode);
}

static void bilinear_and_bicubic_equal_pillow_to_the_last_bit(void **state) {
    (void)state;
    check_rows("bi", check_resize);
}

static void tensor_equals_torch_to_the_last_bit(void **state) {
    (void)state;
    check_rows("tensor", check_tensor);
}

static void sizes_offsets_and_boxes_fall_where_python_puts_them(void **state) {
    (void)state;
    char line[512];
    size_t done = 0, w, h, rw, rh, x0, y0, x1, y1;
    long left, top;
    pm_preprocessing how = imagenet;
    pm_box box;
    FILE *in = open_vector("geometry.csv");
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, "%zu,%zu,%zu,%zu,%lf,%lf,%lf,%lf,%zu,%zu,%ld,%ld,%zu,%zu,%zu,%zu", &w, &h,
                   &how.resize, &how.crop, &box.xmin, &box.ymin, &box.xmax, &box.ymax, &rw, &rh,
                   &left, &top, &x0, &y0, &x1, &y1) != 16)
            continue;
        pm_geometry g = pm_geometry_of(&how, w, h);
        pm_crop_box crop = pm_geometry_box(&g, &box);
        if (g.resized_width != rw || g.resized_height != rh || g.left != left || g.top != top ||
            crop.xmin != x0 || crop.ymin != y0 || crop.xmax != x1 || crop.ymax != y1)
            fail_msg("differs from Python: %s", line);
        done++;
    }
    fclose(in);
    assert_true(done >= 200);
}

static void an_impossible_size_is_refused(void **state) {
    (void)state;
    uint8_t pixel[3] = {1, 2, 3};
    pm_image in = {1, 1, pixel}, out = {0};
    pm_preprocessing how = imagenet;
    assert_int_equal(pm_image_resize(&in, 0, 5, PM_FILTER_BILINEAR, &out), PM_E_LIMIT);
    assert_int_equal(pm_image_resize(&in, 5, 1u << 20, PM_FILTER_BILINEAR, &out), PM_E_LIMIT);
    assert_int_equal(pm_image_crop(&in, &how, &out, NULL), PM_E_LIMIT);
    pm_image none = {0};
    assert_int_equal(pm_image_resize(&none, 5, 5, PM_FILTER_BILINEAR, &out), PM_E_USAGE);
    assert_null(out.rgb);
}

static int setup(void **state) {
    (void)state;
    return pm_image_setup("image_test") == PM_OK ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_decodes_to_pillows_rgb),
        cmocka_unit_test(bilinear_and_bicubic_equal_pillow_to_the_last_bit),
        cmocka_unit_test(tensor_equals_torch_to_the_last_bit),
        cmocka_unit_test(sizes_offsets_and_boxes_fall_where_python_puts_them),
        cmocka_unit_test(an_impossible_size_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
