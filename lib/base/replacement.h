/* The words of what takes the place of pixels that an evaluation takes away. Made by lib/image,
 * part of an evaluation in lib/spec. */
#ifndef PM_BASE_REPLACEMENT_H
#define PM_BASE_REPLACEMENT_H

#include "lib/base/status.h"

/* In normalised space. */
typedef enum pm_replacement {
    PM_REPLACEMENT_ZERO,
    PM_REPLACEMENT_MEAN,  /* each color's mean over the photograph */
    PM_REPLACEMENT_BLUR,  /* the photograph blurred, as ig's blurred baseline */
    PM_REPLACEMENT_NOISE, /* standard normal, the same for every heat map of a photograph */
    PM_REPLACEMENT_COUNT
} pm_replacement;

const char *pm_replacement_name(pm_replacement replacement); /* "zero", "mean", "blur", "noise" */
pm_status pm_replacement_parse(const char *name, pm_replacement *out); /* PM_E_USAGE */

#endif
