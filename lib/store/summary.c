/* Owns what is kept of whole runs: the tables *_summary, as the views *_live compute them.
 *
 * All but the timings is summed up here, exactly; SQLite groups by sorting, which takes eight times
 * as long as reading, and knows no variance. A test holds them against the views.
 *
 * run.summarised says how far: 0 nothing, 1 all, -1 - k the first k configurations. A result that
 * changes afterwards, or comes into a run that is done (another one's retry had taken it away),
 * sets it back to 0 (pm_summary_spoil), also in between, so that what was begun begins anew. A
 * slice takes configurations until it has seen SLICE_RESULTS results. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/stats/paired.h"
#include "lib/store/db.h"

enum { SLICE_RESULTS = 50000, VALUES_MAX = 12 };

/* A photograph that stands twice in a data set is one result. */
#define EACH_ONCE                                                                                  \
    " AND NOT EXISTS (SELECT 1 FROM data_set_item AS o WHERE o.image_id = i.image_id"              \
    " AND o.data_set_id = i.data_set_id AND o.item < i.item)"

static const char *const cleared[] = {
    "DELETE FROM score_summary WHERE run_id = ?1", "DELETE FROM curve_summary WHERE run_id = ?1",
    "DELETE FROM layer_summary WHERE run_id = ?1", "DELETE FROM timing_summary WHERE run_id = ?1"};

static const char timings[] =
    "INSERT INTO timing_summary (run_id, worker_id, images, results, errors, mean_ms, min_ms,"
    " max_ms, first_ms, last_ms) SELECT run, worker_id, images, results, errors, mean_ms, min_ms,"
    " max_ms, first_ms, last_ms FROM timing_live WHERE run = ?1";

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

/* ---- sums by a key ---- */

typedef struct group {
    char evaluation[PM_EVALUATION_BYTES], curve[8]; /* "" where layers are summed up */
    double ratio;
    int64_t layer_id;
    uint64_t rows;
    pm_moments values[VALUES_MAX];
} group;

typedef struct groups {
    group *list;
    size_t count, capacity, last; /* last: where the row before was */
} groups;

static bool same(const group *a, const group *b) {
    return a->layer_id == b->layer_id && !(a->ratio < b->ratio || a->ratio > b->ratio) &&
           strcmp(a->curve, b->curve) == 0 && strcmp(a->evaluation, b->evaluation) == 0;
}

/* Rows come in the same order for each image, so the next group is nearly always the right one. */
static pm_status group_of(groups *all, const group *key, group **out) {
    for (size_t i = 0; i < all->count; i++) {
        const size_t at = (all->last + 1 + i) % all->count;
        if (!same(&all->list[at], key)) continue;
        all->last = at;
        *out = &all->list[at];
        return PM_OK;
    }
    if (all->count == all->capacity) {
        const size_t capacity = all->capacity ? 2 * all->capacity : 32;
        group *list = realloc(all->list, capacity * sizeof *list);
        if (!list) return pm_fail(PM_E_MEMORY, "no memory to sum up a run");
        all->list = list;
        all->capacity = capacity;
    }
    all->last = all->count++;
    all->list[all->last] = *key;
    *out = &all->list[all->last];
    return PM_OK;
}

/* Columns from `first` on, `count` of them; NULL is left out. */
static void add_values(group *g, sqlite3_stmt *row, int first, int count) {
    g->rows++;
    for (int i = 0; i < count; i++)
        if (sqlite3_column_type(row, first + i) != SQLITE_NULL)
            pm_moments_add(&g->values[i], sqlite3_column_double(row, first + i), false);
}

typedef pm_status (*key_fn)(sqlite3_stmt *row, group *key);

static pm_status sum_up(pm_store *store, const char *sql, uint64_t run_id, int64_t configuration_id,
                        key_fn key_of, int key_columns, int count, groups *all) {
    sqlite3_stmt *row = NULL;
    bool any = true;
    pm_status status =
        pm_db_begin(store, sql, PM_BINDS(pm_id(run_id), pm_int(configuration_id)), &row);
    if (status) return status;
    while (!(status = pm_db_step(store, row, &any)) && any) {
        group key = {.rows = 0}, *g = NULL;
        if ((status = key_of(row, &key)) || (status = group_of(all, &key, &g))) break;
        add_values(g, row, key_columns, count);
    }
    pm_db_end(row);
    return status;
}

static pm_bind mean_of(const pm_moments *m) { return pm_real_if(m->count > 0, m->mean); }

static pm_bind half_width_of(const pm_moments *m) { return pm_real_if(m->count > 1, pm_ci95(m)); }

/* ---- scores ---- */

static const char *const measures[] = {
    "accuracy", "p_target", "p_predicted",  "mu_in",         "mu_in_w",          "mu_out",
    "mu_out_w", "pointing", "deletion_auc", "insertion_auc", "completeness_gap", "compute_ms"};
enum { MEASURES = sizeof measures / sizeof *measures };

static pm_status no_key(sqlite3_stmt *row, group *key) {
    (void)row;
    (void)key;
    return PM_OK;
}

static pm_status put_score(pm_store *store, uint64_t run_id, int64_t configuration_id,
                           const group *g, size_t measure) {
    const pm_moments *m = &g->values[measure];
    const bool any = m->count > 0;
    return pm_db_run(store,
                     "INSERT INTO score_summary (run_id, configuration_id, measure, n, missing,"
                     " mean, std, min, max) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                     PM_BINDS(pm_id(run_id), pm_int(configuration_id), pm_text(measures[measure]),
                              pm_id(m->count), pm_id(g->rows - m->count), mean_of(m),
                              pm_real_if(m->count > 1, pm_moments_std(m)), pm_real_if(any, m->min),
                              pm_real_if(any, m->max)));
}

static pm_status write_scores(pm_store *store, uint64_t run_id, int64_t configuration_id) {
    groups all = {0};
    pm_status status = sum_up(
        store,
        "SELECT r.predicted = image.label, r.p_target, r.p_predicted, r.mu_in, r.mu_in_w,"
        " r.mu_out, r.mu_out_w, r.pointing, r.deletion_auc, r.insertion_auc, r.completeness_gap,"
        " r.compute_ms FROM run CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
        " CROSS JOIN result AS r ON r.configuration_id = ?2 AND r.image_id = i.image_id"
        " CROSS JOIN image ON image.image_id = i.image_id"
        " WHERE run.run_id = ?1 AND r.error IS NULL" EACH_ONCE,
        run_id, configuration_id, no_key, 0, MEASURES, &all);
    for (size_t i = 0; all.count && i < MEASURES && !status; i++)
        status = put_score(store, run_id, configuration_id, &all.list[0], i);
    free(all.list);
    return status;
}

/* ---- curves ---- */

enum { P_TARGET, AOPC, LODDS, FRACDIFF, CORRECT, CURVE_VALUES };

static pm_status curve_key(sqlite3_stmt *row, group *key) {
    key->ratio = sqlite3_column_double(row, 2);
    pm_status status = pm_db_column_text(row, 0, key->evaluation, sizeof key->evaluation);
    return status ? status : pm_db_column_text(row, 1, key->curve, sizeof key->curve);
}

static pm_status put_curve(pm_store *store, uint64_t run_id, int64_t configuration_id,
                           const group *g) {
    const pm_moments *v = g->values;
    return pm_db_run(
        store,
        "INSERT INTO curve_summary (run_id, configuration_id, evaluation, curve, ratio, n, "
        "p_target,"
        " p_target_ci95, aopc, aopc_ci95, lodds_n, lodds, lodds_ci95, fracdiff, fracdiff_ci95,"
        " correct, correct_ci95) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
        " ?14, ?15, ?16, ?17)",
        PM_BINDS(pm_id(run_id), pm_int(configuration_id), pm_text(g->evaluation), pm_text(g->curve),
                 pm_real(g->ratio), pm_id(g->rows), mean_of(&v[P_TARGET]),
                 half_width_of(&v[P_TARGET]), mean_of(&v[AOPC]), half_width_of(&v[AOPC]),
                 pm_id(v[LODDS].count), mean_of(&v[LODDS]), half_width_of(&v[LODDS]),
                 mean_of(&v[FRACDIFF]), half_width_of(&v[FRACDIFF]), mean_of(&v[CORRECT]),
                 half_width_of(&v[CORRECT])));
}

static pm_status write_curves(pm_store *store, uint64_t run_id, int64_t configuration_id) {
    groups all = {0};
    pm_status status = sum_up(
        store,
        "SELECT r.evaluation, p.curve, p.ratio, p.p_target, p.aopc, p.lodds, p.fracdiff, p.correct"
        " FROM run CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
        " CROSS JOIN result AS r ON r.configuration_id = ?2 AND r.image_id = i.image_id"
        " CROSS JOIN perturbation AS p"
        " ON p.configuration_id = r.configuration_id AND p.image_id = r.image_id"
        " WHERE run.run_id = ?1" EACH_ONCE,
        run_id, configuration_id, curve_key, 3, CURVE_VALUES, &all);
    for (size_t i = 0; i < all.count && !status; i++)
        status = put_curve(store, run_id, configuration_id, &all.list[i]);
    free(all.list);
    return status;
}

/* ---- layers ---- */

enum { SELECTED, M, N, SHARE, BETA, SCALE_H, SCALE_L, BEFORE, AFTER, LAYER_VALUES };

static pm_status layer_key(sqlite3_stmt *row, group *key) {
    key->layer_id = sqlite3_column_int64(row, 0);
    return PM_OK;
}

static pm_status put_layer(pm_store *store, uint64_t run_id, int64_t configuration_id,
                           const group *g) {
    const pm_moments *v = g->values;
    return pm_db_run(
        store,
        "INSERT INTO layer_summary (run_id, configuration_id, layer_id, images, partitioned,"
        " selected, m, n, share_h, share_h_ci95, beta, beta_ci95, scale_h, scale_l,"
        " variance_before, variance_after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
        " ?12, ?13, ?14, ?15, ?16)",
        PM_BINDS(pm_id(run_id), pm_int(configuration_id), pm_int(g->layer_id), pm_id(g->rows),
                 pm_id(v[M].count), mean_of(&v[SELECTED]), mean_of(&v[M]), mean_of(&v[N]),
                 mean_of(&v[SHARE]), half_width_of(&v[SHARE]), mean_of(&v[BETA]),
                 half_width_of(&v[BETA]), mean_of(&v[SCALE_H]), mean_of(&v[SCALE_L]),
                 mean_of(&v[BEFORE]), mean_of(&v[AFTER])));
}

static pm_status write_layers(pm_store *store, uint64_t run_id, int64_t configuration_id) {
    groups all = {0};
    pm_status status = sum_up(store,
                              "SELECT g.layer_id, g.selected, g.m, g.n, g.m / (g.m + g.n), g.beta,"
                              " g.scale_h, g.scale_l, g.variance_before, g.variance_after"
                              " FROM run CROSS JOIN data_set_item AS i"
                              " ON i.data_set_id = run.data_set_id"
                              " CROSS JOIN layer_gradient AS g"
                              " ON g.configuration_id = ?2 AND g.image_id = i.image_id"
                              " WHERE run.run_id = ?1" EACH_ONCE,
                              run_id, configuration_id, layer_key, 1, LAYER_VALUES, &all);
    for (size_t i = 0; i < all.count && !status; i++)
        status = put_layer(store, run_id, configuration_id, &all.list[i]);
    free(all.list);
    return status;
}

/* ---- slices ---- */

/* Configuration number `ordinal`; *found false where the run has no such. */
static pm_status write_configuration(pm_store *store, uint64_t run_id, int64_t ordinal,
                                     bool *found) {
    int64_t configuration_id = 0;
    pm_status status =
        pm_db_get(store,
                  "SELECT configuration_id FROM run_configuration"
                  " WHERE run_id = ?1 AND ordinal = ?2",
                  PM_BINDS(pm_id(run_id), pm_int(ordinal)), &configuration_id, found);
    if (status || !*found) return status;
    status = write_scores(store, run_id, configuration_id);
    if (!status) status = write_curves(store, run_id, configuration_id);
    return status ? status : write_layers(store, run_id, configuration_id);
}

pm_status pm_summary_slice(pm_store *store, uint64_t run_id, bool *unfinished) {
    int64_t at = 0, items = 0, results = 0;
    bool done = false, found = true;
    pm_status status =
        pm_db_get(store, "SELECT summarised FROM run WHERE run_id = ?1 AND state = 'done'",
                  PM_BINDS(pm_id(run_id)), &at, &done);
    *unfinished = false;
    if (status || !done || at == 1) return status;
    status = pm_db_get(store,
                       "SELECT items FROM run JOIN data_set USING (data_set_id) WHERE run_id = ?1",
                       PM_BINDS(pm_id(run_id)), &items, &found);
    if (!status && at == 0) {
        status = begin(store, run_id);
        at = -1;
    }
    for (found = true; !status && found && results < SLICE_RESULTS; results += items) {
        status = write_configuration(store, run_id, -1 - at, &found);
        if (!status && found) status = mark(store, run_id, --at);
    }
    if (status) return status;
    *unfinished = found;
    if (found) return PM_OK;
    status = pm_db_run(store, timings, PM_BINDS(pm_id(run_id)));
    return status ? status : mark(store, run_id, 1);
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
