/* A data set and the order for it: what run and submit take from the command line. */
#ifndef PM_TOOLS_JOB_H
#define PM_TOOLS_JOB_H

#include "tools/order.h"

/* Checks the grid, then opens the data set, then the model. Both outputs are to be released also
 * after a failure (they are zeroed first). */
pm_status pm_job_open(const pm_options *options, pm_data_set *data_set, pm_order *order);

/* The same for a gather run, which has no grid. */
pm_status pm_job_open_gather(const pm_options *options, pm_data_set *data_set, pm_order *order);

#endif
