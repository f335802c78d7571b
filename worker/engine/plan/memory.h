/* Aligned memory for weights and arenas. */
#ifndef PM_ENGINE_MEMORY_H
#define PM_ENGINE_MEMORY_H

#include <stddef.h>

/* Zeroed, for vector loads; large pieces ask the kernel for huge pages. From malloc's family:
 * free() releases it. NULL where there is no memory. */
float *pm_floats_new(size_t count);

#endif
