/* Owns the end of a run: its row, its results that no other run has, and what they added to the
 * sums of channels. A sum has no way back to a single image, so what is left is added up anew from
 * the images' own channels where those were kept. */
#include "lib/store/prune.h"

/* Results of the run that no other run has. */
static const char mark_sql[] =
    "INSERT INTO temp.doomed SELECT DISTINCT r.configuration_id, r.image_id FROM run"
    " JOIN run_configuration AS rc ON rc.run_id = run.run_id"
    " JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
    " JOIN result AS r ON r.configuration_id = rc.configuration_id AND r.image_id = i.image_id"
    " WHERE run.run_id = ?1 AND NOT EXISTS (SELECT 1 FROM run_configuration AS oc"
    "  JOIN run AS o ON o.run_id = oc.run_id JOIN data_set_item AS oi"
    "  ON oi.data_set_id = o.data_set_id AND oi.image_id = r.image_id"
    "  WHERE oc.configuration_id = r.configuration_id AND o.run_id <> ?1)";

/* What hangs on a result; the result itself last. */
static const struct {
    const char *size, *clear;
} tables[] = {
    {"SELECT 0, sum(length(zstd)) FROM temp.doomed JOIN heat_map"
     " USING (configuration_id, image_id)",
     "DELETE FROM heat_map WHERE (configuration_id, image_id) IN temp.doomed"},
    {"SELECT 0, sum(length(variances) + length(in_h)) FROM temp.doomed"
     " JOIN channel_gradient_item USING (configuration_id, image_id)",
     "DELETE FROM channel_gradient_item WHERE (configuration_id, image_id) IN temp.doomed"},
    {"SELECT 0, sum(length(activations) + length(density)) FROM temp.doomed JOIN activation"
     " USING (configuration_id, image_id)",
     "DELETE FROM activation WHERE (configuration_id, image_id) IN temp.doomed"},
    /* Of numbers: docs/SCALE.md has what a row takes. */
    {"SELECT 0, 60 * count(*) FROM temp.doomed JOIN layer_gradient"
     " USING (configuration_id, image_id)",
     "DELETE FROM layer_gradient WHERE (configuration_id, image_id) IN temp.doomed"},
    {"SELECT 0, 60 * count(*) FROM temp.doomed JOIN perturbation"
     " USING (configuration_id, image_id)",
     "DELETE FROM perturbation WHERE (configuration_id, image_id) IN temp.doomed"},
    {"SELECT count(*), 150 * count(*) FROM temp.doomed",
     "DELETE FROM result WHERE (configuration_id, image_id) IN temp.doomed"},
};

static pm_status clear_results(pm_store *store, pm_prune_kind *kind) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < sizeof tables / sizeof *tables && !status; i++) {
        sqlite3_stmt *statement = NULL;
        bool row = false;
        status = pm_db_begin(store, tables[i].size, NULL, 0, &statement);
        if (!status) status = pm_db_step(store, statement, &row);
        if (!status && row) {
            kind->rows += pm_db_column_id(statement, 0);
            kind->bytes += pm_db_column_id(statement, 1);
        }
        pm_db_end(statement);
        if (!status) status = pm_db_run_once(store, tables[i].clear, NULL, 0, NULL);
    }
    return status;
}

/* ---- the sums ---- */

static pm_status refuse(pm_store *store, const pm_prune_plan *plan, int64_t id, int64_t bare) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status =
        pm_db_begin(store, "SELECT sha256, label FROM configuration WHERE configuration_id = ?1",
                    PM_BINDS(pm_int(id)), &statement);
    if (!status) status = pm_db_step(store, statement, &row);
    if (!status)
        status = pm_fail(PM_E_MISMATCH,
                         "the channel sums of configuration %.12s (%s) count images of run %llu "
                         "and %lld others that were not kept one by one (--channels full); "
                         "--drop-channel-sums leaves these sums out",
                         (const char *)sqlite3_column_text(statement, 0),
                         (const char *)sqlite3_column_text(statement, 1),
                         (unsigned long long)plan->run, (long long)bare);
    pm_db_end(statement);
    return status;
}

/* `counted` of the results that go are in the sums; the doomed are there still. */
static pm_status settle_sums(pm_store *store, const pm_prune_plan *plan, int64_t id,
                             pm_prune_counts *counts) {
    int64_t bare = 0;
    bool found = false;
    pm_status status =
        pm_db_get(store,
                  "SELECT count(*) FROM result AS r WHERE r.configuration_id = ?1"
                  " AND r.channels_kept = 1 AND NOT EXISTS (SELECT 1 FROM temp.doomed AS x"
                  "  WHERE x.configuration_id = ?1 AND x.image_id = r.image_id)",
                  PM_BINDS(pm_int(id)), &bare, &found);
    if (status || !bare) return status;
    if (!plan->drop_channel_sums) return refuse(store, plan, id, bare);
    counts->sums_dropped++;
    return PM_OK;
}

/* Configurations in whose sums something doomed is. */
static const char next_sql[] =
    "SELECT min(x.configuration_id) FROM temp.doomed AS x JOIN result AS r"
    " USING (configuration_id, image_id) WHERE r.channels_kept > 0 AND x.configuration_id > ?1";

static pm_status mark_touched(pm_store *store, const pm_prune_plan *plan, pm_prune_counts *counts) {
    int64_t id = -1;
    pm_status status = pm_db_exec(store->db, "CREATE TEMP TABLE IF NOT EXISTS touched"
                                             " (configuration_id INTEGER PRIMARY KEY)");
    while (!status) {
        bool found = false;
        status = pm_db_get(store, next_sql, PM_BINDS(pm_int(id)), &id, &found);
        if (status || !found) return status;
        status = settle_sums(store, plan, id, counts);
        if (!status)
            status = pm_db_run_once(store, "INSERT INTO temp.touched VALUES (?1)",
                                    PM_BINDS(pm_int(id)), NULL);
    }
    return status;
}

static pm_status remake_sums(pm_store *store) {
    for (;;) {
        int64_t id = 0;
        bool found = false;
        pm_status status = pm_db_get(store, "SELECT min(configuration_id) FROM temp.touched", NULL,
                                     0, &id, &found);
        if (status || !found) return status;
        status = pm_sums_from_items(store, id);
        if (!status)
            status = pm_db_run_once(store, "DELETE FROM temp.touched WHERE configuration_id = ?1",
                                    PM_BINDS(pm_int(id)), NULL);
        if (status) return status;
    }
}

/* ---- the run ---- */

/* Results that another run has as well are that one's from now on. */
static const char *const run_sql[] = {
    "UPDATE result SET run_id = (SELECT min(o.run_id) FROM run_configuration AS oc"
    "  JOIN run AS o ON o.run_id = oc.run_id JOIN data_set_item AS oi"
    "  ON oi.data_set_id = o.data_set_id AND oi.image_id = result.image_id"
    "  WHERE oc.configuration_id = result.configuration_id AND o.run_id <> ?1)"
    " WHERE run_id = ?1",
    "DELETE FROM score_summary WHERE run_id = ?1",
    "DELETE FROM curve_summary WHERE run_id = ?1",
    "DELETE FROM layer_summary WHERE run_id = ?1",
    "DELETE FROM timing_summary WHERE run_id = ?1",
    "DELETE FROM failure WHERE run_id = ?1",
    "DELETE FROM task WHERE run_id = ?1",
    "DELETE FROM run_configuration WHERE run_id = ?1",
    "DELETE FROM run WHERE run_id = ?1",
};

pm_status pm_prune_run(pm_store *store, const pm_prune_plan *plan, pm_prune_counts *counts) {
    const pm_bind id = pm_id(plan->run);
    pm_status status = pm_db_run_once(store, "DELETE FROM temp.doomed", NULL, 0, NULL);
    if (!status) status = pm_db_run_once(store, mark_sql, &id, 1, NULL);
    if (!status) status = mark_touched(store, plan, counts);
    if (!status) status = clear_results(store, &counts->results);
    if (!status) status = pm_summary_spoil_run(store, plan->run);
    for (size_t i = 0; i < sizeof run_sql / sizeof *run_sql && !status; i++)
        status = pm_db_run_once(store, run_sql[i], &id, 1, NULL);
    if (!status) counts->runs++;
    if (!status) status = remake_sums(store);
    return status ? status : pm_summaries_write(store);
}
