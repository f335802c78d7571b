/* Experiments of the research, each one command: `parchmill experiment NAME`.
 *
 * To add one: a file here with a function of type pm_experiment_fn, a line below and a row in
 * table.c. It computes, then writes into `dir` (which is there) its data as CSV, its figures as SVG
 * and NAME.md, the reading: what is seen, with the numbers of this run. It prints its headline
 * numbers; pm_experiment_write prints what was written. */
#ifndef PM_TOOLS_EXPERIMENT_H
#define PM_TOOLS_EXPERIMENT_H

#include "lib/base/text.h"
#include "tools/options.h"

typedef pm_status (*pm_experiment_fn)(const pm_options *options, const char *dir);

typedef struct pm_experiment {
    const char *name;
    const char *summary; /* one line */
    pm_experiment_fn run;
} pm_experiment;

/* Ends with an empty row. */
extern const pm_experiment pm_experiments[];
/* NULL if there is none of that name. */
const pm_experiment *pm_experiment_find(const char *name);

/* Write dir/name whole or not at all, and say so on standard output. */
pm_status pm_experiment_write(const char *dir, const char *name, const pm_buffer *text);
/* The same for one chart: as a file of its own, with its style. */
pm_status pm_experiment_write_figure(const char *dir, const char *name, const pm_buffer *svg);

pm_status pm_experiment_gradient_sum(const pm_options *options, const char *dir);
pm_status pm_experiment_checkerboard(const pm_options *options, const char *dir);

#endif
