/* Owns the reading of what stands beside the results: names, failures, curves, layers, channels. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report/data.h"

enum { CHANNELS_SHOWN = 12 };

static const char classes_sql[] =
    "SELECT class, name FROM class_name WHERE data_set_id = ?1 AND class BETWEEN 0 AND 99999"
    " ORDER BY class";

static pm_status take_class(void *user, size_t count, const pm_value *v) {
    pm_report *r = user;
    (void)count;
    while (r->class_count <= (size_t)v[0].integer)
        if (!pm_report_grow(&r->class_names, &r->class_count, sizeof(char *)))
            return pm_report_no_memory();
    char **name = &r->class_names[r->class_count - 1];
    *name = pm_report_text(&v[1]);
    return *name ? PM_OK : pm_report_no_memory();
}

static const char worker_sql[] =
    "SELECT worker_id, name, isa, threads FROM worker ORDER BY worker_id";

static pm_status take_worker(void *user, size_t count, const pm_value *v) {
    pm_report *r = user;
    (void)count;
    for (size_t i = 0; i < r->worker_count; i++) {
        pm_report_worker *w = &r->workers[i];
        if (w->id != v[0].integer) continue;
        w->name = pm_report_text(&v[1]);
        w->isa = pm_report_text(&v[2]);
        w->threads = (int)v[3].integer;
        if (!w->name || !w->isa) return pm_report_no_memory();
    }
    return PM_OK;
}

static const char failures_sql[] =
    "SELECT item, image, stage, reason, text, hint FROM dead_letter WHERE run = ?1 ORDER BY item";

static pm_report_failure *failure_of(pm_report *r, const pm_value *v) {
    for (size_t i = 0; i < r->failure_count; i++)
        if (strcmp(r->failures[i].stage, v[2].text) == 0 &&
            strcmp(r->failures[i].reason, v[3].text) == 0)
            return &r->failures[i];
    pm_report_failure *f = pm_report_grow(&r->failures, &r->failure_count, sizeof *f);
    if (!f) return NULL;
    f->stage = pm_report_text(&v[2]);
    f->reason = pm_report_text(&v[3]);
    f->hint = pm_report_text(&v[5]);
    f->last_item = SIZE_MAX;
    return f->stage && f->reason && f->hint ? f : NULL;
}

static pm_status take_failure(void *user, size_t count, const pm_value *v) {
    pm_report *r = user;
    (void)count;
    pm_report_failure *f = failure_of(r, v);
    if (!f) return pm_report_no_memory();
    r->failed_rows++;
    if (f->last_item == (size_t)v[0].integer) return PM_OK;
    f->last_item = (size_t)v[0].integer;
    f->images++;
    if (f->examples == PM_REPORT_EXAMPLES) return PM_OK;
    f->paths[f->examples] = pm_report_text(&v[1]);
    f->texts[f->examples] = pm_report_text(&v[4]);
    return f->paths[f->examples] && f->texts[f->examples++] ? PM_OK : pm_report_no_memory();
}

static const char curve_sql[] =
    "SELECT rc.ordinal, c.curve = 'lerf', c.ratio, c.p_target, c.p_target_ci95, c.n"
    " FROM curve AS c JOIN run_configuration AS rc"
    " ON rc.run_id = c.run AND rc.configuration_id = c.configuration"
    " JOIN run ON run.run_id = c.run AND run.evaluation = c.evaluation"
    " WHERE c.run = ?1 ORDER BY rc.ordinal, 2, c.ratio";

static pm_status take_curve(void *user, size_t count, const pm_value *v) {
    pm_report *r = user;
    (void)count;
    pm_report_curve_point *p = pm_report_grow(&r->curve, &r->curve_count, sizeof *p);
    if (!p) return pm_report_no_memory();
    *p = (pm_report_curve_point){.configuration = (size_t)v[0].integer,
                                 .lerf = v[1].integer != 0,
                                 .ratio = v[2].real,
                                 .p_target = v[3].kind == PM_VALUE_NULL ? (double)NAN : v[3].real,
                                 .half_width = v[4].kind == PM_VALUE_NULL ? (double)NAN : v[4].real,
                                 .n = (size_t)v[5].integer};
    return PM_OK;
}

static const char layers_sql[] =
    "SELECT rc.ordinal, g.conv, g.layer, g.channels, g.images, g.selected, g.share_h, g.beta"
    " FROM layer_gradient_mean AS g JOIN run_configuration AS rc"
    " ON rc.run_id = g.run AND rc.configuration_id = g.configuration"
    " WHERE g.run = ?1 ORDER BY rc.ordinal, g.conv";

static double mean_or_nan(const pm_value *v) {
    return v->kind == PM_VALUE_REAL ? v->real : (double)NAN;
}

static pm_status take_layer(void *user, size_t count, const pm_value *v) {
    pm_report *r = user;
    (void)count;
    pm_report_layer *l = pm_report_grow(&r->layers, &r->layer_count, sizeof *l);
    if (!l) return pm_report_no_memory();
    *l = (pm_report_layer){.configuration = (size_t)v[0].integer,
                           .conv = (int)v[1].integer,
                           .channels = (size_t)v[3].integer,
                           .results = (size_t)v[4].integer,
                           .selected = mean_or_nan(&v[5]),
                           .share_h = mean_or_nan(&v[6]),
                           .beta = mean_or_nan(&v[7])};
    l->name = pm_report_text(&v[2]);
    return l->name ? PM_OK : pm_report_no_memory();
}

/* ?2: 1 by the times selected, 0 by mean variance. */
static const char channels_sql[] =
    "SELECT layer.name, g.channel, g.mean, g.std, g.count, g.selected"
    " FROM channel_gradient AS g JOIN layer ON layer.layer_id = g.layer_id"
    " WHERE g.configuration_id = ?1 AND g.class = -1 AND (?2 = 0 OR g.selected > 0)"
    " ORDER BY CASE WHEN ?2 THEN CAST(g.selected AS REAL) / g.count END DESC, g.mean DESC LIMIT ?3";

typedef struct channel_sink {
    pm_report *report;
    size_t configuration;
    bool by_selection;
} channel_sink;

static pm_status take_channel(void *user, size_t count, const pm_value *v) {
    channel_sink *sink = user;
    pm_report *r = sink->report;
    (void)count;
    pm_report_channel *c = pm_report_grow(&r->channels, &r->channel_count, sizeof *c);
    if (!c) return pm_report_no_memory();
    *c = (pm_report_channel){.configuration = sink->configuration,
                             .by_selection = sink->by_selection,
                             .channel = (int)v[1].integer,
                             .mean = v[2].real,
                             .std = v[3].kind == PM_VALUE_NULL ? (double)NAN : v[3].real,
                             .count = (size_t)v[4].integer,
                             .selected = (size_t)v[5].integer};
    c->layer = pm_report_text(&v[0]);
    return c->layer ? PM_OK : pm_report_no_memory();
}

static pm_status load_channels(pm_query *query, pm_report *r) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < r->configuration_count * 2 && !status; i++) {
        channel_sink user = {r, i / 2, i % 2 != 0};
        if (user.by_selection && !r->configurations[user.configuration].masked) continue;
        const pm_query_sink sink = {.user = &user, .row = take_channel};
        const pm_value values[] = {
            {.kind = PM_VALUE_INTEGER, .integer = r->configurations[user.configuration].id},
            {.kind = PM_VALUE_INTEGER, .integer = user.by_selection},
            {.kind = PM_VALUE_INTEGER, .integer = CHANNELS_SHOWN}};
        status = pm_query_run(query, channels_sql, values, 3, &sink, NULL);
    }
    return status;
}

static const char shares_sql[] =
    "SELECT layer.conv, layer.name, g.mean FROM channel_gradient AS g"
    " JOIN layer ON layer.layer_id = g.layer_id WHERE g.configuration_id = ?1 AND g.class = -1"
    " ORDER BY layer.conv, g.mean DESC";

static pm_status take_share(void *user, size_t count, const pm_value *v) {
    pm_report *r = user;
    (void)count;
    pm_report_share *s = pm_report_grow(&r->shares, &r->share_count, sizeof *s);
    if (!s) return pm_report_no_memory();
    *s = (pm_report_share){.conv = (int)v[0].integer, .mean = v[2].real};
    snprintf(s->layer, sizeof s->layer, "%s", v[1].text);
    return PM_OK;
}

static pm_status load_shares(pm_query *query, pm_report *r) {
    const pm_query_sink sink = {.user = r, .row = take_share};
    if (!r->configuration_count) return PM_OK;
    const pm_value id = {.kind = PM_VALUE_INTEGER, .integer = r->configurations[r->reference].id};
    return pm_query_run(query, shares_sql, &id, 1, &sink, NULL);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int compare_failures(const void *a, const void *b) {
    size_t x = ((const pm_report_failure *)a)->images, y = ((const pm_report_failure *)b)->images;
    return (x < y) - (x > y);
}

pm_status pm_report_load_parts(pm_query *query, pm_report *r) {
    const pm_value ids[] = {{.kind = PM_VALUE_INTEGER, .integer = r->run},
                            {.kind = PM_VALUE_INTEGER, .integer = r->data_set_id}};
    const struct {
        const char *sql;
        size_t parameters;
        pm_status (*row)(void *, size_t, const pm_value *);
    } parts[] = {{worker_sql, 0, take_worker},
                 {failures_sql, 1, take_failure},
                 {curve_sql, 1, take_curve},
                 {layers_sql, 1, take_layer}};
    const pm_query_sink for_classes = {.user = r, .row = take_class};
    pm_status status = pm_query_run(query, classes_sql, &ids[1], 1, &for_classes, NULL);
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !status; i++) {
        const pm_query_sink sink = {.user = r, .row = parts[i].row};
        status = pm_query_run(query, parts[i].sql, ids, parts[i].parameters, &sink, NULL);
    }
    if (!status) status = load_channels(query, r);
    if (!status) status = load_shares(query, r);
    if (status) return status;
    for (size_t i = 0; i < r->worker_count; i++)
        qsort(r->workers[i].ms, r->workers[i].results, sizeof(double), compare_doubles);
    if (r->failure_count)
        qsort(r->failures, r->failure_count, sizeof *r->failures, compare_failures);
    return PM_OK;
}

static void free_rows(pm_report *r) {
    for (size_t i = 0; i < r->worker_count; i++) {
        free(r->workers[i].name);
        free(r->workers[i].isa);
        free(r->workers[i].ms);
    }
    for (size_t i = 0; i < r->failure_count; i++) {
        pm_report_failure *f = &r->failures[i];
        free(f->stage);
        free(f->reason);
        free(f->hint);
        for (size_t k = 0; k < PM_REPORT_EXAMPLES; k++) {
            free(f->paths[k]);
            free(f->texts[k]);
        }
    }
    for (size_t i = 0; i < r->layer_count; i++) free(r->layers[i].name);
    for (size_t i = 0; i < r->channel_count; i++) free(r->channels[i].layer);
    for (size_t i = 0; i < r->class_count; i++) free(r->class_names[i]);
    free(r->workers);
    free(r->failures);
    free(r->curve);
    free(r->layers);
    free(r->channels);
    free(r->shares);
    free(r->class_names);
}

void pm_report_fini(pm_report *r) {
    char *const texts[] = {r->name,         r->state,      r->arch,          r->weights_sha256,
                           r->weights_path, r->data_set,   r->data_root,     r->data_sha256,
                           r->engine,       r->evaluation, r->channels_kept, r->heat_maps_kept,
                           r->statistics,   r->filter};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) free(texts[i]);
    for (size_t i = 0; i < r->parameter_count; i++) free(r->parameter_names[i]);
    for (size_t i = 0; i < r->configuration_count; i++) {
        free(r->configurations[i].label);
        for (size_t k = 0; k < PM_REPORT_PARAMETERS_MAX; k++)
            free(r->configurations[i].parameters[k]);
    }
    for (size_t i = 0; r->of_items && i < r->items_seen; i++) {
        free(r->of_items[i].path);
        free(r->of_items[i].sha256);
    }
    free(r->configurations);
    free(r->of_items);
    free(r->values);
    free_rows(r);
    memset(r, 0, sizeof *r);
}
