/* Photographs' bytes, read by threads of their own while the items before them are computed, so
 * that a compute thread does not wait for a disk, a network or the broker.
 *
 * Only bytes: what is in them is first looked at by the compute thread, once it has named the item,
 * so that a photograph that kills its decoder is the one in hand.
 *
 * Use, all on one thread: pm_ahead_begin(lease) -> pm_ahead_take(0), (1), ... -> pm_ahead_end. */
#ifndef PM_WORKER_AHEAD_H
#define PM_WORKER_AHEAD_H

#include "worker/supply.h"
#include "worker/work.h"

enum { PM_AHEAD_ITEMS = 8 }; /* read, or being read, and not taken */
/* With so much waiting only what is asked for is read. */
#define PM_AHEAD_BYTES ((size_t)64 << 20)

typedef struct pm_ahead pm_ahead;

/* PM_E_MEMORY, PM_E_IO (no thread). */
pm_status pm_ahead_new(pm_work *work, const pm_supply *supply, pm_ahead **out);
/* Not between begin and end. Gives the processor time that was spent, if wanted. */
void pm_ahead_free(pm_ahead **ahead, int64_t *spent_us);

/* The items of the lease's task come next, in order. */
void pm_ahead_begin(pm_ahead *ahead, pm_lease *lease);
/* Item number `index` of the task, each once and in order: what pm_photograph_read gives. */
pm_status pm_ahead_take(pm_ahead *ahead, size_t index, uint8_t **bytes, size_t *size);
/* When it returns, the lease is no longer looked at, and what was not taken is gone. */
void pm_ahead_end(pm_ahead *ahead);

#endif
