/* Owns the bytes of a .npy file. */
#include "tools/npy.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"

pm_status pm_npy_write(const char *path, const float *values, size_t height, size_t width) {
    enum { PREFIX_BYTES = 10, HEADER_BYTES = 128 }; /* data begin at a multiple of 64 */
    size_t data_bytes = height * width * sizeof(float);
    uint8_t *bytes = malloc(HEADER_BYTES + data_bytes);
    if (!bytes) return pm_fail(PM_E_MEMORY, "%s: no memory for %zu bytes", path, data_bytes);
    memset(bytes, ' ', HEADER_BYTES);
    memcpy(bytes, "\x93NUMPY\x01\x00", 8);
    bytes[8] = HEADER_BYTES - PREFIX_BYTES;
    bytes[9] = 0;
    char *text = (char *)bytes + PREFIX_BYTES;
    int n =
        snprintf(text, HEADER_BYTES - PREFIX_BYTES,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", height, width);
    text[n] = ' ';
    bytes[HEADER_BYTES - 1] = '\n';
    for (size_t i = 0; i < height * width; i++) {
        uint32_t word;
        memcpy(&word, &values[i], sizeof word);
        for (size_t k = 0; k < 4; k++) bytes[HEADER_BYTES + 4 * i + k] = (uint8_t)(word >> (8 * k));
    }
    pm_status status = pm_file_write(path, bytes, HEADER_BYTES + data_bytes);
    free(bytes);
    return status;
}
