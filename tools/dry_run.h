/* parchmill run --dry-run: how many results, how long, how large the file. Writes nothing. */
#ifndef PM_TOOLS_DRY_RUN_H
#define PM_TOOLS_DRY_RUN_H

#include "tools/order.h"

/* Bytes in the database, from what the options record; sizes of rows as measured on SQLite files.
 */
double pm_dry_run_bytes(const pm_order *order, size_t items);

/* Attributes a few images of the data set in this process to know the pace of one thread. */
pm_status pm_dry_run(const pm_options *options, const pm_order *order, const pm_data_set *data_set,
                     size_t threads);

#endif
