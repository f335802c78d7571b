/* Owns the entry point of the loadable extension: `.load parchmill`. */
#include "lib/sql/internal.h"

#include "lib/sql/sql.h"

const sqlite3_api_routines *sqlite3_api;

/* SQLite finds it by its file's name. */
__attribute__((visibility("default"))) int sqlite3_parchmill_init(sqlite3 *db, char **error,
                                                                  const sqlite3_api_routines *api);

int sqlite3_parchmill_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
    sqlite3_api = api;
    if (sqlite3_libversion_number() < 3031000) { /* before innocuous functions */
        *error = sqlite3_mprintf("parchmill needs SQLite 3.31 or later, this is %s",
                                 sqlite3_libversion());
        return SQLITE_ERROR;
    }
    pm_status status = pm_sql_register(db);
    if (!status) return SQLITE_OK;
    *error = sqlite3_mprintf("%s", pm_error_text());
    return status == PM_E_MEMORY ? SQLITE_NOMEM : SQLITE_ERROR;
}
