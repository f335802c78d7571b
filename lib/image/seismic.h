/* matplotlib's diverging colour map "seismic": what the field draws heat maps in. */
#ifndef PM_IMAGE_SEISMIC_H
#define PM_IMAGE_SEISMIC_H

#include <stdint.h>

#include "lib/image/colour.h"

/* rgb[i] for i / 255: dark blue, blue, white in the middle, red, dark red. */
void pm_seismic_map(uint8_t rgb[PM_COLOUR_STEPS][3]);

#endif
