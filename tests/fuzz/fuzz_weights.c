/* Fuzzes pm_weights_open and pm_weights_read through a file in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "parchgrad.h"
#include "tests/fuzz/fuzz.h"

enum { ELEMENTS_MAX = 1 << 16 };

static void read_tensors(const pm_weights *weights) {
    for (size_t i = 0; i < pm_weights_count(weights); i++) {
        const pm_tensor_info *info = pm_weights_at(weights, i);
        if (pm_weights_find(weights, info->name) != info) abort();
        if (info->count > ELEMENTS_MAX) continue;
        float *values = malloc((info->count ? info->count : 1) * sizeof *values);
        if (!values) abort();
        (void)pm_weights_read(weights, info, values);
        free(values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static int fd = -1;
    char path[64];
    pm_weights *weights = NULL;
    if (fd < 0) fd = memfd_create("weights", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (pm_weights_open(path, &weights) == PM_OK) {
        read_tensors(weights);
    } else if (weights || !*pm_error_text()) {
        abort(); /* a failure leaves the pointer alone and says why */
    }
    pm_weights_free(&weights);
    return 0;
}
