/* A scratch folder, and runs whose numbers follow from item and configuration alone. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/store/query.h"
#include "lib/store/store.h"
#include "lib/store/writer.h"

enum { LAYERS = 2, CHANNELS_0 = 5, CHANNELS_1 = 11, CHANNELS = CHANNELS_0 + CHANNELS_1 };

typedef struct scratch {
    char folder[64];
    char path[96]; /* of the database */
} scratch;

/* cmocka set-up and tear-down; *state is a scratch. */
int scratch_set_up(void **state);
int scratch_tear_down(void **state);

typedef struct plan {
    size_t items, configs;
    pm_channels channels;
    pm_heat_maps heat_maps;
    size_t task_items;
    size_t first_image; /* items show images first_image, first_image + 1, ... */
    const char *name;
    bool gather;            /* method gather; then configs is 1 and nothing else is recorded */
    const char *evaluation; /* canonical text; NULL: none */
} plan;

pm_op *submit_op(const plan *p);
/* Numbers for image `first_image + item`, whatever the run; configs by ordinal. */
pm_op *record_op(const plan *p, const pm_task_row *task, uint64_t item);
pm_op *record_error_op(const plan *p, const pm_task_row *task, uint64_t item);
pm_op *crash_op(pm_op_kind kind, uint64_t task_id, uint64_t item, const char *reason);
pm_op *run_op(pm_op_kind kind, uint64_t run_id);

/* Channel c's variance for image and configuration, as record_op gives it. */
float variance_of(size_t image, size_t config, size_t channel);
bool in_h_of(size_t image, size_t config, size_t channel);

/* Activation of channel c, 0 .. CHANNELS - 1, and density of convolution 0 .. LAYERS - 1. */
float activation_of(size_t image, size_t channel);
float density_of(size_t image, size_t conv);

/* A row of a perturbation curve as record_op gives it; every fifth has no lodds. */
pm_perturbation perturbation_of(size_t image, size_t config, pm_curve curve, double ratio);

/* Apply one op, want this status. */
void apply(pm_store *store, pm_op *op, pm_status want);
/* Submit, record every item of every task in order, finish. Returns the run id. */
uint64_t whole_run(pm_store *store, const plan *p);

pm_store *open_store(const scratch *s);
void close_store(pm_store **store);

/* One integer from a statement, through the reader. */
int64_t ask(const scratch *s, const char *sql);
double ask_real(const scratch *s, const char *sql);
/* The dump in memory; free it. */
char *dump_of(const char *path);

#endif
