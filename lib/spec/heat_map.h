/* A heat map as it travels and is stored: zstd of float16 or float32, little endian, row-major, and
 * a scale: what was stored times the scale is the map. float16 reaches from 6e-8 to 65504, and
 * gradients of a class that is all but certain are smaller: so each map has a scale of its own, a
 * power of two, with which its greatest value lies in [2^14, 2^15). Then what is at least 2^-28 of
 * the greatest is right to 11 bits, and nothing above 2^-39 of it is lost. */
#ifndef PM_SPEC_HEAT_MAP_H
#define PM_SPEC_HEAT_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "lib/spec/spec.h"

typedef struct pm_stored_map {
    uint8_t *bytes;
    size_t size;
    float scale; /* a power of two, at least 2^-126 */
} pm_stored_map;

/* `values` [side][side], finite; out->bytes from malloc. float16 by IEEE 754 round-half-to-even;
 * the scale of float32 is 1. PM_E_USAGE for PM_HEAT_MAPS_NONE, PM_E_MEMORY. */
pm_status pm_heat_map_encode(pm_heat_maps format, const float *values, size_t side,
                             pm_stored_map *out);

/* The reverse into `values` [side][side]. PM_E_FORMAT where the bytes are not that many values. */
pm_status pm_heat_map_decode(pm_heat_maps format, const uint8_t *bytes, size_t size, double scale,
                             size_t side, float *values);

/* What a stored heat map is, told by the size that it unpacks to: 2 n^2 bytes are float16, 4 m^2
 * are float32. Never both, for then n = m sqrt(2), and that root is irrational. PM_E_FORMAT. */
pm_status pm_heat_map_shape(const uint8_t *bytes, size_t size, pm_heat_maps *format, size_t *side);

/* IEEE 754 binary16 and back; the first rounds half to even. */
uint16_t pm_half_of_float(float value);
float pm_half_to_float(uint16_t half);

#endif
