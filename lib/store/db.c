/* Owns prepared statements and the translation of SQLite's answers; knows no table. */
#include "lib/store/db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"

/* A full disk shows as SQLITE_FULL, or as a failed write whose errno says so (the -shm file, a
 * quota, a size limit): errno, because sqlite3_system_errno is not set by a COMMIT. It is cleared
 * before every step. A failed fsync is never taken for that: what it lost is not known. */
static bool is_full(int code, int error) {
    if ((code & 0xff) == SQLITE_FULL) return true;
    if (code != SQLITE_IOERR_WRITE && code != SQLITE_IOERR_TRUNCATE &&
        code != SQLITE_IOERR_SHMSIZE && code != SQLITE_IOERR_SHMMAP)
        return false;
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

pm_status pm_db_fail(sqlite3 *db, int code, const char *what) {
    const int error = errno;
    if (db) code = sqlite3_extended_errcode(db);
    const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
    if (is_full(code, error)) return pm_fail(PM_E_FULL, "%s: no space left for the database", what);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return pm_fail(PM_E_BUSY, "%s: another program has the database locked", what);
    case SQLITE_NOMEM: return pm_fail(PM_E_MEMORY, "%s: out of memory", what);
    case SQLITE_NOTADB: return pm_fail(PM_E_FORMAT, "%s: not a database", what);
    case SQLITE_READONLY: return pm_fail(PM_E_DENIED, "%s: %s", what, text);
    case SQLITE_TOOBIG: return pm_fail(PM_E_LIMIT, "%s: %s", what, text);
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
    case SQLITE_PERM: return pm_fail(PM_E_IO, "%s: %s (SQLite %d)", what, text, code);
    default: return pm_fail(PM_E_INTERNAL, "%s: %s (SQLite %d)", what, text, code);
    }
}

pm_status pm_db_exec(sqlite3 *db, const char *sql) {
    errno = 0;
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? PM_OK : pm_db_fail(db, code, "database");
}

void pm_db_checkpoint(pm_store *store, bool always) {
    if (store->damaged || (!always && store->log_pages < PM_CHECKPOINT_PAGES)) return;
    errno = 0;
    int code = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (code == SQLITE_OK) return;
    pm_status status = pm_db_fail(store->db, code, "checkpoint");
    if (status == PM_E_FULL || status == PM_E_BUSY || status == PM_E_MEMORY) return;
    store->damaged = status;
    snprintf(store->damage, sizeof store->damage, "%s", pm_error_text());
}

static pm_status prepare(pm_store *store, const char *sql, sqlite3_stmt **out) {
    for (size_t i = 0; i < store->statement_count; i++) {
        if (store->statements[i].sql == sql) {
            *out = store->statements[i].statement;
            return PM_OK;
        }
    }
    if (store->statement_count == PM_STATEMENTS_MAX)
        return pm_fail(PM_E_INTERNAL, "more than %d statements", PM_STATEMENTS_MAX);
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
    if (code != SQLITE_OK) return pm_db_fail(store->db, code, "database");
    store->statements[store->statement_count].sql = sql;
    store->statements[store->statement_count++].statement = statement;
    *out = statement;
    return PM_OK;
}

static int bind(sqlite3_stmt *statement, int index, const pm_bind *value) {
    switch (value->kind) {
    case BIND_NULL: return sqlite3_bind_null(statement, index);
    case BIND_INT: return sqlite3_bind_int64(statement, index, value->integer);
    case BIND_REAL: return sqlite3_bind_double(statement, index, value->real);
    case BIND_TEXT: return sqlite3_bind_text(statement, index, value->bytes, -1, SQLITE_STATIC);
    case BIND_BLOB:
        return sqlite3_bind_blob64(statement, index, value->size ? value->bytes : "", value->size,
                                   SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

pm_status pm_db_begin(pm_store *store, const char *sql, const pm_bind *binds, size_t count,
                      sqlite3_stmt **out) {
    sqlite3_stmt *statement = NULL;
    pm_status status = prepare(store, sql, &statement);
    if (status) return status;
    for (size_t i = 0; i < count; i++) {
        int code = bind(statement, (int)i + 1, &binds[i]);
        if (code != SQLITE_OK) {
            status = pm_db_fail(store->db, code, "database");
            pm_db_end(statement);
            return status;
        }
    }
    *out = statement;
    return PM_OK;
}

pm_status pm_db_step(pm_store *store, sqlite3_stmt *statement, bool *row) {
    errno = 0;
    int code = sqlite3_step(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE) return pm_db_fail(store->db, code, "database");
    *row = code == SQLITE_ROW;
    return PM_OK;
}

void pm_db_end(sqlite3_stmt *statement) {
    if (!statement) return;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

pm_status pm_db_run(pm_store *store, const char *sql, const pm_bind *binds, size_t count) {
    sqlite3_stmt *statement = NULL;
    bool row = true;
    pm_status status = pm_db_begin(store, sql, binds, count, &statement);
    if (status) return status;
    while (!status && row) status = pm_db_step(store, statement, &row);
    pm_db_end(statement);
    return status;
}

pm_status pm_db_run_once(pm_store *store, const char *sql, const pm_bind *binds, size_t count,
                         uint64_t *changed) {
    sqlite3_stmt *statement = NULL;
    const sqlite3_int64 before = sqlite3_total_changes64(store->db);
    errno = 0;
    int code = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    for (size_t i = 0; i < count && code == SQLITE_OK; i++)
        code = bind(statement, (int)i + 1, &binds[i]);
    bool row = true;
    pm_status status = code == SQLITE_OK ? PM_OK : pm_db_fail(store->db, code, "database");
    while (!status && row) status = pm_db_step(store, statement, &row);
    sqlite3_finalize(statement);
    if (!status && changed) *changed = (uint64_t)(sqlite3_total_changes64(store->db) - before);
    return status;
}

pm_status pm_db_get(pm_store *store, const char *sql, const pm_bind *binds, size_t count,
                    int64_t *value, bool *found) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(store, sql, binds, count, &statement);
    if (status) return status;
    status = pm_db_step(store, statement, &row);
    if (!status) {
        *found = row && sqlite3_column_type(statement, 0) != SQLITE_NULL;
        if (*found) *value = sqlite3_column_int64(statement, 0);
    }
    pm_db_end(statement);
    return status;
}

pm_status pm_db_copy_text(sqlite3_stmt *statement, int column, char **out) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    if (!text) return pm_fail(PM_E_FORMAT, "database: a text is NULL");
    char *copy = strdup(text);
    if (!copy) return pm_fail(PM_E_MEMORY, "no memory for a text");
    *out = copy;
    return PM_OK;
}

pm_status pm_db_column_text(sqlite3_stmt *statement, int column, char *out, size_t size) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    if (!text || strlen(text) >= size)
        return pm_fail(PM_E_FORMAT, "database: a text is NULL or over %zu bytes", size - 1);
    memcpy(out, text, strlen(text) + 1);
    return PM_OK;
}

pm_status pm_db_column_hash(sqlite3_stmt *statement, int column, pm_sha256 *out) {
    char hex[PM_SHA256_HEX_BYTES];
    pm_status status = pm_db_column_text(statement, column, hex, sizeof hex);
    return status ? status : pm_sha256_parse(hex, out);
}

pm_status pm_db_uri(const char *path, char **out) {
    pm_buffer text = {0};
    char *real = realpath(path, NULL);
    if (!real) return pm_fail(PM_E_NOT_FOUND, "database %s: %s", path, strerror(errno));
    pm_status status = pm_buffer_printf(&text, "file:");
    for (const char *p = real; *p && !status; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("/._-", *p);
        status = pm_buffer_printf(&text, plain ? "%c" : "%%%02X",
                                  plain ? (unsigned)*p : (unsigned)(unsigned char)*p);
    }
    if (!status) status = pm_buffer_printf(&text, "?mode=ro");
    free(real);
    if (status)
        pm_buffer_fini(&text);
    else
        *out = (char *)text.bytes;
    return status;
}
