/* Inside lib/image: the Gaussian filter. */
#ifndef PM_IMAGE_GAUSS_H
#define PM_IMAGE_GAUSS_H

#include <stddef.h>

#include "lib/base/status.h"

/* In place, plane [height][width]: first down, then across, weights exp(-d^2 / (2 sigma^2)) for
 * |d| <= int(4 sigma + 1/2), normalised; the outermost pixels go on beyond the edges. That is
 * scipy.ndimage.gaussian_filter(mode="nearest", truncate=4). In double, every sum in one order:
 * the same bits on every CPU. PM_E_MEMORY. */
pm_status pm_gauss_filter(double *plane, size_t width, size_t height, double sigma);

#endif
