/* Owns the sums over a run's results, and the rows that they become. SQLite groups by
 * sorting, which takes eight times as long as reading, and knows no variance. */
#include "lib/store/summary_part.h"

#include <stdlib.h>
#include <string.h>

#include "lib/stats/paired.h"
#include "lib/store/db.h"

enum { VALUES_MAX = 12 };

/* Of the run's items ?3 .. ?4 - 1; a photograph that stands twice in a data set is one result. */
#define ITEMS_ONCE                                                                                 \
    " AND i.item >= ?3 AND i.item < ?4"                                                            \
    " AND NOT EXISTS (SELECT 1 FROM data_set_item AS o WHERE o.image_id = i.image_id"              \
    " AND o.data_set_id = i.data_set_id AND o.item < i.item)"

/* ---- sums by a key ---- */

pm_status pm_summary_no_memory(void) { return pm_fail(PM_E_MEMORY, "no memory to sum up a run"); }

typedef struct group {
    char evaluation[PM_EVALUATION_BYTES], curve[8]; /* of curves */
    double ratio;
    int64_t id;            /* of a layer, or of a worker */
    int64_t image;         /* timings: of the row before */
    uint64_t rows, images; /* images: where a key names them, those that follow each other once */
    pm_moments values[VALUES_MAX];
} group;

typedef struct groups {
    group *list;
    size_t count, capacity, last; /* last: where the row before was */
} groups;

static bool same(const group *a, const group *b) {
    return a->id == b->id && !(a->ratio < b->ratio || a->ratio > b->ratio) &&
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
        if (!list) return pm_summary_no_memory();
        all->list = list;
        all->capacity = capacity;
    }
    all->last = all->count++;
    all->list[all->last] = *key;
    *out = &all->list[all->last];
    return PM_OK;
}

/* Columns from `first` on, `count` of them; NULL is left out. */
static void add_values(group *g, const group *key, sqlite3_stmt *row, int first, int count) {
    g->images += !g->rows || g->image != key->image;
    g->image = key->image;
    g->rows++;
    for (int i = 0; i < count; i++)
        if (sqlite3_column_type(row, first + i) != SQLITE_NULL)
            pm_moments_add(&g->values[i], sqlite3_column_double(row, first + i), false);
}

/* One of the tables: what is read, how rows are told apart, what is written of each group. */
struct pm_summary_part;
typedef struct kind {
    const char *sql;
    pm_status (*key_of)(sqlite3_stmt *row, group *key);
    int key_columns, values;
    pm_status (*put)(pm_store *store, const struct pm_summary_part *part, const group *g);
} kind;

enum { KINDS_MAX = 3 };

struct pm_summary_part {
    uint64_t run_id;
    int64_t configuration_id; /* 0: all of them */
    const kind *kinds;
    size_t kind_count;
    groups sums[KINDS_MAX];
};

static pm_status sum_up(pm_store *store, const pm_summary_part *part, const kind *k, int64_t first,
                        int64_t end, groups *all) {
    sqlite3_stmt *row = NULL;
    bool any = true;
    pm_status status = pm_db_begin(
        store, k->sql,
        PM_BINDS(pm_id(part->run_id), pm_int(part->configuration_id), pm_int(first), pm_int(end)),
        &row);
    if (status) return status;
    while (!(status = pm_db_step(store, row, &any)) && any) {
        group key = {.rows = 0}, *g = NULL;
        if ((status = k->key_of(row, &key)) || (status = group_of(all, &key, &g))) break;
        add_values(g, &key, row, k->key_columns, k->values);
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

static pm_status put_score(pm_store *store, const pm_summary_part *part, const group *g,
                           size_t measure) {
    const pm_moments *m = &g->values[measure];
    const bool any = m->count > 0;
    return pm_db_run(store,
                     "INSERT INTO score_summary (run_id, configuration_id, measure, n, missing,"
                     " mean, std, min, max) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                     PM_BINDS(pm_id(part->run_id), pm_int(part->configuration_id),
                              pm_text(measures[measure]), pm_id(m->count),
                              pm_id(g->rows - m->count), mean_of(m),
                              pm_real_if(m->count > 1, pm_moments_std(m)), pm_real_if(any, m->min),
                              pm_real_if(any, m->max)));
}

static pm_status put_scores(pm_store *store, const pm_summary_part *part, const group *g) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < MEASURES && !status; i++) status = put_score(store, part, g, i);
    return status;
}

static const char scores_sql[] =
    "SELECT r.predicted = image.label, r.p_target, r.p_predicted, r.mu_in, r.mu_in_w,"
    " r.mu_out, r.mu_out_w, r.pointing, r.deletion_auc, r.insertion_auc, r.completeness_gap,"
    " r.compute_ms FROM run CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
    " CROSS JOIN result AS r ON r.configuration_id = ?2 AND r.image_id = i.image_id"
    " CROSS JOIN image ON image.image_id = i.image_id"
    " WHERE run.run_id = ?1 AND r.error IS NULL" ITEMS_ONCE;

/* ---- curves ---- */

enum { P_TARGET, AOPC, LODDS, FRACDIFF, CORRECT, CURVE_VALUES };

static pm_status curve_key(sqlite3_stmt *row, group *key) {
    key->ratio = sqlite3_column_double(row, 2);
    pm_status status = pm_db_column_text(row, 0, key->evaluation, sizeof key->evaluation);
    return status ? status : pm_db_column_text(row, 1, key->curve, sizeof key->curve);
}

static pm_status put_curve(pm_store *store, const pm_summary_part *part, const group *g) {
    const pm_moments *v = g->values;
    return pm_db_run(
        store,
        "INSERT INTO curve_summary (run_id, configuration_id, evaluation, curve, ratio, n, "
        "p_target,"
        " p_target_ci95, aopc, aopc_ci95, lodds_n, lodds, lodds_ci95, fracdiff, fracdiff_ci95,"
        " correct, correct_ci95) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
        " ?14, ?15, ?16, ?17)",
        PM_BINDS(pm_id(part->run_id), pm_int(part->configuration_id), pm_text(g->evaluation),
                 pm_text(g->curve), pm_real(g->ratio), pm_id(g->rows), mean_of(&v[P_TARGET]),
                 half_width_of(&v[P_TARGET]), mean_of(&v[AOPC]), half_width_of(&v[AOPC]),
                 pm_id(v[LODDS].count), mean_of(&v[LODDS]), half_width_of(&v[LODDS]),
                 mean_of(&v[FRACDIFF]), half_width_of(&v[FRACDIFF]), mean_of(&v[CORRECT]),
                 half_width_of(&v[CORRECT])));
}

static const char curves_sql[] =
    "SELECT r.evaluation, p.curve, p.ratio, p.p_target, p.aopc, p.lodds, p.fracdiff, p.correct"
    " FROM run CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
    " CROSS JOIN result AS r ON r.configuration_id = ?2 AND r.image_id = i.image_id"
    " CROSS JOIN perturbation AS p"
    " ON p.configuration_id = r.configuration_id AND p.image_id = r.image_id"
    " WHERE run.run_id = ?1" ITEMS_ONCE;

/* ---- layers ---- */

enum { SELECTED, M, N, SHARE, BETA, SCALE_H, SCALE_L, BEFORE, AFTER, LAYER_VALUES };

static pm_status layer_key(sqlite3_stmt *row, group *key) {
    key->id = sqlite3_column_int64(row, 0);
    return PM_OK;
}

static pm_status put_layer(pm_store *store, const pm_summary_part *part, const group *g) {
    const pm_moments *v = g->values;
    return pm_db_run(
        store,
        "INSERT INTO layer_summary (run_id, configuration_id, layer_id, images, partitioned,"
        " selected, m, n, share_h, share_h_ci95, beta, beta_ci95, scale_h, scale_l,"
        " variance_before, variance_after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
        " ?12, ?13, ?14, ?15, ?16)",
        PM_BINDS(pm_id(part->run_id), pm_int(part->configuration_id), pm_int(g->id), pm_id(g->rows),
                 pm_id(v[M].count), mean_of(&v[SELECTED]), mean_of(&v[M]), mean_of(&v[N]),
                 mean_of(&v[SHARE]), half_width_of(&v[SHARE]), mean_of(&v[BETA]),
                 half_width_of(&v[BETA]), mean_of(&v[SCALE_H]), mean_of(&v[SCALE_L]),
                 mean_of(&v[BEFORE]), mean_of(&v[AFTER])));
}

static const char layers_sql[] =
    "SELECT g.layer_id, g.selected, g.m, g.n, g.m / (g.m + g.n), g.beta,"
    " g.scale_h, g.scale_l, g.variance_before, g.variance_after"
    " FROM run CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
    " CROSS JOIN layer_gradient AS g ON g.configuration_id = ?2 AND g.image_id = i.image_id"
    " WHERE run.run_id = ?1" ITEMS_ONCE;

/* ---- timings: of all configurations, item by item ---- */

enum { ERRORS, MS, RECORDED_MS, TIMING_VALUES };

static pm_status timing_key(sqlite3_stmt *row, group *key) {
    key->id = sqlite3_column_int64(row, 0);
    key->image = sqlite3_column_int64(row, 1);
    return PM_OK;
}

static pm_status put_timing(pm_store *store, const pm_summary_part *part, const group *g) {
    const pm_moments *v = g->values, *ms = &v[MS];
    return pm_db_run(
        store,
        "INSERT INTO timing_summary (run_id, worker_id, images, results, errors,"
        " mean_ms, min_ms, max_ms, first_ms, last_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        PM_BINDS(pm_id(part->run_id), pm_int(g->id), pm_id(g->images), pm_id(g->rows),
                 pm_id(v[ERRORS].count), mean_of(ms), pm_real_if(ms->count > 0, ms->min),
                 pm_real_if(ms->count > 0, ms->max), pm_int((int64_t)v[RECORDED_MS].min),
                 pm_int((int64_t)v[RECORDED_MS].max)));
}

static const char timings_sql[] =
    "SELECT ifnull(r.worker_id, 0), r.image_id, nullif(r.error IS NOT NULL, 0), r.compute_ms,"
    " r.recorded_ms FROM run CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
    " CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id"
    " CROSS JOIN result AS r"
    " ON r.configuration_id = rc.configuration_id AND r.image_id = i.image_id"
    " WHERE run.run_id = ?1 AND r.run_id = ?1" ITEMS_ONCE;

/* ---- a part ---- */

static const kind of_configuration[KINDS_MAX] = {
    {scores_sql, no_key, 0, MEASURES, put_scores},
    {curves_sql, curve_key, 3, CURVE_VALUES, put_curve},
    {layers_sql, layer_key, 1, LAYER_VALUES, put_layer},
};
static const kind of_run[1] = {{timings_sql, timing_key, 2, TIMING_VALUES, put_timing}};

pm_status pm_summary_part_new(uint64_t run_id, int64_t configuration_id, pm_summary_part **out) {
    pm_summary_part *part = calloc(1, sizeof *part);
    if (!part) return pm_summary_no_memory();
    part->run_id = run_id;
    part->configuration_id = configuration_id;
    part->kinds = configuration_id ? of_configuration : of_run;
    part->kind_count = configuration_id ? KINDS_MAX : 1;
    *out = part;
    return PM_OK;
}

pm_status pm_summary_part_add(pm_store *store, pm_summary_part *part, int64_t first, int64_t end) {
    pm_status status = PM_OK;
    for (size_t k = 0; k < part->kind_count && !status; k++)
        status = sum_up(store, part, &part->kinds[k], first, end, &part->sums[k]);
    return status;
}

pm_status pm_summary_part_write(pm_store *store, const pm_summary_part *part) {
    pm_status status = PM_OK;
    for (size_t k = 0; k < part->kind_count; k++)
        for (size_t i = 0; i < part->sums[k].count && !status; i++)
            status = part->kinds[k].put(store, part, &part->sums[k].list[i]);
    return status;
}

void pm_summary_part_free(pm_summary_part **part) {
    if (!*part) return;
    for (size_t k = 0; k < KINDS_MAX; k++) free((*part)->sums[k].list);
    free(*part);
    *part = NULL;
}
