/* One submission, watched until it ends: on a private broker with workers (--db), or on a standing
 * one (--broker).
 *
 * Use: fill options, spec and data_set -> pm_foreground_workers -> pm_foreground_work ->
 * pm_foreground_close, also after a failure. The signals are to be caught before (pm_stop_catch).
 */
#ifndef PM_TOOLS_FOREGROUND_H
#define PM_TOOLS_FOREGROUND_H

#include "lib/spec/spec.h"
#include "tools/options.h"
#include "tools/place.h"
#include "tools/progress.h"
#include "tools/run_summary.h"

typedef struct pm_foreground {
    const pm_options *options;
    const pm_run_spec *spec;
    const pm_data_set *data_set;
    size_t workers, threads; /* of a private broker */
    pm_place place;
    pm_progress progress;
    pm_run_summary summary; /* what is known so far, also after a failure */
} pm_foreground;

/* --workers and --threads: without the second the cores are shared out. PM_E_USAGE. */
pm_status pm_foreground_workers(const pm_options *options, size_t *workers, size_t *threads);

/* Submit and wait for the end. PM_E_CANCELLED: stopped by a signal. */
pm_status pm_foreground_work(pm_foreground *foreground);

/* Takes the progress line away, and stops a private broker; `status` as work gave it. */
void pm_foreground_close(pm_foreground *foreground, pm_status status);

#endif
