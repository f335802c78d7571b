/* Colours, and those of heat maps: a perceptually uniform map, dark violet to light yellow, and the
 * field's own seismic. */
#ifndef PM_BASE_COLORMAP_H
#define PM_BASE_COLORMAP_H

#include <stdint.h>

/* OKLab, where equal steps look equal (B. Ottosson, "A perceptual color space for image
 * processing", 2020), to linear sRGB: lightness 0 .. 1; out [3] = red, green, blue, outside of 0 ..
 * 1 where sRGB has no such colour. */
void pm_oklab_light(double lightness, double a, double b, double out[3]);
/* Linear light to an sRGB byte (IEC 61966-2-1); beyond 0 .. 1 the end's. */
uint8_t pm_srgb_byte(double light);

enum { PM_COLORMAP_STEPS = 256 };

/* Fill rgb[i] with the sRGB colour of i / 255: lightness rises by the same amount each step, hue
 * turns from blue to yellow, so that it reads in grey and with any colour vision. */
void pm_colormap_even(uint8_t rgb[PM_COLORMAP_STEPS][3]);

/* Matplotlib's seismic at t, 0 .. 1 (beyond: the end's): blue, white at 0.5, red. NaN is white. */
void pm_colormap_seismic(double t, uint8_t rgb[3]);

#endif
