/* Statistics by the name that they have in a database. Reads it, beside whoever writes. */
#ifndef PM_TOOLS_STATISTICS_NAMED_H
#define PM_TOOLS_STATISTICS_NAMED_H

#include <stdbool.h>

#include "lib/base/hash.h"
#include "lib/base/rows.h"
#include "lib/base/status.h"

enum { PM_STATS_PATH_BYTES = 4096 };

/* What a name stands for. */
typedef struct pm_stats_named {
    char name[128], arch[64];
    pm_sha256 sha256, weights; /* of their file; of the model's */
    bool gathered;             /* here, and the next two hold */
    pm_sha256 data_set, configuration;
} pm_stats_named;

/* PM_E_NOT_FOUND: no such database, or no such name; the text lists the names there are. */
pm_status pm_stats_named_find(const char *db, const char *name, pm_stats_named *out);

/* Their .safetensors file beside the database, written now if it is not there. The same error, and
 * PM_E_MISMATCH: they are of another model than `arch` with the weights `weights`. */
pm_status pm_stats_named_file(const char *db, const char *name, const char *arch,
                              const pm_sha256 *weights, char path[PM_STATS_PATH_BYTES]);

/* The same bytes as a file of the caller's choice. */
pm_status pm_stats_named_export(const char *db, const char *name, const char *path);
/* The same from wherever rows come; `where` names it in texts. */
pm_status pm_stats_named_export_from(const pm_asker *from, const char *where, const char *name,
                                     const char *path);

#endif
