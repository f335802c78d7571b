/* Small .safetensors files for tests, written to a temporary folder. */
#ifndef PM_TESTS_ENGINE_TENSOR_FILE_H
#define PM_TESTS_ENGINE_TENSOR_FILE_H

#include "parchgrad.h"

typedef struct pm_file_tensor {
    char name[96];
    size_t rank, shape[4];
    const float *values; /* row-major; NULL: zeros */
} pm_file_tensor;

/* Aborts where the system fails. */
void pm_tensor_file_write(const char *path, const pm_file_tensor *tensors, size_t count);

/* Write and open; the file is gone afterwards. Aborts where the system fails. */
pm_weights *pm_tensor_file(const pm_file_tensor *tensors, size_t count);

#endif
