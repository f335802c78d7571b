/* A heat map as it travels and is stored: zstd of float16 or float32, little endian, row-major.
 * Written by workers, read by whatever makes pictures of a database. */
#ifndef PM_SPEC_HEAT_MAP_H
#define PM_SPEC_HEAT_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "lib/spec/spec.h"

/* `values` [side][side]; *out from malloc. float16 by IEEE 754 round-half-to-even, beyond 65504 to
 * infinity. PM_E_USAGE for PM_HEAT_MAPS_NONE, PM_E_MEMORY. */
pm_status pm_heat_map_encode(pm_heat_maps format, const float *values, size_t side, uint8_t **out,
                             size_t *size);

/* The reverse into `values` [side][side]. PM_E_FORMAT where the bytes are not that many values. */
pm_status pm_heat_map_decode(pm_heat_maps format, const uint8_t *bytes, size_t size, size_t side,
                             float *values);

/* What a stored heat map is, told by the size that it unpacks to: 2 n^2 bytes are float16, 4 m^2
 * are float32. Never both, for then n = m sqrt(2), and that root is irrational. PM_E_FORMAT. */
pm_status pm_heat_map_shape(const uint8_t *bytes, size_t size, pm_heat_maps *format, size_t *side);

/* IEEE 754 binary16 and back; the first rounds half to even. */
uint16_t pm_half_of_float(float value);
float pm_half_to_float(uint16_t half);

#endif
