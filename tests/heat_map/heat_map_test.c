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
    uint8_t *bytes;
    size_t size;
    assert_int_equal(pm_heat_map_encode(PM_HEAT_MAPS_F32, map, 5, &bytes, &size), PM_OK);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, bytes, size, 5, back), PM_OK);
    assert_memory_equal(map, back, sizeof map);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, bytes, size - 1, 5, back), PM_E_FORMAT);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, bytes, size, 4, back), PM_E_FORMAT);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F16, bytes, size, 5, back), PM_E_FORMAT);
    free(bytes);
    assert_int_equal(pm_heat_map_encode(PM_HEAT_MAPS_F16, map, 5, &bytes, &size), PM_OK);
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F16, bytes, size, 5, back), PM_OK);
    for (int i = 0; i < 25; i++) assert_true(fabsf(back[i] - map[i]) <= map[i] * 0x1p-11f);
    free(bytes);
    assert_int_equal(pm_heat_map_encode(PM_HEAT_MAPS_NONE, map, 5, &bytes, &size), PM_E_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_is_its_value_and_comes_back),
        cmocka_unit_test(between_two_halves_the_nearer_wins_and_a_tie_goes_to_even),
        cmocka_unit_test(a_map_comes_back_and_a_cut_one_is_refused),
    };
    return cmocka_run_group_tests_name("heat_map", tests, NULL, NULL);
}
