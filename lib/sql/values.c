/* Owns the two table-valued functions: a row a value of a blob. */
#include <string.h>

#include "lib/sql/internal.h"

enum { COLUMN_I, COLUMN_VALUE, COLUMN_BLOB };
/* What a plan says: the blob is given; and i. */
enum { HAS_BLOB = 1, HAS_I = 2 };

typedef struct table {
    sqlite3_vtab base;
    bool bits;
} table;

typedef struct cursor {
    sqlite3_vtab_cursor base;
    sqlite3_value *blob; /* a copy, SQLite's memory */
    const uint8_t *bytes;
    size_t at, end;
} cursor;

/* arguments[0]: the name that was registered. */
static int connect(sqlite3 *db, void *user, int count, const char *const *arguments,
                   sqlite3_vtab **out, char **error) {
    (void)user, (void)count, (void)error;
    int code = sqlite3_declare_vtab(db, "CREATE TABLE x (i INTEGER, value, blob HIDDEN)");
    if (code != SQLITE_OK) return code;
    (void)sqlite3_vtab_config(db, SQLITE_VTAB_INNOCUOUS);
    table *made = sqlite3_malloc64(sizeof *made);
    if (!made) return SQLITE_NOMEM;
    *made = (table){.bits = strcmp(arguments[0], PM_SQL_VALUES_BITS) == 0};
    *out = &made->base;
    return SQLITE_OK;
}

static int disconnect(sqlite3_vtab *vtab) {
    sqlite3_free(vtab);
    return SQLITE_OK;
}

static int best_index(sqlite3_vtab *vtab, sqlite3_index_info *info) {
    int blob = -1, i = -1;
    (void)vtab;
    for (int k = 0; k < info->nConstraint; k++) {
        if (info->aConstraint[k].op != SQLITE_INDEX_CONSTRAINT_EQ) continue;
        if (info->aConstraint[k].iColumn == COLUMN_BLOB) {
            /* Not yet known in this order of tables: no plan, try another. */
            if (!info->aConstraint[k].usable) return SQLITE_CONSTRAINT;
            blob = k;
        } else if (info->aConstraint[k].iColumn == COLUMN_I && info->aConstraint[k].usable) {
            i = k;
        }
    }
    info->idxNum = 0;
    info->estimatedCost = 1e9;
    if (blob < 0) return SQLITE_OK; /* filter says what is missing */
    info->idxNum = HAS_BLOB | (i >= 0 ? HAS_I : 0);
    info->aConstraintUsage[blob].argvIndex = 1;
    info->aConstraintUsage[blob].omit = 1;
    if (i >= 0) info->aConstraintUsage[i].argvIndex = 2;
    info->estimatedRows = i >= 0 ? 1 : 500;
    info->estimatedCost = i >= 0 ? 1 : 500;
    if (i >= 0) info->idxFlags = SQLITE_INDEX_SCAN_UNIQUE;
    info->orderByConsumed =
        info->nOrderBy == 1 && info->aOrderBy[0].iColumn == COLUMN_I && !info->aOrderBy[0].desc;
    return SQLITE_OK;
}

static int open_cursor(sqlite3_vtab *vtab, sqlite3_vtab_cursor **out) {
    (void)vtab;
    cursor *made = sqlite3_malloc64(sizeof *made);
    if (!made) return SQLITE_NOMEM;
    memset(made, 0, sizeof *made);
    *out = &made->base;
    return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *base) {
    cursor *c = (cursor *)base;
    sqlite3_value_free(c->blob);
    sqlite3_free(c);
    return SQLITE_OK;
}

static int refuse(sqlite3_vtab *vtab, char *text) {
    sqlite3_free(vtab->zErrMsg);
    vtab->zErrMsg = text;
    return text ? SQLITE_ERROR : SQLITE_NOMEM;
}

/* i = K, where K may be anything: SQLite compares once more. */
static void narrow(cursor *c, sqlite3_value *i) {
    const sqlite3_int64 k = sqlite3_value_int64(i);
    c->at = k < 0 || (uint64_t)k >= c->end ? c->end : (size_t)k;
    if (c->at < c->end) c->end = c->at + 1;
}

static int filter(sqlite3_vtab_cursor *base, int plan, const char *text, int count,
                  sqlite3_value **values) {
    cursor *c = (cursor *)base;
    const bool bits = ((table *)base->pVtab)->bits;
    const char *name = bits ? PM_SQL_VALUES_BITS : PM_SQL_VALUES_F32;
    (void)text, (void)count;
    sqlite3_value_free(c->blob);
    c->blob = NULL;
    c->at = c->end = 0;
    if (!(plan & HAS_BLOB))
        return refuse(base->pVtab, sqlite3_mprintf("%s: takes a blob: FROM %s(blob)", name, name));
    const int type = sqlite3_value_type(values[0]);
    if (type == SQLITE_NULL) return SQLITE_OK;
    if (type != SQLITE_BLOB)
        return refuse(base->pVtab, sqlite3_mprintf("%s: takes a blob, not %s", name,
                                                   type == SQLITE_TEXT ? "text" : "a number"));
    c->blob = sqlite3_value_dup(values[0]);
    if (!c->blob) return SQLITE_NOMEM;
    c->bytes = sqlite3_value_blob(c->blob);
    const size_t size = (size_t)sqlite3_value_bytes(c->blob);
    if (!c->bytes && size) return SQLITE_NOMEM;
    if (!bits && size % 4)
        return refuse(base->pVtab,
                      sqlite3_mprintf("%s: a blob of %lld bytes holds no whole float32", name,
                                      (long long)size));
    c->end = bits ? 8 * size : size / 4;
    if (plan & HAS_I) narrow(c, values[1]);
    return SQLITE_OK;
}

static int next(sqlite3_vtab_cursor *base) {
    ((cursor *)base)->at++;
    return SQLITE_OK;
}

static int at_end(sqlite3_vtab_cursor *base) {
    const cursor *c = (const cursor *)base;
    return c->at >= c->end;
}

static int column(sqlite3_vtab_cursor *base, sqlite3_context *context, int which) {
    cursor *c = (cursor *)base;
    switch (which) {
    case COLUMN_I: sqlite3_result_int64(context, (sqlite3_int64)c->at); break;
    case COLUMN_VALUE:
        if (((const table *)base->pVtab)->bits)
            sqlite3_result_int(context, pm_sql_get_bit(c->bytes, c->at));
        else
            sqlite3_result_double(context, (double)pm_sql_get_f32(c->bytes, c->at));
        break;
    default: sqlite3_result_value(context, c->blob);
    }
    return SQLITE_OK;
}

static int row_id(sqlite3_vtab_cursor *base, sqlite3_int64 *out) {
    *out = (sqlite3_int64)((const cursor *)base)->at;
    return SQLITE_OK;
}

/* Without xCreate they are there, and no table of theirs can be made. */
const sqlite3_module pm_sql_values = {
    .xConnect = connect,
    .xBestIndex = best_index,
    .xDisconnect = disconnect,
    .xOpen = open_cursor,
    .xClose = close_cursor,
    .xFilter = filter,
    .xNext = next,
    .xEof = at_end,
    .xColumn = column,
    .xRowid = row_id,
};
