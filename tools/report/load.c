/* Owns the reading of a run, its configurations and its results, in one pass over the results. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report/data.h"

const pm_metric_info pm_metrics[PM_METRIC_COUNT] = {
    [PM_METRIC_MU_IN_W] = {"mu_in_w", "in box / area",
                           "share of the heat map inside the box over the box's share of the "
                           "picture: 1 is chance",
                           1},
    [PM_METRIC_MU_IN] = {"mu_in", "in box", "share of the heat map inside the box", 1},
    [PM_METRIC_POINTING] = {"pointing", "pointing game",
                            "1 where the map's maximum lies in the box or less than 15 pixels off",
                            1},
    [PM_METRIC_DELETION] = {"deletion_auc", "deletion AUC",
                            "mean probability of the target while the most attributed pixels are "
                            "taken away: less is better",
                            -1},
    [PM_METRIC_INSERTION] = {"insertion_auc", "insertion AUC",
                             "mean probability of the target while the least attributed pixels "
                             "are taken away: more is better",
                             1},
    [PM_METRIC_P_TARGET] = {"p_target", "p(target)",
                            "the network's probability of the class that was attributed", 1},
    [PM_METRIC_GAP] = {"completeness_gap", "completeness gap",
                       "ig: what its attributions leave unexplained; 0 is complete", -1},
};

pm_status pm_report_no_memory(void) { return pm_fail(PM_E_MEMORY, "no memory for a report"); }

void *pm_report_grow(void *array_pointer, size_t *count, size_t size) {
    void **array = array_pointer;
    if ((*count & (*count - 1)) == 0) { /* full at every power of two */
        void *more = realloc(*array, (*count ? *count * 2 : 1) * size);
        if (!more) return NULL;
        *array = more;
    }
    char *element = (char *)*array + (*count)++ * size;
    memset(element, 0, size);
    return element;
}

char *pm_report_text(const pm_value *value) {
    return strdup(value->kind == PM_VALUE_TEXT ? value->text : "");
}

double *pm_report_values(const pm_report *r, size_t configuration, pm_metric metric) {
    return r->values + (configuration * PM_METRIC_COUNT + metric) * r->item_count;
}

bool pm_report_has(const pm_report *r, pm_metric metric) {
    for (size_t c = 0; c < r->configuration_count; c++)
        if (r->configurations[c].moments[metric].count) return true;
    return false;
}

const char *pm_report_class(const pm_report *r, int class_index, char out[64]) {
    if (class_index < 0) return "–";
    if ((size_t)class_index < r->class_count && r->class_names[class_index])
        return r->class_names[class_index];
    snprintf(out, 64, "class %d", class_index);
    return out;
}

double pm_report_quantile(const double *ascending, size_t count, double share) {
    if (!count) return NAN;
    double at = share * (double)(count - 1);
    size_t low = (size_t)at, high = low + 1 < count ? low + 1 : low;
    return ascending[low] + (at - (double)low) * (ascending[high] - ascending[low]);
}

static const char run_sql[] =
    "SELECT run.name, run.state, m.arch, m.weights_sha256, run.weights_path, d.name, run.data_root,"
    " d.sha256, run.engine_version, run.evaluation, run.channels, run.heat_maps, run.model_id,"
    " run.data_set_id, run.submitted_ms, run.finished_ms, p.items, p.items_done, p.items_failed,"
    " run.results_reused, run.paused, (SELECT count(DISTINCT i.image_id) FROM data_set_item AS i"
    " WHERE i.data_set_id = run.data_set_id), coalesce(s.name, run.statistics_path)"
    " FROM run JOIN model AS m USING (model_id) JOIN data_set AS d USING (data_set_id)"
    " JOIN run_progress AS p ON p.run = run.run_id"
    " LEFT JOIN statistics AS s ON s.statistics_id = run.statistics_id WHERE run.run_id = ?1";

static pm_status take_run(void *user, size_t count, const pm_value *v) {
    pm_report *r = user;
    char **texts[] = {&r->name,         &r->state,      &r->arch,          &r->weights_sha256,
                      &r->weights_path, &r->data_set,   &r->data_root,     &r->data_sha256,
                      &r->engine,       &r->evaluation, &r->channels_kept, &r->heat_maps_kept};
    const size_t n = sizeof texts / sizeof *texts;
    (void)count;
    for (size_t i = 0; i < n; i++)
        if (!(*texts[i] = pm_report_text(&v[i]))) return pm_report_no_memory();
    v += n;
    r->model_id = v[0].integer;
    r->data_set_id = v[1].integer;
    r->submitted_ms = v[2].integer;
    r->finished_ms = v[3].kind == PM_VALUE_NULL ? 0 : v[3].integer;
    r->items = (size_t)v[4].integer;
    r->items_done = (size_t)v[5].integer;
    r->items_failed = (size_t)v[6].integer;
    r->results_reused = (size_t)v[7].integer;
    r->paused = v[8].integer != 0;
    r->item_count = (size_t)v[9].integer;
    r->statistics = pm_report_text(&v[10]);
    return r->statistics ? PM_OK : pm_report_no_memory();
}

/* The named columns behind the first five are what is shown of a configuration. */
static const char configurations_sql[] =
    "SELECT c.configuration_id, c.label, c.mask <> 'off', c.boxes = 'all', c.resize, c.crop,"
    " c.filter, c.method, c.mask, c.quantile, c.alpha, c.p_value_threshold AS 'Shapiro p below',"
    " c.test, c.layers, c.gamma, c.exact, c.variance_conservation AS 'variance conserved',"
    " c.target, c.guided, c.steps, c.baseline, c.samples, c.sigma, c.seed, c.cam_layer AS 'layer',"
    " c.boxes, c.input, c.resize AS 'short side', c.crop, c.filter,"
    " c.transform_input AS 'transform input'"
    " FROM run_configuration AS rc JOIN configuration AS c USING (configuration_id)"
    " WHERE rc.run_id = ?1 ORDER BY rc.ordinal";
enum { SHOWN_FROM = 7 };

static pm_status take_parameter_names(void *user, size_t count, const char *const *names,
                                      const char *const *types) {
    pm_report *r = user;
    (void)types;
    for (size_t i = SHOWN_FROM; i < count && r->parameter_count < PM_REPORT_PARAMETERS_MAX; i++)
        if (!(r->parameter_names[r->parameter_count++] = strdup(names[i])))
            return pm_report_no_memory();
    return PM_OK;
}

static void letter_of(size_t index, char out[8]) {
    if (index < 26)
        snprintf(out, 8, "%c", (char)('A' + index));
    else
        snprintf(out, 8, "%c%c", (char)('A' + (index / 26 - 1) % 26), (char)('A' + index % 26));
}

/* NULL where it means nothing; switches as words. */
static pm_status parameter_text(const char *name, const pm_value *v, char **out) {
    static const char *const switches[] = {"exact", "variance conserved", "guided",
                                           "transform input"};
    char text[64];
    if (v->kind == PM_VALUE_NULL) return PM_OK;
    const char *shown = v->kind == PM_VALUE_TEXT ? v->text : text;
    if (v->kind == PM_VALUE_INTEGER)
        snprintf(text, sizeof text, "%lld", (long long)v->integer);
    else if (v->kind == PM_VALUE_REAL)
        snprintf(text, sizeof text, isinf(v->real) ? "∞" : "%g", v->real);
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (strcmp(name, switches[i]) == 0) shown = v->integer ? "yes" : "no";
    *out = strdup(shown);
    return *out ? PM_OK : pm_report_no_memory();
}

static pm_status take_configuration(void *user, size_t count, const pm_value *v) {
    pm_report *r = user;
    pm_report_configuration *c =
        pm_report_grow(&r->configurations, &r->configuration_count, sizeof *c);
    if (!c || !(c->label = pm_report_text(&v[1]))) return pm_report_no_memory();
    c->id = v[0].integer;
    c->masked = v[2].integer != 0;
    letter_of(r->configuration_count - 1, c->letter);
    if (r->configuration_count == 1) {
        r->all_boxes = v[3].kind == PM_VALUE_INTEGER && v[3].integer;
        r->resize = (size_t)v[4].integer;
        r->crop = (size_t)v[5].integer;
        if (!(r->filter = pm_report_text(&v[6]))) return pm_report_no_memory();
    }
    for (size_t i = SHOWN_FROM; i < count && i - SHOWN_FROM < r->parameter_count; i++) {
        pm_status status = parameter_text(r->parameter_names[i - SHOWN_FROM], &v[i],
                                          &c->parameters[i - SHOWN_FROM]);
        if (status) return status;
    }
    return PM_OK;
}

/* In the order of the items' key, each result by its key: nothing is sorted. */
static const char results_sql[] =
    "SELECT i.item, rc.ordinal, i.path, i.image_id, image.sha256, image.label, r.image_id, r.error,"
    " r.target, r.predicted, r.p_predicted, r.mu_in_w, r.mu_in, r.pointing, r.deletion_auc,"
    " r.insertion_auc, r.p_target, r.completeness_gap, r.heat_map_kept, r.worker_id, r.compute_ms,"
    " r.recorded_ms, r.run_id = ?1"
    " FROM data_set_item AS i CROSS JOIN image ON image.image_id = i.image_id"
    " CROSS JOIN run_configuration AS rc ON rc.run_id = ?1"
    " LEFT JOIN result AS r"
    " ON r.configuration_id = rc.configuration_id AND r.image_id = i.image_id"
    " WHERE i.data_set_id = ?2 AND NOT EXISTS (SELECT 1 FROM data_set_item AS o"
    "  WHERE o.image_id = i.image_id AND o.data_set_id = i.data_set_id AND o.item < i.item)"
    " ORDER BY i.item, rc.ordinal";
enum {
    ITEM,
    ORDINAL,
    PATH,
    IMAGE,
    SHA256,
    LABEL,
    RESULT,
    ERROR,
    TARGET,
    PREDICTED,
    P_PREDICTED,
    METRICS,
    HEAT_MAP = METRICS + PM_METRIC_COUNT,
    WORKER,
    COMPUTE_MS,
    RECORDED_MS,
    OWN
};

static double real_or_nan(const pm_value *v) {
    if (v->kind == PM_VALUE_REAL) return v->real;
    return v->kind == PM_VALUE_INTEGER ? (double)v->integer : (double)NAN;
}

static pm_status add_timing(pm_report *r, const pm_value *v) {
    if (v[WORKER].kind == PM_VALUE_NULL || !v[OWN].integer) return PM_OK;
    pm_report_worker *w = NULL;
    for (size_t i = 0; i < r->worker_count && !w; i++)
        if (r->workers[i].id == v[WORKER].integer) w = &r->workers[i];
    if (!w) {
        w = pm_report_grow(&r->workers, &r->worker_count, sizeof *w);
        if (!w) return pm_report_no_memory();
        w->id = v[WORKER].integer;
        w->last_item = SIZE_MAX;
        w->first_ms = v[RECORDED_MS].integer;
    }
    double *ms = pm_report_grow(&w->ms, &w->results, sizeof *ms);
    if (!ms) return pm_report_no_memory();
    *ms = v[COMPUTE_MS].kind == PM_VALUE_NULL ? 0 : v[COMPUTE_MS].real;
    if (w->last_item != (size_t)v[ITEM].integer) w->images++;
    w->last_item = (size_t)v[ITEM].integer;
    if (v[RECORDED_MS].integer < w->first_ms) w->first_ms = v[RECORDED_MS].integer;
    if (v[RECORDED_MS].integer > w->last_ms) w->last_ms = v[RECORDED_MS].integer;
    return PM_OK;
}

static pm_status add_item(const pm_value *v, pm_report_item *item) {
    item->image_id = v[IMAGE].integer;
    item->label = v[LABEL].kind == PM_VALUE_NULL ? -1 : (int)v[LABEL].integer;
    item->target = item->predicted = -1;
    item->path = pm_report_text(&v[PATH]);
    item->sha256 = pm_report_text(&v[SHA256]);
    return item->path && item->sha256 ? PM_OK : pm_report_no_memory();
}

static pm_status take_result(void *user, size_t count, const pm_value *v) {
    pm_report *r = user;
    const size_t c = (size_t)v[ORDINAL].integer;
    (void)count;
    const bool next = !r->items_seen || r->of_items[r->items_seen - 1].image_id != v[IMAGE].integer;
    if ((next && r->items_seen == r->item_count) || c >= r->configuration_count)
        return pm_fail(PM_E_FORMAT, "run %lld: item %lld or configuration %zu is one too many",
                       (long long)r->run, (long long)v[ITEM].integer, c);
    const size_t at = r->items_seen - !next;
    pm_report_item *item = &r->of_items[at];
    if (next) {
        pm_status status = add_item(v, item);
        if (status) return status;
        r->items_seen++;
    }
    for (size_t m = 0; m < PM_METRIC_COUNT; m++)
        pm_report_values(r, c, (pm_metric)m)[at] = real_or_nan(&v[METRICS + m]);
    pm_report_configuration *configuration = &r->configurations[c];
    if (v[RESULT].kind == PM_VALUE_NULL) return PM_OK;
    if (v[ERROR].kind != PM_VALUE_NULL) {
        configuration->errors++;
        return PM_OK;
    }
    configuration->results++;
    configuration->heat_maps += v[HEAT_MAP].integer > 0;
    if (!item->done) {
        item->done = true;
        item->target = (int)v[TARGET].integer;
        item->predicted = (int)v[PREDICTED].integer;
        item->p_predicted = (float)v[P_PREDICTED].real;
    }
    return add_timing(r, v);
}

static pm_status load_results(pm_query *query, pm_report *r) {
    const pm_value values[] = {{.kind = PM_VALUE_INTEGER, .integer = r->run},
                               {.kind = PM_VALUE_INTEGER, .integer = r->data_set_id}};
    const pm_query_sink sink = {.user = r, .row = take_result};
    r->of_items = calloc(r->item_count + 1, sizeof *r->of_items);
    size_t columns = r->configuration_count * PM_METRIC_COUNT;
    if (columns && r->item_count > SIZE_MAX / sizeof(double) / columns)
        return pm_report_no_memory();
    r->values = malloc((columns * r->item_count + 1) * sizeof *r->values);
    if (!r->of_items || !r->values) return pm_report_no_memory();
    for (size_t i = 0; i < columns * r->item_count; i++) r->values[i] = NAN;
    return pm_query_run(query, results_sql, values, 2, &sink, NULL);
}

static void summarise(pm_report *r) {
    for (size_t c = 0; c < r->configuration_count; c++)
        if (!r->configurations[c].masked) {
            r->reference = c;
            break;
        }
    for (size_t c = 0; c < r->configuration_count; c++)
        for (size_t m = 0; m < PM_METRIC_COUNT; m++) {
            const double *own = pm_report_values(r, c, (pm_metric)m);
            const double *other = pm_report_values(r, r->reference, (pm_metric)m);
            pm_report_configuration *to = &r->configurations[c];
            for (size_t i = 0; i < r->item_count; i++) {
                if (!isfinite(own[i])) continue;
                pm_moments_add(&to->moments[m], own[i], false);
                if (isfinite(other[i]))
                    pm_moments_add(&to->differences[m], own[i] - other[i], false);
            }
        }
    static const pm_metric order[] = {PM_METRIC_MU_IN_W, PM_METRIC_DELETION, PM_METRIC_P_TARGET};
    r->main_metric = PM_METRIC_P_TARGET;
    for (size_t i = sizeof order / sizeof *order; i-- > 0;)
        if (pm_report_has(r, order[i])) r->main_metric = order[i];
}

pm_status pm_report_load(pm_query *query, int64_t run, pm_report *out) {
    pm_report r = {.run = run};
    const pm_value number = {.kind = PM_VALUE_INTEGER, .integer = run};
    const pm_query_sink for_run = {.user = &r, .row = take_run};
    const pm_query_sink for_configurations = {
        .user = &r, .columns = take_parameter_names, .row = take_configuration};
    pm_status status = pm_query_run(query, run_sql, &number, 1, &for_run, NULL);
    if (!status && !r.name)
        status =
            pm_fail(PM_E_NOT_FOUND, "no run %lld; `parchmill status` lists them", (long long)run);
    if (!status)
        status = pm_query_run(query, configurations_sql, &number, 1, &for_configurations, NULL);
    if (!status) status = load_results(query, &r);
    if (!status) summarise(&r);
    if (!status) status = pm_report_load_parts(query, &r);
    if (status)
        pm_report_fini(&r);
    else
        *out = r;
    return status;
}
