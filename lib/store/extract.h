/* One run of a database in a file of its own.
 *
 * The file is made by the migrations and filled with what the run has: its configurations, images,
 * results and all that hangs on them, the statistics it went by, its open tasks. It is one plain
 * file (journal_mode DELETE). The source is opened read-only, also beside a broker, and seen as it
 * was at one moment. A result that another run had computed says this run in the copy. The sums of
 * channels are over all images of a configuration, whichever runs brought them, also in the copy.
 */
#ifndef PM_STORE_EXTRACT_H
#define PM_STORE_EXTRACT_H

#include <signal.h>
#include <stdint.h>

#include "lib/base/status.h"

/* Tables that may stay behind, as bits. */
enum {
    PM_EXTRACT_HEAT_MAP = 1 << 0,
    PM_EXTRACT_CHANNEL_GRADIENT_ITEM = 1 << 1,
    PM_EXTRACT_LAYER_GRADIENT = 1 << 2,
    PM_EXTRACT_PERTURBATION = 1 << 3,
    PM_EXTRACT_ACTIVATION = 1 << 4,
    PM_EXTRACT_CHANNEL_STATISTICS = 1 << 5,
    PM_EXTRACT_CLASS_STATISTICS = 1 << 6,
    PM_EXTRACT_FAILURE = 1 << 7,
};

/* The bit of a table's name. PM_E_USAGE lists them. */
pm_status pm_extract_part_parse(const char *name, unsigned *bit);

/* Make `target`, which must not be there. `without`: bits. What a result says of its having rows in
 * a table that stays behind is put right. PM_E_NOT_FOUND: no such run; PM_E_MISMATCH: not our
 * schema's version; PM_E_FULL, PM_E_IO ... *stop (may be NULL)
 * set meanwhile: PM_E_CANCELLED. On failure there is no target. */
pm_status pm_store_extract(const char *source, uint64_t run_id, unsigned without,
                           const volatile sig_atomic_t *stop, const char *target);

#endif
