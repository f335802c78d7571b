/* parchmill experiment: the experiments of the research, one by name. */
#include <stdio.h>
#include <string.h>

#include "tools/command.h"
#include "tools/experiment/experiment.h"

typedef struct experiment {
    const char *name, *summary;
    pm_command_fn run;
} experiment;

static const experiment experiments[] = {
    {"variance-conservation", "box scores with and without conservation, by layers and quantile",
     pm_experiment_conservation},
    {"statistics", "histograms of class p-values and Shapiro-Wilk p by layer",
     pm_experiment_statistics},
    {"quantile-sweep", "heat maps beside the photograph, by quantile",
     pm_experiment_quantile_sweep},
    {"alpha-sweep", "heat maps beside the photograph, by alpha", pm_experiment_alpha_sweep},
    {"sweep-animation", "the quantile sweep as an animated GIF and WebP",
     pm_experiment_sweep_animation},
};
enum { COUNT = sizeof experiments / sizeof *experiments };

static int list(void) {
    for (size_t i = 0; i < COUNT; i++)
        printf("  %-22s %s\n", experiments[i].name, experiments[i].summary);
    return PM_EXIT_OK;
}

int pm_cmd_experiment(const pm_options *options) {
    const char *names[COUNT];
    const char *name = pm_options_operand(options, 0);
    pm_status status = pm_options_operands(options, "[NAME]", 0, 1);
    if (status) return pm_command_failed("experiment", status);
    if (!name) return list();
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(experiments[i].name, name) == 0) return experiments[i].run(options);
        names[i] = experiments[i].name;
    }
    const char *near = pm_near_name(name, names, COUNT);
    status = pm_fail(PM_E_USAGE, "no experiment '%.80s'%s%s%s; `parchmill experiment` lists them",
                     name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return pm_command_failed("experiment", status);
}
