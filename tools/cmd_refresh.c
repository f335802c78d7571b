/* parchmill refresh: write the plain channel_gradient rows of runs that are not at their end, and
 * the summaries of those that are; where a broker has the database, the broker does it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/text.h"
#include "lib/store/store.h"
#include "tools/command.h"
#include "tools/place.h"
#include "tools/source.h"
#include "tools/summarise.h"

enum { CALL_MS = 120000 }; /* of one run: as many rows as configurations and channels */

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

static pm_status list_runs(const pm_options *options, uint64_t run, run_ids *out) {
    pm_source *source = NULL;
    const pm_value id = {.kind = PM_VALUE_INTEGER, .integer = (int64_t)run};
    const pm_query_sink sink = {.user = out, .row = take_id};
    pm_status status = pm_source_open(options, &source);
    if (!status)
        status = pm_source_ask(source, "SELECT run_id FROM run WHERE ?1 = 0 OR run_id = ?1", &id, 1,
                               &sink, NULL);
    if (!status && run && !out->count)
        status = pm_fail(PM_E_NOT_FOUND, "there is no run %" PRIu64 " in %s", run,
                         pm_source_name(source));
    pm_source_close(&source);
    return status;
}

static pm_status refresh_file(const char *db, const run_ids *all, size_t *done) {
    pm_store *store = NULL;
    pm_status status = pm_store_open(db, &store);
    if (status) return status;
    for (; *done < all->count && !status; ++*done) status = pm_refresh_run(store, all->ids[*done]);
    return pm_store_end(&store, status);
}

static pm_status refresh_at_broker(const pm_options *options, const run_ids *all, size_t *done) {
    pm_place place = {0};
    uint64_t count = 0;
    pm_stop_catch();
    pm_status status = pm_place_open(options, 0, 1, &pm_stop_asked, &place);
    for (; *done < all->count && !status; ++*done)
        status = pm_client_refresh(place.client, all->ids[*done], CALL_MS, &count);
    pm_place_close(&place, &pm_stop_hurry);
    return status;
}

int pm_cmd_refresh(const pm_options *options) {
    uint64_t run = 0;
    size_t done = 0;
    run_ids all = {0};
    pm_status status = pm_options_operands(options, "[RUN]", 0, 1);
    if (!status) status = pm_options_run(options, 0, &run);
    if (!status) status = list_runs(options, run, &all);
    if (!status)
        status = pm_options_given(options, PM_OPT_BROKER)
                     ? refresh_at_broker(options, &all, &done)
                     : refresh_file(pm_options_text(options, PM_OPT_DB), &all, &done);
    free(all.ids);
    if (status) return pm_command_failed("refresh", status);
    printf("%zu run%s refreshed\n", done, done == 1 ? "" : "s");
    return PM_EXIT_OK;
}
