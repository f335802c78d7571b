/* The files of an experiment, all in its folder: whole or not at all, and said.
 *
 * `say`: a line "wrote DIR/NAME" on standard output. PM_E_USAGE where the path is too long, else as
 * pm_file_write. */
#ifndef PM_TOOLS_EXPERIMENT_FILES_H
#define PM_TOOLS_EXPERIMENT_FILES_H

#include "lib/base/text.h"
#include "lib/image/image.h"

enum { PM_EXPERIMENT_PATH = 4096 };

/* DIR/NAME. */
pm_status pm_experiment_path(const char *dir, const char *name, char out[PM_EXPERIMENT_PATH]);
/* bytes [size]. */
pm_status pm_experiment_write(const char *dir, const char *name, const void *bytes, size_t size,
                              bool say);
/* One chart, <svg> as of lib/chart, as a file of its own with its style. */
pm_status pm_experiment_chart(const char *dir, const char *name, const pm_buffer *svg, bool say);
/* As PNG. */
pm_status pm_experiment_picture(const char *dir, const char *name, const pm_image *picture,
                                bool say);

#endif
