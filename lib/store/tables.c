/* Owns the list of the schema's tables: what a merge does with each. A test compares it with the
 * migrations, so that a new table is not forgotten. */
#include "lib/store/keep.h"

const pm_table pm_store_tables[] = {
    {"broker", PM_TABLE_LOCAL, NULL}, /* lives of brokers on that file, for its leases */
    {"model", PM_TABLE_MERGED, "model_id"},
    {"layer", PM_TABLE_MERGED, "layer_id"},
    {"data_set", PM_TABLE_MERGED, "data_set_id"},
    {"class_name", PM_TABLE_MERGED, NULL},
    {"image", PM_TABLE_MERGED, "image_id"},
    {"box", PM_TABLE_MERGED, NULL},
    {"data_set_item", PM_TABLE_MERGED, NULL},
    {"statistics", PM_TABLE_MERGED, "statistics_id"},
    {"layer_statistics", PM_TABLE_MERGED, NULL},
    {"channel_statistics", PM_TABLE_MERGED, NULL},
    {"class_statistics", PM_TABLE_MERGED, NULL},
    {"configuration", PM_TABLE_MERGED, "configuration_id"},
    {"worker", PM_TABLE_MERGED, "worker_id"},
    {"run", PM_TABLE_MERGED, "run_id"},
    {"run_configuration", PM_TABLE_MERGED, NULL},
    {"task", PM_TABLE_MERGED, "task_id"},
    {"result", PM_TABLE_MERGED, NULL},
    {"perturbation", PM_TABLE_MERGED, NULL},
    {"layer_gradient", PM_TABLE_MERGED, NULL},
    {"channel_gradient_item", PM_TABLE_MERGED, NULL},
    {"heat_map", PM_TABLE_MERGED, NULL},
    {"activation", PM_TABLE_MERGED, NULL},
    {"failure", PM_TABLE_MERGED, "failure_id"},
    {"channel_accumulator", PM_TABLE_SUMS, NULL},
    {"channel_gradient", PM_TABLE_SUMS, NULL}, /* written from the former */
    {"score_summary", PM_TABLE_SUMS, NULL},    /* these four from results */
    {"curve_summary", PM_TABLE_SUMS, NULL},
    {"layer_summary", PM_TABLE_SUMS, NULL},
    {"timing_summary", PM_TABLE_SUMS, NULL},
    {0},
};
