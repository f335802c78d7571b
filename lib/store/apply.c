/* Owns the transaction around a group of operations; knows no table. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/store/db.h"

/* A group may be applied again after a full disk: answers start empty each time. */
static void clear_answer(pm_op *op) {
    op->status = PM_OK;
    op->text[0] = 0;
    switch (op->kind) {
    case PM_OP_SUBMIT:
        pm_task_list_fini(&op->submit.made);
        op->submit.run_id = op->submit.items = op->submit.items_open = 0;
        op->submit.results_reused = 0;
        op->submit.existed = op->submit.unfinished = false;
        break;
    case PM_OP_RECORD: op->record.task_done = false; break;
    case PM_OP_SET_ASIDE:
    case PM_OP_CRASHED:
    case PM_OP_POISON:
        pm_task_list_fini(&op->crash.changed);
        op->crash.task_done = false;
        break;
    case PM_OP_CANCEL:
    case PM_OP_FINISH:
    case PM_OP_RETRY:
    case PM_OP_REFRESH:
    case PM_OP_SUMMARISE:
        pm_task_list_fini(&op->run.made);
        if (op->run.run) pm_run_row_fini(op->run.run);
        free(op->run.run);
        op->run.run = NULL;
        op->run.count = 0;
        op->run.unfinished = false;
        break;
    case PM_OP_TERMS: op->terms.changed = false; break;
    case PM_OP_WORKER_SEEN: op->worker.worker_id = 0; break;
    case PM_OP_STATISTICS:
        op->statistics.statistics_id = 0;
        op->statistics.existed = false;
        break;
    }
}

static pm_status apply(pm_store *store, pm_op *op) {
    switch (op->kind) {
    case PM_OP_SUBMIT: return pm_apply_submit(store, &op->submit);
    case PM_OP_RECORD: return pm_apply_record(store, &op->record);
    case PM_OP_SET_ASIDE: return pm_apply_set_aside(store, &op->crash);
    case PM_OP_CRASHED: return pm_apply_crashed(store, &op->crash);
    case PM_OP_POISON: return pm_apply_poison(store, &op->crash);
    case PM_OP_CANCEL: return pm_apply_cancel(store, &op->run);
    case PM_OP_FINISH: return pm_apply_finish(store, &op->run);
    case PM_OP_RETRY: return pm_apply_retry(store, &op->run);
    case PM_OP_TERMS: return pm_apply_terms(store, &op->terms);
    case PM_OP_REFRESH: return pm_apply_refresh(store, &op->run);
    case PM_OP_SUMMARISE: return pm_apply_summarise(store, &op->run);
    case PM_OP_WORKER_SEEN: return pm_apply_worker(store, &op->worker);
    case PM_OP_STATISTICS: return pm_apply_statistics(store, &op->statistics);
    }
    return pm_fail(PM_E_INTERNAL, "no operation %d", (int)op->kind);
}

/* Slices that an earlier transaction took in, of a submission that is refused after all. */
static pm_status forget_slices(pm_store *store, pm_op *op) {
    if (op->kind != PM_OP_SUBMIT || !op->submit.data_set_id) return PM_OK;
    const int64_t id = op->submit.data_set_id;
    bool used = false;
    int64_t run = 0;
    pm_status status = pm_db_get(store, "SELECT run_id FROM run WHERE data_set_id = ?1 LIMIT 1",
                                 PM_BINDS(pm_int(id)), &run, &used);
    if (status || used) return status;
    status =
        pm_db_run(store, "DELETE FROM data_set_item WHERE data_set_id = ?1", PM_BINDS(pm_int(id)));
    return status ? status
                  : pm_db_run(store, "DELETE FROM data_set WHERE data_set_id = ?1",
                              PM_BINDS(pm_int(id)));
}

/* What ends the whole group rather than one op: the disk, the file, or a transaction that SQLite
 * has already rolled back. */
static bool ends_group(pm_store *store, pm_status status) {
    return status == PM_E_FULL || status == PM_E_IO || status == PM_E_BUSY ||
           sqlite3_get_autocommit(store->db);
}

static pm_status apply_in_savepoint(pm_store *store, pm_op *op) {
    clear_answer(op);
    pm_status status = pm_db_run(store, "SAVEPOINT op", NULL, 0);
    if (status) return status;
    op->status = apply(store, op);
    if (op->status == PM_OK) return pm_db_run(store, "RELEASE op", NULL, 0);
    snprintf(op->text, sizeof op->text, "%s", pm_error_text());
    if (ends_group(store, op->status)) return op->status;
    pm_status refused = op->status;
    char text[sizeof op->text];
    snprintf(text, sizeof text, "%s", op->text);
    clear_answer(op);
    op->status = refused;
    snprintf(op->text, sizeof op->text, "%s", text);
    pm_accumulators_drop(store, false);
    status = pm_db_run(store, "ROLLBACK TO op", NULL, 0);
    if (!status) status = forget_slices(store, op);
    if (op->kind == PM_OP_SUBMIT) op->submit.data_set_id = 0; /* it went with the rest */
    return status ? status : pm_db_run(store, "RELEASE op", NULL, 0);
}

/* A rollback takes memory, and may not have found it. */
static pm_status begin(pm_store *store) {
    pm_status status = store->damaged ? pm_fail(store->damaged, "%s", store->damage) : PM_OK;
    if (!status && !sqlite3_get_autocommit(store->db)) status = pm_db_exec(store->db, "ROLLBACK");
    return status ? status : pm_db_run(store, "BEGIN IMMEDIATE", NULL, 0);
}

pm_status pm_store_apply(pm_store *store, pm_op *const *ops, size_t count) {
    pm_status status = begin(store);
    for (size_t i = 0; i < count && !status; i++) status = apply_in_savepoint(store, ops[i]);
    if (!status) status = pm_accumulators_flush(store);
    if (!status) status = pm_db_run(store, "COMMIT", NULL, 0);
    if (!status) {
        pm_accumulators_trim(store);
        pm_db_checkpoint(store, false);
        return PM_OK;
    }
    char text[256];
    snprintf(text, sizeof text, "%s", pm_error_text());
    if (!sqlite3_get_autocommit(store->db)) sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    pm_accumulators_drop(store, true);
    pm_summaries_drop(store);
    for (size_t i = 0; i < count; i++) {
        clear_answer(ops[i]);
        if (ops[i]->kind == PM_OP_SUBMIT) ops[i]->submit.data_set_id = 0; /* may be rolled back */
        ops[i]->status = status;
        snprintf(ops[i]->text, sizeof ops[i]->text, "%s", text);
    }
    return pm_fail(status, "%s", text);
}
