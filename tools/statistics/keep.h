/* Statistics into the database, under a name, and their file beside it. */
#ifndef PM_TOOLS_STATISTICS_KEEP_H
#define PM_TOOLS_STATISTICS_KEEP_H

#include "lib/spec/spec.h"
#include "tools/statistics/compute.h"

/* DB.statistics, where the files lie by SHA-256. From malloc; NULL without memory. */
char *pm_stats_folder(const char *db);

/* 1 to 100 letters, digits, '.', '_', '-', no '.' in front: what cannot be taken for a path. */
pm_status pm_stats_check_name(const char *name);

typedef struct pm_stats_label {
    const char *name, *note;
    bool force;
    const pm_run_spec *spec; /* the model: weights and first configuration */
    uint64_t run_id;         /* 0: imported */
} pm_stats_label;

/* Open the database as its only writer, write, close; then give the file its place. *existed: the
 * same statistics were there by that name. PM_E_BUSY: a broker has the database; PM_E_MISMATCH: see
 * pm_op_statistics. */
pm_status pm_stats_keep(const char *db, const pm_stats_made *made, const pm_stats_label *label,
                        bool *existed);

#endif
