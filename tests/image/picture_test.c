/* lib/image: pictures out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/colormap.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/image/image.h"

enum { SIDE = 128 };

static pm_image noise_image(size_t side) {
    pm_image image = {side, side, malloc(side * side * 3)};
    assert_non_null(image.rgb);
    for (size_t i = 0; i < side * side * 3; i++) image.rgb[i] = (uint8_t)pm_splitmix64(i);
    return image;
}

static void a_png_gives_back_its_pixels(void **state) {
    (void)state;
    char folder[] = "/tmp/parchmill-picture-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.png", folder);
    pm_image in = noise_image(SIDE), out = {0};
    uint8_t *file = NULL;
    size_t size = 0;
    assert_int_equal(pm_image_write_png(path, &in), PM_OK);
    assert_int_equal(pm_file_read(path, 1u << 20, &file, &size), PM_OK);
    assert_int_equal(pm_image_decode(path, file, size, NULL, &out), PM_OK);
    assert_int_equal(out.width, SIDE);
    assert_memory_equal(in.rgb, out.rgb, SIDE * SIDE * 3);
    unlink(path);
    snprintf(path, sizeof path, "%s/missing/a.png", folder);
    assert_int_equal(pm_image_write_png(path, &in), PM_E_NOT_FOUND);
    rmdir(folder);
    free(file);
    pm_image_fini(&in);
    pm_image_fini(&out);
}

/* CIE 1976 L* of an sRGB colour (IEC 61966-2-1 for the light, CIE 15 for L*). */
static double lightness(const uint8_t *rgb) {
    const double share[3] = {0.2126, 0.7152, 0.0722};
    double y = 0;
    for (int c = 0; c < 3; c++) {
        double v = rgb[c] / 255.0;
        y += share[c] * (v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4));
    }
    return y > 216.0 / 24389.0 ? 116.0 * cbrt(y) - 16.0 : y * 24389.0 / 27.0;
}

static void colours_get_lighter_evenly(void **state) {
    (void)state;
    uint8_t map[PM_COLORMAP_STEPS][3];
    pm_colormap_even(map);
    double whole = lightness(map[255]) - lightness(map[0]);
    assert_true(whole > 70.0);
    for (int i = 16; i < 256; i += 16) {
        double step = lightness(map[i]) - lightness(map[i - 16]);
        assert_true(step > 0.5 * whole / 16 && step < 1.7 * whole / 16);
    }
}

static void an_overlay_is_light_where_the_map_is_high(void **state) {
    (void)state;
    pm_image photo = noise_image(SIDE), out = {0};
    float *map = calloc(SIDE * SIDE, sizeof *map);
    assert_non_null(map);
    for (size_t i = 0; i < SIDE * SIDE; i++) map[i] = i % SIDE < SIDE / 2 ? 0.0f : 2.0f;
    map[0] = NAN;
    map[1] = INFINITY;
    pm_crop_box box = {100, 20, 120, 90};
    assert_int_equal(pm_image_overlay(&photo, map, &box, &out), PM_OK);
    assert_int_equal(out.width, SIDE);
    double dark = 0, light = 0;
    for (size_t y = 100; y < SIDE; y++)
        for (size_t x = 0; x < SIDE; x++)
            *(x < SIDE / 2 ? &dark : &light) += lightness(out.rgb + (y * SIDE + x) * 3);
    assert_true(light > 1.5 * dark);
    const uint8_t *corner = out.rgb + (20 * SIDE + 100) * 3,
                  *last = out.rgb + (89 * SIDE + 119) * 3;
    assert_true(corner[0] == 255 && corner[1] == 255 && corner[2] == 255);
    assert_true(last[0] == 255 && last[1] == 255 && last[2] == 255);
    pm_image_fini(&photo);
    pm_image_fini(&out);
    free(map);
}

static void small_maps_are_enlarged_and_flat_ones_drawn(void **state) {
    (void)state;
    pm_image photo = noise_image(32), out = {0};
    float map[32 * 32] = {0};
    pm_crop_box box = {0, 0, 0, 0};
    assert_int_equal(pm_image_overlay(&photo, map, &box, &out), PM_OK);
    assert_int_equal(out.width, 224);
    assert_int_equal(out.height, 224);
    pm_image_fini(&out);
    photo.height = 31;
    assert_int_equal(pm_image_overlay(&photo, map, NULL, &out), PM_E_USAGE);
    pm_image_fini(&photo);
}

static int setup(void **state) {
    (void)state;
    return pm_image_setup("picture_test") == PM_OK ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_png_gives_back_its_pixels),
        cmocka_unit_test(colours_get_lighter_evenly),
        cmocka_unit_test(an_overlay_is_light_where_the_map_is_high),
        cmocka_unit_test(small_maps_are_enlarged_and_flat_ones_drawn),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
