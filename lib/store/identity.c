/* Owns the words about a file that is not ours, or of another schema. */
#include "lib/store/identity.h"

#include <stdio.h>

pm_status pm_identity_not_newer(const char *path, int64_t schema) {
    if (schema <= pm_migration_count) return PM_OK;
    return pm_fail(PM_E_MISMATCH,
                   "%s has schema %lld, this parchmill knows up to %d; use a newer parchmill", path,
                   (long long)schema, pm_migration_count);
}

pm_status pm_identity_known(const char *path, int64_t application_id, int64_t schema) {
    if (application_id == PM_APPLICATION_ID) return pm_identity_not_newer(path, schema);
    return pm_fail(PM_E_MISMATCH, "%s is not a parchmill database", path);
}

pm_status pm_identity_current(const char *path, int64_t schema) {
    if (schema == pm_migration_count) return PM_OK;
    if (schema > pm_migration_count) return pm_identity_not_newer(path, schema);
    return pm_fail(PM_E_MISMATCH,
                   "%s has schema %lld, this parchmill %d; `parchmill refresh --db %s` brings it "
                   "(or a copy of it) up to date",
                   path, (long long)schema, pm_migration_count, path);
}

pm_status pm_identity_write(sqlite3 *db, int schema) {
    char pragmas[80];
    snprintf(pragmas, sizeof pragmas, "PRAGMA application_id=%d; PRAGMA user_version=%d",
             PM_APPLICATION_ID, schema);
    return pm_db_exec(db, pragmas);
}
