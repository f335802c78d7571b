/* The closing words of `parchmill run`. Reads the database, changes nothing. */
#ifndef PM_TOOLS_RUN_SUMMARY_H
#define PM_TOOLS_RUN_SUMMARY_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/options.h"

typedef struct pm_run_summary {
    const char *db;
    uint64_t run; /* 0: not submitted */
    bool existed, cancelled;
    uint64_t items, items_before, items_done, items_failed, results_reused;
    size_t configurations, restarts;
    double seconds;
} pm_run_summary;

/* After the run has ended: people's text or, with --json, one object on stdout. */
pm_status pm_run_summary_print(const pm_run_summary *summary, const pm_options *options);
/* After Ctrl-C: how far it came and how to go on. */
void pm_run_summary_stopped(const pm_run_summary *summary, const pm_options *options);

#endif
