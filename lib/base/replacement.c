/* Owns the names of replacements. */
#include "lib/base/replacement.h"

#include <stddef.h>
#include <string.h>

static const char *const names[PM_REPLACEMENT_COUNT] = {"zero", "mean", "blur", "noise"};

const char *pm_replacement_name(pm_replacement replacement) { return names[replacement]; }

pm_status pm_replacement_parse(const char *name, pm_replacement *out) {
    for (size_t i = 0; i < PM_REPLACEMENT_COUNT; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (pm_replacement)i;
            return PM_OK;
        }
    }
    return pm_fail(PM_E_USAGE,
                   "replacement '%.80s' is not known; there are: zero, mean, blur, noise", name);
}
