/* variance-conservation: box scores by layers, mask, threshold and conservation, on the same
 * images. Parts of one experiment; tools/experiment/conservation.c puts them together. */
#ifndef PM_TOOLS_CONSERVATION_H
#define PM_TOOLS_CONSERVATION_H

#include <stdbool.h>

#include "lib/stats/paired.h"
#include "tools/experiment/study.h"

enum { PM_CELLS_MAX = 400, PM_REASONS_MAX = 6 };

typedef struct pm_reason_count {
    char reason[48];
    uint64_t count;
} pm_reason_count;

/* One configuration. */
typedef struct pm_cell {
    int64_t configuration;
    char layers[160], mask[8],
        threshold[32]; /* "default", "cls", "q 0.05"; mask off: "", off, "" */
    int conserved;     /* 1, 0; -1 with mask off */
    double *mu_in_w;   /* [items] NAN where there is none */
    pm_moments mu_w, mu, p_target, pointing;
    pm_reason_count nulls[PM_REASONS_MAX]; /* why mu_in_w is none */
} pm_cell;

typedef struct pm_cells {
    char model[64], data_set[128];
    size_t items, count;
    pm_cell *cells; /* in the order of the run */
} pm_cells;

pm_status pm_cells_read(pm_study *study, pm_cells *out);
void pm_cells_fini(pm_cells *cells);

/* The baseline, mask off; the cell that differs from `cell` in conservation alone. NULL: none. */
const pm_cell *pm_cells_plain(const pm_cells *cells);
const pm_cell *pm_cells_find(const pm_cells *cells, const char *layers, const char *mask,
                             const char *threshold, int conserved);
/* Of mu_in_w, b - a, over the images where both have one. */
pm_paired pm_cells_compare(const pm_cells *cells, const pm_cell *a, const pm_cell *b);

/* Both tables, as files and on stdout; the figures; the reading. */
pm_status pm_conservation_tables(const pm_cells *cells, const pm_study *study);
pm_status pm_conservation_figures(const pm_cells *cells, const pm_study *study);
pm_status pm_conservation_reading(const pm_cells *cells, const pm_study *study);

/* Masks and thresholds that there are, each once, in order; how many. */
enum { PM_VALUES_MAX = 32 };
size_t pm_cells_masks(const pm_cells *cells, const char *out[PM_VALUES_MAX]);
size_t pm_cells_thresholds(const pm_cells *cells, const char *out[PM_VALUES_MAX]);
size_t pm_cells_layers(const pm_cells *cells, const char *out[PM_VALUES_MAX]);
/* Thresholds that the figure by layer ratio has no room for; how many. */
size_t pm_conservation_left_out(const pm_cells *cells, const char *mask,
                                const char *out[PM_VALUES_MAX]);

#endif
