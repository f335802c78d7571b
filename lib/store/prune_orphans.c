/* Owns the rows that nothing refers to any more. One may go because another went (statistics were
 * gathered by a configuration, another configuration used them), so it is done until nothing goes.
 */
#include "lib/store/prune.h"

typedef enum tally { PART, DATA_SETS, IMAGES, CONFIGURATIONS, STATISTICS, MODELS, WORKERS } tally;

#define NO_SET                                                                                     \
    " NOT EXISTS (SELECT 1 FROM run WHERE run.data_set_id = o.data_set_id)"                        \
    " AND NOT EXISTS (SELECT 1 FROM statistics AS s WHERE s.data_set_id = o.data_set_id)"
#define NO_IMAGE                                                                                   \
    " o.image_id NOT IN (SELECT image_id FROM data_set_item)"                                      \
    " AND o.image_id NOT IN (SELECT image_id FROM result)"                                         \
    " AND o.image_id NOT IN (SELECT image_id FROM failure)"
#define NO_CONFIGURATION                                                                           \
    " o.configuration_id NOT IN (SELECT configuration_id FROM run_configuration)"                  \
    " AND NOT EXISTS (SELECT 1 FROM result AS r WHERE r.configuration_id = o.configuration_id)"    \
    " AND NOT EXISTS (SELECT 1 FROM statistics AS s"                                               \
    "  WHERE s.configuration_id = o.configuration_id)"                                             \
    " AND NOT EXISTS (SELECT 1 FROM failure AS f WHERE f.configuration_id = o.configuration_id)"
#define NO_STATISTICS                                                                              \
    " o.statistics_id IN (SELECT statistics_id FROM statistics WHERE name IS NULL)"                \
    " AND o.statistics_id NOT IN (SELECT statistics_id FROM configuration"                         \
    "  WHERE statistics_id IS NOT NULL)"                                                           \
    " AND o.statistics_id NOT IN (SELECT statistics_id FROM run WHERE statistics_id IS NOT NULL)"
#define NO_MODEL                                                                                   \
    " o.model_id NOT IN (SELECT model_id FROM configuration)"                                      \
    " AND o.model_id NOT IN (SELECT model_id FROM run)"                                            \
    " AND o.model_id NOT IN (SELECT model_id FROM statistics WHERE model_id IS NOT NULL)"
#define NO_WORKER                                                                                  \
    " o.worker_id NOT IN (SELECT worker_id FROM result WHERE worker_id IS NOT NULL)"               \
    " AND o.worker_id NOT IN (SELECT worker_id FROM failure WHERE worker_id IS NOT NULL)"

static const struct {
    tally tally;
    const char *sql;
} steps[] = {
    {CONFIGURATIONS, "DELETE FROM configuration AS o WHERE" NO_CONFIGURATION},
    {PART, "DELETE FROM class_statistics AS o WHERE" NO_STATISTICS},
    {PART, "DELETE FROM channel_statistics AS o WHERE" NO_STATISTICS},
    {PART, "DELETE FROM layer_statistics AS o WHERE" NO_STATISTICS},
    {STATISTICS, "DELETE FROM statistics AS o WHERE" NO_STATISTICS},
    {PART, "DELETE FROM class_name AS o WHERE" NO_SET},
    {PART, "DELETE FROM data_set_item AS o WHERE" NO_SET},
    {DATA_SETS, "DELETE FROM data_set AS o WHERE" NO_SET},
    {PART, "DELETE FROM box AS o WHERE" NO_IMAGE},
    {IMAGES, "DELETE FROM image AS o WHERE" NO_IMAGE},
    {PART, "DELETE FROM layer AS o WHERE" NO_MODEL},
    {MODELS, "DELETE FROM model AS o WHERE" NO_MODEL},
    {WORKERS, "DELETE FROM worker AS o WHERE" NO_WORKER},
};

static uint64_t *counter(pm_prune_counts *counts, tally which) {
    switch (which) {
    case PART: break;
    case DATA_SETS: return &counts->data_sets;
    case IMAGES: return &counts->images;
    case CONFIGURATIONS: return &counts->configurations;
    case STATISTICS: return &counts->statistics;
    case MODELS: return &counts->models;
    case WORKERS: return &counts->workers;
    }
    return NULL;
}

pm_status pm_prune_orphans(pm_store *store, pm_prune_counts *counts) {
    pm_status status = PM_OK;
    bool again = true;
    while (again && !status) {
        again = false;
        for (size_t i = 0; i < sizeof steps / sizeof *steps && !status; i++) {
            uint64_t gone = 0, *into = counter(counts, steps[i].tally);
            status = pm_db_run_once(store, steps[i].sql, NULL, 0, &gone);
            if (!status && into) *into += gone;
            again |= gone > 0;
        }
    }
    return status;
}
