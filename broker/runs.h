/* What the broker knows of runs: a line on each for status answers, and of live ones all that task
 * messages need. Kept in memory; the database stays the truth. */
#ifndef PM_BROKER_RUNS_H
#define PM_BROKER_RUNS_H

#include "broker/list.h"
#include "broker/map.h"
#include "lib/spec/spec.h"
#include "lib/store/store.h"

typedef struct pm_run {
    pm_map_node by_id;
    pm_link_node in_order; /* pm_runs.all, ascending */
    uint64_t id;
    char name[128], model[64], data_name[256];
    pm_run_state state;
    pm_run_terms terms;
    uint64_t items, items_open, items_failed, configurations;
    int64_t submitted_ms, finished_ms; /* wall; finished 0: not yet */
    /* live runs only */
    pm_run_spec *spec; /* NULL: not live */
    pm_data_set *data_set;
    char **config_texts; /* [spec->config_count] */
    uint32_t *by_hash;   /* [data_set->count] items in order of their SHA-256 */
    pm_list tasks;
} pm_run;

typedef struct pm_run_task {
    pm_map_node by_id;
    pm_link_node in_run;
    uint64_t id;
    pm_run *run;
    size_t config_count;
    uint32_t configs[]; /* [config_count] */
} pm_run_task;

typedef struct pm_runs {
    pm_map by_id, tasks;
    pm_list all;
} pm_runs;

pm_status pm_runs_init(pm_runs *runs);
void pm_runs_fini(pm_runs *runs);
/* A line on every run of the database. */
pm_status pm_runs_read(pm_runs *runs, const char *db);

pm_run *pm_runs_find(const pm_runs *runs, uint64_t id);
pm_run_task *pm_runs_task(const pm_runs *runs, uint64_t id);
/* The run of this number, made if need be. */
pm_status pm_runs_add(pm_runs *runs, uint64_t id, pm_run **out);
/* Takes *spec and *data_set (set NULL) and makes the run live; they must belong together. */
pm_status pm_run_open(pm_run *run, pm_run_spec **spec, pm_data_set **data_set);
/* Not live any more; its tasks are forgotten. */
void pm_run_close(pm_runs *runs, pm_run *run);
/* Remember the configurations of tasks; those that are known are left. */
pm_status pm_run_add_tasks(pm_runs *runs, pm_run *run, const pm_task_list *tasks);
void pm_runs_drop_task(pm_runs *runs, uint64_t id);

/* Where a blob with this hash lies, by what was submitted with live runs. PM_E_NOT_FOUND. */
pm_status pm_runs_blob(const pm_runs *runs, const pm_sha256 *hash, char *path, size_t path_size,
                       uint64_t *size_bytes);

#endif
