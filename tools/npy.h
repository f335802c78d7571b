/* NumPy's .npy, version 1.0: float32, little-endian, C order (numpy.lib.format). */
#ifndef PM_TOOLS_NPY_H
#define PM_TOOLS_NPY_H

#include <stddef.h>

#include "lib/base/status.h"

/* values [height][width]; the file is written whole or not at all. */
pm_status pm_npy_write(const char *path, const float *values, size_t height, size_t width);

#endif
