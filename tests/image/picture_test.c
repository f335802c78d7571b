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

/* What the letters look like, as a person draws them. */
static void text_is_drawn_letter_by_letter(void **state) {
    (void)state;
    static const char *const drawing[] = {
        "..#....###..", ".##...#..##.", "..#...#..##.", "..#...#.#.#.",
        "..#...##..#.", "..#...##..#.", ".###...###..", "............",
    };
    pm_image image = {12, 8, malloc(12 * 8 * 3)}, twice = {23, 16, malloc(23 * 16 * 3)};
    assert_non_null(image.rgb);
    assert_non_null(twice.rgb);
    memset(image.rgb, 255, 12 * 8 * 3);
    memset(twice.rgb, 255, 23 * 16 * 3);
    pm_image_write_text(&image, 0, 0, 1, "10");
    pm_image_write_text(&twice, 0, 0, 2, "10 and what is outside"); /* is cut */
    for (size_t y = 0; y < 8; y++)
        for (size_t x = 0; x < 12; x++)
            for (size_t c = 0; c < 3; c++) {
                const int want = drawing[y][x] == '#' ? 0 : 255;
                assert_int_equal(image.rgb[(y * 12 + x) * 3 + c], want);
                if (x < 11)
                    assert_int_equal(twice.rgb[((2 * y + 1) * 23 + 2 * x + 1) * 3 + c], want);
            }
    pm_image_fini(&image);
    pm_image_fini(&twice);
}

/* GIF89a: a graphic control extension (21 F9 04, flags, delay in 1/100 s) stands before each frame.
 */
static void check_gif(const uint8_t *bytes, size_t size, size_t frames, unsigned delay) {
    size_t count = 0;
    assert_memory_equal(bytes, "GIF89a", 6);
    assert_int_equal(bytes[6] + 256 * bytes[7], 40);
    assert_int_equal(bytes[8] + 256 * bytes[9], 40);
    for (size_t i = 0; i + 8 <= size; i++)
        if (memcmp(bytes + i, "\x21\xF9\x04", 3) == 0 && bytes[i + 7] == 0) {
            assert_int_equal(bytes[i + 4] + 256 * bytes[i + 5], delay);
            count++;
        }
    assert_int_equal(count, frames);
}

static size_t little(const uint8_t *p, size_t bytes) {
    size_t value = 0;
    for (size_t i = bytes; i-- > 0;) value = value << 8 | p[i];
    return value;
}

/* WebP: RIFF chunks; ANMF has x, y, width - 1, height - 1 and the duration in ms, 3 bytes each. */
static void check_webp(const uint8_t *bytes, size_t size, size_t frames, size_t ms) {
    size_t count = 0, shown_ms = 0;
    assert_memory_equal(bytes + 8, "WEBP", 4);
    for (size_t at = 12; at + 8 <= size; at += 8 + (little(bytes + at + 4, 4) + 1) / 2 * 2)
        if (memcmp(bytes + at, "ANMF", 4) == 0) {
            shown_ms += little(bytes + at + 8 + 12, 3);
            count++;
        }
    assert_int_equal(count, frames);
    assert_int_equal(shown_ms, frames * ms);
}

static void an_animation_has_each_frame_for_its_time(void **state) {
    (void)state;
    pm_image frames[3];
    uint8_t *bytes = NULL;
    size_t size = 0;
    for (size_t i = 0; i < 3; i++) {
        frames[i] = noise_image(40);
        for (size_t k = 0; k < 40 * 40 * 3; k++) frames[i].rgb[k] ^= (uint8_t)(i * 85);
    }
    assert_int_equal(pm_image_encode_animation(PM_ANIMATION_GIF, frames, 3, 700, &bytes, &size),
                     PM_OK);
    check_gif(bytes, size, 3, 70);
    free(bytes);
    assert_int_equal(pm_image_encode_animation(PM_ANIMATION_WEBP, frames, 3, 700, &bytes, &size),
                     PM_OK);
    check_webp(bytes, size, 3, 700);
    free(bytes);
    frames[2].height = 39;
    assert_int_equal(pm_image_encode_animation(PM_ANIMATION_GIF, frames, 3, 700, &bytes, &size),
                     PM_E_USAGE);
    assert_int_equal(pm_image_encode_animation(PM_ANIMATION_GIF, frames, 0, 700, &bytes, &size),
                     PM_E_USAGE);
    for (size_t i = 0; i < 3; i++) pm_image_fini(&frames[i]);
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
        cmocka_unit_test(text_is_drawn_letter_by_letter),
        cmocka_unit_test(an_animation_has_each_frame_for_its_time),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
