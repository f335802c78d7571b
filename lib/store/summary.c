/* Owns what is kept of whole runs: the tables *_summary, as the views *_live compute them.
 *
 * They are summed up here, exactly; a test holds them against the views.
 *
 * run.summarised says how far: 0 nothing, 1 all, -1 - k the first k configurations. A result that
 * changes afterwards, or comes into a run that is done (another one's retry had taken it away),
 * sets it back to 0 (pm_summary_spoil), also in between, so that what was begun begins anew. A
 * slice sees SLICE_RESULTS results, some hundredths of a second; a configuration in part is in
 * memory alone (store->summaries), and begins anew with the process. */
#include <stdlib.h>

#include "lib/store/db.h"
#include "lib/store/summary_part.h"

enum { SLICE_RESULTS = 5000 };

static const char *const cleared[] = {
    "DELETE FROM score_summary WHERE run_id = ?1", "DELETE FROM curve_summary WHERE run_id = ?1",
    "DELETE FROM layer_summary WHERE run_id = ?1", "DELETE FROM timing_summary WHERE run_id = ?1"};

static pm_status mark(pm_store *store, uint64_t run_id, int64_t value) {
    store->summary_marks++;
    return pm_db_run(store, "UPDATE run SET summarised = ?2 WHERE run_id = ?1",
                     PM_BINDS(pm_id(run_id), pm_int(value)));
}

static pm_status begin(pm_store *store, uint64_t run_id) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < sizeof cleared / sizeof *cleared && !status; i++)
        status = pm_db_run(store, cleared[i], PM_BINDS(pm_id(run_id)));
    return status ? status : mark(store, run_id, -1);
}

/* ---- slices ---- */

/* What is in work of a run, up to `next_item`. Several runs may be. */
typedef struct pm_summary_work {
    struct pm_summary_work *next;
    uint64_t run_id;
    int64_t ordinal, next_item;
    int64_t each;          /* results of an item */
    bool last;             /* the timings, behind the configurations */
    pm_summary_part *part; /* of configuration number `ordinal`, or the timings */
} work;

static work **place_of(pm_store *store, uint64_t run_id) {
    work **place = &store->summaries;
    while (*place && (*place)->run_id != run_id) place = &(*place)->next;
    return place;
}

static void drop(work **place) {
    work *old = *place;
    if (!old) return;
    *place = old->next;
    pm_summary_part_free(&old->part);
    free(old);
}

void pm_summaries_drop(pm_store *store) {
    while (store->summaries) drop(&store->summaries);
}

/* The next thing of the run: its configuration number `ordinal`, or where it has no such its
 * timing. */
static pm_status fill(pm_store *store, work *w) {
    int64_t configuration_id = 0;
    bool found = false;
    pm_status status =
        pm_db_get(store,
                  "SELECT configuration_id FROM run_configuration"
                  " WHERE run_id = ?1 AND ordinal = ?2",
                  PM_BINDS(pm_id(w->run_id), pm_int(w->ordinal)), &configuration_id, &found);
    if (status) return status;
    w->last = !found;
    w->each = found || w->ordinal < 1 ? 1 : w->ordinal;
    return pm_summary_part_new(w->run_id, configuration_id, &w->part);
}

static pm_status work_on(pm_store *store, uint64_t run_id, int64_t ordinal, work **out) {
    work **place = place_of(store, run_id);
    *out = *place;
    if (*place && (*place)->ordinal == ordinal) return PM_OK;
    drop(place);
    work *made = calloc(1, sizeof *made);
    if (!made) return pm_summary_no_memory();
    *made = (work){.next = store->summaries, .run_id = run_id, .ordinal = ordinal};
    *out = store->summaries = made;
    return fill(store, made);
}

/* Some items more, of at most `*results` results, which becomes less; with the last one the rows.
 */
static pm_status go_on(pm_store *store, work *w, int64_t items, int64_t *results, bool *written) {
    const int64_t room = *results > w->each ? *results / w->each : 1, left = items - w->next_item;
    const int64_t end = w->next_item + (left < room ? left : room);
    pm_status status = pm_summary_part_add(store, w->part, w->next_item, end);
    *results -= (end - w->next_item) * w->each;
    w->next_item = end;
    *written = end >= items;
    return status || !*written ? status : pm_summary_part_write(store, w->part);
}

static pm_status slice(pm_store *store, uint64_t run_id, bool *unfinished) {
    int64_t at = 0, items = 0, results = SLICE_RESULTS;
    bool done = false, found, written;
    pm_status status =
        pm_db_get(store, "SELECT summarised FROM run WHERE run_id = ?1 AND state = 'done'",
                  PM_BINDS(pm_id(run_id)), &at, &done);
    if (!done || at >= 0) drop(place_of(store, run_id));
    if (status || !done || at == 1) return status;
    status = pm_db_get(store,
                       "SELECT items FROM run JOIN data_set USING (data_set_id) WHERE run_id = ?1",
                       PM_BINDS(pm_id(run_id)), &items, &found);
    if (!status && at == 0) {
        status = begin(store, run_id);
        at = -1;
    }
    while (!status && at != 1 && results > 0) {
        work *w = NULL;
        status = work_on(store, run_id, -1 - at, &w);
        if (!status) status = go_on(store, w, items, &results, &written);
        if (status || !written) continue;
        at = w->last ? 1 : at - 1;
        status = mark(store, run_id, at);
    }
    if (at == 1) drop(place_of(store, run_id));
    *unfinished = !status && at != 1;
    return status;
}

pm_status pm_summary_slice(pm_store *store, uint64_t run_id, bool *unfinished) {
    *unfinished = false;
    pm_status status = slice(store, run_id, unfinished);
    if (status) drop(place_of(store, run_id));
    return status;
}

/* Whether anything is kept, or being written, of a run that has a configuration of this one: asked
 * once, until a summary is written somewhere. */
static pm_status find_company(pm_store *store, uint64_t run_id, bool *any) {
    int64_t found = 0;
    if (store->alone_run == run_id && store->alone_marks == store->summary_marks) {
        *any = false;
        return PM_OK;
    }
    pm_status status =
        pm_db_get(store,
                  "SELECT 1 FROM run_configuration AS mine JOIN run_configuration AS o"
                  " USING (configuration_id) JOIN run ON run.run_id = o.run_id"
                  " WHERE mine.run_id = ?1 AND run.summarised <> 0 LIMIT 1",
                  PM_BINDS(pm_id(run_id)), &found, any);
    if (status || *any) return status;
    store->alone_run = run_id;
    store->alone_marks = store->summary_marks;
    return PM_OK;
}

pm_status pm_summary_spoil(pm_store *store, uint64_t run_id, int64_t configuration_id,
                           int64_t image_id) {
    bool any = false;
    pm_status status = find_company(store, run_id, &any);
    if (status || !any) return status;
    return pm_db_run(store,
                     "UPDATE run SET summarised = 0 WHERE summarised <> 0 AND run_id IN"
                     " (SELECT run_id FROM run_configuration WHERE configuration_id = ?1)"
                     " AND EXISTS (SELECT 1 FROM data_set_item AS i WHERE i.image_id = ?2"
                     "  AND i.data_set_id = run.data_set_id)",
                     PM_BINDS(pm_int(configuration_id), pm_int(image_id)));
}

pm_status pm_summary_spoil_run(pm_store *store, uint64_t run_id) {
    return pm_db_run(store,
                     "UPDATE run SET summarised = 0 WHERE summarised <> 0 AND run_id IN"
                     " (SELECT o.run_id FROM run_configuration AS mine"
                     "  JOIN run_configuration AS o USING (configuration_id)"
                     "  WHERE mine.run_id = ?1)",
                     PM_BINDS(pm_id(run_id)));
}

pm_status pm_store_summaries_due(pm_store *store, uint64_t **runs, size_t *count) {
    uint64_t *list = NULL;
    size_t used = 0;
    bool row = false;
    sqlite3_stmt *statement = NULL;
    pm_status status = pm_db_begin(store,
                                   "SELECT run_id FROM run WHERE state = 'done' AND summarised < 1"
                                   " ORDER BY run_id",
                                   NULL, 0, &statement);
    if (status) return status;
    while (!(status = pm_db_step(store, statement, &row)) && row) {
        uint64_t *more = realloc(list, (used + 1) * sizeof *more);
        if (!more) {
            status = pm_fail(PM_E_MEMORY, "no memory for %zu runs", used);
            break;
        }
        list = more;
        list[used++] = pm_db_column_id(statement, 0);
    }
    pm_db_end(statement);
    if (status) {
        free(list);
        return status;
    }
    *runs = list;
    *count = used;
    return PM_OK;
}

pm_status pm_summaries_write(pm_store *store) {
    uint64_t *runs = NULL;
    size_t count = 0;
    pm_status status = pm_store_summaries_due(store, &runs, &count);
    for (size_t i = 0; i < count && !status; i++) {
        bool unfinished = true;
        while (!status && unfinished) status = pm_summary_slice(store, runs[i], &unfinished);
    }
    free(runs);
    return status;
}
