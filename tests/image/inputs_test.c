/* lib/image: inputs and baselines against SciPy and their description
 * (tests/data/make_input_vectors.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/image/extras.h"
#include "lib/image/inputs.h"
#include "tests/image/image_files.h"

enum { SIDE = 224, BYTES = SIDE * SIDE * 3 };

static pm_image decode_vector(const char *file) {
    pm_image image = {0};
    file_bytes bytes = read_vector(file);
    if (pm_image_decode(file, bytes.data, bytes.size, NULL, &image) != PM_OK)
        fail_msg("%s", pm_error_text());
    free(bytes.data);
    return image;
}

/* Every sample between low and high. */
static pm_image picture_of(uint8_t low, uint8_t high) {
    pm_image image = {SIDE, SIDE, malloc(BYTES)};
    assert_non_null(image.rgb);
    for (size_t i = 0; i < BYTES; i++)
        image.rgb[i] = (uint8_t)(low + pm_splitmix64(i) % (high - low + 1u));
    return image;
}

static pm_input input_of(const char *text) {
    pm_input input;
    if (pm_input_parse(text, &input) != PM_OK) fail_msg("%s", pm_error_text());
    return input;
}

static void pictures_are_those_of_the_description(void **state) {
    (void)state;
    char line[256], text[64], hex[65], file[64], path[96];
    unsigned long seed;
    size_t done = 0;
    FILE *in = open_vector("../inputs/inputs.csv");
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, "%63[^;];%lu;%64[^;];%63s", text, &seed, hex, file) != 4) continue;
        pm_sha256 image;
        assert_int_equal(pm_sha256_parse(hex, &image), PM_OK);
        snprintf(path, sizeof path, "../inputs/%s", file);
        pm_image picture = decode_vector("rgb.png"), expected = decode_vector(path);
        pm_input how = input_of(text);
        assert_int_equal(pm_image_input(&how, seed, &image, &picture), PM_OK);
        if (memcmp(picture.rgb, expected.rgb, picture.width * picture.height * 3) != 0)
            fail_msg("%s with seed %lu is not %s", text, seed, file);
        pm_image_fini(&picture);
        pm_image_fini(&expected);
        done++;
    }
    fclose(in);
    assert_int_equal(done, 14);
}

static void no_input_and_no_swap_change_nothing(void **state) {
    (void)state;
    static const char *const texts[] = {"none", "jigsaw:grid=7,swaps=0"};
    pm_sha256 image = pm_sha256_of("a", 1);
    for (size_t i = 0; i < 2; i++) {
        pm_image picture = picture_of(0, 255), same = picture_of(0, 255);
        pm_input how = input_of(texts[i]);
        assert_int_equal(pm_image_input(&how, 3, &image, &picture), PM_OK);
        assert_memory_equal(picture.rgb, same.rgb, BYTES);
        pm_image_fini(&picture);
        pm_image_fini(&same);
    }
}

static void tiles_without_pixels_are_refused(void **state) {
    (void)state;
    pm_sha256 image = pm_sha256_of("a", 1);
    pm_image picture = decode_vector("rgb.png"), same = decode_vector("rgb.png");
    pm_input how = input_of("jigsaw:grid=44,swaps=1");
    assert_int_equal(pm_image_input(&how, 0, &image, &picture), PM_E_USAGE);
    assert_memory_equal(picture.rgb, same.rgb, same.width * same.height * 3);
    pm_image_fini(&picture);
    pm_image_fini(&same);
}

/* Far from the clamps: mean 0, standard deviation 255 sigma and that of the rounding. */
static void noise_has_its_standard_deviation(void **state) {
    (void)state;
    pm_sha256 image = pm_sha256_of("a", 1);
    pm_image picture = picture_of(120, 135), before = picture_of(120, 135);
    pm_input how = input_of("noise:sigma=0.05");
    assert_int_equal(pm_image_input(&how, 0, &image, &picture), PM_OK);
    double sum = 0, squares = 0, deviation = sqrt(12.75 * 12.75 + 1.0 / 12),
           error = 1 / sqrt(BYTES);
    for (size_t i = 0; i < BYTES; i++) {
        double apart = (double)picture.rgb[i] - before.rgb[i];
        sum += apart / BYTES;
        squares += apart * apart / BYTES;
    }
    assert_true(fabs(sum) < 4 * deviation * error);
    assert_true(fabs(sqrt(squares) / deviation - 1) < 4 * error / sqrt(2));
    pm_image_fini(&picture);
    pm_image_fini(&before);
}

static void blurred_tensors_are_scipys(void **state) {
    (void)state;
    char line[128];
    size_t side, index, done = 0, made = 0;
    double sigma, value;
    float *tensor = malloc(3 * 33 * 33 * sizeof *tensor);
    assert_non_null(tensor);
    FILE *in = open_vector("../inputs/tensor.csv");
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, "%zu,%lf,%zu,%lf", &side, &sigma, &index, &value) != 4) continue;
        if (side != made) {
            char name[32];
            snprintf(name, sizeof name, "blur/%zu", side);
            pm_synth(name, 0, tensor, 3 * side * side);
            assert_int_equal(pm_image_blur_tensor(tensor, side, sigma, tensor), PM_OK);
            made = side;
        }
        if (fabs((double)tensor[index] - value) > 6e-8 * fabs(value) + 1e-14)
            fail_msg("side %zu, sigma %g, %zu: %.9g, not %.9g", side, sigma, index,
                     (double)tensor[index], value);
        done++;
    }
    fclose(in);
    free(tensor);
    assert_true(done > 600);
}

static void extras_are_made_once(void **state) {
    (void)state;
    enum { SMALL = 20, COUNT = 3 * SMALL * SMALL };
    static float tensor[COUNT], blurred[COUNT], drawn[COUNT], expected[COUNT];
    const float *start = NULL, *again = NULL, photograph[1] = {0};
    pm_sha256 image = pm_sha256_of("a", 1);
    pm_extras extras = {0};
    pm_synth("extras", 0, tensor, COUNT);
    assert_int_equal(pm_extras_init(&extras, tensor, SMALL, &image, 2), PM_OK);
    assert_int_equal(pm_extras_baseline(&extras, PM_BASELINE_ZERO, NULL, &start), PM_OK);
    assert_null(start);
    assert_int_equal(pm_extras_baseline(&extras, PM_BASELINE_IMAGE, NULL, &start), PM_E_NOT_FOUND);
    assert_int_equal(pm_extras_baseline(&extras, PM_BASELINE_IMAGE, photograph, &start), PM_OK);
    assert_ptr_equal(start, photograph);
    assert_int_equal(pm_extras_baseline(&extras, PM_BASELINE_BLUR, NULL, &start), PM_OK);
    assert_int_equal(pm_extras_baseline(&extras, PM_BASELINE_BLUR, NULL, &again), PM_OK);
    assert_ptr_equal(start, again);
    assert_int_equal(pm_image_blur_tensor(tensor, SMALL, 10.0, blurred), PM_OK);
    assert_memory_equal(start, blurred, sizeof blurred);
    pm_noise *noise = pm_extras_noise(&extras, 5);
    assert_ptr_not_equal(noise, pm_extras_noise(&extras, 6));
    assert_ptr_equal(noise, pm_extras_noise(&extras, 5));
    pm_noise_draw(noise, 3, drawn);
    pm_normal_draw(5, &image, 3, expected, COUNT);
    assert_memory_equal(drawn, expected, sizeof drawn);
    pm_extras_fini(&extras);
}

static int setup(void **state) {
    (void)state;
    return pm_image_setup("inputs_test") == PM_OK ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_those_of_the_description),
        cmocka_unit_test(no_input_and_no_swap_change_nothing),
        cmocka_unit_test(tiles_without_pixels_are_refused),
        cmocka_unit_test(noise_has_its_standard_deviation),
        cmocka_unit_test(blurred_tensors_are_scipys),
        cmocka_unit_test(extras_are_made_once),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
