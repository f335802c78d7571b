/* Owns VACUUM. It writes a second file that takes the first one's place: a full disk or a kill
 * leaves the old one as it was, which VACUUM in place does only by way of a journal as large. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/store/db.h"
#include "lib/store/in_place.h"
#include "lib/store/keep.h"

/* Empty, with the owner and mode of the database: VACUUM INTO takes an empty file. */
static pm_status make_empty(const char *path, const struct stat *like) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return pm_file_fail(path, errno);
    pm_status status = PM_OK;
    /* Only root can give a file away; without that it is ours, as every new file is. */
    if (fchown(fd, like->st_uid, like->st_gid) != 0 && errno != EPERM)
        status = pm_file_fail(path, errno);
    if (!status && fchmod(fd, like->st_mode & 07777) != 0) status = pm_file_fail(path, errno);
    close(fd);
    return status;
}

/* Statistics for SQLite's planner, and a look at the copy before it is trusted. */
static pm_status finish_copy(const char *path) {
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_open_v2(
        path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    pm_status status = code == SQLITE_OK ? PM_OK : pm_db_fail(db, code, path);
    if (!status) status = pm_db_exec(db, "PRAGMA analysis_limit = 1000; ANALYZE");
    if (!status) {
        code = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL);
        if (code == SQLITE_OK) code = sqlite3_step(statement);
        const char *text =
            code == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
        if (!text)
            status = pm_db_fail(db, code, path);
        else if (strcmp(text, "ok") != 0)
            status = pm_fail(PM_E_IO, "the database is damaged, and stays as it is: %.200s", text);
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
    return status;
}

/* With nobody else in the file: a -wal that belongs to the old one must not lie beside the new. */
static pm_status take_place(pm_store *store, const char *copy) {
    pm_status status = pm_db_exec(store->db, "PRAGMA wal_checkpoint(TRUNCATE);"
                                             "PRAGMA journal_mode = DELETE");
    if (!status) status = pm_db_exec(store->db, "BEGIN EXCLUSIVE");
    if (status == PM_E_BUSY)
        return pm_fail(PM_E_BUSY, "somebody reads %s; try again once nobody does", store->path);
    if (!status) status = pm_database_put_in_place(copy, store->path, true);
    return status;
}

static pm_status rewrite(pm_store *store, const char *copy, uint64_t *before, uint64_t *after) {
    struct stat info;
    if (stat(store->path, &info) != 0) return pm_file_fail(store->path, errno);
    *before = (uint64_t)info.st_size;
    /* Of one that was killed: whoever holds the lock is alone. */
    pm_status status = pm_database_clear(copy);
    if (!status) status = make_empty(copy, &info);
    if (status) return status;
    status = pm_db_run(store, "VACUUM INTO ?1", PM_BINDS(pm_text(copy)));
    if (!status) status = finish_copy(copy);
    if (!status && stat(copy, &info) != 0) status = pm_file_fail(copy, errno);
    *after = (uint64_t)info.st_size;
    if (!status) status = take_place(store, copy);
    if (status) pm_database_unlink(copy);
    return status;
}

pm_status pm_store_compact(const char *path, uint64_t *before_bytes, uint64_t *after_bytes) {
    pm_store *store = NULL;
    char *copy = NULL;
    uint64_t before = 0, after = 0;
    if (access(path, F_OK) != 0)
        return pm_fail(PM_E_NOT_FOUND, "database %s: %s", path, strerror(errno));
    pm_status status = pm_store_open(path, &store);
    if (status) return status;
    if (asprintf(&copy, "%s.compact", store->path) < 0) {
        copy = NULL;
        status = pm_fail(PM_E_MEMORY, "no memory to write %s", path);
    }
    if (!status) status = rewrite(store, copy, &before, &after);
    if (!sqlite3_get_autocommit(store->db)) sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    free(copy);
    status = pm_store_end(&store, status);
    if (status) return status;
    *before_bytes = before;
    *after_bytes = after;
    return PM_OK;
}
