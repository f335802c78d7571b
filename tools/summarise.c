/* Owns the loop over the slices of a summary; what they write is the store's. */
#include "tools/summarise.h"

#include "lib/store/query.h"

static pm_status apply(pm_store *store, pm_op_kind kind, uint64_t run, bool *unfinished) {
    pm_op *op = pm_op_new(kind);
    if (!op) return pm_fail(PM_E_MEMORY, "no memory for a request");
    op->run.run_id = run;
    pm_status status = pm_store_apply(store, &op, 1);
    if (!status && op->status) status = pm_fail(op->status, "%s", op->text);
    *unfinished = op->run.unfinished;
    pm_op_free(&op);
    return status;
}

static pm_status rest(pm_store *store, uint64_t run, bool unfinished) {
    pm_status status = PM_OK;
    while (!status && unfinished) status = apply(store, PM_OP_SUMMARISE, run, &unfinished);
    return status;
}

pm_status pm_refresh_run(pm_store *store, uint64_t run) {
    bool unfinished = false;
    pm_status status = apply(store, PM_OP_REFRESH, run, &unfinished);
    return status ? status : rest(store, run, unfinished);
}

static pm_status take(void *user, size_t count, const pm_value *values) {
    (void)count;
    *(bool *)user = values[0].integer != 0;
    return PM_OK;
}

pm_status pm_summarise_rest(const char *db, uint64_t run) {
    bool due = false;
    pm_query *query = NULL;
    pm_store *store = NULL;
    const pm_value id = {.kind = PM_VALUE_INTEGER, .integer = (int64_t)run};
    const pm_query_sink sink = {.user = &due, .row = take};
    pm_status status = pm_query_open(db, &pm_query_default_limits, &query);
    if (!status)
        status = pm_query_run(query,
                              "SELECT state = 'done' AND summarised < 1 FROM run WHERE run_id = ?1",
                              &id, 1, &sink, NULL);
    pm_query_close(&query);
    if (status || !due) return status;
    status = pm_store_open(db, &store);
    if (status) return status;
    return pm_store_end(&store, rest(store, run, true));
}
