/* What the targets of weights files do with a table of tensors that a reader has filled. */
#ifndef PM_TESTS_FUZZ_TENSORS_H
#define PM_TESTS_FUZZ_TENSORS_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/engine/weights/weights.h"

enum { FUZZ_ELEMENTS_MAX = 1 << 14 };

/* Read every tensor that is not large, find each by its name. */
static inline void fuzz_read_tensors(const pm_weights *weights) {
    for (size_t i = 0; i < pm_weights_count(weights); i++) {
        const pm_tensor_info *info = pm_weights_at(weights, i);
        if (pm_weights_find(weights, info->name) != info) abort();
        if (info->count > FUZZ_ELEMENTS_MAX) continue;
        /* Of exactly that size: one element too many is seen. */
        float *values = malloc((info->count ? info->count : 1) * sizeof *values);
        if (!values) abort();
        (void)pm_weights_read(weights, info, values);
        free(values);
    }
}

/* A file in memory with these bytes, the same one each time. */
static inline int fuzz_file(const uint8_t *bytes, size_t size) {
    static int fd = -1;
    if (fd < 0) fd = memfd_create("weights", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size) abort();
    return fd;
}

/* An opened, empty table over such a file, as pm_weights_open makes it; its descriptor is its own.
 */
static inline pm_weights *fuzz_weights(const uint8_t *bytes, size_t size) {
    pm_weights *weights = calloc(1, sizeof *weights);
    if (!weights || !(weights->path = malloc(5))) abort();
    for (size_t i = 0; i < 5; i++) weights->path[i] = "fuzz"[i];
    weights->size_bytes = size;
    weights->fd = dup(fuzz_file(bytes, size));
    if (weights->fd < 0) abort();
    return weights;
}

/* What follows a reader: the last checks, then every tensor. */
static inline void fuzz_finish(pm_weights *weights, pm_status status) {
    if (!status) status = pm_weights_finish(weights);
    if (!status)
        fuzz_read_tensors(weights);
    else if (!*pm_error_text())
        abort(); /* a failure says why */
    pm_weights_free(&weights);
}

#endif
