/* What is kept of a run, in the making: sums over some of the run's items, more of them each time,
 * then their rows. Of one configuration: score_summary, curve_summary, layer_summary; of all of
 * them together: timing_summary. */
#ifndef PM_STORE_SUMMARY_PART_H
#define PM_STORE_SUMMARY_PART_H

#include <stdint.h>

#include "lib/base/status.h"

typedef struct pm_store pm_store;
typedef struct pm_summary_part pm_summary_part;

/* Over no items yet; configuration_id 0: the timings, of all configurations. PM_E_MEMORY. */
pm_status pm_summary_part_new(uint64_t run_id, int64_t configuration_id, pm_summary_part **out);
/* Items first .. end - 1 of the run, in ascending order from call to call. After a failure the part
 * is of no use any more. */
pm_status pm_summary_part_add(pm_store *store, pm_summary_part *part, int64_t first, int64_t end);
pm_status pm_summary_part_write(pm_store *store, const pm_summary_part *part);
void pm_summary_part_free(pm_summary_part **part);

/* PM_E_MEMORY, with the words for it. */
pm_status pm_summary_no_memory(void);

#endif
