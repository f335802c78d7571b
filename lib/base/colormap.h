/* Colours of heat maps: a perceptually uniform map, dark violet to light yellow, and the field's
 * own seismic. */
#ifndef PM_BASE_COLORMAP_H
#define PM_BASE_COLORMAP_H

#include <stdint.h>

enum { PM_COLORMAP_STEPS = 256 };

/* Fill rgb[i] with the sRGB colour of i / 255: lightness rises by the same amount each step, hue
 * turns from blue to yellow, so that it reads in grey and with any colour vision. */
void pm_colormap_even(uint8_t rgb[PM_COLORMAP_STEPS][3]);

/* Matplotlib's seismic at t, 0 .. 1 (beyond: the end's): blue, white at 0.5, red. NaN is white. */
void pm_colormap_seismic(double t, uint8_t rgb[3]);

#endif
