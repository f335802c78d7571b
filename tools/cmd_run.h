/* The ordinary run and `parchmill stats`, for commands that ask the database afterwards. */
#ifndef PM_TOOLS_CMD_RUN_H
#define PM_TOOLS_CMD_RUN_H

#include "tools/options.h"
#include "tools/run_summary.h"

/* Private broker, workers, one submission, and the wait for its end; prints nothing but progress.
 * *summary: as far as it came, also after a failure. PM_E_CANCELLED: stopped by a signal. */
pm_status pm_run_whole(const pm_options *options, pm_run_summary *summary);

/* A gather run and the statistics of it, kept by the name --name in --db, and the words about them.
 * PM_E_CANCELLED: stopped by a signal. */
pm_status pm_stats_whole(const pm_options *options);

#endif
