/* Inside lib/store: the parts of a merge. `src` is the attached source, temp.map_* say which row id
 * of it is which of ours. All of it runs in one transaction of the store. */
#ifndef PM_STORE_MERGE_H
#define PM_STORE_MERGE_H

#include "lib/store/db.h"
#include "lib/store/keep.h"

typedef struct pm_merge {
    pm_store *store;
    const pm_merge_plan *plan;
    size_t source; /* index in the plan */
    pm_merge_counts *counts;
} pm_merge;

/* merge_rows.c: models to runs, found or made; the maps. */
pm_status pm_merge_identities(pm_merge *merge);
/* merge_conflicts.c: PM_E_MISMATCH where a name or a layer stands for something else. First. */
pm_status pm_merge_names(pm_merge *merge);
/* merge_conflicts.c: PM_E_MISMATCH where both have a result and the numbers differ. Before any
 * result is copied. */
pm_status pm_merge_conflicts(pm_merge *merge);
/* merge_sums.c: the sums of channels. Before any result is copied: it asks who had what. */
pm_status pm_merge_sums(pm_merge *merge);
/* merge_rows.c: results and what hangs on them, diary, tasks. */
pm_status pm_merge_results(pm_merge *merge);
/* merge_sums.c: what was to be left out is left out. */
pm_status pm_merge_sums_drop(pm_merge *merge);
/* merge_runs.c: states and open work of all runs that have not ended. */
pm_status pm_merge_runs(pm_merge *merge);

#endif
