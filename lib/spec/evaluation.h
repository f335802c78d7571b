/* How a run evaluates its heat maps: perturbation curves (lib/stats/perturbation.h) at which
 * ratios, and what takes the place of the pixels that are taken away. Part of what a run records,
 * not of a configuration: a heat map is the same whether it is evaluated or not.
 *
 * Canonical text: "" for off, else REPLACEMENT:RATIO,RATIO ... with the fewest digits (15 to 17)
 * that give the ratio back: "zero:0,0.1,0.2"; with noise its seed: "noise@7:0,0.5". The same text
 * travels on the wire and stands in the database. */
#ifndef PM_SPEC_EVALUATION_H
#define PM_SPEC_EVALUATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/replacement.h"
#include "lib/base/status.h"

enum { PM_RATIOS_MAX = 64, PM_EVALUATION_BYTES = 2048 };

typedef struct pm_evaluation {
    bool on; /* nothing below counts where it is off */
    size_t ratio_count;
    double ratios[PM_RATIOS_MAX]; /* shares of pixels; 0 first, ascending, at most 1 */
    pm_replacement replacement;
    uint64_t seed; /* of the noise; 0 without */
} pm_evaluation;

/* On: zero at 0, 0.1 ... 0.5. */
void pm_evaluation_defaults(pm_evaluation *out);

/* Ratios as typed, "0.1,0.5": 0 is put in front where it is missing. PM_E_USAGE: not ascending, not
 * within 0..1, more than PM_RATIOS_MAX. */
pm_status pm_evaluation_set_ratios(const char *text, pm_evaluation *evaluation);

void pm_evaluation_format(const pm_evaluation *evaluation, char out[PM_EVALUATION_BYTES]);
/* The reverse, of canonical text alone: PM_E_FORMAT. */
pm_status pm_evaluation_parse(const char *text, pm_evaluation *out);

#endif
