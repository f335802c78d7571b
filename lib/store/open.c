/* Owns the life of a database file: lock, identity, migrations, journal mode. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/store/db.h"
#include "lib/store/identity.h"

enum { BUSY_MS = 5000 };

/* The real path, so that two names of one file have one lock; the file need not exist yet. */
static pm_status real_path(const char *path, char **out) {
    char *real = realpath(path, NULL);
    if (!real && errno == ENOENT) {
        const char *slash = strrchr(path, '/');
        char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
        char *real_folder = folder ? realpath(folder, NULL) : NULL;
        const char *name = slash ? slash + 1 : path;
        if (real_folder && asprintf(&real, "%s/%s", real_folder, name) < 0) real = NULL;
        free(folder);
        free(real_folder);
    }
    if (!real) return pm_fail(PM_E_NOT_FOUND, "database %s: %s", path, strerror(errno));
    *out = real;
    return PM_OK;
}

static pm_status held_by_another(const pm_store *store, int fd) {
    char text[300];
    ssize_t size = pread(fd, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = 0;
    unsigned long pid = 0;
    char host[256] = "?";
    if (sscanf(text, "%lu %255s", &pid, host) < 1) pid = 0;
    return pm_fail(PM_E_BUSY, "another broker (pid %lu on %s) serves %s; stop it, or submit to it",
                   pid, host, store->path);
}

/* flock on a side file: closing any descriptor of the database itself would drop SQLite's locks.
 * The file is unlinked at a clean end, so whoever gets the lock checks that its name still leads
 * to it. */
static pm_status lock(pm_store *store) {
    for (;;) {
        int fd = open(store->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0) {
            bool denied = errno == EACCES || errno == EROFS || errno == EPERM;
            return pm_fail(denied ? PM_E_DENIED : pm_status_of_errno(errno),
                           "database %s: cannot write %s: %s", store->path, store->lock_path,
                           strerror(errno));
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            pm_status status = errno == EWOULDBLOCK ? held_by_another(store, fd)
                                                    : pm_fail(PM_E_IO, "cannot lock %s: %s",
                                                              store->lock_path, strerror(errno));
            close(fd);
            return status;
        }
        struct stat ours, named;
        if (fstat(fd, &ours) == 0 && stat(store->lock_path, &named) == 0 &&
            ours.st_ino == named.st_ino && ours.st_dev == named.st_dev) {
            store->lock_fd = fd;
            return PM_OK;
        }
        close(fd);
    }
}

/* For the message of whoever comes second; not needed for the lock, so a full disk is no error. */
static void sign_lock(const pm_store *store) {
    char host[256] = "?", line[300];
    gethostname(host, sizeof host - 1);
    int size = snprintf(line, sizeof line, "%ld %s\n", (long)getpid(), host);
    if (ftruncate(store->lock_fd, 0) < 0 ||
        pwrite(store->lock_fd, line, (size_t)size, 0) != (ssize_t)size)
        return;
}

static pm_status pragma_int(sqlite3 *db, const char *sql, int *out) {
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) *out = sqlite3_column_int(statement, 0);
    }
    pm_status status = code == SQLITE_ROW ? PM_OK : pm_db_fail(db, code, "database");
    sqlite3_finalize(statement);
    return status;
}

static pm_status migrate(pm_store *store, int version) {
    for (int i = version; i < pm_migration_count; i++) {
        pm_status status = pm_db_exec(store->db, "BEGIN IMMEDIATE");
        if (!status) status = pm_db_exec(store->db, pm_migrations[i].sql);
        if (!status) status = pm_identity_write(store->db, i + 1);
        if (!status) status = pm_db_exec(store->db, "COMMIT");
        if (status) {
            pm_status why =
                pm_fail_in(status, "%s: migration %s", store->path, pm_migrations[i].name);
            if (!sqlite3_get_autocommit(store->db))
                sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
            return why;
        }
    }
    return PM_OK;
}

/* Ours and not newer, or empty. Looked at before anything is written. */
static pm_status identify(pm_store *store, int *version) {
    int id = 0, tables = 0;
    pm_status status = pragma_int(store->db, "PRAGMA application_id", &id);
    if (!status) status = pragma_int(store->db, "PRAGMA user_version", version);
    if (!status) status = pragma_int(store->db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (status == PM_E_FORMAT)
        return pm_fail(PM_E_FORMAT, "%s is not a database; give another --db", store->path);
    if (status) return pm_fail_in(status, "%s", store->path);
    if (id == 0 && *version == 0 && tables == 0) return PM_OK;
    if (id != PM_APPLICATION_ID)
        return pm_fail(PM_E_MISMATCH, "%s is another program's database; give another --db",
                       store->path);
    return pm_identity_not_newer(store->path, *version);
}

/* In place of SQLite's own checkpoints after a commit, whose errors nobody is told of. */
static int count_log(void *user, sqlite3 *db, const char *name, int pages) {
    (void)db;
    (void)name;
    ((pm_store *)user)->log_pages = pages;
    return SQLITE_OK;
}

static pm_status set_up(pm_store *store) {
    int version = 0;
    int code = sqlite3_open_v2(store->path, &store->db,
                               /* URI: a merge attaches others by mode=ro. Ours begins with '/'. */
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                   SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_URI,
                               NULL);
    if (code != SQLITE_OK) {
        pm_status why = pm_db_fail(store->db, code, store->path);
        if (why != PM_E_IO) return why;
        return pm_fail(why, "cannot open database %s: %s", store->path,
                       strerror(sqlite3_system_errno(store->db)));
    }
    sqlite3_busy_timeout(store->db, BUSY_MS);
    sqlite3_wal_hook(store->db, count_log, store);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (sqlite3_db_readonly(store->db, "main") == 1)
        return pm_fail(PM_E_DENIED, "database %s is read-only; make it writable or copy it",
                       store->path);
    pm_status status = identify(store, &version);
    if (!status)
        status = pm_db_exec(store->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                                       "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;"
                                       "PRAGMA cell_size_check=ON; PRAGMA cache_size=-65536;"
                                       /* A long reader lets the -wal file grow; what it grew by
                                        * is given back. */
                                       "PRAGMA journal_size_limit=8388608");
    return status ? status : migrate(store, version);
}

static void finalize_all(pm_store *store) {
    for (size_t i = 0; i < store->statement_count; i++)
        sqlite3_finalize(store->statements[i].statement);
    store->statement_count = 0;
}

static void discard(pm_store *store) {
    finalize_all(store);
    pm_accumulators_drop(store, true);
    pm_summaries_drop(store);
    free(store->accumulators);
    sqlite3_close(store->db);
    if (store->lock_fd >= 0) close(store->lock_fd);
    free(store->path);
    free(store->lock_path);
    free(store);
}

pm_status pm_store_open(const char *path, pm_store **out) {
    pm_store *store = calloc(1, sizeof *store);
    if (!store) return pm_fail(PM_E_MEMORY, "no memory to open %s", path);
    store->lock_fd = -1;
    pm_status status = real_path(path, &store->path);
    if (!status && asprintf(&store->lock_path, "%s.lock", store->path) < 0) {
        store->lock_path = NULL;
        status = pm_fail(PM_E_MEMORY, "no memory to open %s", path);
    }
    /* A file that may not be written says so itself, before the side file complains. */
    if (!status && access(store->path, F_OK) == 0 && access(store->path, W_OK) != 0)
        status = pm_fail(PM_E_DENIED, "database %s is read-only; make it writable or copy it",
                         store->path);
    if (!status) status = lock(store);
    if (!status) {
        sign_lock(store);
        status = set_up(store);
        if (status) unlink(store->lock_path);
    }
    if (status) {
        discard(store);
        return status;
    }
    *out = store;
    return PM_OK;
}

pm_status pm_store_close(pm_store **store) {
    pm_store *s = *store;
    *store = NULL;
    if (!s) return PM_OK;
    finalize_all(s);
    sqlite3_busy_timeout(s->db, 500);
    pm_status status = pm_db_exec(s->db, "PRAGMA wal_checkpoint(TRUNCATE);"
                                         "PRAGMA journal_mode=DELETE");
    if (status)
        status = pm_fail_in(status, "%s stays in several files (keep -wal beside it)", s->path);
    if (!status && s->damaged) status = pm_fail(s->damaged, "%s", s->damage);
    sqlite3_close(s->db);
    s->db = NULL;
    unlink(s->lock_path);
    discard(s);
    return status;
}

pm_status pm_store_end(pm_store **store, pm_status status) {
    char text[1024];
    snprintf(text, sizeof text, "%s", pm_error_text());
    pm_status closed = pm_store_close(store);
    if (status) return pm_fail(status, "%s", text);
    return closed == PM_E_BUSY ? PM_OK : closed;
}

pm_status pm_store_epoch(pm_store *store, uint8_t epoch[8]) {
    uint8_t random[8];
    char host[256] = "?";
    gethostname(host, sizeof host - 1);
    pm_random_bytes(random, sizeof random);
    pm_status status = pm_db_run(
        store, "INSERT INTO broker (random, host, pid, started_ms) VALUES (?1, ?2, ?3, ?4)",
        PM_BINDS(pm_blob(random, sizeof random), pm_text(host), pm_int(getpid()),
                 pm_int(pm_clock_wall_ms())));
    if (!status) memcpy(epoch, random, sizeof random);
    return status;
}
