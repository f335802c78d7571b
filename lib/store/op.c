/* Owns the memory of operations and of task and run rows. */
#include <stdlib.h>
#include <string.h>

#include "lib/store/db.h"

pm_op *pm_op_new(pm_op_kind kind) {
    pm_op *op = calloc(1, sizeof *op);
    if (op) op->kind = kind;
    return op;
}

void pm_task_row_fini(pm_task_row *row) {
    free(row->configs);
    *row = (pm_task_row){0};
}

void pm_task_list_fini(pm_task_list *list) {
    for (size_t i = 0; i < list->count; i++) pm_task_row_fini(&list->rows[i]);
    free(list->rows);
    *list = (pm_task_list){0};
}

pm_status pm_task_list_add(pm_task_list *list, const pm_task_row *row) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        pm_task_row *rows = realloc(list->rows, capacity * sizeof *rows);
        if (!rows) return pm_fail(PM_E_MEMORY, "no memory for %zu tasks", capacity);
        list->rows = rows;
        list->capacity = capacity;
    }
    pm_task_row copy = *row;
    copy.configs = malloc((row->config_count ? row->config_count : 1) * sizeof *copy.configs);
    if (!copy.configs) return pm_fail(PM_E_MEMORY, "no memory for a task");
    if (row->config_count)
        memcpy(copy.configs, row->configs, row->config_count * sizeof *copy.configs);
    list->rows[list->count++] = copy;
    return PM_OK;
}

void pm_run_row_fini(pm_run_row *row) {
    pm_run_spec_fini(&row->spec);
    pm_data_set_fini(&row->data_set);
    pm_task_list_fini(&row->tasks);
    *row = (pm_run_row){0};
}

static void submit_fini(pm_op_submit *submit) {
    if (submit->spec) pm_run_spec_fini(submit->spec);
    if (submit->data_set) pm_data_set_fini(submit->data_set);
    free(submit->spec);
    free(submit->data_set);
    pm_task_list_fini(&submit->made);
}

static void record_fini(pm_op_record *record) {
    for (size_t i = 0; record->results && i < record->result_count; i++) {
        pm_record_result *result = &record->results[i];
        free(result->stage);
        free(result->reason);
        free(result->text);
        free(result->layers);
        free(result->channel_variance);
        free(result->in_h);
        free(result->heat_map);
        free(result->perturbations);
        free(result->activations);
        free(result->density);
    }
    free(record->results);
}

void pm_op_free(pm_op **op) {
    pm_op *o = *op;
    *op = NULL;
    if (!o) return;
    switch (o->kind) {
    case PM_OP_SUBMIT: submit_fini(&o->submit); break;
    case PM_OP_RECORD: record_fini(&o->record); break;
    case PM_OP_SET_ASIDE:
    case PM_OP_CRASHED:
    case PM_OP_POISON: pm_task_list_fini(&o->crash.changed); break;
    case PM_OP_CANCEL:
    case PM_OP_FINISH:
    case PM_OP_RETRY:
    case PM_OP_REFRESH:
    case PM_OP_SUMMARISE:
        free(o->run.stage);
        free(o->run.reason);
        free(o->run.image);
        pm_task_list_fini(&o->run.made);
        if (o->run.run) pm_run_row_fini(o->run.run);
        free(o->run.run);
        break;
    case PM_OP_TERMS:
    case PM_OP_WORKER_SEEN:
    case PM_OP_STATISTICS: break;
    }
    free(o);
}
