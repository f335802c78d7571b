/* Shared by the image tests: the committed pictures. Include after cmocka.h. */
#ifndef PM_TESTS_IMAGE_FILES_H
#define PM_TESTS_IMAGE_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/file.h"

typedef struct file_bytes {
    uint8_t *data;
    size_t size;
} file_bytes;

static inline void vector_path(const char *file, char *out, size_t size) {
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    snprintf(out, size, "%s/tests/data/images/%s", root ? root : ".", file);
}

static inline FILE *open_vector(const char *file) {
    char path[4096];
    vector_path(file, path, sizeof path);
    FILE *in = fopen(path, "r");
    if (!in) fail_msg("%s is missing: set PARCHMILL_SOURCE_DIR", path);
    return in;
}

static inline file_bytes read_vector(const char *file) {
    char path[4096];
    file_bytes out = {0};
    vector_path(file, path, sizeof path);
    if (pm_file_read(path, 1u << 20, &out.data, &out.size) != PM_OK)
        fail_msg("%s", pm_error_text());
    return out;
}

#endif
