/* Owns what each worker did of a run, summed up item by item over all configurations. */
#include "lib/store/summary_timing.h"

#include <stdlib.h>

#include "lib/stats/moments.h"
#include "lib/store/db.h"

typedef struct doer {
    int64_t worker_id, last_image; /* of the row before */
    uint64_t images, results, errors;
    pm_moments ms;
    int64_t first_ms, last_ms;
} doer;

struct pm_summary_timing {
    uint64_t run_id;
    doer *list;
    size_t count, capacity, last;
};

static pm_status no_memory(void) { return pm_fail(PM_E_MEMORY, "no memory to sum up a run"); }

pm_status pm_summary_timing_new(uint64_t run_id, pm_summary_timing **out) {
    pm_summary_timing *timing = calloc(1, sizeof *timing);
    if (!timing) return no_memory();
    timing->run_id = run_id;
    *out = timing;
    return PM_OK;
}

void pm_summary_timing_free(pm_summary_timing **timing) {
    if (!*timing) return;
    free((*timing)->list);
    free(*timing);
    *timing = NULL;
}

/* An image's results are mostly one worker's. */
static pm_status doer_of(pm_summary_timing *t, int64_t worker_id, doer **out) {
    for (size_t i = 0; i < t->count; i++) {
        const size_t at = (t->last + i) % t->count;
        if (t->list[at].worker_id != worker_id) continue;
        t->last = at;
        *out = &t->list[at];
        return PM_OK;
    }
    if (t->count == t->capacity) {
        const size_t capacity = t->capacity ? 2 * t->capacity : 8;
        doer *list = realloc(t->list, capacity * sizeof *list);
        if (!list) return no_memory();
        t->list = list;
        t->capacity = capacity;
    }
    t->last = t->count++;
    t->list[t->last] = (doer){.worker_id = worker_id, .last_image = -1};
    *out = &t->list[t->last];
    return PM_OK;
}

enum { WORKER, IMAGE, ERROR, MS, RECORDED };

static void add(doer *d, sqlite3_stmt *row) {
    const int64_t image = sqlite3_column_int64(row, IMAGE);
    const int64_t recorded_ms = sqlite3_column_int64(row, RECORDED);
    if (sqlite3_column_type(row, MS) != SQLITE_NULL)
        pm_moments_add(&d->ms, sqlite3_column_double(row, MS), false);
    d->errors += sqlite3_column_int(row, ERROR) != 0;
    d->images += image != d->last_image;
    d->last_image = image;
    if (!d->results || recorded_ms < d->first_ms) d->first_ms = recorded_ms;
    if (!d->results || recorded_ms > d->last_ms) d->last_ms = recorded_ms;
    d->results++;
}

pm_status pm_summary_timing_add(pm_store *store, pm_summary_timing *timing, int64_t first,
                                int64_t end) {
    static const char sql[] =
        "SELECT ifnull(r.worker_id, 0), r.image_id, r.error IS NOT NULL, r.compute_ms,"
        " r.recorded_ms FROM run CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
        " CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id"
        " CROSS JOIN result AS r"
        " ON r.configuration_id = rc.configuration_id AND r.image_id = i.image_id"
        " WHERE run.run_id = ?1 AND r.run_id = ?1 AND i.item >= ?2 AND i.item < ?3"
        " AND NOT EXISTS (SELECT 1 FROM data_set_item AS o WHERE o.image_id = i.image_id"
        " AND o.data_set_id = i.data_set_id AND o.item < i.item)";
    sqlite3_stmt *row = NULL;
    bool any = true;
    pm_status status =
        pm_db_begin(store, sql, PM_BINDS(pm_id(timing->run_id), pm_int(first), pm_int(end)), &row);
    if (status) return status;
    while (!(status = pm_db_step(store, row, &any)) && any) {
        doer *d = NULL;
        if ((status = doer_of(timing, sqlite3_column_int64(row, WORKER), &d))) break;
        add(d, row);
    }
    pm_db_end(row);
    return status;
}

static pm_status put(pm_store *store, uint64_t run_id, const doer *d) {
    const bool any = d->ms.count > 0;
    return pm_db_run(store,
                     "INSERT INTO timing_summary (run_id, worker_id, images, results, errors,"
                     " mean_ms, min_ms, max_ms, first_ms, last_ms)"
                     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                     PM_BINDS(pm_id(run_id), pm_int(d->worker_id), pm_id(d->images),
                              pm_id(d->results), pm_id(d->errors), pm_real_if(any, d->ms.mean),
                              pm_real_if(any, d->ms.min), pm_real_if(any, d->ms.max),
                              pm_int(d->first_ms), pm_int(d->last_ms)));
}

pm_status pm_summary_timing_write(pm_store *store, const pm_summary_timing *timing) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < timing->count && !status; i++)
        status = put(store, timing->run_id, &timing->list[i]);
    return status;
}
