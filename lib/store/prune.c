/* Owns the transaction of a prune, and the blobs that results can do without. What a result says of
 * itself (heat_map_kept, channels_kept) follows, so that whoever asks again computes again. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/store/prune.h"

/* A heat map stays where a run that has not ended asks for it and, if one run's are to go, where
 * another asks for it. ?1: the run, 0 for all. */
#define WANTED(what)                                                                               \
    " EXISTS (SELECT 1 FROM run_configuration AS rc JOIN run AS o ON o.run_id = rc.run_id"         \
    "  JOIN data_set_item AS i ON i.data_set_id = o.data_set_id AND i.image_id = b.image_id"       \
    "  WHERE rc.configuration_id = b.configuration_id AND " what                                   \
    "  AND CASE WHEN ?1 = 0 THEN o.state IN ('queued', 'running') ELSE o.run_id <> ?1 END)"
#define OF_RUN                                                                                     \
    " (?1 = 0 OR EXISTS (SELECT 1 FROM run_configuration AS rc JOIN run AS o"                      \
    "  ON o.run_id = rc.run_id JOIN data_set_item AS i ON i.data_set_id = o.data_set_id"           \
    "  AND i.image_id = b.image_id WHERE rc.run_id = ?1"                                           \
    "  AND rc.configuration_id = b.configuration_id))"

typedef struct blobs {
    const char *mark, *count, *clear, *after; /* after: NULL, or what the results say then */
} blobs;

static const blobs heat_maps = {
    "INSERT INTO temp.doomed SELECT configuration_id, image_id FROM heat_map AS b"
    " WHERE" OF_RUN " AND NOT" WANTED("o.heat_maps <> 'none'"),
    "SELECT count(*), sum(length(zstd)) FROM temp.doomed JOIN heat_map"
    " USING (configuration_id, image_id)",
    "DELETE FROM heat_map WHERE (configuration_id, image_id) IN temp.doomed",
    "UPDATE result SET heat_map_kept = 0 WHERE (configuration_id, image_id) IN temp.doomed",
};

static const blobs channel_items = {
    "INSERT INTO temp.doomed SELECT DISTINCT configuration_id, image_id"
    " FROM channel_gradient_item AS b WHERE" OF_RUN " AND NOT" WANTED("o.channels = 'full'"),
    "SELECT count(*), sum(length(variances) + length(in_h)) FROM temp.doomed"
    " JOIN channel_gradient_item USING (configuration_id, image_id)",
    "DELETE FROM channel_gradient_item WHERE (configuration_id, image_id) IN temp.doomed",
    "UPDATE result SET channels_kept = min(channels_kept, 1)"
    " WHERE (configuration_id, image_id) IN temp.doomed",
};

/* Of a configuration whose every run has ended and, unless it was cancelled, has become statistics.
 * A result of gather without its activations is computed again (lib/store/tasks.c). */
static const blobs activations = {
    "INSERT INTO temp.doomed SELECT configuration_id, image_id FROM activation AS b"
    " WHERE configuration_id IN (SELECT configuration_id FROM statistics WHERE name IS NOT NULL)"
    " AND NOT EXISTS (SELECT 1 FROM run_configuration AS rc JOIN run AS o ON o.run_id = rc.run_id"
    "  WHERE rc.configuration_id = b.configuration_id AND (o.state IN ('queued', 'running')"
    "   OR (o.state = 'done' AND NOT EXISTS (SELECT 1 FROM statistics AS s"
    "    WHERE s.configuration_id = rc.configuration_id AND s.data_set_id = o.data_set_id"
    "    AND s.name IS NOT NULL))))",
    "SELECT count(*), sum(length(activations) + length(density)) FROM temp.doomed"
    " JOIN activation USING (configuration_id, image_id)",
    "DELETE FROM activation WHERE (configuration_id, image_id) IN temp.doomed",
    NULL,
};

static pm_status measure(pm_store *store, const char *sql, pm_prune_kind *kind) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(store, sql, NULL, 0, &statement);
    if (!status) status = pm_db_step(store, statement, &row);
    if (!status && row) {
        kind->rows += pm_db_column_id(statement, 0);
        kind->bytes += pm_db_column_id(statement, 1);
    }
    pm_db_end(statement);
    return status;
}

static pm_status clear_blobs(pm_store *store, const blobs *what, uint64_t run,
                             pm_prune_kind *kind) {
    pm_bind id = pm_id(run);
    pm_status status = pm_db_run_once(store, "DELETE FROM temp.doomed", NULL, 0, NULL);
    if (!status)
        status = pm_db_run_once(store, what->mark, strstr(what->mark, "?1") ? &id : NULL,
                                strstr(what->mark, "?1") ? 1 : 0, NULL);
    if (!status) status = measure(store, what->count, kind);
    if (!status) status = pm_db_run_once(store, what->clear, NULL, 0, NULL);
    if (!status && what->after) status = pm_db_run_once(store, what->after, NULL, 0, NULL);
    return status;
}

static pm_status check_ended(pm_store *store, uint64_t run) {
    int64_t open = 0;
    bool found = false;
    pm_status status =
        pm_db_get(store, "SELECT state IN ('queued', 'running') FROM run WHERE run_id = ?1",
                  PM_BINDS(pm_id(run)), &open, &found);
    if (status) return status;
    if (!found)
        return pm_fail(PM_E_NOT_FOUND, "there is no run %llu in %s", (unsigned long long)run,
                       store->path);
    if (!open) return PM_OK;
    return pm_fail(PM_E_USAGE,
                   "run %llu has not ended; `parchmill cancel %llu` ends it, or let it finish",
                   (unsigned long long)run, (unsigned long long)run);
}

/* While rows go SQLite looks at no references: where a referring column has no index it would read
 * all of that table for every row. Instead all are looked at once, before COMMIT. */
static pm_status check_links(pm_store *store) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(store, "PRAGMA foreign_key_check", NULL, 0, &statement);
    if (!status) status = pm_db_step(store, statement, &row);
    if (!status && row)
        status = pm_fail(PM_E_INTERNAL, "rows of %.60s would refer to rows that went",
                         (const char *)sqlite3_column_text(statement, 0));
    pm_db_end(statement);
    return status;
}

static pm_status prune(pm_store *store, const pm_prune_plan *plan, pm_prune_counts *counts) {
    pm_status status = PM_OK;
    if (plan->of_run) status = check_ended(store, plan->of_run);
    if (!status && plan->run) status = check_ended(store, plan->run);
    if (!status && plan->activations)
        status = clear_blobs(store, &activations, 0, &counts->activations);
    if (!status && plan->heat_maps)
        status = clear_blobs(store, &heat_maps, plan->of_run, &counts->heat_maps);
    if (!status && plan->channel_items)
        status = clear_blobs(store, &channel_items, plan->of_run, &counts->channel_items);
    if (!status && plan->run) status = pm_prune_run(store, plan, counts);
    if (!status && plan->orphans) status = pm_prune_orphans(store, counts);
    if (!status) status = pm_accumulators_flush(store);
    return status ? status : check_links(store);
}

pm_status pm_store_prune(const char *path, const pm_prune_plan *plan, pm_prune_counts *counts) {
    pm_store *store = NULL;
    pm_prune_counts all = {0};
    if (access(path, F_OK) != 0)
        return pm_fail(PM_E_NOT_FOUND, "database %s: %s", path, strerror(errno));
    pm_status status = pm_store_open(path, &store);
    if (status) return status;
    status = pm_db_exec(
        store->db, "PRAGMA foreign_keys = OFF; PRAGMA temp_store = FILE; CREATE TEMP TABLE doomed"
                   " (configuration_id INTEGER, image_id INTEGER,"
                   " PRIMARY KEY (configuration_id, image_id)) WITHOUT ROWID;"
                   "BEGIN IMMEDIATE");
    if (!status) status = prune(store, plan, &all);
    if (!status) status = pm_db_exec(store->db, plan->dry ? "ROLLBACK" : "COMMIT");
    if (!sqlite3_get_autocommit(store->db)) sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    pm_accumulators_drop(store, true);
    status = pm_store_end(&store, status);
    if (!status) *counts = all;
    return status;
}
