/* Owns the broker's table of runs. Knows no socket and no scheduler; reads the database once. */
#include "broker/runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/store/query.h"

pm_status pm_runs_init(pm_runs *runs) {
    *runs = (pm_runs){0};
    pm_list_init(&runs->all);
    pm_status status = pm_map_init(&runs->by_id);
    if (!status) status = pm_map_init(&runs->tasks);
    if (status) pm_map_fini(&runs->by_id);
    return status;
}

void pm_runs_fini(pm_runs *runs) {
    pm_link_node *node;
    if (!runs->by_id.buckets) return;
    while ((node = pm_list_head(&runs->all))) {
        pm_run *run = PM_OWNER(node, pm_run, in_order);
        pm_run_close(runs, run);
        pm_node_unlink(node);
        free(run);
    }
    pm_map_fini(&runs->by_id);
    pm_map_fini(&runs->tasks);
}

pm_run *pm_runs_find(const pm_runs *runs, uint64_t id) {
    pm_map_node *node = pm_map_find(&runs->by_id, id);
    return node ? PM_OWNER(node, pm_run, by_id) : NULL;
}

pm_run_task *pm_runs_task(const pm_runs *runs, uint64_t id) {
    pm_map_node *node = pm_map_find(&runs->tasks, id);
    return node ? PM_OWNER(node, pm_run_task, by_id) : NULL;
}

pm_status pm_runs_add(pm_runs *runs, uint64_t id, pm_run **out) {
    pm_run *run = pm_runs_find(runs, id);
    if (!run) {
        run = calloc(1, sizeof *run);
        if (!run) return pm_fail(PM_E_MEMORY, "out of memory for a run");
        run->id = id;
        pm_list_init(&run->tasks);
        pm_map_insert(&runs->by_id, id, &run->by_id);
        pm_list_push_back(&runs->all, &run->in_order);
    }
    *out = run;
    return PM_OK;
}

static void copy(char *out, size_t size, const pm_value *value) {
    snprintf(out, size, "%s", value->kind == PM_VALUE_TEXT ? value->text : "");
}

static pm_run_state state_of(const char *name) {
    pm_run_state state = PM_RUN_QUEUED;
    while (state < PM_RUN_CANCELLED && strcmp(pm_run_state_name(state), name) != 0) state++;
    return state;
}

static pm_status read_row(void *user, size_t count, const pm_value *v) {
    pm_run *run;
    char state[16];
    (void)count;
    pm_status status = pm_runs_add(user, (uint64_t)v[0].integer, &run);
    if (status) return status;
    copy(run->name, sizeof run->name, &v[1]);
    copy(state, sizeof state, &v[2]);
    copy(run->model, sizeof run->model, &v[3]);
    copy(run->data_name, sizeof run->data_name, &v[4]);
    run->state = state_of(state);
    run->items = (uint64_t)v[5].integer;
    run->items_open = run->items - (uint64_t)v[6].integer;
    run->items_failed = (uint64_t)v[7].integer;
    run->configurations = (uint64_t)v[8].integer;
    run->submitted_ms = v[9].integer;
    run->finished_ms = v[10].kind == PM_VALUE_INTEGER ? v[10].integer : 0;
    run->terms = (pm_run_terms){.priority = (int)v[11].integer,
                                .paused = v[12].integer != 0,
                                .max_workers = (uint32_t)v[13].integer};
    return PM_OK;
}

pm_status pm_runs_read(pm_runs *runs, const char *db) {
    static const char sql[] =
        "SELECT run, name, state, model, data_set, items, items_done, items_failed,"
        " configurations, submitted_ms, finished_ms, priority, paused, max_workers"
        " FROM run_progress ORDER BY run";
    pm_query *query = NULL;
    pm_query_limits limits = pm_query_default_limits;
    pm_query_sink sink = {.user = runs, .row = read_row};
    limits.time_ms = 0;
    pm_status status = pm_query_open(db, &limits, &query);
    if (!status) status = pm_query_run(query, sql, NULL, 0, &sink, NULL);
    pm_query_close(&query);
    return status;
}

static int compare_hashes(const void *a, const void *b, void *items) {
    const pm_item *all = items;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    return memcmp(&all[i].sha256, &all[j].sha256, sizeof(pm_sha256));
}

static void free_texts(char **texts, size_t count) {
    for (size_t i = 0; texts && i < count; i++) free(texts[i]);
    free(texts);
}

pm_status pm_run_open(pm_run *run, pm_run_spec **spec, pm_data_set **data_set) {
    pm_sha256 hash;
    pm_status status = PM_OK;
    size_t count = (*data_set)->count;
    char **texts = calloc((*spec)->config_count, sizeof *texts);
    uint32_t *by_hash = calloc(count, sizeof *by_hash);
    if (!texts || !by_hash || count > UINT32_MAX)
        status = pm_fail(PM_E_MEMORY, "out of memory for run %llu", (unsigned long long)run->id);
    for (size_t i = 0; !status && i < (*spec)->config_count; i++)
        status = pm_config_format(&(*spec)->configs[i], &texts[i], &hash);
    if (status) {
        free_texts(texts, (*spec)->config_count);
        free(by_hash);
        return status;
    }
    for (size_t i = 0; i < count; i++) by_hash[i] = (uint32_t)i;
    qsort_r(by_hash, count, sizeof *by_hash, compare_hashes, (*data_set)->items);
    run->spec = *spec;
    run->data_set = *data_set;
    run->config_texts = texts;
    run->by_hash = by_hash;
    *spec = NULL;
    *data_set = NULL;
    snprintf(run->name, sizeof run->name, "%s", run->spec->name);
    snprintf(run->model, sizeof run->model, "%s", run->spec->configs[0].arch);
    snprintf(run->data_name, sizeof run->data_name, "%s",
             run->data_set->name ? run->data_set->name : "");
    run->configurations = run->spec->config_count;
    run->items = count;
    return PM_OK;
}

static void task_free(pm_runs *runs, pm_run_task *task) {
    pm_map_remove(&runs->tasks, &task->by_id);
    pm_node_unlink(&task->in_run);
    free(task);
}

void pm_run_close(pm_runs *runs, pm_run *run) {
    pm_link_node *node;
    while ((node = pm_list_head(&run->tasks))) task_free(runs, PM_OWNER(node, pm_run_task, in_run));
    if (!run->spec) return;
    free_texts(run->config_texts, run->spec->config_count);
    free(run->by_hash);
    pm_run_spec_fini(run->spec);
    pm_data_set_fini(run->data_set);
    free(run->spec);
    free(run->data_set);
    run->spec = NULL;
    run->data_set = NULL;
    run->config_texts = NULL;
    run->by_hash = NULL;
}

pm_status pm_run_add_tasks(pm_runs *runs, pm_run *run, const pm_task_list *tasks) {
    for (size_t i = 0; i < tasks->count; i++) {
        const pm_task_row *row = &tasks->rows[i];
        if (pm_runs_task(runs, row->task_id)) continue;
        pm_run_task *task = calloc(1, sizeof *task + row->config_count * sizeof(uint32_t));
        if (!task) return pm_fail(PM_E_MEMORY, "out of memory for a task");
        task->id = row->task_id;
        task->run = run;
        task->config_count = row->config_count;
        memcpy(task->configs, row->configs, row->config_count * sizeof(uint32_t));
        pm_map_insert(&runs->tasks, task->id, &task->by_id);
        pm_list_push_back(&run->tasks, &task->in_run);
    }
    return PM_OK;
}

void pm_runs_drop_task(pm_runs *runs, uint64_t id) {
    pm_run_task *task = pm_runs_task(runs, id);
    if (task) task_free(runs, task);
}

static const pm_item *find_item(const pm_run *run, const pm_sha256 *hash) {
    size_t low = 0, high = run->data_set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const pm_item *item = &run->data_set->items[run->by_hash[middle]];
        int order = memcmp(hash, &item->sha256, sizeof *hash);
        if (order == 0) return item;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static bool blob_of_run(const pm_run *run, const pm_sha256 *hash, char *path, size_t path_size,
                        uint64_t *size_bytes) {
    const pm_run_spec *spec = run->spec;
    const pm_sha256 *baseline = pm_run_spec_baseline(spec);
    if (baseline && pm_sha256_equal(baseline, hash)) {
        *size_bytes = spec->baseline_size;
        snprintf(path, path_size, "%s", spec->baseline_path);
        return true;
    }
    for (size_t i = 0; i < spec->config_count; i++) {
        const pm_config *config = &spec->configs[i];
        if (pm_sha256_equal(&config->weights, hash)) {
            *size_bytes = spec->weights_size;
            snprintf(path, path_size, "%s", spec->weights_path);
            return true;
        }
        if (config->has_statistics && pm_sha256_equal(&config->statistics, hash)) {
            *size_bytes = spec->statistics_size;
            snprintf(path, path_size, "%s", spec->statistics_path);
            return true;
        }
    }
    const pm_item *item = find_item(run, hash);
    if (!item) return false;
    *size_bytes = item->size_bytes;
    return snprintf(path, path_size, "%s/%s", run->data_set->root, item->path) < (int)path_size;
}

pm_status pm_runs_blob(const pm_runs *runs, const pm_sha256 *hash, char *path, size_t path_size,
                       uint64_t *size_bytes) {
    for (const pm_link_node *node = runs->all.prev; node != &runs->all; node = node->prev) {
        const pm_run *run = PM_OWNER(node, pm_run, in_order);
        if (run->spec && blob_of_run(run, hash, path, path_size, size_bytes)) return PM_OK;
    }
    return PM_E_NOT_FOUND;
}
