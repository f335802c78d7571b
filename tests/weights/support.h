/* What the tests of weights files share: paths, temporary files, expected values. */
#ifndef PM_TESTS_WEIGHTS_SUPPORT_H
#define PM_TESTS_WEIGHTS_SUPPORT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "parchgrad.h"

/* Every good file in tests/data/weights. */
static const char *const good_files[] = {
    "plain_zip.pth",      "plain_stream.pth",      "deflated.pth",     "plain.safetensors",
    "strided_zip.pth",    "strided_stream.pth",    "training_zip.pth", "training_stream.pth",
    "parameters_zip.pth", "parameters_stream.pth", "list_p2.pkl",      "list_p4.pkl",
    "list_p5.pkl",
};
enum { GOOD_FILES = sizeof good_files / sizeof *good_files, PATH_BYTES = 512 };

static inline const char *vector_path(const char *name, char out[PATH_BYTES]) {
    const char *source = getenv("PARCHMILL_SOURCE_DIR");
    snprintf(out, PATH_BYTES, "%s/tests/data/weights/%s", source ? source : ".", name);
    return out;
}

static inline uint8_t *vector_bytes(const char *name, size_t *out_size) {
    char path[PATH_BYTES];
    uint8_t *bytes = NULL;
    if (pm_file_read(vector_path(name, path), 1 << 20, &bytes, out_size)) fail_msg("%s", path);
    return bytes;
}

/* A temporary file with these bytes; unlink and free its path. */
static inline char *temporary(const void *bytes, size_t size) {
    char *path = strdup("/tmp/parchmill-weights-XXXXXX");
    assert_non_null(path);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
    return path;
}

/* The stream that make_weights_vectors.py writes: rounded down to 1/64. */
static inline float synth_value(const char *name, size_t index) {
    float value;
    pm_synth(name, index, &value, 1);
    return floorf(value * 64.0f) / 64.0f;
}

/* Read every tensor of at most a million elements; the first failure, if any. */
static inline pm_status read_everything(const pm_weights *weights) {
    for (size_t i = 0; i < pm_weights_count(weights); i++) {
        const pm_tensor_info *info = pm_weights_at(weights, i);
        if (info->count > 1000000) continue;
        float *values = malloc((info->count + 1) * sizeof *values);
        assert_non_null(values);
        pm_status status = pm_weights_read(weights, info, values);
        free(values);
        if (status) return status;
    }
    return PM_OK;
}

#endif
