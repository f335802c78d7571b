/* Owns the look at a database from outside. Knows no operation. */
#include "lib/store/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/store/db.h"

enum { BUSY_MS = 2000 };

const char *pm_store_sqlite_version(void) { return sqlite3_libversion(); }

/* Reads the first row of `sql`; *text may be NULL. */
static pm_status first(sqlite3 *db, const char *sql, int64_t *number, char *text, size_t size) {
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(statement);
    if (code == SQLITE_ROW && number) *number = sqlite3_column_int64(statement, 0);
    const char *found =
        code == SQLITE_ROW && text ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (found) snprintf(text, size, "%s", found);
    pm_status status =
        code == SQLITE_ROW || code == SQLITE_DONE ? PM_OK : pm_db_fail(db, code, "database");
    sqlite3_finalize(statement);
    return status;
}

static pm_status count_rows(sqlite3 *db, const char *sql, uint64_t *count) {
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    *count = 0;
    while (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        ++*count;
        code = SQLITE_OK;
    }
    pm_status status = code == SQLITE_DONE ? PM_OK : pm_db_fail(db, code, "database");
    sqlite3_finalize(statement);
    return status;
}

/* flock leaves a line in /proc/locks: "5: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF". */
static bool is_locked(const struct stat *file) {
    char line[256];
    bool found = false;
    FILE *locks = fopen("/proc/locks", "re");
    while (locks && !found && fgets(line, sizeof line, locks)) {
        unsigned major_number, minor_number;
        unsigned long inode;
        const char *flock = strstr(line, "FLOCK");
        if (!flock ||
            sscanf(flock, "FLOCK %*s %*s %*d %x:%x:%lu", &major_number, &minor_number, &inode) != 3)
            continue;
        found = inode == file->st_ino && major_number == major(file->st_dev) &&
                minor_number == minor(file->st_dev);
    }
    if (locks) fclose(locks);
    return found;
}

static void look_at_holder(const char *path, pm_database_facts *out) {
    char *real = realpath(path, NULL), *lock = NULL;
    struct stat file;
    if (real && asprintf(&lock, "%s.lock", real) < 0) lock = NULL;
    FILE *text = lock && stat(lock, &file) == 0 && is_locked(&file) ? fopen(lock, "re") : NULL;
    if (text) {
        out->held = true;
        if (fscanf(text, "%lu %127s", &out->holder_pid, out->holder_host) < 1) out->holder_pid = 0;
        fclose(text);
    }
    free(lock);
    free(real);
}

static void look_at_sizes(const char *path, pm_database_facts *out) {
    struct stat file;
    char *wal = NULL;
    if (stat(path, &file) == 0) out->size_bytes = (uint64_t)file.st_size;
    if (asprintf(&wal, "%s-wal", path) < 0) return;
    if (stat(wal, &file) == 0) out->wal_bytes = (uint64_t)file.st_size;
    free(wal);
}

static pm_status look_inside(sqlite3 *db, uint64_t quick_bytes, pm_database_facts *out) {
    int64_t number = 0;
    out->schema_known = pm_migration_count;
    pm_status status = first(db, "PRAGMA application_id", &number, NULL, 0);
    out->application_id = (int)number;
    if (!status) status = first(db, "PRAGMA user_version", &number, NULL, 0);
    out->schema = (int)number;
    out->ours = out->application_id == PM_APPLICATION_ID;
    if (!status)
        status =
            first(db, "PRAGMA journal_mode", NULL, out->journal_mode, sizeof out->journal_mode);
    if (status) return status;
    out->quick = out->size_bytes > quick_bytes;
    status = first(db, out->quick ? "PRAGMA quick_check(1)" : "PRAGMA integrity_check(1)", NULL,
                   out->trouble, sizeof out->trouble);
    out->sound = !status && strcmp(out->trouble, "ok") == 0;
    if (!status && !out->quick) {
        status = count_rows(db, "PRAGMA foreign_key_check", &out->links_broken);
        out->links_checked = !status;
    }
    if (!status && out->ours && out->schema >= 1)
        status =
            first(db,
                  "SELECT max(t) FROM (SELECT max(started_ms) AS t FROM broker UNION ALL"
                  " SELECT max(last_seen_ms) FROM worker UNION ALL"
                  " SELECT max(submitted_ms) FROM run UNION ALL"
                  " SELECT max(finished_ms) FROM run UNION ALL SELECT max(at_ms) FROM failure)",
                  &out->last_write_ms, NULL, 0);
    return status;
}

pm_status pm_database_check(const char *path, uint64_t quick_bytes, pm_database_facts *out) {
    sqlite3 *db = NULL;
    *out = (pm_database_facts){.schema_known = pm_migration_count};
    if (access(path, F_OK) != 0)
        return pm_fail(PM_E_NOT_FOUND, "database %s: %s", path, strerror(errno));
    look_at_sizes(path, out);
    look_at_holder(path, out);
    int code = sqlite3_open_v2(
        path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    pm_status status = code == SQLITE_OK ? PM_OK : pm_db_fail(db, code, path);
    if (!status) {
        sqlite3_busy_timeout(db, BUSY_MS);
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        status = look_inside(db, quick_bytes, out);
    }
    sqlite3_close(db);
    return status;
}
