/* Experiments of the research, each one command: `parchmill experiment NAME`.
 *
 * To add one: a file here with a function of type pm_experiment_fn, a line below and a row in
 * table.c. It computes, then writes into `dir` (which is there) its data as CSV, its figures as SVG
 * and NAME.md, the reading: what is seen, with the numbers of this run. It prints its headline
 * numbers; tools/experiment/files.h says what was written. */
#ifndef PM_TOOLS_EXPERIMENT_H
#define PM_TOOLS_EXPERIMENT_H

#include "tools/options.h"

typedef pm_status (*pm_experiment_fn)(const pm_options *options, const char *dir);

typedef struct pm_experiment {
    const char *name;
    const char *summary; /* one line */
    pm_experiment_fn run;
    /* The options that it heeds, up to PM_OPT_COUNT; NULL: all that describe a run. */
    const pm_option_id *heeds;
} pm_experiment;

/* Ends with an empty row. */
extern const pm_experiment pm_experiments[];
/* NULL if there is none of that name. */
const pm_experiment *pm_experiment_find(const char *name);

pm_status pm_experiment_gradient_sum(const pm_options *options, const char *dir);
pm_status pm_experiment_checkerboard(const pm_options *options, const char *dir);

pm_status pm_experiment_conservation(const pm_options *options, const char *dir);
pm_status pm_experiment_statistics(const pm_options *options, const char *dir);
pm_status pm_experiment_quantile_sweep(const pm_options *options, const char *dir);
pm_status pm_experiment_alpha_sweep(const pm_options *options, const char *dir);
pm_status pm_experiment_sweep_animation(const pm_options *options, const char *dir);

#endif
