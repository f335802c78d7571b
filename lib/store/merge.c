/* Owns the order of a merge and its transactions. `into`: one transaction on the file itself.
 * `out`: a file beside it that takes its name once all is in and on disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/store/identity.h"
#include "lib/store/in_place.h"
#include "lib/store/merge.h"

/* ---- a source ---- */

static pm_status identify(pm_store *store, const char *path) {
    int64_t id = 0, schema = 0;
    bool found = false;
    pm_status status = pm_db_get(store, "PRAGMA src.application_id", NULL, 0, &id, &found);
    if (!status) status = pm_db_get(store, "PRAGMA src.user_version", NULL, 0, &schema, &found);
    if (status) return pm_fail_in(status, "%s", path);
    status = pm_identity_known(path, id, schema);
    return status ? status : pm_identity_current(path, schema);
}

static pm_status attach(pm_store *store, const char *path) {
    char *uri = NULL;
    pm_status status = pm_db_uri(path, &uri);
    if (status) return status;
    status = pm_db_run(store, "ATTACH ?1 AS src", PM_BINDS(pm_text(uri)));
    if (status) status = pm_fail_in(status, "%s", path);
    free(uri);
    return status;
}

static const char maps_sql[] =
    "CREATE TEMP TABLE map_model (src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "CREATE TEMP TABLE map_layer (src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "CREATE TEMP TABLE map_data_set (src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "CREATE TEMP TABLE map_image (src INTEGER PRIMARY KEY, dst INTEGER NOT NULL UNIQUE);"
    "CREATE TEMP TABLE map_statistics (src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "CREATE TEMP TABLE map_configuration (src INTEGER PRIMARY KEY, dst INTEGER NOT NULL UNIQUE);"
    "CREATE TEMP TABLE map_worker (src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "CREATE TEMP TABLE map_run (src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "CREATE TEMP TABLE both_run (src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "CREATE TEMP TABLE both_task (run_id, next_item, end_item, configurations, alone, crashes);"
    "CREATE TEMP TABLE more (configuration_id INTEGER, image_id INTEGER, channels_kept,"
    " heat_map_kept, evaluation, deletion_auc, insertion_auc,"
    " PRIMARY KEY (configuration_id, image_id)) WITHOUT ROWID;"
    "CREATE TEMP TABLE dropped (configuration_id INTEGER PRIMARY KEY);";

static const char empty_sql[] =
    "DELETE FROM temp.map_model; DELETE FROM temp.map_layer; DELETE FROM temp.map_data_set;"
    "DELETE FROM temp.map_image; DELETE FROM temp.map_statistics;"
    "DELETE FROM temp.map_configuration; DELETE FROM temp.map_worker; DELETE FROM temp.map_run;"
    "DELETE FROM temp.more; DELETE FROM temp.both_run; DELETE FROM temp.both_task; DELETE FROM "
    "temp.dropped;";

static pm_status take_in(pm_merge *merge) {
    sqlite3 *db = merge->store->db;
    pm_status status = pm_db_exec(db, empty_sql);
    if (!status) status = pm_db_exec(db, "BEGIN IMMEDIATE");
    if (!status) status = pm_db_exec(db, "PRAGMA defer_foreign_keys = ON");
    if (!status) status = identify(merge->store, merge->plan->sources[merge->source]);
    if (!status) status = pm_merge_names(merge);
    if (!status) status = pm_merge_identities(merge);
    if (!status) status = pm_merge_conflicts(merge);
    if (!status) status = pm_merge_sums(merge);
    if (!status) status = pm_merge_results(merge);
    if (!status) status = pm_merge_sums_drop(merge);
    if (!status) status = pm_merge_runs(merge);
    if (!status) status = pm_accumulators_flush(merge->store);
    if (!status) status = pm_db_exec(db, "COMMIT");
    if (status && !sqlite3_get_autocommit(db)) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    pm_accumulators_drop(merge->store, true);
    return status;
}

static pm_status merge_source(pm_merge *merge) {
    pm_status status = attach(merge->store, merge->plan->sources[merge->source]);
    if (status) return status;
    status = take_in(merge);
    /* An error's text is that of what went wrong first. */
    if (status)
        sqlite3_exec(merge->store->db, "DETACH src", NULL, NULL, NULL);
    else
        status = pm_db_exec(merge->store->db, "DETACH src");
    return status;
}

static pm_status merge_all(pm_store *store, const pm_merge_plan *plan, pm_merge_counts *counts) {
    pm_merge merge = {.store = store, .plan = plan, .counts = counts};
    /* Maps of a million images are no matter of memory. */
    pm_status status = pm_db_exec(store->db, "PRAGMA temp_store = FILE");
    if (!status) status = pm_db_exec(store->db, maps_sql);
    for (; merge.source < plan->source_count && !status; merge.source++) {
        status = merge_source(&merge);
        if (!status) pm_db_checkpoint(store, false);
    }
    return status;
}

/* ---- which files ---- */

static bool is_same_file(const char *a, const char *b) {
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_ino == other.st_ino &&
           one.st_dev == other.st_dev;
}

static pm_status check_files(const pm_merge_plan *plan) {
    for (size_t i = 0; i < plan->source_count; i++) {
        if (access(plan->sources[i], R_OK) != 0)
            return pm_fail(PM_E_NOT_FOUND, "database %s: %s", plan->sources[i], strerror(errno));
        if (plan->into && is_same_file(plan->sources[i], plan->into))
            return pm_fail(PM_E_USAGE, "%s is %s itself", plan->sources[i], plan->into);
        for (size_t k = 0; k < i; k++)
            if (is_same_file(plan->sources[i], plan->sources[k]))
                return pm_fail(PM_E_USAGE, "%s and %s are one file", plan->sources[k],
                               plan->sources[i]);
    }
    if (plan->into && access(plan->into, F_OK) != 0)
        return pm_fail(PM_E_NOT_FOUND, "database %s: %s; --out makes a new one", plan->into,
                       strerror(errno));
    if (plan->out && access(plan->out, F_OK) == 0)
        return pm_fail(PM_E_USAGE, "%s is there already; --into adds to it", plan->out);
    return PM_OK;
}

static pm_status merge_into(const pm_merge_plan *plan, pm_merge_counts *counts) {
    pm_store *store = NULL;
    pm_status status = pm_store_open(plan->into, &store);
    if (status) return status;
    status = merge_all(store, plan, counts);
    return pm_store_end(&store, status);
}

static bool is_there(const char *path, bool *regular) {
    struct stat info;
    if (lstat(path, &info) != 0) return false;
    *regular = S_ISREG(info.st_mode);
    return true;
}

/* What a merge that was killed left behind goes first; what it is may stand in its -wal only. */
static pm_status open_new(const char *path, pm_store **store) {
    bool regular = false;
    if (is_there(path, &regular)) {
        pm_status status = regular ? pm_store_open(path, store) : PM_E_MISMATCH;
        if (status == PM_E_FORMAT || status == PM_E_MISMATCH)
            return pm_fail(PM_E_MISMATCH,
                           "%s is in the way and no database of this parchmill; move it, or give "
                           "another --out",
                           path);
        if (status) return status;
        pm_store_close(store);
        pm_database_unlink(path);
    }
    return pm_store_open(path, store);
}

static pm_status merge_out(const pm_merge_plan *plan, pm_merge_counts *counts) {
    pm_store *store = NULL;
    char *path = NULL;
    if (asprintf(&path, "%s.merging", plan->out) < 0)
        return pm_fail(PM_E_MEMORY, "no memory to write %s", plan->out);
    pm_status status = open_new(path, &store);
    if (status) {
        free(path);
        return status;
    }
    status = pm_store_end(&store, merge_all(store, plan, counts));
    if (!status) status = pm_database_put_in_place(path, plan->out, false);
    if (status) pm_database_unlink(path);
    free(path);
    return status;
}

pm_status pm_store_merge(const pm_merge_plan *plan, pm_merge_counts *counts) {
    pm_merge_counts all = {0};
    pm_status status = check_files(plan);
    if (!status && plan->into && plan->source_count != 1)
        status = pm_fail(PM_E_USAGE, "--into takes one database at a time: each is one "
                                     "transaction");
    if (!status) status = plan->out ? merge_out(plan, &all) : merge_into(plan, &all);
    if (!status) *counts = all;
    return status;
}
