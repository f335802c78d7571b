/* lib/image: what takes the place of pixels, against NumPy, SciPy and a ChaCha20 of its own
 * (tests/data/make_draw_vectors.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/image/replacement.h"

enum { SIDE = 16, PIXELS = SIDE * SIDE, COUNT = 3 * PIXELS };

/* x = 2 * synth("replacement", 768).reshape(3, 16, 16) */
static void make(pm_replacement how, uint64_t seed, const char *photograph, float out[COUNT]) {
    float in[COUNT];
    pm_sha256 image = pm_sha256_of(photograph, strlen(photograph));
    pm_synth("replacement", 0, in, COUNT);
    for (size_t i = 0; i < COUNT; i++) in[i] *= 2;
    assert_int_equal(pm_image_replacement(how, seed, &image, in, SIDE, out), PM_OK);
}

static void zero_is_zero(void **state) {
    (void)state;
    float out[COUNT];
    memset(out, 0x55, sizeof out);
    make(PM_REPLACEMENT_ZERO, 0, "abc", out);
    for (size_t i = 0; i < COUNT; i++) assert_true(out[i] == 0);
}

/* x.astype(np.float64).mean((1, 2)).astype(np.float32) */
static void mean_is_each_colors(void **state) {
    (void)state;
    const float want[3] = {-0.004023223F, 0.015837379F, -0.14356321F};
    float out[COUNT];
    make(PM_REPLACEMENT_MEAN, 0, "abc", out);
    for (size_t i = 0; i < COUNT; i++) assert_true(out[i] == want[i / PIXELS]);
}

/* gaussian_filter(x[c].astype(np.float64), 10, mode="nearest", truncate=4) */
static void blur_is_scipys(void **state) {
    (void)state;
    float out[COUNT];
    make(PM_REPLACEMENT_BLUR, 0, "abc", out);
    assert_true(fabsf(out[0] - 0.3323514461517334F) < 1e-6F);
    assert_true(fabsf(out[PIXELS + 7 * SIDE + 9] + 0.17199431359767914F) < 1e-6F);
    assert_true(fabsf(out[COUNT - 1] - 0.28219589591026306F) < 1e-6F);
}

/* take(normals(words(7, hashlib.sha256(b"abc").digest(), 2, 0)), first, count) */
static void noise_is_the_stream_of_seed_and_photograph(void **state) {
    (void)state;
    const float want[4] = {0.7047562599182129F, -0.47982826828956604F, -0.15045993030071259F,
                           0.2557913064956665F};
    float out[COUNT], other[COUNT];
    make(PM_REPLACEMENT_NOISE, 7, "abc", out);
    for (size_t i = 0; i < 4; i++) assert_true(out[i] == want[i]);
    assert_true(out[COUNT - 2] == -0.7020953893661499F && out[COUNT - 1] == 0.38759177923202515F);
    make(PM_REPLACEMENT_NOISE, 8, "abc", other);
    assert_memory_not_equal(out, other, sizeof out);
    make(PM_REPLACEMENT_NOISE, 7, "abd", other);
    assert_memory_not_equal(out, other, sizeof out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_is_zero),
        cmocka_unit_test(mean_is_each_colors),
        cmocka_unit_test(blur_is_scipys),
        cmocka_unit_test(noise_is_the_stream_of_seed_and_photograph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
