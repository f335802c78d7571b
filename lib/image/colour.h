/* Inside lib/image: a perceptually uniform colour map, dark violet to light yellow. */
#ifndef PM_IMAGE_COLOUR_H
#define PM_IMAGE_COLOUR_H

#include <stdint.h>

enum { PM_COLOUR_STEPS = 256 };

/* Fill rgb[i] with the sRGB colour of i / 255: lightness rises by the same amount each step, hue
 * turns from blue to yellow, so that it reads in grey and with any colour vision. */
void pm_colour_map(uint8_t rgb[PM_COLOUR_STEPS][3]);

#endif
