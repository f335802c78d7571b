/* Inside lib/store: the parts of pm_store_prune. All run in one transaction of the store. */
#ifndef PM_STORE_PRUNE_H
#define PM_STORE_PRUNE_H

#include "lib/store/db.h"
#include "lib/store/keep.h"

/* prune_run.c: a run that has ended, the results that no other has, and their part in the sums. */
pm_status pm_prune_run(pm_store *store, const pm_prune_plan *plan, pm_prune_counts *counts);
/* prune_orphans.c: what nothing refers to. */
pm_status pm_prune_orphans(pm_store *store, pm_prune_counts *counts);

#endif
