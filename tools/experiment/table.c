/* Owns the list of experiments. */
#include <string.h>

#include "tools/experiment/experiment.h"

static const pm_option_id sum_heeds[] = {PM_OPT_EXPERIMENT_OUT, PM_OPT_EXPERIMENT_SEED,
                                         PM_OPT_DISTRIBUTION, PM_OPT_QUIET, PM_OPT_COUNT};
static const pm_option_id board_heeds[] = {PM_OPT_EXPERIMENT_OUT, PM_OPT_EXPERIMENT_SEED,
                                           PM_OPT_QUIET, PM_OPT_COUNT};

const pm_experiment pm_experiments[] = {
    {"gradient-sum", "few tall vectors and many small ones: where does their sum point?",
     pm_experiment_gradient_sum, sum_heeds},
    {"checkerboard", "what strides do to the gradient's map of a random network",
     pm_experiment_checkerboard, board_heeds},
    {"variance-conservation", "box scores with and without conservation, by layers and quantile",
     pm_experiment_conservation, NULL},
    {"statistics", "class p-values and Shapiro-Wilk p, by layer", pm_experiment_statistics, NULL},
    {"quantile-sweep", "heat maps beside their photographs, by quantile",
     pm_experiment_quantile_sweep, NULL},
    {"alpha-sweep", "heat maps beside their photographs, by alpha", pm_experiment_alpha_sweep,
     NULL},
    {"sweep-animation", "the quantile sweep as an animated GIF and WebP",
     pm_experiment_sweep_animation, NULL},
    {0},
};

const pm_experiment *pm_experiment_find(const char *name) {
    for (const pm_experiment *e = pm_experiments; e->name; e++)
        if (strcmp(e->name, name) == 0) return e;
    return NULL;
}
