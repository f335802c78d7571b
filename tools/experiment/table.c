/* Owns the list of experiments, and how their files are written. */
#include <stdio.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/chart/chart.h"
#include "tools/experiment/experiment.h"

const pm_experiment pm_experiments[] = {
    {"gradient-sum", "few tall vectors and many small ones: where does their sum point?",
     pm_experiment_gradient_sum},
    {"checkerboard", "what strides do to the gradient's map of a random network",
     pm_experiment_checkerboard},
    {"variance-conservation", "box scores with and without conservation, by layers and quantile",
     pm_experiment_conservation},
    {"statistics", "class p-values and Shapiro-Wilk p, by layer", pm_experiment_statistics},
    {"quantile-sweep", "heat maps beside their photographs, by quantile",
     pm_experiment_quantile_sweep},
    {"alpha-sweep", "heat maps beside their photographs, by alpha", pm_experiment_alpha_sweep},
    {"sweep-animation", "the quantile sweep as an animated GIF and WebP",
     pm_experiment_sweep_animation},
    {0},
};

const pm_experiment *pm_experiment_find(const char *name) {
    for (const pm_experiment *e = pm_experiments; e->name; e++)
        if (strcmp(e->name, name) == 0) return e;
    return NULL;
}

pm_status pm_experiment_write(const char *dir, const char *name, const pm_buffer *text) {
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return pm_fail(PM_E_USAGE, "--out %.80s...: path too long", dir);
    pm_status status = pm_file_write(path, text->bytes, text->size);
    if (!status) printf("wrote %s\n", path);
    return status;
}

pm_status pm_experiment_write_figure(const char *dir, const char *name, const pm_buffer *svg) {
    pm_buffer file = {0};
    pm_status status = pm_chart_file(svg, &file);
    if (!status) status = pm_experiment_write(dir, name, &file);
    pm_buffer_fini(&file);
    return status;
}
