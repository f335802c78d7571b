/* A finished database file takes its name. Inside lib/store. */
#ifndef PM_STORE_IN_PLACE_H
#define PM_STORE_IN_PLACE_H

#include <stdbool.h>

#include "lib/base/status.h"

/* fsync, rename, fsync of the folder. Without `replace` only where nothing is: PM_E_USAGE. The file
 * must be closed and without a -wal. */
pm_status pm_database_put_in_place(const char *from, const char *path, bool replace);

/* Remove what one that was killed left at `path`: an empty file, one whose first page was not
 * written yet, or a database of ours. PM_E_MISMATCH: something else, which stays. */
pm_status pm_database_clear(const char *path);

/* The file and what SQLite keeps beside it; what is not there is no failure. */
void pm_database_unlink(const char *path);

#endif
