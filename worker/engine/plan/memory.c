/* Owns: how the engine asks for large aligned memory. */
#include "worker/engine/plan/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LINE_BYTES = 64, HUGE_BYTES = 2 * 1024 * 1024 };

float *pm_floats_new(size_t count) {
    size_t align = count >= HUGE_BYTES / sizeof(float) ? HUGE_BYTES : LINE_BYTES;
    if (count > (SIZE_MAX - HUGE_BYTES) / sizeof(float)) return NULL;
    size_t bytes = (count * sizeof(float) + align) / align * align;
    void *memory = aligned_alloc(align, bytes);
    if (memory == NULL) return NULL;
    /* Fewer TLB misses; where the kernel will not, nothing is lost. */
    if (align == HUGE_BYTES) (void)madvise(memory, bytes, MADV_HUGEPAGE);
    return memset(memory, 0, bytes);
}
