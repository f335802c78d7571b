/* Whose file a database is, and of which schema: SQLite's application_id and user_version, which
 * the caller has read, against this program's. Inside lib/store.
 *
 * Every failure is PM_E_MISMATCH and its text names `path`. */
#ifndef PM_STORE_IDENTITY_H
#define PM_STORE_IDENTITY_H

#include "lib/store/db.h"

/* A database of ours that this program can read. */
pm_status pm_identity_known(const char *path, int64_t application_id, int64_t schema);
/* Its schema alone: this one or an older. */
pm_status pm_identity_not_newer(const char *path, int64_t schema);
/* This program's very schema; an older one is told what brings it there. */
pm_status pm_identity_current(const char *path, int64_t schema);

/* Sign `db` as ours, of that schema; failures of pm_db_exec. */
pm_status pm_identity_write(sqlite3 *db, int schema);

#endif
