/* Owns the way back: a run as it was submitted, with its open tasks, from the rows. */
#include <stdlib.h>
#include <string.h>

#include "lib/store/db.h"

static pm_status read_run(pm_store *store, uint64_t run_id, pm_run_row *row, int64_t *data_set_id) {
    sqlite3_stmt *statement = NULL;
    bool found = false;
    pm_status status = pm_db_begin(
        store,
        "SELECT CASE run.state WHEN 'queued' THEN 0 WHEN 'running' THEN 1 WHEN 'done' THEN 2"
        " ELSE 3 END, run.foreground, run.name, run.weights_path, run.statistics_path,"
        " model.size_bytes, coalesce(statistics.size_bytes, 0), model.classes, run.channels,"
        " run.heat_maps, run.data_root, data_set.name, run.data_set_id, data_set.items,"
        " p.items_failed, run.submitted_ms,"
        " (SELECT coalesce(sum(end_item - next_item), 0) FROM task WHERE task.run_id = run.run_id),"
        " run.evaluation, run.baseline_path, run.baseline_bytes"
        " FROM run JOIN model USING (model_id) JOIN data_set USING (data_set_id)"
        " JOIN run_progress AS p ON p.run = run.run_id"
        " LEFT JOIN statistics ON statistics.statistics_id = run.statistics_id"
        " WHERE run.run_id = ?1",
        PM_BINDS(pm_id(run_id)), &statement);
    if (status) return status;
    pm_run_spec *spec = &row->spec;
    status = pm_db_step(store, statement, &found);
    if (!status && !found)
        status = pm_fail(PM_E_NOT_FOUND, "there is no run %llu", (unsigned long long)run_id);
    if (!status) {
        row->run_id = run_id;
        row->state = (pm_run_state)sqlite3_column_int(statement, 0);
        row->foreground = sqlite3_column_int(statement, 1) != 0;
        spec->weights_size = pm_db_column_id(statement, 5);
        spec->statistics_size = pm_db_column_id(statement, 6);
        spec->baseline_size = pm_db_column_id(statement, 19);
        spec->classes = (size_t)pm_db_column_id(statement, 7);
        *data_set_id = sqlite3_column_int64(statement, 12);
        row->items = pm_db_column_id(statement, 13);
        row->items_failed = pm_db_column_id(statement, 14);
        row->submitted_ms = sqlite3_column_int64(statement, 15);
        row->items_open = pm_db_column_id(statement, 16);
        status = pm_db_column_text(statement, 2, spec->name, sizeof spec->name);
    }
    if (!status)
        status = pm_db_column_text(statement, 3, spec->weights_path, sizeof spec->weights_path);
    if (!status)
        status =
            pm_db_column_text(statement, 4, spec->statistics_path, sizeof spec->statistics_path);
    if (!status)
        status = pm_db_column_text(statement, 18, spec->baseline_path, sizeof spec->baseline_path);
    if (!status)
        status =
            pm_channels_parse((const char *)sqlite3_column_text(statement, 8), &spec->channels);
    if (!status)
        status =
            pm_heat_maps_parse((const char *)sqlite3_column_text(statement, 9), &spec->heat_maps);
    if (!status)
        status = pm_evaluation_parse((const char *)sqlite3_column_text(statement, 17),
                                     &spec->evaluation);
    if (!status) status = pm_db_copy_text(statement, 10, &row->data_set.root);
    if (!status) status = pm_db_copy_text(statement, 11, &row->data_set.name);
    pm_db_end(statement);
    return status;
}

static pm_status read_configs(pm_store *store, uint64_t run_id, pm_run_spec *spec) {
    sqlite3_stmt *statement = NULL;
    int64_t count = 0;
    bool row = false;
    pm_status status = pm_db_get(store, "SELECT count(*) FROM run_configuration WHERE run_id = ?1",
                                 PM_BINDS(pm_id(run_id)), &count, &row);
    if (status) return status;
    spec->configs = calloc((size_t)count + 1, sizeof *spec->configs);
    if (!spec->configs)
        return pm_fail(PM_E_MEMORY, "no memory for %lld configurations", (long long)count);
    status = pm_db_begin(store,
                         "SELECT c.text FROM run_configuration AS rc JOIN configuration AS c"
                         " USING (configuration_id) WHERE rc.run_id = ?1 ORDER BY rc.ordinal",
                         PM_BINDS(pm_id(run_id)), &statement);
    if (status) return status;
    while (spec->config_count < (size_t)count && !(status = pm_db_step(store, statement, &row)) &&
           row) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        status = pm_config_parse(text ? text : "", &spec->configs[spec->config_count]);
        if (status) break;
        spec->config_count++;
    }
    pm_db_end(statement);
    return status;
}

static pm_status read_boxes(pm_store *store, int64_t image_id, pm_item *item) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(
        store, "SELECT xmin, ymin, xmax, ymax FROM box WHERE image_id = ?1 ORDER BY ordinal",
        PM_BINDS(pm_int(image_id)), &statement);
    if (status) return status;
    while (!(status = pm_db_step(store, statement, &row)) && row) {
        pm_spec_box *more = realloc(item->boxes, (item->box_count + 1) * sizeof *more);
        if (!more) {
            status = pm_fail(PM_E_MEMORY, "no memory for boxes");
            break;
        }
        item->boxes = more;
        more[item->box_count++] =
            (pm_spec_box){sqlite3_column_double(statement, 0), sqlite3_column_double(statement, 1),
                          sqlite3_column_double(statement, 2), sqlite3_column_double(statement, 3)};
    }
    pm_db_end(statement);
    return status;
}

static pm_status read_items(pm_store *store, int64_t data_set_id, uint64_t items,
                            pm_data_set *set) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    set->items = calloc((size_t)items + 1, sizeof *set->items);
    if (!set->items)
        return pm_fail(PM_E_MEMORY, "no memory for %llu items", (unsigned long long)items);
    pm_status status =
        pm_db_begin(store,
                    "SELECT i.path, image.sha256, image.size_bytes, ifnull(image.label, -1),"
                    " image.image_id, image.boxes_sha256 <> '' FROM data_set_item AS i"
                    " JOIN image USING (image_id) WHERE i.data_set_id = ?1 ORDER BY i.item",
                    PM_BINDS(pm_int(data_set_id)), &statement);
    if (status) return status;
    while (set->count < items && !(status = pm_db_step(store, statement, &row)) && row) {
        pm_item *item = &set->items[set->count];
        status = pm_db_copy_text(statement, 0, &item->path);
        if (status) break;
        set->count++;
        item->size_bytes = pm_db_column_id(statement, 2);
        item->label = sqlite3_column_int(statement, 3);
        status = pm_db_column_hash(statement, 1, &item->sha256);
        if (!status && sqlite3_column_int(statement, 5))
            status = read_boxes(store, sqlite3_column_int64(statement, 4), item);
        if (status) break;
    }
    pm_db_end(statement);
    if (!status && set->count != items)
        status = pm_fail(PM_E_FORMAT, "database: a data set of %llu items has %zu",
                         (unsigned long long)items, set->count);
    return status;
}

static pm_status read_class_names(pm_store *store, int64_t data_set_id, pm_data_set *set) {
    sqlite3_stmt *statement = NULL;
    int64_t last = 0;
    bool row = false;
    pm_status status = pm_db_get(store, "SELECT max(class) FROM class_name WHERE data_set_id = ?1",
                                 PM_BINDS(pm_int(data_set_id)), &last, &row);
    if (status || !row) return status;
    set->class_names = calloc((size_t)last + 1, sizeof *set->class_names);
    if (!set->class_names) return pm_fail(PM_E_MEMORY, "no memory for class names");
    set->class_name_count = (size_t)last + 1;
    status = pm_db_begin(store,
                         "SELECT class, name FROM class_name WHERE data_set_id = ?1"
                         " AND class >= 0",
                         PM_BINDS(pm_int(data_set_id)), &statement);
    if (status) return status;
    while (!(status = pm_db_step(store, statement, &row)) && row) {
        status =
            pm_db_copy_text(statement, 1, &set->class_names[sqlite3_column_int64(statement, 0)]);
        if (status) break;
    }
    pm_db_end(statement);
    return status;
}

static pm_status read_tasks(pm_store *store, uint64_t run_id, pm_task_list *list) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(store,
                                   "SELECT task_id, run_id, next_item, end_item, alone, crashes,"
                                   " configurations FROM task WHERE run_id = ?1 ORDER BY task_id",
                                   PM_BINDS(pm_id(run_id)), &statement);
    if (status) return status;
    while (!(status = pm_db_step(store, statement, &row)) && row) {
        pm_task_row task;
        if ((status = pm_task_from_row(statement, &task))) break;
        status = pm_task_list_add(list, &task);
        pm_task_row_fini(&task);
        if (status) break;
    }
    pm_db_end(statement);
    return status;
}

pm_status pm_store_load_run(pm_store *store, uint64_t run_id, pm_run_row *out) {
    pm_run_row run = {0};
    int64_t data_set_id = 0;
    pm_status status = read_run(store, run_id, &run, &data_set_id);
    if (!status) status = pm_terms_read(store, run_id, &run.terms);
    if (!status) status = read_configs(store, run_id, &run.spec);
    if (!status) status = read_items(store, data_set_id, run.items, &run.data_set);
    if (!status) status = read_class_names(store, data_set_id, &run.data_set);
    if (!status) status = read_tasks(store, run_id, &run.tasks);
    if (status) {
        pm_run_row_fini(&run);
        return status;
    }
    *out = run;
    return PM_OK;
}

pm_status pm_store_load_queue(pm_store *store, pm_run_row **rows, size_t *count) {
    pm_run_row *runs = calloc(1, sizeof *runs);
    if (!runs) return pm_fail(PM_E_MEMORY, "no memory for runs");
    size_t used = 0;
    int64_t id = 0;
    pm_status status;
    bool found = false;
    while (!(status = pm_db_get(store,
                                "SELECT min(run_id) FROM run WHERE state IN ('queued', 'running')"
                                " AND run_id > ?1",
                                PM_BINDS(pm_int(id)), &id, &found)) &&
           found) {
        pm_run_row *more = realloc(runs, (used + 1) * sizeof *more);
        if (!more) {
            status = pm_fail(PM_E_MEMORY, "no memory for runs");
            break;
        }
        runs = more;
        if ((status = pm_store_load_run(store, (uint64_t)id, &runs[used]))) break;
        used++;
    }
    if (status) {
        for (size_t i = 0; i < used; i++) pm_run_row_fini(&runs[i]);
        free(runs);
        return status;
    }
    *rows = runs;
    *count = used;
    return PM_OK;
}
