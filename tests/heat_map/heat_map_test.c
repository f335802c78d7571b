/* lib/spec/heat_map: binary16 by its definition, and the stored form there and back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/spec/heat_map.h"

/* IEEE 754-2008, 3.4: value of a finite binary16 from its fields. */
static double value_of(unsigned half) {
    int exponent = (int)(half >> 10 & 31), fraction = (int)(half & 1023);
    double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return half & 0x8000 ? -magnitude : magnitude;
}

static void every_half_is_its_value_and_comes_back(void **state) {
    (void)state;
    for (unsigned half = 0; half < 0x10000; half++) {
        if ((half >> 10 & 31) == 31) continue;
        float value = pm_half_to_float((uint16_t)half);
        assert_true((double)value == value_of(half));
        assert_int_equal(pm_half_of_float(value), half);
    }
    assert_true(isinf(pm_half_to_float(0x7c00)) && isnan(pm_half_to_float(0x7e00)));
    assert_int_equal(pm_half_of_float(INFINITY), 0x7c00);
    assert_int_equal(pm_half_of_float(NAN) & 0x7e00, 0x7e00);
}

static void between_two_halves_the_nearer_wins_and_a_tie_goes_to_even(void **state) {
    (void)state;
    for (unsigned half = 0; half + 1 < 0x7c00; half++) {
        float low = (float)value_of(half), high = (float)value_of(half + 1);
        float middle = (low + high) / 2;
        assert_int_equal(pm_half_of_float(middle), half & 1 ? half + 1 : half);
        assert_int_equal(pm_half_of_float(nextafterf(middle, 0)), half);
        assert_int_equal(pm_half_of_float(nextafterf(middle, 1e6f)), half + 1);
    }
    assert_int_equal(pm_half_of_float(65519.996f), 0x7bff);
    assert_int_equal(pm_half_of_float(65520), 0x7c00);
}

static void a_map_comes_back_and_a_cut_one_is_refused(void **state) {
    (void)state;
    float map[25], back[25];
    for (int i = 0; i < 25; i++) map[i] = (float)i / 7;
    pm_stored_map s;
    assert_int_equal(pm_heat_map_encode(PM_HEAT_MAPS_F32, map, 5, &s), PM_OK);
    assert_true(s.scale == 1.0f);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, s.bytes, s.size, 1, 5, back), PM_OK);
    assert_memory_equal(map, back, sizeof map);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, s.bytes, s.size, 0.5, 5, back), PM_OK);
    for (int i = 0; i < 25; i++) assert_true(back[i] == map[i] / 2);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, s.bytes, s.size - 1, 1, 5, back),
                     PM_E_FORMAT);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, s.bytes, s.size, 1, 4, back),
                     PM_E_FORMAT);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F16, s.bytes, s.size, 1, 5, back),
                     PM_E_FORMAT);
    free(s.bytes);
    assert_int_equal(pm_heat_map_encode(PM_HEAT_MAPS_NONE, map, 5, &s), PM_E_USAGE);
}

/* Of maps of any size, also where float16 alone would be 0 or infinite: what is at least 2^-28 of
 * the greatest to 11 bits, and the rest to 2^-39 of it. */
static void float16_keeps_maps_of_any_size(void **state) {
    static const float greatest[] = {1,        7e4f,   3.4e38f, 65504,  3e-9f,
                                     1.2e-19f, 2e-38f, 3e-41f,  1e-45f, 0.75f};
    (void)state;
    for (size_t k = 0; k < sizeof greatest / sizeof *greatest; k++) {
        float map[64], back[64];
        for (int i = 0; i < 64; i++) map[i] = ldexpf(greatest[k], -i) * (i % 2 ? 1 : -1);
        map[63] = 0;
        pm_stored_map s;
        int exponent;
        assert_int_equal(pm_heat_map_encode(PM_HEAT_MAPS_F16, map, 8, &s), PM_OK);
        assert_true(frexpf(s.scale, &exponent) == 0.5f);
        assert_int_equal(
            pm_heat_map_decode(PM_HEAT_MAPS_F16, s.bytes, s.size, (double)s.scale, 8, back), PM_OK);
        for (int i = 0; i < 64; i++) {
            double value = (double)map[i], apart = fabs((double)back[i] - value);
            /* Near the least float32 its own spacing is the bound. */
            double least = fmax(0x1p-149, (double)greatest[k] * 0x1p-39);
            assert_true(apart <= fabs(value) * 0x1p-11 || apart <= least);
            if (i < 28 && fabs(value) > 0x1p-137) assert_true(apart <= fabs(value) * 0x1p-11);
        }
        free(s.bytes);
    }
}

static void a_map_of_zeros_stays_one(void **state) {
    (void)state;
    float map[4] = {0}, back[4] = {1, 1, 1, 1};
    pm_stored_map s;
    assert_int_equal(pm_heat_map_encode(PM_HEAT_MAPS_F16, map, 2, &s), PM_OK);
    assert_true(s.scale == 1.0f);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F16, s.bytes, s.size, 1, 2, back), PM_OK);
    assert_memory_equal(map, back, sizeof map);
    free(s.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_is_its_value_and_comes_back),
        cmocka_unit_test(between_two_halves_the_nearer_wins_and_a_tie_goes_to_even),
        cmocka_unit_test(a_map_comes_back_and_a_cut_one_is_refused),
        cmocka_unit_test(float16_keeps_maps_of_any_size),
        cmocka_unit_test(a_map_of_zeros_stays_one),
    };
    return cmocka_run_group_tests_name("heat_map", tests, NULL, NULL);
}
