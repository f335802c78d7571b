/* Owns: the choice of an instruction set at run time. Compiled for the baseline. */
#include <stdlib.h>
#include <string.h>

#include "worker/engine/kernels/kernels.h"

extern const pm_kernels pm_kernels_avx512, pm_kernels_avx2, pm_kernels_baseline;

/* Best first. */
static const pm_kernels *const sets[] = {&pm_kernels_avx512, &pm_kernels_avx2,
                                         &pm_kernels_baseline};
enum { SET_COUNT = sizeof sets / sizeof *sets };

const pm_kernels *pm_kernels_named(const char *name) {
    for (size_t i = 0; i < SET_COUNT; i++)
        if (strcmp(sets[i]->name, name) == 0) return sets[i];
    return NULL;
}

pm_status pm_kernels_choose(const pm_kernels **out) {
    const char *wanted = getenv("PARCHMILL_ISA");
    if (wanted != NULL && *wanted != '\0') {
        const pm_kernels *set = pm_kernels_named(wanted);
        if (set == NULL)
            return pm_fail(
                PM_E_USAGE,
                "PARCHMILL_ISA=%s: no such instruction set; use avx512, avx2 or baseline", wanted);
        if (!set->usable())
            return pm_fail(PM_E_USAGE, "PARCHMILL_ISA=%s: this CPU does not have it", wanted);
        *out = set;
        return PM_OK;
    }
    for (size_t i = 0; i < SET_COUNT; i++)
        if (sets[i]->usable()) {
            *out = sets[i];
            return PM_OK;
        }
    return pm_fail(PM_E_INTERNAL, "no instruction set is usable"); /* the baseline always is */
}
