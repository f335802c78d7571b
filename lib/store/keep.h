/* What is done to a database as a whole, by its only writer: put together with others, made
 * smaller, written anew. A file that a broker holds is refused (PM_E_BUSY), as by pm_store_open. */
#ifndef PM_STORE_KEEP_H
#define PM_STORE_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

/* ---- merge ---- */

typedef struct pm_merge_counts {
    uint64_t runs;       /* that were not there before */
    uint64_t runs_both;  /* that were */
    uint64_t images;     /* new */
    uint64_t results;    /* new, errors among them */
    uint64_t same;       /* there already: once */
    uint64_t completed;  /* of those: got a heat map, channels or curves that were kept elsewhere */
    uint64_t replaced;   /* of the new: numbers in place of an error */
    uint64_t items_open; /* left to do in all runs, once all is in */
    uint64_t sums_dropped; /* configurations whose channel sums could not be put together */
} pm_merge_counts;

typedef struct pm_merge_plan {
    const char *const *sources; /* [source_count]; only read, also while a broker has them */
    size_t source_count;
    const char *out;        /* a new file, or */
    const char *into;       /* one that is there; then all of it is one transaction */
    bool drop_channel_sums; /* leave out sums that cannot be put together */
} pm_merge_plan;

/* All or nothing. PM_E_MISMATCH: the same result with other numbers, statistics of one name that
 * differ, sums that cannot be put together (the line says which), another schema. PM_E_USAGE:
 * `out` is there, or a file comes twice. */
pm_status pm_store_merge(const pm_merge_plan *plan, pm_merge_counts *counts);

/* ---- prune ---- */

typedef struct pm_prune_plan {
    bool activations;   /* of gather runs whose statistics are made */
    bool heat_maps;     /* of `of_run`, or of all runs that have ended */
    bool channel_items; /* likewise */
    bool orphans;       /* what nothing refers to */
    uint64_t of_run;    /* 0: all */
    uint64_t run;       /* goes, with the results that no other run has; 0: none */
    bool drop_channel_sums;
    bool dry; /* nothing is changed */
} pm_prune_plan;

typedef struct pm_prune_kind {
    uint64_t rows, bytes; /* bytes: of blobs and texts in them, not of pages */
} pm_prune_kind;

typedef struct pm_prune_counts {
    pm_prune_kind activations, heat_maps, channel_items;
    pm_prune_kind results; /* of the run that goes, with all that hangs on them */
    uint64_t runs, data_sets, images, configurations, statistics, models, workers;
    uint64_t sums_dropped;
} pm_prune_counts;

/* One transaction. PM_E_NOT_FOUND: no such run. PM_E_USAGE: it has not ended. PM_E_MISMATCH: sums
 * of channels count results that would go, and cannot be made anew from the rest. */
pm_status pm_store_prune(const char *path, const pm_prune_plan *plan, pm_prune_counts *counts);

/* ---- compact ---- */

/* VACUUM by way of a second file. PM_E_BUSY: a broker or a reader has it. */
pm_status pm_store_compact(const char *path, uint64_t *before_bytes, uint64_t *after_bytes);

/* ---- which tables there are ---- */

typedef enum pm_table_kind {
    PM_TABLE_MERGED, /* its rows are copied by a merge, with their ids mapped */
    PM_TABLE_SUMS,   /* what a merge computes anew from both */
    PM_TABLE_LOCAL   /* of one file alone */
} pm_table_kind;

typedef struct pm_table {
    const char *name;
    pm_table_kind kind;
    const char *id; /* a row id that is given anew and so not copied; NULL: none */
} pm_table;
/* Every table of the schema. Ends with a NULL name. */
extern const pm_table pm_store_tables[];
/* The statements of a merge that insert, for tests; NULL behind the last. */
const char *pm_merge_statement(size_t index);

#endif
