/* Owns how an experiment's files are written. Knows no experiment. */
#include "tools/experiment/files.h"

#include <stdio.h>

#include "lib/base/file.h"
#include "lib/chart/chart.h"

pm_status pm_experiment_path(const char *dir, const char *name, char out[PM_EXPERIMENT_PATH]) {
    int n = snprintf(out, PM_EXPERIMENT_PATH, "%s/%s", dir, name);
    if (n >= 0 && n < PM_EXPERIMENT_PATH) return PM_OK;
    return pm_fail(PM_E_USAGE, "--out %.200s: path too long", dir);
}

static pm_status told(const char *path, bool say, pm_status status) {
    if (!status && say) printf("wrote %s\n", path);
    return status;
}

pm_status pm_experiment_write(const char *dir, const char *name, const void *bytes, size_t size,
                              bool say) {
    char path[PM_EXPERIMENT_PATH];
    pm_status status = pm_experiment_path(dir, name, path);
    return status ? status : told(path, say, pm_file_write(path, bytes, size));
}

pm_status pm_experiment_chart(const char *dir, const char *name, const pm_buffer *svg, bool say) {
    pm_buffer file = {0};
    pm_status status = pm_chart_file(svg, &file);
    if (!status) status = pm_experiment_write(dir, name, file.bytes, file.size, say);
    pm_buffer_fini(&file);
    return status;
}

pm_status pm_experiment_picture(const char *dir, const char *name, const pm_image *picture,
                                bool say) {
    char path[PM_EXPERIMENT_PATH];
    pm_status status = pm_experiment_path(dir, name, path);
    return status ? status : told(path, say, pm_image_write_png(path, picture));
}
