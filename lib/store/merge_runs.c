/* Owns where runs stand after a merge. A run that both have is done where one of them has done it,
 * else cancelled where one of them was; what is open of it is what was open in both (merge_rows.c).
 * Of every run that has not ended, what has numbers by now is not computed again. */
#include <stdlib.h>

#include "lib/store/merge.h"

static const char settle_sql[] =
    "UPDATE main.run AS d SET"
    " state = CASE WHEN 'done' IN (d.state, s.state) THEN 'done'"
    "  WHEN 'cancelled' IN (d.state, s.state) THEN 'cancelled'"
    "  WHEN 'running' IN (d.state, s.state) THEN 'running' ELSE 'queued' END,"
    " paused = iif(d.finished_ms IS NULL AND s.finished_ms IS NULL, d.paused, 0),"
    " items_dropped = iif('done' IN (d.state, s.state), 0, max(d.items_dropped, s.items_dropped)),"
    " submitted_ms = min(d.submitted_ms, s.submitted_ms),"
    " finished_ms = coalesce(max(d.finished_ms, s.finished_ms), d.finished_ms, s.finished_ms)"
    " FROM src.run AS s JOIN temp.both_run AS b ON b.src = s.run_id WHERE d.run_id = b.dst";

typedef struct id_list {
    size_t count;
    uint64_t *ids;
} id_list;

static pm_status list(pm_store *store, const char *sql, id_list *out) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(store, sql, NULL, 0, &statement);
    if (status) return status;
    while (!(status = pm_db_step(store, statement, &row)) && row) {
        uint64_t *more = realloc(out->ids, (out->count + 1) * sizeof *more);
        if (!more) {
            status = pm_fail(PM_E_MEMORY, "no memory for %zu runs", out->count);
            break;
        }
        out->ids = more;
        more[out->count++] = pm_db_column_id(statement, 0);
    }
    pm_db_end(statement);
    return status;
}

static pm_status drop_tasks(pm_store *store, uint64_t run) {
    return pm_db_run(store, "DELETE FROM main.task WHERE run_id = ?1", PM_BINDS(pm_id(run)));
}

/* How much a cancelled run lacks is less by now. */
static pm_status count_dropped(pm_store *store, uint64_t run) {
    pm_task_list made = {0};
    uint64_t items = 0, results = 0;
    pm_status status = drop_tasks(store, run);
    if (!status) status = pm_tasks_make(store, run, false, &made, &items, &results);
    if (!status) status = drop_tasks(store, run);
    if (!status)
        status = pm_db_run(store, "UPDATE main.run SET items_dropped = ?2 WHERE run_id = ?1",
                           PM_BINDS(pm_id(run), pm_id(items)));
    pm_task_list_fini(&made);
    return status;
}

static pm_status go_on(pm_store *store, uint64_t run, uint64_t *items_open) {
    pm_op_run finish = {.run_id = run};
    int64_t items = 0;
    bool any = false;
    pm_status status = pm_tasks_remake(store, run);
    if (!status)
        status = pm_db_get(store, "SELECT sum(end_item - next_item) FROM task WHERE run_id = ?1",
                           PM_BINDS(pm_id(run)), &items, &any);
    if (status) return status;
    *items_open += (uint64_t)items;
    return any ? PM_OK : pm_apply_finish(store, &finish);
}

pm_status pm_merge_runs(pm_merge *merge) {
    pm_store *store = merge->store;
    id_list open = {0}, cancelled = {0};
    pm_status status = pm_db_run_once(store, settle_sql, NULL, 0, NULL);
    if (!status)
        status = list(store,
                      "SELECT b.dst FROM temp.both_run AS b JOIN main.run AS r ON r.run_id = b.dst"
                      " WHERE r.state = 'cancelled'",
                      &cancelled);
    if (!status)
        status = list(store,
                      "SELECT run_id FROM main.run WHERE state IN ('queued', 'running') ORDER BY 1",
                      &open);
    for (size_t i = 0; i < cancelled.count && !status; i++)
        status = count_dropped(store, cancelled.ids[i]);
    merge->counts->items_open = 0;
    for (size_t i = 0; i < open.count && !status; i++)
        status = go_on(store, open.ids[i], &merge->counts->items_open);
    if (!status) status = pm_summaries_write(store);
    free(open.ids);
    free(cancelled.ids);
    return status;
}
