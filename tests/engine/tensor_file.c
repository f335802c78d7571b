/* Owns the writing of test tensors. */
#include "tests/engine/tensor_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/text.h"
#include "parchgrad.h"

static void must(pm_status status) {
    if (!status) return;
    fprintf(stderr, "%s\n", pm_error_text());
    abort();
}

static size_t elements(const pm_file_tensor *t) {
    size_t count = 1;
    for (size_t i = 0; i < t->rank; i++) count *= t->shape[i];
    return count;
}

void pm_tensor_file_write(const char *path, const pm_file_tensor *tensors, size_t count) {
    pm_buffer header = {0}, all = {0};
    size_t offset = 0;
    must(pm_buffer_printf(&header, "{"));
    for (size_t i = 0; i < count; i++) {
        const pm_file_tensor *t = &tensors[i];
        must(pm_buffer_printf(&header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "",
                              t->name));
        for (size_t k = 0; k < t->rank; k++)
            must(pm_buffer_printf(&header, "%s%zu", k ? "," : "", t->shape[k]));
        size_t end = offset + 4 * elements(t);
        must(pm_buffer_printf(&header, "],\"data_offsets\":[%zu,%zu]}", offset, end));
        offset = end;
    }
    must(pm_buffer_printf(&header, "}"));
    while (header.size % 8) must(pm_buffer_printf(&header, " "));
    uint64_t size = header.size;
    must(pm_buffer_append(&all, &size, sizeof size));
    must(pm_buffer_append(&all, header.bytes, header.size));
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 4 * elements(&tensors[i]);
        void *zeros = calloc(1, bytes + 1);
        if (!zeros) abort();
        must(pm_buffer_append(&all, tensors[i].values ? (const void *)tensors[i].values : zeros,
                              bytes));
        free(zeros);
    }
    must(pm_file_write(path, all.bytes, all.size));
    pm_buffer_fini(&header);
    pm_buffer_fini(&all);
}

pm_weights *pm_tensor_file(const pm_file_tensor *tensors, size_t count) {
    char folder[] = "/tmp/parchmill-test-XXXXXX", path[64];
    if (!mkdtemp(folder)) abort();
    snprintf(path, sizeof path, "%s/t.safetensors", folder);
    pm_tensor_file_write(path, tensors, count);
    pm_weights *weights;
    must(pm_weights_open(path, &weights));
    unlink(path);
    rmdir(folder);
    return weights;
}
