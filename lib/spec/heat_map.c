/* Owns the stored form of heat maps. */
#include "lib/spec/heat_map.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { SIDE_MAX = 1 << 14, ZSTD_LEVEL = 3 };

uint16_t pm_half_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds past 65504 */
    if (magnitude < 0x33000001u) return sign;                        /* at most half of 2^-24 */
    uint32_t exponent = magnitude >> 23, mantissa = magnitude & 0x7fffffu;
    uint32_t shift = 13;
    if (exponent < 113) { /* a subnormal half */
        mantissa |= 0x800000u;
        shift = 126 - exponent;
        exponent = 112;
    }
    uint32_t half = (exponent - 112) << 10 | mantissa >> shift;
    uint32_t rest = mantissa & ((1u << shift) - 1), tie = 1u << (shift - 1);
    if (rest > tie || (rest == tie && (half & 1))) half++;
    return (uint16_t)(sign | half);
}

float pm_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31;
    uint32_t mantissa = half & 0x3ffu, bits;
    float value;
    if (exponent == 0) {
        value = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    } else {
        bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

static size_t value_bytes(pm_heat_maps format) { return format == PM_HEAT_MAPS_F16 ? 2 : 4; }

static void put_little(uint8_t *to, uint32_t bits, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = (uint8_t)(bits >> 8 * i);
}

static uint32_t get_little(const uint8_t *from, size_t count) {
    uint32_t bits = 0;
    for (size_t i = 0; i < count; i++) bits |= (uint32_t)from[i] << 8 * i;
    return bits;
}

/* Not below the least normal float32, so that whoever reads may multiply in float32. */
static float scale_of(const float *values, size_t count) {
    float most = 0;
    int exponent;
    for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(values[i]));
    if (most == 0.0f) return 1;
    (void)frexpf(most, &exponent);
    return fmaxf(ldexpf(1, exponent - 15), FLT_MIN);
}

pm_status pm_heat_map_encode(pm_heat_maps format, const float *values, size_t side,
                             pm_stored_map *out) {
    if (format == PM_HEAT_MAPS_NONE || side == 0 || side > SIDE_MAX)
        return pm_fail(PM_E_USAGE, "a heat map of side %zu has no stored form", side);
    size_t each = value_bytes(format), count = side * side,
           bound = ZSTD_compressBound(count * each);
    uint8_t *raw = malloc(count * each), *packed = malloc(bound);
    pm_status status = PM_OK;
    if (!raw || !packed) {
        status = pm_fail(PM_E_MEMORY, "no memory for a heat map of side %zu", side);
        goto done;
    }
    const float scale = each == 2 ? scale_of(values, count) : 1;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        put_little(raw + i * each, each == 2 ? pm_half_of_float(values[i] / scale) : bits, each);
    }
    size_t used = ZSTD_compress(packed, bound, raw, count * each, ZSTD_LEVEL);
    if (ZSTD_isError(used)) {
        status = pm_fail(PM_E_INTERNAL, "zstd: %s", ZSTD_getErrorName(used));
        goto done;
    }
    *out = (pm_stored_map){packed, used, scale};
    packed = NULL;
done:
    free(raw);
    free(packed);
    return status;
}

pm_status pm_heat_map_decode(pm_heat_maps format, const uint8_t *bytes, size_t size, double scale,
                             size_t side, float *values) {
    if (format == PM_HEAT_MAPS_NONE || side == 0 || side > SIDE_MAX)
        return pm_fail(PM_E_FORMAT, "a heat map of side %zu has no stored form", side);
    size_t each = value_bytes(format), count = side * side;
    uint8_t *raw = malloc(count * each);
    if (!raw) return pm_fail(PM_E_MEMORY, "no memory for a heat map of side %zu", side);
    size_t got = ZSTD_decompress(raw, count * each, bytes, size);
    if (ZSTD_isError(got) || got != count * each) {
        free(raw);
        return pm_fail(PM_E_FORMAT, "a stored heat map is not %zu x %zu values of %zu bytes", side,
                       side, each);
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = get_little(raw + i * each, each);
        float value;
        if (each == 2)
            value = pm_half_to_float((uint16_t)bits);
        else
            memcpy(&value, &bits, sizeof value);
        values[i] = (float)(scale * (double)value);
    }
    free(raw);
    return PM_OK;
}

pm_status pm_heat_map_shape(const uint8_t *bytes, size_t size, pm_heat_maps *format, size_t *side) {
    const unsigned long long raw = ZSTD_getFrameContentSize(bytes, size);
    if (raw == ZSTD_CONTENTSIZE_UNKNOWN || raw == ZSTD_CONTENTSIZE_ERROR || raw == 0)
        return pm_fail(PM_E_FORMAT, "this is no stored heat map");
    for (size_t n = 1; n <= SIDE_MAX && n * n * 2 <= raw; n++)
        if (n * n * 2 == raw || n * n * 4 == raw) {
            *format = n * n * 2 == raw ? PM_HEAT_MAPS_F16 : PM_HEAT_MAPS_F32;
            *side = n;
            return PM_OK;
        }
    return pm_fail(PM_E_FORMAT, "a stored heat map of %llu bytes is no square", raw);
}
