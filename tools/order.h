/* What a command line asks for, checked whole before any work: model, statistics and the grid of
 * configurations.
 *
 * Use: pm_order_open, pm_order_grid, then read its members; pm_order_fini also after a failure.
 * Every error is one line that says what, where and what to do. */
#ifndef PM_TOOLS_ORDER_H
#define PM_TOOLS_ORDER_H

#include "lib/image/extras.h"
#include "lib/image/image.h"
#include "lib/spec/spec.h"
#include "parchgrad.h"
#include "tools/options.h"

enum { PM_GRID_MAX = 10000 }; /* configurations of one command */

typedef struct pm_order {
    pm_model *model;
    pm_statistics *statistics;         /* NULL where no configuration needs any */
    pm_run_spec spec;                  /* configurations without doubles, in grid order */
    pm_configuration **configurations; /* [spec.config_count] the same, ready for the engine */
    pm_config base;                    /* what all configurations share */
    pm_preprocessing preprocessing;    /* shared by all of them */
    float *baseline; /* of --baseline FILE: [3][crop][crop]; NULL where there is none */
} pm_order;

/* Model and statistics. `computes`: contexts will be made here; else the model is an outline.
 * PM_E_USAGE, PM_E_NOT_FOUND, PM_E_MISMATCH, and whatever opening the files gives. */
pm_status pm_order_open(const pm_options *options, bool computes, pm_order *out);
/* Then the grid. `class_names` [class_name_count] may hold names that --target can use; `labels`:
 * whether images have labels, which decides the default of --target. */
pm_status pm_order_grid(const pm_options *options, char *const *class_names,
                        size_t class_name_count, bool labels, pm_order *order);
/* Configuration number `index` as a request for class `target` of the tensor of `extras`. What
 * pm_extras_baseline gives. */
pm_status pm_order_request(const pm_order *order, size_t index, int target, pm_extras *extras,
                           pm_request *out);
void pm_order_fini(pm_order *order);

/* Only the model's outline, whatever --weights says: its file is `weights`. Then no grid. */
pm_status pm_order_model(const pm_options *options, const char *weights, pm_order *out);
/* Instead of a grid: the one configuration of a gather run. `configurations` stays empty. */
pm_status pm_order_gather(pm_order *order);

/* A context for the order's crop, with its input transform. */
pm_status pm_order_context(const pm_order *order, size_t batch, pm_context **out);

/* What needs no file but the statistics' name: architecture, grid, ranges, combinations. */
pm_status pm_order_check(const pm_options *options);

/* The product of the grid options as configurations, base filled in (arch, weights, statistics,
 * preprocessing); doubles by hash are left out. *configs from malloc. Opens no file. class_names
 * NULL: not read yet, any name passes. */
pm_status pm_grid_make(const pm_options *options, const pm_config *base, pm_target_rule rule,
                       char *const *class_names, size_t class_name_count, pm_config **configs,
                       size_t *count);

/* Whether a value of --baseline is a photograph's file, and no word. */
bool pm_baseline_is_file(const char *text);
/* The folder behind --boxes; NULL where there is none, or a word for --box-rule. */
const char *pm_boxes_folder(const pm_options *options);

/* The architecture's preprocessing, with what the options set. */
pm_status pm_order_preprocessing(const pm_options *options, const pm_arch_info *arch,
                                 pm_preprocessing *out);

#endif
