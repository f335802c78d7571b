/* Owns the list of experiments, and how their files are written. */
#include <stdio.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/chart/chart.h"
#include "tools/experiment/experiment.h"

const pm_experiment pm_experiments[] = {
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
