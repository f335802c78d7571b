/* Owns the experiment variance-conservation: which configurations, in one run. */
#include "tools/experiment/conservation.h"

#include <stdio.h>
#include <string.h>

#include "tools/experiment/experiment.h"

static const char *const asked[] = {"--quantile",
                                    "0.05,0.1",
                                    "--layers",
                                    "default,ratio:1,ratio:0.9,ratio:0.5,ratio:0.3",
                                    "--variance-conservation",
                                    "on,off",
                                    "--channels",
                                    "none"};
static const char *const without_quantile[] = {"--layers",
                                               "default,ratio:1,ratio:0.9,ratio:0.5,ratio:0.3",
                                               "--variance-conservation",
                                               "on,off",
                                               "--channels",
                                               "none"};

/* The baseline is always there. */
static pm_status masks(const pm_options *options, char *out, size_t size) {
    size_t used = (size_t)snprintf(out, size, "off");
    if (!pm_options_given(options, PM_OPT_MASK))
        used += (size_t)snprintf(out + used, size - used, ",cls");
    for (size_t i = 0;
         pm_options_given(options, PM_OPT_MASK) && i < pm_options_count(options, PM_OPT_MASK);
         i++) {
        const char *mask = pm_options_value(options, PM_OPT_MASK, i);
        if (strcmp(mask, "off") == 0) continue;
        used += (size_t)snprintf(out + used, size - used, ",%s", mask);
        if (used >= size) return pm_fail(PM_E_USAGE, "--mask: it takes off, cls, ins");
    }
    return PM_OK;
}

static pm_status work(pm_study *study, pm_cells *cells) {
    char mask[64];
    const char *const forced[] = {"--mask", mask};
    const bool alpha = pm_options_given(study->options, PM_OPT_ALPHA);
    pm_status status = masks(study->options, mask, sizeof mask);
    if (!status) status = pm_study_statistics(study, false);
    if (!status)
        status = alpha ? pm_study_run(study, without_quantile, 6, forced, 2)
                       : pm_study_run(study, asked, 8, forced, 2);
    if (!status) status = pm_cells_read(study, cells);
    if (!status) status = pm_conservation_tables(cells, study);
    if (!status) status = pm_conservation_figures(cells, study);
    if (!status) status = pm_conservation_reading(cells, study);
    return status;
}

pm_status pm_experiment_conservation(const pm_options *options, const char *dir) {
    pm_study study;
    pm_cells cells = {0};
    pm_status status = pm_study_open(options, "variance-conservation", dir, &study);
    if (!status) status = work(&study, &cells);
    pm_cells_fini(&cells);
    pm_study_close(&study);
    return status;
}
