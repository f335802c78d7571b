/* Owns the read-only connection: what it lets through and when it stops. */
#include "lib/store/query.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/sql/sql.h"
#include "lib/store/db.h"
#include "lib/store/identity.h"

/* Few steps: one may make a value of 64 MiB, and the look costs 2 % of the smallest. */
enum { BUSY_MS = 5000, STEPS_BETWEEN_LOOKS = 100, FILES_LOOK_MS = 20, FILES_MAX = 1024 };

const pm_query_limits pm_query_default_limits = {
    .time_ms = 60000,
    .length_bytes = (size_t)64 << 20,
};

struct pm_query {
    sqlite3 *db;
    pm_query_limits limits;
    int64_t deadline_ms; /* 0: none */
    int64_t files_ms;    /* when temporary files were looked at */
    bool spilled;        /* there was too much in them */
    atomic_bool stopped; /* by pm_query_interrupt */
};

/* Pragmas that only tell; "table_info" and the like, also as table-valued functions. */
static bool tells(const char *name, const char *value) {
    static const char *const with_value[] = {"table_info",       "table_xinfo",  "index_list",
                                             "index_info",       "index_xinfo",  "table_list",
                                             "foreign_key_list", "database_list"};
    static const char *const without[] = {"user_version",  "application_id",  "page_count",
                                          "page_size",     "freelist_count",  "journal_mode",
                                          "encoding",      "compile_options", "function_list",
                                          "database_list", "collation_list",  "table_list"};
    for (size_t i = 0; i < sizeof with_value / sizeof *with_value; i++)
        if (sqlite3_stricmp(name, with_value[i]) == 0) return true;
    for (size_t i = 0; !value && i < sizeof without / sizeof *without; i++)
        if (sqlite3_stricmp(name, without[i]) == 0) return true;
    return false;
}

static int authorize(void *user, int action, const char *first, const char *second,
                     const char *database, const char *trigger) {
    (void)user;
    (void)database;
    (void)trigger;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE: return SQLITE_OK;
    /* Both run code that the question names: a library, and an address in a blob. */
    case SQLITE_FUNCTION:
        return second && (sqlite3_stricmp(second, "load_extension") == 0 ||
                          sqlite3_stricmp(second, "fts3_tokenizer") == 0)
                   ? SQLITE_DENY
                   : SQLITE_OK;
    /* What parsing a virtual table's own declaration asks for (pragma_table_info, values_f32,
     * json_each); the schema stays read-only by three other means: writable_schema is off,
     * DEFENSIVE, mode=ro. */
    case SQLITE_UPDATE:
        return first && sqlite3_stricmp(first, "sqlite_master") == 0 ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_PRAGMA: return first && tells(first, second) ? SQLITE_OK : SQLITE_DENY;
    default: return SQLITE_DENY;
    }
}

/* SQLite removes their names at once: regular files of this process without a name. */
static uint64_t temporary_bytes(void) {
    uint64_t bytes = 0;
    struct rlimit files = {FILES_MAX, FILES_MAX};
    struct stat info;
    getrlimit(RLIMIT_NOFILE, &files);
    for (int fd = 0; fd < FILES_MAX && (rlim_t)fd < files.rlim_cur; fd++)
        if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 0)
            bytes += 512 * (uint64_t)info.st_blocks;
    return bytes;
}

static bool is_stopped(const pm_query *query) {
    return query->stopped || (query->limits.stop && *query->limits.stop);
}

static int look(void *user) {
    pm_query *query = user;
    const int64_t now_ms = pm_clock_ms();
    if (query->limits.temporary_bytes && now_ms - query->files_ms >= FILES_LOOK_MS) {
        query->files_ms = now_ms;
        query->spilled = temporary_bytes() > query->limits.temporary_bytes;
    }
    return query->spilled || is_stopped(query) ||
           (query->deadline_ms && now_ms > query->deadline_ms);
}

static pm_status fail(pm_query *query, int code, const char *what) {
    const char *text = sqlite3_errmsg(query->db);
    switch (code & 0xff) {
    case SQLITE_INTERRUPT:
        if (is_stopped(query)) return pm_fail(PM_E_CANCELLED, "%s: stopped", what);
        if (query->spilled)
            return pm_fail(PM_E_LIMIT, "%s: it needs more than %zu MiB of temporary files", what,
                           query->limits.temporary_bytes >> 20);
        return pm_fail(PM_E_TIMEOUT, "%s: stopped after %lld ms", what,
                       (long long)query->limits.time_ms);
    case SQLITE_SCHEMA: /* the refusal of a table that would be made, in other words */
        if (strcmp(text, "not authorized") != 0) return pm_db_fail(query->db, code, what);
        return pm_fail(PM_E_DENIED, "%s: this connection only reads (%s)", what, text);
    case SQLITE_AUTH:
        return pm_fail(PM_E_DENIED, "%s: this connection only reads (%s)", what, text);
    case SQLITE_NOMEM:
        if (query->limits.memory_bytes)
            return pm_fail(PM_E_LIMIT, "%s: it needs more than %zu MiB of memory", what,
                           query->limits.memory_bytes >> 20);
        return pm_db_fail(query->db, code, what);
    case SQLITE_ERROR: return pm_fail(PM_E_USAGE, "%s: %s", what, text);
    default: return pm_db_fail(query->db, code, what);
    }
}

static pm_status pragma(pm_query *query, const char *sql, const char *path, int64_t *out) {
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(query->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW)
        *out = sqlite3_column_int64(statement, 0);
    pm_status status = code == SQLITE_ROW ? PM_OK : fail(query, code, path);
    sqlite3_finalize(statement);
    return status;
}

static pm_status identify(pm_query *query, const char *path) {
    int64_t id = 0, version = 0;
    pm_status status = pragma(query, "PRAGMA application_id", path, &id);
    if (!status) status = pragma(query, "PRAGMA user_version", path, &version);
    return status ? status : pm_identity_known(path, id, version);
}

pm_status pm_query_current(pm_query *query, const char *path) {
    int64_t version = 0;
    pm_status status = pragma(query, "PRAGMA user_version", path, &version);
    return status ? status : pm_identity_current(path, version);
}

static void set_limits(pm_query *query) {
    sqlite3 *db = query->db;
    sqlite3_busy_timeout(db, BUSY_MS);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0, NULL);
    sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(db, SQLITE_LIMIT_WORKER_THREADS, 0);
    size_t length = query->limits.length_bytes;
    if (length)
        sqlite3_limit(db, SQLITE_LIMIT_LENGTH, length > INT32_MAX ? INT32_MAX : (int)length);
    if (query->limits.memory_bytes)
        sqlite3_hard_heap_limit64((sqlite3_int64)query->limits.memory_bytes);
    sqlite3_progress_handler(db, STEPS_BETWEEN_LOOKS, look, query);
    sqlite3_set_authorizer(db, authorize, NULL);
}

pm_status pm_query_open(const char *path, const pm_query_limits *limits, pm_query **out) {
    if (access(path, F_OK) != 0)
        return pm_fail(PM_E_NOT_FOUND, "database %s: %s", path, strerror(errno));
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return pm_fail(PM_E_FORMAT, "database %s: it is a folder; name the file in it", path);
    pm_query *query = calloc(1, sizeof *query);
    if (!query) return pm_fail(PM_E_MEMORY, "no memory to open %s", path);
    query->limits = *limits;
    int code = sqlite3_open_v2(
        path, &query->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    pm_status status = PM_OK;
    if (code != SQLITE_OK) {
        status = pm_db_fail(query->db, code, path);
    } else {
        set_limits(query);
        status = pm_sql_register(query->db);
        if (!status) status = identify(query, path);
    }
    if (status) {
        pm_query_close(&query);
        return status;
    }
    *out = query;
    return PM_OK;
}

void pm_query_close(pm_query **query) {
    if (!*query) return;
    sqlite3_close((*query)->db);
    free(*query);
    *query = NULL;
}

void pm_query_interrupt(pm_query *query) { query->stopped = true; }

bool pm_query_is_whole(const char *sql) { return sqlite3_complete(sql) > 0; }

sqlite3 *pm_query_db(pm_query *query) { return query->db; }

/* ---- running ---- */

static pm_status prepare(pm_query *query, const char *sql, sqlite3_stmt **out) {
    sqlite3_stmt *statement = NULL, *more = NULL;
    const char *tail = NULL;
    int code = sqlite3_prepare_v2(query->db, sql, -1, &statement, &tail);
    if (code != SQLITE_OK) return fail(query, code, "SQL");
    if (!statement) return pm_fail(PM_E_USAGE, "SQL: there is no statement");
    while (*tail && !more && code == SQLITE_OK)
        code = sqlite3_prepare_v2(query->db, tail, -1, &more, &tail);
    if (more || code != SQLITE_OK) {
        sqlite3_finalize(more);
        sqlite3_finalize(statement);
        return pm_fail(PM_E_USAGE, "SQL: one statement at a time");
    }
    if (!sqlite3_stmt_readonly(statement)) {
        sqlite3_finalize(statement);
        return pm_fail(PM_E_DENIED, "SQL: this connection only reads");
    }
    *out = statement;
    return PM_OK;
}

static int bind(sqlite3_stmt *statement, int index, const pm_value *value) {
    switch (value->kind) {
    case PM_VALUE_NULL: return sqlite3_bind_null(statement, index);
    case PM_VALUE_INTEGER: return sqlite3_bind_int64(statement, index, value->integer);
    case PM_VALUE_REAL: return sqlite3_bind_double(statement, index, value->real);
    case PM_VALUE_TEXT:
        return sqlite3_bind_text64(statement, index, value->text, value->size, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case PM_VALUE_BLOB:
        return sqlite3_bind_blob64(statement, index, value->size ? value->text : "", value->size,
                                   SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

static pm_status give_columns(sqlite3_stmt *statement, const pm_query_sink *sink, size_t count) {
    if (!sink->columns) return PM_OK;
    const char **words = calloc(2 * count + 1, sizeof *words);
    if (!words) return pm_fail(PM_E_MEMORY, "no memory for %zu columns", count);
    for (size_t c = 0; c < count; c++) {
        const char *name = sqlite3_column_name(statement, (int)c);
        const char *type = sqlite3_column_decltype(statement, (int)c);
        words[c] = name ? name : "";
        words[count + c] = type ? type : "";
    }
    pm_status status = sink->columns(sink->user, count, words, words + count);
    free(words);
    return status;
}

/* Text and blobs are SQLite's and hold until the next step. */
static pm_status read_value(sqlite3_stmt *statement, int column, pm_value *out) {
    *out = (pm_value){.kind = PM_VALUE_NULL};
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
        out->kind = PM_VALUE_INTEGER;
        out->integer = sqlite3_column_int64(statement, column);
        return PM_OK;
    case SQLITE_FLOAT:
        out->kind = PM_VALUE_REAL;
        out->real = sqlite3_column_double(statement, column);
        return PM_OK;
    case SQLITE_TEXT:
        out->kind = PM_VALUE_TEXT;
        out->text = (const char *)sqlite3_column_text(statement, column);
        break;
    case SQLITE_BLOB:
        out->kind = PM_VALUE_BLOB;
        out->text = sqlite3_column_blob(statement, column);
        break;
    default: return PM_OK;
    }
    out->size = (size_t)sqlite3_column_bytes(statement, column);
    if (!out->text && out->size == 0) out->text = "";
    return out->text ? PM_OK : pm_fail(PM_E_MEMORY, "SQL: no memory for a value");
}

static pm_status give_rows(pm_query *query, sqlite3_stmt *statement, const pm_query_sink *sink,
                           size_t count, bool *cut) {
    pm_value *values = calloc(count + 1, sizeof *values);
    if (!values) return pm_fail(PM_E_MEMORY, "no memory for %zu columns", count);
    pm_status status = PM_OK;
    int code = SQLITE_DONE;
    *cut = false;
    for (size_t rows = 0; !status && (code = sqlite3_step(statement)) == SQLITE_ROW; rows++) {
        if (query->limits.rows_max && rows == query->limits.rows_max) {
            *cut = true;
            break;
        }
        for (size_t c = 0; c < count && !status; c++)
            status = read_value(statement, (int)c, &values[c]);
        if (!status) status = sink->row(sink->user, count, values);
        /* A row may be too few steps for a look. */
        if (query->limits.stop && *query->limits.stop)
            status = pm_fail(PM_E_CANCELLED, "SQL: stopped");
    }
    if (!status && code != SQLITE_DONE && code != SQLITE_ROW) status = fail(query, code, "SQL");
    free(values);
    return status;
}

pm_status pm_query_run(pm_query *query, const char *sql, const pm_value *parameters,
                       size_t parameter_count, const pm_query_sink *sink, bool *cut) {
    sqlite3_stmt *statement = NULL;
    bool was_cut = false;
    query->spilled = false;
    query->stopped = false;
    query->deadline_ms = query->limits.time_ms ? pm_clock_ms() + query->limits.time_ms : 0;
    pm_status status = prepare(query, sql, &statement);
    if (status) return status;
    for (size_t i = 0; i < parameter_count && !status; i++) {
        int code = bind(statement, (int)i + 1, &parameters[i]);
        if (code == SQLITE_RANGE)
            status = pm_fail(PM_E_USAGE, "SQL: %zu parameters are too many", parameter_count);
        else if (code != SQLITE_OK)
            status = fail(query, code, "SQL");
    }
    size_t count = (size_t)sqlite3_column_count(statement);
    if (!status) status = give_columns(statement, sink, count);
    if (!status) status = give_rows(query, statement, sink, count, &was_cut);
    sqlite3_finalize(statement);
    if (!status && cut) *cut = was_cut;
    return status;
}

pm_status pm_query_hold(pm_query *query) {
    sqlite3_set_authorizer(query->db, NULL, NULL);
    /* BEGIN alone does not read yet: the snapshot is that of the first question. */
    pm_status status = pm_db_exec(query->db, "BEGIN; SELECT count(*) FROM sqlite_schema");
    sqlite3_set_authorizer(query->db, authorize, NULL);
    return status;
}

static const char *or_empty(const char *text) { return text ? text : ""; }

pm_status pm_query_origins(pm_query *query, const char *sql, pm_query_origin take, void *user) {
    sqlite3_stmt *statement = NULL;
    pm_status status = prepare(query, sql, &statement);
    if (status) return status;
    for (int c = 0; c < sqlite3_column_count(statement) && !status; c++)
        status = take(user, or_empty(sqlite3_column_name(statement, c)),
                      or_empty(sqlite3_column_decltype(statement, c)),
                      or_empty(sqlite3_column_table_name(statement, c)),
                      or_empty(sqlite3_column_origin_name(statement, c)));
    sqlite3_finalize(statement);
    return status;
}
