/* Owns the results of variance-conservation in memory: one cell a configuration. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/experiment/conservation.h"

static const char about_sql[] =
    "SELECT model.arch, data_set.name, data_set.items FROM run JOIN model USING (model_id)"
    " JOIN data_set USING (data_set_id) WHERE run.run_id = ?1";

static const char cells_sql[] =
    "SELECT c.configuration_id, i.item, c.layers, c.mask, c.quantile, c.alpha,"
    " c.variance_conservation, r.mu_in_w, r.mu_in, r.p_target, r.pointing,"
    " coalesce(r.box_reason, r.stage || '/' || r.reason)"
    " FROM run JOIN run_configuration AS rc USING (run_id)"
    " JOIN configuration AS c USING (configuration_id)"
    " JOIN data_set_item AS i USING (data_set_id)"
    " JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id"
    /* With mask off the layers only say where gradients are measured: one of these is enough. */
    " WHERE run.run_id = ?1 AND (c.mask <> 'off' OR rc.ordinal = (SELECT min(o.ordinal)"
    "   FROM run_configuration AS o JOIN configuration AS p USING (configuration_id)"
    "   WHERE o.run_id = ?1 AND p.mask = 'off'))"
    /* A photograph that stands twice in the data set counts once, as in the views. */
    " AND NOT EXISTS (SELECT 1 FROM data_set_item AS d WHERE d.image_id = i.image_id"
    "  AND d.data_set_id = i.data_set_id AND d.item < i.item)"
    " ORDER BY rc.ordinal, i.item";

enum {
    CONFIGURATION,
    ITEM,
    LAYERS,
    MASK,
    QUANTILE,
    ALPHA,
    CONSERVED,
    MU_IN_W,
    MU_IN,
    P_TARGET,
    POINTING,
    REASON
};

static pm_status take_about(void *user, size_t count, const pm_value *v) {
    pm_cells *cells = user;
    (void)count;
    snprintf(cells->model, sizeof cells->model, "%s", v[0].text);
    snprintf(cells->data_set, sizeof cells->data_set, "%s", v[1].text);
    cells->items = (size_t)v[2].integer;
    return PM_OK;
}

static bool is_null(const pm_value *v) { return v->kind == PM_VALUE_NULL; }

static bool same_key(const pm_cell *a, const pm_cell *b) {
    return strcmp(a->layers, b->layers) == 0 && strcmp(a->mask, b->mask) == 0 &&
           strcmp(a->threshold, b->threshold) == 0 && a->conserved == b->conserved;
}

static pm_status begin_cell(pm_cells *cells, const pm_value *v) {
    if (cells->count == PM_CELLS_MAX)
        return pm_fail(PM_E_USAGE, "more than %d configurations are no table", PM_CELLS_MAX);
    pm_cell *cell = &cells->cells[cells->count];
    *cell = (pm_cell){.configuration = v[CONFIGURATION].integer, .conserved = -1};
    snprintf(cell->mask, sizeof cell->mask, "%s", v[MASK].text);
    if (strcmp(cell->mask, "off") != 0)
        snprintf(cell->layers, sizeof cell->layers, "%s", v[LAYERS].text);
    if (!is_null(&v[QUANTILE]))
        snprintf(cell->threshold, sizeof cell->threshold, "q %g", v[QUANTILE].real);
    if (!is_null(&v[ALPHA]))
        snprintf(cell->threshold, sizeof cell->threshold, "alpha %g", v[ALPHA].real);
    if (!is_null(&v[CONSERVED])) cell->conserved = v[CONSERVED].integer != 0;
    for (size_t i = 0; i < cells->count; i++)
        if (same_key(&cells->cells[i], cell))
            return pm_fail(PM_E_USAGE,
                           "configurations %lld and %lld differ in more than layers, mask, "
                           "threshold and conservation; give one value for every other option",
                           (long long)cells->cells[i].configuration,
                           (long long)cell->configuration);
    cell->mu_in_w = malloc((cells->items + 1) * sizeof *cell->mu_in_w);
    if (!cell->mu_in_w) return pm_fail(PM_E_MEMORY, "no memory for %zu results", cells->items);
    for (size_t i = 0; i < cells->items; i++) cell->mu_in_w[i] = NAN;
    cells->count++;
    return PM_OK;
}

static void count_null(pm_cell *cell, const char *reason) {
    for (size_t i = 0; i < PM_REASONS_MAX; i++) {
        pm_reason_count *n = &cell->nulls[i];
        /* The last one takes what there is no room for. */
        if (!n->count) snprintf(n->reason, sizeof n->reason, "%.47s", reason);
        if (strcmp(n->reason, reason) != 0 && i + 1 < PM_REASONS_MAX) continue;
        n->count++;
        return;
    }
}

static void add(pm_moments *moments, const pm_value *v) {
    if (v->kind == PM_VALUE_REAL) pm_moments_add(moments, v->real, false);
    if (v->kind == PM_VALUE_INTEGER) pm_moments_add(moments, (double)v->integer, false);
}

static pm_status take_result(void *user, size_t count, const pm_value *v) {
    pm_cells *cells = user;
    const size_t item = (size_t)v[ITEM].integer;
    pm_status status = PM_OK;
    (void)count;
    if (!cells->count || cells->cells[cells->count - 1].configuration != v[CONFIGURATION].integer)
        status = begin_cell(cells, v);
    if (status) return status;
    pm_cell *cell = &cells->cells[cells->count - 1];
    if (item >= cells->items) return pm_fail(PM_E_FORMAT, "item %zu is none of the run's", item);
    if (is_null(&v[MU_IN_W]))
        count_null(cell, v[REASON].kind == PM_VALUE_TEXT ? v[REASON].text : "no reason");
    else
        cell->mu_in_w[item] = v[MU_IN_W].real;
    add(&cell->mu_w, &v[MU_IN_W]);
    add(&cell->mu, &v[MU_IN]);
    add(&cell->p_target, &v[P_TARGET]);
    add(&cell->pointing, &v[POINTING]);
    return PM_OK;
}

pm_status pm_cells_read(pm_study *study, pm_cells *out) {
    *out = (pm_cells){0};
    out->cells = calloc(PM_CELLS_MAX, sizeof *out->cells);
    if (!out->cells) return pm_fail(PM_E_MEMORY, "no memory for the results");
    pm_status status = pm_study_ask(study, about_sql, take_about, out);
    if (!status) status = pm_study_ask(study, cells_sql, take_result, out);
    return status;
}

void pm_cells_fini(pm_cells *cells) {
    for (size_t i = 0; i < cells->count; i++) free(cells->cells[i].mu_in_w);
    free(cells->cells);
    *cells = (pm_cells){0};
}

const pm_cell *pm_cells_plain(const pm_cells *cells) {
    for (size_t i = 0; i < cells->count; i++)
        if (strcmp(cells->cells[i].mask, "off") == 0) return &cells->cells[i];
    return NULL;
}

const pm_cell *pm_cells_find(const pm_cells *cells, const char *layers, const char *mask,
                             const char *threshold, int conserved) {
    for (size_t i = 0; i < cells->count; i++) {
        const pm_cell *c = &cells->cells[i];
        if (strcmp(c->layers, layers) == 0 && strcmp(c->mask, mask) == 0 &&
            strcmp(c->threshold, threshold) == 0 && c->conserved == conserved)
            return c;
    }
    return NULL;
}

pm_paired pm_cells_compare(const pm_cells *cells, const pm_cell *a, const pm_cell *b) {
    pm_moments differences = {0};
    for (size_t i = 0; i < cells->items; i++)
        if (isfinite(a->mu_in_w[i]) && isfinite(b->mu_in_w[i]))
            pm_moments_add(&differences, b->mu_in_w[i] - a->mu_in_w[i], false);
    return pm_paired_test(&differences);
}

static void once(const char *text, const char *out[PM_VALUES_MAX], size_t *count) {
    for (size_t i = 0; i < *count; i++)
        if (strcmp(out[i], text) == 0) return;
    if (*count < PM_VALUES_MAX) out[(*count)++] = text;
}

size_t pm_cells_masks(const pm_cells *cells, const char *out[PM_VALUES_MAX]) {
    size_t count = 0;
    for (size_t i = 0; i < cells->count; i++)
        if (cells->cells[i].conserved >= 0) once(cells->cells[i].mask, out, &count);
    return count;
}

size_t pm_cells_thresholds(const pm_cells *cells, const char *out[PM_VALUES_MAX]) {
    size_t count = 0;
    for (size_t i = 0; i < cells->count; i++)
        if (cells->cells[i].conserved >= 0) once(cells->cells[i].threshold, out, &count);
    return count;
}

size_t pm_cells_layers(const pm_cells *cells, const char *out[PM_VALUES_MAX]) {
    size_t count = 0;
    for (size_t i = 0; i < cells->count; i++)
        if (cells->cells[i].conserved >= 0) once(cells->cells[i].layers, out, &count);
    return count;
}
