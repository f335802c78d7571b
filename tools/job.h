/* A data set and the order for it: what run and submit take from the command line. */
#ifndef PM_TOOLS_JOB_H
#define PM_TOOLS_JOB_H

#include "lib/base/terms.h"
#include "lib/net/client.h"
#include "tools/order.h"

/* Checks the grid, then opens the data set, then the model. Both outputs are to be released also
 * after a failure (they are zeroed first). */
pm_status pm_job_open(const pm_options *options, pm_data_set *data_set, pm_order *order);

/* The same for a gather run, which has no grid. */
pm_status pm_job_open_gather(const pm_options *options, pm_data_set *data_set, pm_order *order);

/* --priority and --max-workers. */
pm_status pm_job_terms(const pm_options *options, pm_run_terms *out);
/* Say what a run that was known keeps, against what is asked for. */
void pm_job_tell_terms(const pm_options *options, const pm_accepted *accepted);

#endif
