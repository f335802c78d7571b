/* The ordinary run, for commands that ask its database afterwards. */
#ifndef PM_TOOLS_CMD_RUN_H
#define PM_TOOLS_CMD_RUN_H

#include "tools/options.h"
#include "tools/run_summary.h"

/* Private broker, workers, one submission, and the wait for its end; prints nothing but progress.
 * *summary: as far as it came, also after a failure. PM_E_CANCELLED: stopped by a signal. */
pm_status pm_run_whole(const pm_options *options, pm_run_summary *summary);

#endif
