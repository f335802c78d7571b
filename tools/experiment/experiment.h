/* The experiments of `parchmill experiment NAME`: each its own files, an exit code as of a command.
 */
#ifndef PM_TOOLS_EXPERIMENT_H
#define PM_TOOLS_EXPERIMENT_H

#include "tools/options.h"

int pm_experiment_conservation(const pm_options *options);
int pm_experiment_statistics(const pm_options *options);
int pm_experiment_quantile_sweep(const pm_options *options);
int pm_experiment_alpha_sweep(const pm_options *options);
int pm_experiment_sweep_animation(const pm_options *options);

#endif
