/* Owns the bytes of a .npy file. */
#include "tools/npy.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"

enum { PREFIX_BYTES = 10, HEADER_BYTES = 128 }; /* data begin at a multiple of 64 */

/* shape [count], at most 3. */
static void put_header(pm_npy_type type, const size_t *shape, size_t count,
                       uint8_t out[HEADER_BYTES]) {
    static const char *const descr[] = {"<f4", "|b1"};
    char text[HEADER_BYTES - PREFIX_BYTES];
    int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                     descr[type]);
    for (size_t i = 0; i < count; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%zu%s", shape[i],
                      i + 1 < count ? ", "
                      : count == 1  ? ","
                                    : "");
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");
    memset(out, ' ', HEADER_BYTES);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = HEADER_BYTES - PREFIX_BYTES;
    out[9] = 0;
    memcpy(out + PREFIX_BYTES, text, (size_t)n);
    out[HEADER_BYTES - 1] = '\n';
}

static void put_f32(float value, uint8_t out[4]) {
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    for (size_t k = 0; k < 4; k++) out[k] = (uint8_t)(word >> (8 * k));
}

pm_status pm_npy_write(const char *path, const float *values, size_t height, size_t width) {
    const size_t shape[] = {height, width};
    size_t data_bytes = height * width * sizeof(float);
    uint8_t *bytes = malloc(HEADER_BYTES + data_bytes);
    if (!bytes) return pm_fail(PM_E_MEMORY, "%s: no memory for %zu bytes", path, data_bytes);
    put_header(PM_NPY_F32, shape, 2, bytes);
    for (size_t i = 0; i < height * width; i++) put_f32(values[i], bytes + HEADER_BYTES + 4 * i);
    pm_status status = pm_file_write(path, bytes, HEADER_BYTES + data_bytes);
    free(bytes);
    return status;
}

const char *pm_npy_type_name(pm_npy_type type) {
    switch (type) {
    case PM_NPY_F32: return "float32";
    case PM_NPY_BOOL: return "bool";
    }
    return "?";
}

static pm_status write_header(pm_npy *npy) {
    uint8_t header[HEADER_BYTES];
    size_t shape[3] = {npy->rows};
    memcpy(shape + 1, npy->inner, npy->inner_count * sizeof *shape);
    put_header(npy->type, shape, npy->inner_count + 1, header);
    if (fwrite(header, 1, sizeof header, npy->out) == sizeof header) return PM_OK;
    return pm_fail_errno(errno);
}

pm_status pm_npy_begin(pm_npy *npy, FILE *out, pm_npy_type type, const size_t *inner,
                       size_t inner_count) {
    *npy = (pm_npy){.out = out, .type = type, .inner_count = inner_count};
    memcpy(npy->inner, inner, inner_count * sizeof *inner);
    return write_header(npy);
}

pm_status pm_npy_row(pm_npy *npy, const float *values) {
    size_t count = 1;
    for (size_t i = 0; i < npy->inner_count; i++) count *= npy->inner[i];
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[4];
        size_t size = 1;
        switch (npy->type) {
        case PM_NPY_F32:
            put_f32(values[i], bytes);
            size = 4;
            break;
        case PM_NPY_BOOL: bytes[0] = values[i] < 0 || values[i] > 0; break;
        }
        if (fwrite(bytes, 1, size, npy->out) != size) return pm_fail_errno(errno);
    }
    npy->rows++;
    return PM_OK;
}

pm_status pm_npy_end(pm_npy *npy) {
    if (fseek(npy->out, 0, SEEK_SET) != 0) return pm_fail_errno(errno);
    pm_status status = write_header(npy);
    if (!status && fseek(npy->out, 0, SEEK_END) != 0) status = pm_fail_errno(errno);
    return status;
}
