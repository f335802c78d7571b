/* Files of real weights and what PyTorch said of them, below env PARCHMILL_DATA. Included by tests
 * that have cmocka already. */
#ifndef PM_TESTS_ENGINE_DATA_FILE_H
#define PM_TESTS_ENGINE_DATA_FILE_H

#include <stdio.h>
#include <stdlib.h>

#include "parchgrad.h"

/* The test is skipped where there is no such folder. */
static inline pm_weights *open_data(const char *relative) {
    const char *root = getenv("PARCHMILL_DATA");
    char path[1024];
    pm_weights *weights;
    if (!root) skip();
    snprintf(path, sizeof path, "%s/%s", root, relative);
    if (pm_weights_open(path, &weights)) fail_msg("%s", pm_error_text());
    return weights;
}

/* [count], to be freed. */
static inline float *read_tensor(const pm_weights *weights, const char *name, size_t count) {
    const pm_tensor_info *info = pm_weights_find(weights, name);
    if (!info || info->count != count) fail_msg("no tensor %s of %zu values", name, count);
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    assert_int_equal(pm_weights_read(weights, info, values), PM_OK);
    return values;
}

#endif
