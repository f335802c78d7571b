/* Owns what happens to whole runs: cancelled, finished, tried again; and the worker table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/store/db.h"

static const char *const state_names[] = {"queued", "running", "done", "cancelled"};

const char *pm_run_state_name(pm_run_state state) { return state_names[state]; }

static pm_status read_state(pm_store *store, uint64_t run_id, pm_run_state *out) {
    int64_t state = 0;
    bool found = false;
    pm_status status = pm_db_get(store,
                                 "SELECT CASE state WHEN 'queued' THEN 0 WHEN 'running' THEN 1"
                                 " WHEN 'done' THEN 2 ELSE 3 END FROM run WHERE run_id = ?1",
                                 PM_BINDS(pm_id(run_id)), &state, &found);
    if (status) return status;
    if (!found) return pm_fail(PM_E_NOT_FOUND, "there is no run %llu", (unsigned long long)run_id);
    *out = (pm_run_state)state;
    return PM_OK;
}

/* Configurations are read one by one, because writing channels uses statements of its own. */
static pm_status write_channels(pm_store *store, uint64_t run_id) {
    for (int64_t ordinal = 0;; ordinal++) {
        int64_t configuration_id = 0;
        bool found = false;
        pm_status status =
            pm_db_get(store,
                      "SELECT configuration_id FROM run_configuration"
                      " WHERE run_id = ?1 AND ordinal = ?2",
                      PM_BINDS(pm_id(run_id), pm_int(ordinal)), &configuration_id, &found);
        if (status || !found) return status;
        status = pm_channels_write(store, configuration_id);
        if (status) return status;
    }
}

static pm_status end_run(pm_store *store, pm_op_run *op, pm_run_state state, int64_t dropped) {
    pm_status status =
        pm_db_run(store,
                  "UPDATE run SET state = ?2, items_dropped = ?3, finished_ms = ?4, paused = 0"
                  " WHERE run_id = ?1",
                  PM_BINDS(pm_id(op->run_id), pm_text(state_names[state]), pm_int(dropped),
                           pm_int(pm_clock_wall_ms())));
    op->state = state;
    return status ? status : write_channels(store, op->run_id);
}

static pm_status open_work(pm_store *store, uint64_t run_id, int64_t *items, bool *any) {
    return pm_db_get(store, "SELECT sum(end_item - next_item) FROM task WHERE run_id = ?1",
                     PM_BINDS(pm_id(run_id)), items, any);
}

pm_status pm_apply_cancel(pm_store *store, pm_op_run *op) {
    int64_t items = 0;
    bool any = false;
    pm_status status = read_state(store, op->run_id, &op->state);
    if (status || op->state == PM_RUN_CANCELLED) return status;
    if (op->state == PM_RUN_DONE)
        return pm_fail(PM_E_USAGE, "run %llu is done already", (unsigned long long)op->run_id);
    status = open_work(store, op->run_id, &items, &any);
    if (!status)
        status =
            pm_db_run(store, "DELETE FROM task WHERE run_id = ?1", PM_BINDS(pm_id(op->run_id)));
    if (status) return status;
    op->count = (uint64_t)sqlite3_changes64(store->db);
    return end_run(store, op, PM_RUN_CANCELLED, items);
}

pm_status pm_apply_finish(pm_store *store, pm_op_run *op) {
    int64_t items = 0;
    bool any = false;
    pm_status status = read_state(store, op->run_id, &op->state);
    if (status || op->state == PM_RUN_DONE) return status;
    if (op->state == PM_RUN_CANCELLED)
        return pm_fail(PM_E_STALE, "run %llu is cancelled", (unsigned long long)op->run_id);
    status = open_work(store, op->run_id, &items, &any);
    if (status) return status;
    if (any)
        return pm_fail(PM_E_STALE, "run %llu has %lld items open", (unsigned long long)op->run_id,
                       (long long)items);
    status = end_run(store, op, PM_RUN_DONE, 0);
    return status ? status : pm_summary_slice(store, op->run_id, &op->unfinished);
}

pm_status pm_apply_refresh(pm_store *store, pm_op_run *op) {
    pm_status status = read_state(store, op->run_id, &op->state);
    if (!status) status = write_channels(store, op->run_id);
    if (!status)
        status = pm_db_run(store, "UPDATE run SET summarised = 0 WHERE run_id = ?1",
                           PM_BINDS(pm_id(op->run_id)));
    return status ? status : pm_summary_slice(store, op->run_id, &op->unfinished);
}

pm_status pm_apply_summarise(pm_store *store, pm_op_run *op) {
    pm_status status = read_state(store, op->run_id, &op->state);
    return status ? status : pm_summary_slice(store, op->run_id, &op->unfinished);
}

pm_status pm_apply_retry(pm_store *store, pm_op_run *op) {
    uint64_t items = 0, results = 0;
    pm_status status = read_state(store, op->run_id, &op->state);
    if (!status)
        status = pm_db_run(store,
                           "DELETE FROM result WHERE (configuration_id, image_id) IN"
                           " (SELECT r.configuration_id, r.image_id FROM run"
                           "  CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id"
                           "  CROSS JOIN result AS r INDEXED BY result_error"
                           "   ON r.configuration_id = rc.configuration_id"
                           "   AND r.error IS NOT NULL"
                           "  CROSS JOIN data_set_item AS i ON i.image_id = r.image_id"
                           "   AND i.data_set_id = run.data_set_id"
                           "  WHERE run.run_id = ?1 AND (?2 IS NULL OR r.stage = ?2)"
                           "   AND (?3 IS NULL OR r.reason = ?3)"
                           "   AND (?4 IS NULL OR i.path GLOB ?4))",
                           PM_BINDS(pm_id(op->run_id), pm_text(op->stage), pm_text(op->reason),
                                    pm_text(op->image)));
    if (status) return status;
    op->count = (uint64_t)sqlite3_changes64(store->db);
    if (op->count == 0) return PM_OK;
    status = pm_summary_spoil_run(store, op->run_id);
    if (status) return status;
    /* Errors that did not match stay, and are no work. */
    status = pm_tasks_make(store, op->run_id, false, &op->made, &items, &results);
    if (!status && (op->state == PM_RUN_DONE || op->state == PM_RUN_CANCELLED)) {
        op->state = PM_RUN_QUEUED;
        status = pm_db_run(store,
                           "UPDATE run SET state = 'queued', items_dropped = 0, finished_ms = NULL"
                           " WHERE run_id = ?1",
                           PM_BINDS(pm_id(op->run_id)));
    }
    if (status) return status;
    op->run = calloc(1, sizeof *op->run);
    if (!op->run) return pm_fail(PM_E_MEMORY, "no memory for a run");
    return pm_store_load_run(store, op->run_id, op->run);
}

/* ---- terms ---- */

pm_status pm_terms_check(const pm_run_terms *terms) {
    if (terms->priority < -PM_PRIORITY_MOST || terms->priority > PM_PRIORITY_MOST)
        return pm_fail(PM_E_USAGE, "a priority is within -%d .. %d, not %d", PM_PRIORITY_MOST,
                       PM_PRIORITY_MOST, terms->priority);
    return PM_OK;
}

pm_status pm_terms_read(pm_store *store, uint64_t run_id, pm_run_terms *out) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status =
        pm_db_begin(store, "SELECT priority, paused, max_workers FROM run WHERE run_id = ?1",
                    PM_BINDS(pm_id(run_id)), &statement);
    if (status) return status;
    status = pm_db_step(store, statement, &row);
    if (!status && row)
        *out = (pm_run_terms){.priority = sqlite3_column_int(statement, 0),
                              .paused = sqlite3_column_int(statement, 1) != 0,
                              .max_workers = (uint32_t)sqlite3_column_int64(statement, 2)};
    pm_db_end(statement);
    if (status || row) return status;
    return pm_fail(PM_E_NOT_FOUND, "there is no run %llu", (unsigned long long)run_id);
}

pm_status pm_apply_terms(pm_store *store, pm_op_terms *op) {
    pm_run_terms had;
    pm_run_state state;
    pm_status status = read_state(store, op->run_id, &state);
    if (status) return status;
    if (state == PM_RUN_DONE || state == PM_RUN_CANCELLED)
        return pm_fail(PM_E_USAGE, "run %llu is %s already", (unsigned long long)op->run_id,
                       state_names[state]);
    status = pm_terms_read(store, op->run_id, &had);
    if (status) return status;
    pm_run_terms *now = &op->terms;
    if (!op->set_priority) now->priority = had.priority;
    if (!op->set_paused) now->paused = had.paused;
    if (!op->set_max_workers) now->max_workers = had.max_workers;
    op->changed = now->priority != had.priority || now->paused != had.paused ||
                  now->max_workers != had.max_workers;
    status = pm_terms_check(now);
    if (status || !op->changed) return status;
    return pm_db_run(store,
                     "UPDATE run SET priority = ?2, paused = ?3, max_workers = ?4"
                     " WHERE run_id = ?1",
                     PM_BINDS(pm_id(op->run_id), pm_int(now->priority), pm_int(now->paused),
                              pm_int(now->max_workers)));
}

/* ---- workers ---- */

pm_status pm_apply_worker(pm_store *store, pm_op_worker *op) {
    char instance[33], name[96];
    int64_t id = 0;
    bool found = false;
    for (size_t i = 0; i < sizeof op->instance; i++)
        snprintf(instance + 2 * i, 3, "%02x", op->instance[i]);
    snprintf(name, sizeof name, "%s:%u", op->host, op->pid);
    int64_t now_ms = pm_clock_wall_ms();
    pm_status status =
        pm_db_run(store,
                  "INSERT INTO worker (instance, name, host, pid, threads, isa, engine_version,"
                  " first_seen_ms, last_seen_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)"
                  " ON CONFLICT DO UPDATE SET last_seen_ms = excluded.last_seen_ms",
                  PM_BINDS(pm_text(instance), pm_text(name), pm_text(op->host), pm_int(op->pid),
                           pm_int(op->threads), pm_text(op->isa), pm_text(op->engine_version),
                           pm_int(now_ms)));
    if (!status)
        status = pm_db_get(store, "SELECT worker_id FROM worker WHERE instance = ?1",
                           PM_BINDS(pm_text(instance)), &id, &found);
    if (!status) op->worker_id = (uint64_t)id;
    return status;
}
