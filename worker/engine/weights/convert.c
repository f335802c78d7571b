/* Owns the element types of weights files: sizes, names, and conversion to float by portable
 * arithmetic on little-endian bytes. */
#include <string.h>

#include "worker/engine/weights/weights.h"

size_t pm_dtype_bytes(pm_dtype dtype) {
    switch (dtype) {
    case PM_DTYPE_F32: return 4;
    case PM_DTYPE_F16: return 2;
    case PM_DTYPE_BF16: return 2;
    case PM_DTYPE_I64: return 8;
    }
    return 0;
}

const char *pm_dtype_name(pm_dtype dtype) {
    switch (dtype) {
    case PM_DTYPE_F32: return "F32";
    case PM_DTYPE_F16: return "F16";
    case PM_DTYPE_BF16: return "BF16";
    case PM_DTYPE_I64: return "I64";
    }
    return "?";
}

static uint64_t read_le(const uint8_t *bytes, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. Every value fits binary32. */
static uint32_t bits_of_half(uint32_t half) {
    uint32_t sign = (half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu, fraction = half & 0x3ffu;
    if (exponent == 31) return sign | 0x7f800000u | (fraction << 13);
    if (exponent == 0 && fraction == 0) return sign;
    if (exponent == 0) { /* subnormal: shift the leading one up to bit 10 */
        exponent = 1;
        while (!(fraction & 0x400u)) {
            fraction <<= 1;
            exponent--; /* wraps below zero; the sum with 112 does not */
        }
        fraction &= 0x3ffu;
    }
    return sign | ((exponent + 112u) << 23) | (fraction << 13);
}

void pm_dtype_convert(pm_dtype dtype, const uint8_t *bytes, size_t count, float *out) {
    switch (dtype) {
    case PM_DTYPE_F32:
        for (size_t i = 0; i < count; i++)
            out[i] = float_of_bits((uint32_t)read_le(bytes + 4 * i, 4));
        return;
    case PM_DTYPE_F16:
        for (size_t i = 0; i < count; i++)
            out[i] = float_of_bits(bits_of_half((uint32_t)read_le(bytes + 2 * i, 2)));
        return;
    case PM_DTYPE_BF16:
        for (size_t i = 0; i < count; i++)
            out[i] = float_of_bits((uint32_t)read_le(bytes + 2 * i, 2) << 16);
        return;
    case PM_DTYPE_I64:
        for (size_t i = 0; i < count; i++) {
            uint64_t bits = read_le(bytes + 8 * i, 8);
            int64_t value;
            memcpy(&value, &bits, sizeof value);
            out[i] = (float)value;
        }
        return;
    }
}
