/* What each worker did of a run, in the making: sums over some of the run's items, more of them
 * each time, then the rows of timing_summary. */
#ifndef PM_STORE_SUMMARY_TIMING_H
#define PM_STORE_SUMMARY_TIMING_H

#include <stdint.h>

#include "lib/base/status.h"

typedef struct pm_store pm_store;
typedef struct pm_summary_timing pm_summary_timing;

/* Over no items yet. PM_E_MEMORY. */
pm_status pm_summary_timing_new(uint64_t run_id, pm_summary_timing **out);
/* Items first .. end - 1 of the run, in ascending order from call to call, of all configurations.
 * After a failure it is of no use any more. */
pm_status pm_summary_timing_add(pm_store *store, pm_summary_timing *timing, int64_t first,
                                int64_t end);
pm_status pm_summary_timing_write(pm_store *store, const pm_summary_timing *timing);
void pm_summary_timing_free(pm_summary_timing **timing);

#endif
