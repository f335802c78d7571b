/* What is kept of whole runs for the views (score, curve ...), written where no broker runs. */
#ifndef PM_TOOLS_SUMMARISE_H
#define PM_TOOLS_SUMMARISE_H

#include <stdint.h>

#include "lib/store/store.h"

/* Write a run's plain channel rows and its summary, anew. PM_E_NOT_FOUND. */
pm_status pm_refresh_run(pm_store *store, uint64_t run);

/* After a run on a private broker: go on with a summary that was longer than the broker lived.
 * Opens the database only where there is something to do. */
pm_status pm_summarise_rest(const char *db, uint64_t run);

#endif
