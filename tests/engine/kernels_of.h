/* For tests of kernels: the instruction sets of this CPU, arrays with values in them. Included
 * behind cmocka.h. */
#ifndef PM_TESTS_ENGINE_KERNELS_OF_H
#define PM_TESTS_ENGINE_KERNELS_OF_H

#include "lib/base/random.h"
#include "worker/engine/kernels/kernels.h"

/* Sets 0 to 2; NULL where this CPU does not have it. */
static inline const pm_kernels *kernels_of(size_t index) {
    static const char *const names[] = {"avx512", "avx2", "baseline"};
    const pm_kernels *k = pm_kernels_named(names[index]);
    assert_non_null(k);
    return k->usable() ? k : NULL;
}

/* Aligned, filled from the counter hash; freed by the caller. */
static inline float *filled(const char *name, size_t count) {
    float *p = aligned_alloc(64, (count * sizeof *p / 64 + 1) * 64);
    assert_non_null(p);
    pm_synth(name, 0, p, count);
    return p;
}

#endif
