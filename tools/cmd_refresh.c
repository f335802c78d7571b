/* parchmill refresh: write the plain channel_gradient rows of runs that are not at their end,
 * and the summaries of those that are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/store/query.h"
#include "lib/store/store.h"
#include "tools/command.h"
#include "tools/summarise.h"

typedef struct run_ids {
    uint64_t *ids;
    size_t count;
} run_ids;

static pm_status take_id(void *user, size_t count, const pm_value *values) {
    run_ids *all = user;
    (void)count;
    uint64_t *ids = realloc(all->ids, (all->count + 1) * sizeof *ids);
    if (!ids) return pm_fail(PM_E_MEMORY, "no memory for the runs");
    all->ids = ids;
    ids[all->count++] = (uint64_t)values[0].integer;
    return PM_OK;
}

static pm_status list_runs(const char *db, size_t run, run_ids *out) {
    pm_query *query = NULL;
    pm_value id = {.kind = PM_VALUE_INTEGER, .integer = (int64_t)run};
    pm_query_sink sink = {.user = out, .row = take_id};
    pm_status status = pm_query_open(db, &pm_query_default_limits, &query);
    if (!status)
        status = pm_query_run(query, "SELECT run_id FROM run WHERE ?1 = 0 OR run_id = ?1", &id, 1,
                              &sink, NULL);
    pm_query_close(&query);
    if (!status && run && !out->count)
        status = pm_fail(PM_E_NOT_FOUND, "there is no run %zu in %s", run, db);
    return status;
}

int pm_cmd_refresh(const pm_options *options) {
    size_t run = 0, done = 0;
    run_ids all = {0};
    pm_store *store = NULL;
    const char *db = pm_options_text(options, PM_OPT_DB);
    pm_status status = pm_options_operands(options, "[RUN]", 0, 1);
    if (!status && pm_options_operand_count(options))
        status = pm_parse_size("RUN", pm_options_operand(options, 0), &run);
    if (!status) status = list_runs(db, run, &all);
    if (!status) status = pm_store_open(db, &store);
    for (; done < all.count && !status; done++) status = pm_refresh_run(store, all.ids[done]);
    if (store) {
        /* A reader that keeps the -wal file open is no failure: everything is committed. */
        pm_status closed = pm_store_close(&store);
        if (!status && closed != PM_E_BUSY) status = closed;
    }
    free(all.ids);
    if (status) return pm_command_failed("refresh", status);
    printf("%zu run%s refreshed\n", done, done == 1 ? "" : "s");
    return PM_EXIT_OK;
}
