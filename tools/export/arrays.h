/* Heat maps and channel vectors of a run as .npy files, with an index of their rows.
 *
 * Row r of every array of a configuration is the image that index.csv has at (configuration, r):
 * the images, in the run's order, of which either is kept. What one of them lacks is NaN (H:
 * false), and 0 in its column of the index. */
#ifndef PM_TOOLS_EXPORT_ARRAYS_H
#define PM_TOOLS_EXPORT_ARRAYS_H

#include "tools/export/tables.h"

typedef struct pm_export_arrays_told {
    size_t rows, heat_maps, vectors; /* of the index; files of either kind */
} pm_export_arrays_told;

/* PM_E_NOT_FOUND: the run kept neither; PM_E_MISMATCH: maps of two sizes in one configuration. */
pm_status pm_export_arrays(const pm_export_run *run, pm_out *out, pm_export_arrays_told *told);

#endif
