/* Inside lib/store: the store's own state, and SQL without ceremony.
 *
 * Statements are string literals, prepared once and kept. Every SQLite failure comes back as one of
 * PM_E_FULL (no space), PM_E_BUSY (another program has the file locked), PM_E_IO (anything that
 * makes the file doubtful), PM_E_MEMORY, PM_E_DENIED (read-only) or PM_E_INTERNAL (our bug). */
#ifndef PM_STORE_DB_H
#define PM_STORE_DB_H

#include <sqlite3.h>

#include "lib/stats/moments.h"
#include "lib/store/query.h"
#include "lib/store/store.h"

enum {
    PM_APPLICATION_ID = 0x504D494C, /* "PMIL" */
    PM_STATEMENTS_MAX = 192,
    PM_CHECKPOINT_PAGES = 1000 /* in the log; SQLite's own default */
};

typedef struct pm_migration {
    const char *name, *sql;
} pm_migration;
extern const pm_migration pm_migrations[]; /* [i] leads to user_version i + 1 */
extern const int pm_migration_count;

/* The running sums of one configuration at one layer; channels.c. */
typedef struct pm_accumulator {
    int64_t configuration_id, layer_id;
    bool dirty; /* differs from the database */
    size_t channels;
    pm_moments *moments; /* [channels] */
} pm_accumulator;

struct pm_store {
    sqlite3 *db;
    char *path, *lock_path;
    int lock_fd;
    int log_pages;     /* in the -wal file after the last commit */
    pm_status damaged; /* a checkpoint met an I/O error: nothing is committed any more */
    char damage[256];
    size_t statement_count;
    struct {
        const char *sql; /* the literal itself is the key */
        sqlite3_stmt *statement;
    } statements[PM_STATEMENTS_MAX];
    struct pm_summary_work *summaries; /* in work; summary.c */
    uint64_t summary_marks;            /* counts summaries that were begun, gone on with, ended */
    uint64_t alone_run, alone_marks; /* at that count the run shared with none of them; summary.c */
    size_t accumulator_count, accumulator_capacity;
    pm_accumulator *accumulators; /* ordered by configuration_id, layer_id */
};

/* ---- values to bind ---- */

typedef enum pm_bind_kind { BIND_NULL, BIND_INT, BIND_REAL, BIND_TEXT, BIND_BLOB } pm_bind_kind;
typedef struct pm_bind {
    pm_bind_kind kind;
    int64_t integer;
    double real;
    const void *bytes;
    size_t size;
} pm_bind;

static inline pm_bind pm_int(int64_t value) {
    return (pm_bind){.kind = BIND_INT, .integer = value};
}
static inline pm_bind pm_id(uint64_t value) { return pm_int((int64_t)value); }
static inline pm_bind pm_real(double value) { return (pm_bind){.kind = BIND_REAL, .real = value}; }
static inline pm_bind pm_null(void) { return (pm_bind){.kind = BIND_NULL}; }
/* NULL is NULL. */
static inline pm_bind pm_text(const char *text) {
    return (pm_bind){.kind = text ? BIND_TEXT : BIND_NULL, .bytes = text};
}
static inline pm_bind pm_blob(const void *bytes, size_t size) {
    return (pm_bind){.kind = BIND_BLOB, .bytes = bytes, .size = size};
}
static inline pm_bind pm_int_if(bool present, int64_t value) {
    return present ? pm_int(value) : pm_null();
}
static inline pm_bind pm_real_if(bool present, double value) {
    return present ? pm_real(value) : pm_null();
}

/* ---- running ---- */

/* Bind and leave ready to step; bound text must live until pm_db_end. */
pm_status pm_db_begin(pm_store *store, const char *sql, const pm_bind *binds, size_t count,
                      sqlite3_stmt **out);
/* One row (*row true) or the end. */
pm_status pm_db_step(pm_store *store, sqlite3_stmt *statement, bool *row);
void pm_db_end(sqlite3_stmt *statement); /* NULL is fine */

/* To completion, no rows wanted. */
pm_status pm_db_run(pm_store *store, const char *sql, const pm_bind *binds, size_t count);
/* The same, prepared for this once: for the large statements of merge and prune, which would fill
 * the places of those that come again and again. *changed (may be NULL): rows. */
pm_status pm_db_run_once(pm_store *store, const char *sql, const pm_bind *binds, size_t count,
                         uint64_t *changed);
/* The first column of the first row as an integer; *found false without a row or with NULL. */
pm_status pm_db_get(pm_store *store, const char *sql, const pm_bind *binds, size_t count,
                    int64_t *value, bool *found);

#define PM_BINDS(...)                                                                              \
    (const pm_bind[]){__VA_ARGS__}, sizeof((const pm_bind[]){__VA_ARGS__}) / sizeof(pm_bind)

/* Move what is in the log into the database, where that is long enough (`always`: in any case). A
 * full disk or a reader in the way only leaves it in the log; an I/O error is kept in `damaged`. */
void pm_db_checkpoint(pm_store *store, bool always);

/* Several statements without binds: migrations, pragmas, BEGIN. */
pm_status pm_db_exec(sqlite3 *db, const char *sql);

/* file:PATH?mode=ro, for ATTACH: every byte escaped that an URI could take for its own. *out from
 * malloc. PM_E_NOT_FOUND. */
pm_status pm_db_uri(const char *path, char **out);

/* The status for SQLite's answer, with its text. */
pm_status pm_db_fail(sqlite3 *db, int code, const char *what);

/* A column's text, copied; NULL column: PM_E_INTERNAL. */
pm_status pm_db_copy_text(sqlite3_stmt *statement, int column, char **out);
/* Into a fixed field; longer: PM_E_FORMAT. */
pm_status pm_db_column_text(sqlite3_stmt *statement, int column, char *out, size_t size);
pm_status pm_db_column_hash(sqlite3_stmt *statement, int column, pm_sha256 *out);

static inline uint64_t pm_db_column_id(sqlite3_stmt *statement, int column) {
    return (uint64_t)sqlite3_column_int64(statement, column);
}

/* The connection of a query, for reading blobs in slices; the query keeps it. */
sqlite3 *pm_query_db(pm_query *query);

/* ---- rows that several operations share ---- */

pm_status pm_task_list_add(pm_task_list *list, const pm_task_row *row); /* copies configs */
pm_status pm_task_read(pm_store *store, uint64_t task_id, pm_task_row *out, bool *found);
/* Columns: task_id, run_id, next_item, end_item, alone, crashes, configurations. */
pm_status pm_task_from_row(sqlite3_stmt *statement, pm_task_row *out);
void pm_task_row_fini(pm_task_row *row);
pm_status pm_task_insert(pm_store *store, pm_task_row *row); /* sets row->task_id */
pm_status pm_failure_insert(pm_store *store, uint64_t run_id, uint64_t item, pm_bind configuration,
                            uint64_t worker_id, const char *stage, const char *reason,
                            const char *text);
/* Which configurations of the run lack what for which items, as tasks. `redo_errors`: an error
 * counts as lacking. Items in an open task of the run are left out. */
pm_status pm_tasks_make(pm_store *store, uint64_t run_id, bool redo_errors, pm_task_list *made,
                        uint64_t *items_open, uint64_t *results_open);

/* A run's tasks made anew: of the items that they hold, what has no numbers yet. Those of one item
 * that a worker crashed on stay. */
pm_status pm_tasks_remake(pm_store *store, uint64_t run_id);

/* What people changed of a run. PM_E_NOT_FOUND. */
pm_status pm_terms_read(pm_store *store, uint64_t run_id, pm_run_terms *out);
/* PM_E_USAGE: out of range. */
pm_status pm_terms_check(const pm_run_terms *terms);

/* Find or make the model of the specification's first configuration. */
pm_status pm_model_put(pm_store *store, const pm_run_spec *spec, int64_t *model_id);
/* Find or make a convolution of a model. PM_E_PROTOCOL: it is there with other channels. */
pm_status pm_layer_put(pm_store *store, int64_t model_id, size_t conv, const char *name,
                       size_t channels, int64_t *layer_id);

/* ---- accumulators (channels.c) ---- */

/* Find or load; `channels` must agree. The pointer holds until the next call. */
pm_status pm_accumulator_get(pm_store *store, int64_t configuration_id, int64_t layer_id,
                             size_t channels, pm_accumulator **out);
/* Write what is dirty; before every COMMIT. */
pm_status pm_accumulators_flush(pm_store *store);
/* Forget everything (after a rollback) or what is not dirty (after a refused op). */
void pm_accumulators_drop(pm_store *store, bool dirty_too);
/* After COMMIT: keep the cache within its bound. */
void pm_accumulators_trim(pm_store *store);
/* Replace a configuration's plain channel_gradient rows by its sums. */
pm_status pm_channels_write(pm_store *store, int64_t configuration_id);

/* Merge what a column `moments` holds into the sums. PM_E_FORMAT: not of its layer's channels. */
pm_status pm_accumulator_merge(pm_store *store, int64_t configuration_id, int64_t layer_id,
                               const void *blob, size_t size);
/* No sums and no rows of them any more. */
pm_status pm_sums_clear(pm_store *store, int64_t configuration_id);
/* Add rows of channel_gradient_item; the statement gives layer_id, channels, variances, in_h. */
pm_status pm_sums_add_items(pm_store *store, int64_t configuration_id, const char *sql,
                            const pm_bind *binds, size_t count);
/* Sums of what still has its items; whatever else was in them is kept no longer. */
pm_status pm_sums_from_items(pm_store *store, int64_t configuration_id);

/* ---- curves (curves.c) ---- */

/* PM_E_PROTOCOL: other rows than the evaluation asks for. */
pm_status pm_curves_check(const pm_evaluation *evaluation, const pm_record_result *r);
bool pm_curves_finite(const pm_record_result *r);
/* Write the rows, in place of those of another evaluation. */
pm_status pm_curves_put(pm_store *store, int64_t configuration_id, int64_t image_id,
                        const pm_evaluation *evaluation, const pm_record_result *r);

/* ---- summaries (summary.c) ---- */

/* Go on with the summary of a run that is done; nothing to do for any other, or where it holds.
 * *unfinished: there is more. */
pm_status pm_summary_slice(pm_store *store, uint64_t run_id, bool *unfinished);
/* Forget what is in work: the transaction in which it was read was rolled back. */
void pm_summaries_drop(pm_store *store);
/* Run `run_id` is about to record, or change, the result of this configuration and image, or of
 * any of its configurations: what was kept of runs that have it does not hold any more. */
pm_status pm_summary_spoil(pm_store *store, uint64_t run_id, int64_t configuration_id,
                           int64_t image_id);
pm_status pm_summary_spoil_run(pm_store *store, uint64_t run_id);
/* All that are due, to their end. */
pm_status pm_summaries_write(pm_store *store);

/* ---- one function for each kind of operation; they run inside a savepoint ---- */

pm_status pm_apply_submit(pm_store *store, pm_op_submit *op);
pm_status pm_apply_record(pm_store *store, pm_op_record *op);
pm_status pm_apply_set_aside(pm_store *store, pm_op_crash *op);
pm_status pm_apply_crashed(pm_store *store, pm_op_crash *op);
pm_status pm_apply_poison(pm_store *store, pm_op_crash *op);
pm_status pm_apply_cancel(pm_store *store, pm_op_run *op);
pm_status pm_apply_finish(pm_store *store, pm_op_run *op);
pm_status pm_apply_retry(pm_store *store, pm_op_run *op);
pm_status pm_apply_terms(pm_store *store, pm_op_terms *op);
pm_status pm_apply_refresh(pm_store *store, pm_op_run *op);
pm_status pm_apply_summarise(pm_store *store, pm_op_run *op);
pm_status pm_apply_worker(pm_store *store, pm_op_worker *op);
pm_status pm_apply_statistics(pm_store *store, pm_op_statistics *op);

#endif
