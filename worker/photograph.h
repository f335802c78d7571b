/* A photograph's bytes, from where they are to be had. */
#ifndef PM_WORKER_PHOTOGRAPH_H
#define PM_WORKER_PHOTOGRAPH_H

#include "worker/supply.h"
#include "worker/work.h"

/* The bytes with the item's hash, from malloc: from the data set's folder, the cache, or the
 * broker.
 * PM_E_DENIED (a path that leads out of the folder), PM_E_NOT_FOUND, PM_E_MISMATCH, PM_E_CANCELLED.
 */
pm_status pm_photograph_read(pm_work *work, const pm_supply *supply, pm_lease *lease,
                             const Pm__Wire__Item *item, uint8_t **bytes, size_t *size);

#endif
