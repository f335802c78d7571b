/* NumPy's .npy, version 1.0: little-endian, C order (numpy.lib.format). */
#ifndef PM_TOOLS_NPY_H
#define PM_TOOLS_NPY_H

#include <stddef.h>
#include <stdio.h>

#include "lib/base/status.h"

/* values [height][width], float32; the file is written whole or not at all. */
pm_status pm_npy_write(const char *path, const float *values, size_t height, size_t width);

typedef enum pm_npy_type { PM_NPY_F32, PM_NPY_BOOL } pm_npy_type;

/* An array that grows by its first axis, [rows] or [rows][..] with one or two more, on a stream
 * that can seek: pm_npy_begin, pm_npy_row for each, pm_npy_end. The stream stays the caller's. */
typedef struct pm_npy {
    FILE *out;
    pm_npy_type type;
    size_t rows, inner[2], inner_count;
} pm_npy;

/* inner [inner_count], at most 2. As pm_fail_errno fails: whose stream it is, the caller knows. */
pm_status pm_npy_begin(pm_npy *npy, FILE *out, pm_npy_type type, const size_t *inner,
                       size_t inner_count);
/* values [product of inner]; BOOL: not 0 is true. */
pm_status pm_npy_row(pm_npy *npy, const float *values);
/* Writes how many rows there are. */
pm_status pm_npy_end(pm_npy *npy);

/* "float32", "bool". */
const char *pm_npy_type_name(pm_npy_type type);

#endif
