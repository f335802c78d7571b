/* Owns the two tables of variance-conservation: means, and paired differences. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/experiment/conservation.h"
#include "tools/experiment/sheet.h"

static const char *const means_names[] = {
    "layers",       "mask",  "threshold", "conserved", "images", "n",           "mu_in_w",
    "mu_in_w_ci95", "mu_in", "p_target",  "pointing",  "null",   "null_reasons"};
static const char *const pairs_names[] = {"layers", "mask",       "threshold", "difference", "n",
                                          "delta",  "delta_ci95", "t",         "p"};

static double mean_of(const pm_moments *m) { return m->count ? m->mean : (double)NAN; }

static void reasons_text(const pm_cell *cell, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < PM_REASONS_MAX && cell->nulls[i].count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s %llu", i ? "; " : "",
                                 cell->nulls[i].reason, (unsigned long long)cell->nulls[i].count);
}

static pm_status add_mean(pm_sheet *sheet, const pm_cells *cells, const pm_cell *c) {
    char reasons[PM_REASONS_MAX * 72];
    uint64_t nulls = 0;
    const bool plain = c->conserved < 0;
    for (size_t i = 0; i < PM_REASONS_MAX; i++) nulls += c->nulls[i].count;
    reasons_text(c, reasons, sizeof reasons);
    return pm_sheet_add(sheet, "ssssddgggggds", plain ? NULL : c->layers, c->mask,
                        plain ? NULL : c->threshold,
                        plain          ? NULL
                        : c->conserved ? "on"
                                       : "off",
                        (int64_t)cells->items, (int64_t)c->mu_w.count, mean_of(&c->mu_w),
                        pm_ci95(&c->mu_w), mean_of(&c->mu), mean_of(&c->p_target),
                        mean_of(&c->pointing), (int64_t)nulls, nulls ? reasons : NULL);
}

static pm_status add_pair(pm_sheet *sheet, const pm_cells *cells, const pm_cell *a,
                          const pm_cell *b, const char *what) {
    if (!a || !b) return PM_OK;
    const pm_paired d = pm_cells_compare(cells, a, b);
    return pm_sheet_add(sheet, "ssssdgggg", b->layers, b->mask, b->threshold, what, (int64_t)d.n,
                        d.mean, d.ci95, d.t, d.p);
}

static pm_status fill(const pm_cells *cells, pm_sheet *means, pm_sheet *pairs) {
    const pm_cell *plain = pm_cells_plain(cells);
    pm_status status = PM_OK;
    for (size_t i = 0; i < cells->count && !status; i++)
        status = add_mean(means, cells, &cells->cells[i]);
    for (size_t i = 0; i < cells->count && !status; i++) {
        const pm_cell *c = &cells->cells[i];
        if (c->conserved < 0) continue;
        if (c->conserved)
            status =
                add_pair(pairs, cells, pm_cells_find(cells, c->layers, c->mask, c->threshold, 0), c,
                         "conserved - not");
        if (!status)
            status = add_pair(pairs, cells, plain, c,
                              c->conserved ? "conserved - plain" : "not - plain");
    }
    return status;
}

pm_status pm_conservation_tables(const pm_cells *cells, const pm_study *study) {
    pm_sheet means = {.names = means_names, .columns = sizeof means_names / sizeof *means_names};
    pm_sheet pairs = {.names = pairs_names, .columns = sizeof pairs_names / sizeof *pairs_names};
    pm_status status = fill(cells, &means, &pairs);
    if (!status) status = pm_sheet_write(&means, study, "means.csv");
    if (!status) status = pm_sheet_write(&pairs, study, "pairs.csv");
    if (!status) status = pm_sheet_print(&means, study, 4);
    if (!status) status = pm_sheet_print(&pairs, study, 4);
    pm_sheet_fini(&means);
    pm_sheet_fini(&pairs);
    return status;
}
