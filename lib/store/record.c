/* Owns what one item leaves behind: results, gradients, maps, failures, and the task's step on.
 *
 * Invariant 2: all of it is one transaction, conditional on the task's position. A result that is
 * there already stays (first wins) unless it is an error; what it lacked is added. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/spec/failure.h"
#include "lib/store/db.h"

/* Where an item's results go. */
typedef struct scene {
    pm_task_row task;
    uint64_t item, worker_id;
    int64_t model_id, image_id, now_ms;
    pm_channels channels;
    pm_heat_maps heat_maps;
    pm_evaluation evaluation;
} scene;

static pm_status read_scene(pm_store *store, uint64_t task_id, uint64_t item, uint64_t worker_id,
                            scene *out) {
    scene s = {.item = item, .worker_id = worker_id, .now_ms = pm_clock_wall_ms()};
    bool found = false, row = false;
    pm_status status = pm_task_read(store, task_id, &s.task, &found);
    if (status) return status;
    if (!found || s.task.next_item != item) {
        if (found) pm_task_row_fini(&s.task);
        return pm_fail(PM_E_STALE, "task %llu is not at item %llu", (unsigned long long)task_id,
                       (unsigned long long)item);
    }
    sqlite3_stmt *statement = NULL;
    status = pm_db_begin(store,
                         "SELECT run.model_id, i.image_id, run.channels, run.heat_maps,"
                         " run.evaluation"
                         " FROM run JOIN data_set_item AS i USING (data_set_id)"
                         " WHERE run.run_id = ?1 AND i.item = ?2",
                         PM_BINDS(pm_id(s.task.run_id), pm_id(item)), &statement);
    if (!status) status = pm_db_step(store, statement, &row);
    if (!status && !row) status = pm_fail(PM_E_INTERNAL, "a task points outside its data set");
    if (!status) {
        s.model_id = sqlite3_column_int64(statement, 0);
        s.image_id = sqlite3_column_int64(statement, 1);
        status = pm_channels_parse((const char *)sqlite3_column_text(statement, 2), &s.channels);
    }
    if (!status)
        status = pm_heat_maps_parse((const char *)sqlite3_column_text(statement, 3), &s.heat_maps);
    if (!status)
        status =
            pm_evaluation_parse((const char *)sqlite3_column_text(statement, 4), &s.evaluation);
    pm_db_end(statement);
    if (status) {
        pm_task_row_fini(&s.task);
        return status;
    }
    *out = s;
    return PM_OK;
}

/* ---- is it what was asked for ---- */

static bool is_finite(const pm_record_result *r) {
    if (!isfinite(r->p_target) || !isfinite(r->p_predicted)) return false;
    if (!r->box_reason[0] && (!isfinite(r->mu_in) || !isfinite(r->mu_in_w) ||
                              !isfinite(r->mu_out) || !isfinite(r->mu_out_w)))
        return false;
    for (size_t i = 0; i < r->layer_count; i++) {
        const pm_record_layer *l = &r->layers[i];
        if (!isfinite(l->scale_h) || !isfinite(l->scale_l) || !isfinite(l->variance_before) ||
            !isfinite(l->variance_after))
            return false;
        if (l->partitioned && (!isfinite(l->m) || !isfinite(l->n) || !isfinite(l->beta)))
            return false;
    }
    for (size_t i = 0; i < r->channel_count; i++)
        if (!isfinite(r->channel_variance[i])) return false;
    if (!pm_curves_finite(r)) return false;
    for (size_t i = 0; i < r->activation_count; i++)
        if (!isfinite(r->activations[i])) return false;
    for (size_t i = 0; i < r->density_count; i++)
        if (!isfinite(r->density[i])) return false;
    return true;
}

static pm_status check_result(const scene *s, const pm_record_result *r) {
    if (r->stage) {
        if (r->reason && r->text) return PM_OK;
        return pm_fail(PM_E_PROTOCOL, "an error has no reason or no text");
    }
    size_t channels = 0;
    for (size_t i = 0; i < r->layer_count; i++) {
        if (i && r->layers[i].conv <= r->layers[i - 1].conv)
            return pm_fail(PM_E_PROTOCOL, "layers are not in ascending order");
        channels += r->layers[i].channels;
    }
    if (s->channels != PM_CHANNELS_NONE &&
        (r->channel_count != channels || !r->channel_variance || !r->in_h))
        return pm_fail(PM_E_PROTOCOL, "%zu channel variances came, %zu belong", r->channel_count,
                       channels);
    if (s->heat_maps != PM_HEAT_MAPS_NONE && (!r->heat_map_side || !r->heat_map))
        return pm_fail(PM_E_PROTOCOL, "a heat map is missing");
    if (s->heat_maps != PM_HEAT_MAPS_NONE &&
        !(isfinite(r->heat_map_scale) && r->heat_map_scale > 0))
        return pm_fail(PM_E_PROTOCOL, "a heat map's scale is not a number above 0");
    return pm_curves_check(&s->evaluation, r);
}

/* Exactly the task's configurations, each once. */
static pm_status check_results(const scene *s, const pm_op_record *op) {
    if (op->result_count != s->task.config_count)
        return pm_fail(PM_E_PROTOCOL, "%zu results came, the task has %zu configurations",
                       op->result_count, s->task.config_count);
    for (size_t i = 0; i < s->task.config_count; i++) {
        size_t times = 0;
        for (size_t r = 0; r < op->result_count; r++)
            times += op->results[r].configuration == s->task.configs[i];
        if (times != 1)
            return pm_fail(PM_E_PROTOCOL, "configuration %u came %zu times", s->task.configs[i],
                           times);
    }
    for (size_t r = 0; r < op->result_count; r++) {
        pm_status status = check_result(s, &op->results[r]);
        if (status) return status;
    }
    return PM_OK;
}

/* ---- one result ---- */

/* What the database has of it already. */
typedef struct existing {
    int64_t configuration_id;
    bool any, error, gathers;
    bool evaluated; /* as the run wants it; so also where it wants nothing */
    int channels, heat_map;
} existing;

static pm_status read_existing(pm_store *store, const scene *s, uint32_t configuration,
                               existing *out) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(
        store,
        "SELECT rc.configuration_id, r.image_id, r.error IS NOT NULL, r.channels_kept,"
        " r.heat_map_kept, c.method = 'gather', run.evaluation IN ('', r.evaluation)"
        " FROM run_configuration AS rc JOIN run USING (run_id)"
        " JOIN configuration AS c ON c.configuration_id = rc.configuration_id LEFT JOIN result AS r"
        " ON r.configuration_id = rc.configuration_id AND r.image_id = ?3"
        " WHERE rc.run_id = ?1 AND rc.ordinal = ?2",
        PM_BINDS(pm_id(s->task.run_id), pm_int(configuration), pm_int(s->image_id)), &statement);
    if (status) return status;
    status = pm_db_step(store, statement, &row);
    if (!status && !row)
        status =
            pm_fail(PM_E_INTERNAL, "a task has configuration %u, its run has not", configuration);
    if (!status) {
        bool any = sqlite3_column_type(statement, 1) != SQLITE_NULL;
        *out = (existing){.configuration_id = sqlite3_column_int64(statement, 0),
                          .any = any,
                          .error = any && sqlite3_column_int(statement, 2),
                          .gathers = sqlite3_column_int(statement, 5) != 0,
                          .evaluated = sqlite3_column_int(statement, 6) != 0,
                          .channels = sqlite3_column_int(statement, 3),
                          .heat_map = sqlite3_column_int(statement, 4)};
    }
    pm_db_end(statement);
    return status;
}

pm_status pm_failure_insert(pm_store *store, uint64_t run_id, uint64_t item, pm_bind configuration,
                            uint64_t worker_id, const char *stage, const char *reason,
                            const char *text) {
    return pm_db_run(store,
                     "INSERT INTO failure (run_id, item, image_id, configuration_id, worker_id,"
                     " stage, reason, text, at_ms, hint)"
                     " SELECT ?1, ?2, i.image_id, ?3, ?4, ?5, ?6, ?7, ?8, ?9"
                     " FROM run JOIN data_set_item AS i USING (data_set_id)"
                     " WHERE run.run_id = ?1 AND i.item = ?2",
                     PM_BINDS(pm_id(run_id), pm_id(item), configuration,
                              pm_int_if(worker_id != 0, (int64_t)worker_id), pm_text(stage),
                              pm_text(reason), pm_text(text), pm_int(pm_clock_wall_ms()),
                              pm_text(pm_failure_hint(stage, reason))));
}

static pm_status put_error(pm_store *store, const scene *s, const existing *was, const char *stage,
                           const char *reason, const char *text) {
    pm_status status =
        pm_failure_insert(store, s->task.run_id, s->item, pm_int(was->configuration_id),
                          s->worker_id, stage, reason, text);
    if (status || (was->any && !was->error)) return status;
    return pm_db_run(store,
                     "INSERT INTO result (configuration_id, image_id, run_id, worker_id,"
                     " recorded_ms, channels_kept, heat_map_kept, stage, reason, error, hint)"
                     " VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, ?7, ?8, ?9)"
                     " ON CONFLICT DO UPDATE SET run_id = excluded.run_id,"
                     " worker_id = excluded.worker_id, recorded_ms = excluded.recorded_ms,"
                     " stage = excluded.stage, reason = excluded.reason, error = excluded.error,"
                     " hint = excluded.hint",
                     PM_BINDS(pm_int(was->configuration_id), pm_int(s->image_id),
                              pm_id(s->task.run_id),
                              pm_int_if(s->worker_id != 0, (int64_t)s->worker_id),
                              pm_int(s->now_ms), pm_text(stage), pm_text(reason), pm_text(text),
                              pm_text(pm_failure_hint(stage, reason))));
}

static pm_status put_numbers(pm_store *store, const scene *s, const existing *was,
                             const pm_record_result *r) {
    const bool box = !r->box_reason[0];
    pm_status status = PM_OK;
    if (was->any)
        status =
            pm_db_run(store, "DELETE FROM result WHERE configuration_id = ?1 AND image_id = ?2",
                      PM_BINDS(pm_int(was->configuration_id), pm_int(s->image_id)));
    if (status) return status;
    return pm_db_run(
        store,
        "INSERT INTO result (configuration_id, image_id, run_id, target, predicted, p_target,"
        " p_predicted, mu_in, mu_in_w, mu_out, mu_out_w, box_reason, compute_ms, worker_id,"
        " recorded_ms, pointing, completeness_gap, channels_kept, heat_map_kept) VALUES"
        " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 0, 0)",
        PM_BINDS(pm_int(was->configuration_id), pm_int(s->image_id), pm_id(s->task.run_id),
                 pm_int(r->target), pm_int(r->predicted), pm_real(r->p_target),
                 pm_real(r->p_predicted), pm_real_if(box, r->mu_in), pm_real_if(box, r->mu_in_w),
                 pm_real_if(box, r->mu_out), pm_real_if(box, r->mu_out_w),
                 pm_text(box ? NULL : r->box_reason), pm_real(r->compute_ms),
                 pm_int_if(s->worker_id != 0, (int64_t)s->worker_id), pm_int(s->now_ms),
                 pm_int_if(r->has_pointing, r->pointing),
                 pm_real_if(r->has_gap && isfinite(r->completeness_gap), r->completeness_gap)));
}

static pm_status layer_id(pm_store *store, const scene *s, const pm_record_layer *layer,
                          int64_t *id) {
    return pm_layer_put(store, s->model_id, layer->conv, layer->name, layer->channels, id);
}

static pm_status put_layer(pm_store *store, const scene *s, const existing *was,
                           const pm_record_layer *l, int64_t id) {
    return pm_db_run(store,
                     "INSERT INTO layer_gradient (configuration_id, image_id, layer_id, selected,"
                     " m, n, beta, scale_h, scale_l, variance_before, variance_after) VALUES"
                     " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                     PM_BINDS(pm_int(was->configuration_id), pm_int(s->image_id), pm_int(id),
                              pm_int(l->selected), pm_real_if(l->partitioned, l->m),
                              pm_real_if(l->partitioned, l->n), pm_real_if(l->partitioned, l->beta),
                              pm_real(l->scale_h), pm_real(l->scale_l), pm_real(l->variance_before),
                              pm_real(l->variance_after)));
}

static pm_status put_channels(pm_store *store, const scene *s, const existing *was, int64_t id,
                              const float *variance, const uint8_t *in_h, size_t channels) {
    size_t bits_size = (channels + 7) / 8;
    uint8_t *bits = calloc(bits_size + 1, 1);
    if (!bits) return pm_fail(PM_E_MEMORY, "no memory for %zu channels", channels);
    for (size_t c = 0; c < channels; c++)
        if (in_h[c]) bits[c / 8] |= (uint8_t)(1u << c % 8);
    pm_status status = pm_db_run(
        store,
        "INSERT INTO channel_gradient_item (configuration_id, image_id, layer_id,"
        " variances, in_h) VALUES (?1, ?2, ?3, ?4, ?5)",
        PM_BINDS(pm_int(was->configuration_id), pm_int(s->image_id), pm_int(id),
                 pm_blob(variance, channels * sizeof *variance), pm_blob(bits, bits_size)));
    free(bits);
    return status;
}

static pm_status put_layers(pm_store *store, const scene *s, const existing *was,
                            const pm_record_result *r) {
    const bool fresh = !was->any || was->error;
    const bool sums = s->channels > PM_CHANNELS_NONE && (fresh || was->channels < 1);
    const bool items = s->channels == PM_CHANNELS_FULL && (fresh || was->channels < 2);
    pm_status status = PM_OK;
    size_t first = 0;
    for (size_t i = 0; i < r->layer_count && !status; first += r->layers[i++].channels) {
        const pm_record_layer *l = &r->layers[i];
        int64_t id = 0;
        status = layer_id(store, s, l, &id);
        if (!status && fresh) status = put_layer(store, s, was, l, id);
        if (!status && items)
            status = put_channels(store, s, was, id, r->channel_variance + first, r->in_h + first,
                                  l->channels);
        /* Loaded now, added to once nothing can fail any more: pm_apply_record. */
        pm_accumulator *a;
        if (!status && sums)
            status = pm_accumulator_get(store, was->configuration_id, id, l->channels, &a);
    }
    return status;
}

static pm_status put_heat_map(pm_store *store, const scene *s, const existing *was,
                              const pm_record_result *r) {
    return pm_db_run(store,
                     "INSERT OR REPLACE INTO heat_map (configuration_id, image_id, side, format,"
                     " zstd, scale) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                     PM_BINDS(pm_int(was->configuration_id), pm_int(s->image_id),
                              pm_int(r->heat_map_side), pm_text(pm_heat_maps_name(s->heat_maps)),
                              pm_blob(r->heat_map, r->heat_map_size), pm_real(r->heat_map_scale)));
}

static pm_status put_activations(pm_store *store, const scene *s, const existing *was,
                                 const pm_record_result *r) {
    return pm_db_run(store,
                     "INSERT INTO activation (configuration_id, image_id, activations, density)"
                     " VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                     PM_BINDS(pm_int(was->configuration_id), pm_int(s->image_id),
                              pm_blob(r->activations, r->activation_count * sizeof *r->activations),
                              pm_blob(r->density, r->density_count * sizeof *r->density)));
}

static pm_status put_result(pm_store *store, const scene *s, const existing *was,
                            const pm_record_result *r) {
    const bool fresh = !was->any || was->error;
    if (was->gathers != (r->activation_count > 0) || was->gathers != (r->density_count > 0))
        return pm_fail(PM_E_PROTOCOL, "activations and method gather do not come together");
    pm_status status = fresh ? put_numbers(store, s, was, r) : PM_OK;
    /* Also of a result that is there: they may have been pruned. */
    if (!status && was->gathers) status = put_activations(store, s, was, r);
    if (!status) status = put_layers(store, s, was, r);
    if (!status && (int)s->heat_maps > (fresh ? 0 : was->heat_map))
        status = put_heat_map(store, s, was, r);
    if (!status && s->evaluation.on && (fresh || !was->evaluated))
        status = pm_curves_put(store, was->configuration_id, s->image_id, &s->evaluation, r);
    if (status) return status;
    return pm_db_run(store,
                     "UPDATE result SET channels_kept = max(channels_kept, ?3),"
                     " heat_map_kept = max(heat_map_kept, ?4)"
                     " WHERE configuration_id = ?1 AND image_id = ?2",
                     PM_BINDS(pm_int(was->configuration_id), pm_int(s->image_id),
                              pm_int(s->channels), pm_int(s->heat_maps)));
}

/* Cannot fail: put_layers has loaded every accumulator. */
static pm_status add_to_sums(pm_store *store, const scene *s, const existing *was,
                             const pm_record_result *r) {
    size_t first = 0;
    for (size_t i = 0; i < r->layer_count; first += r->layers[i++].channels) {
        pm_accumulator *a;
        int64_t id = 0;
        pm_status status = layer_id(store, s, &r->layers[i], &id);
        if (!status)
            status =
                pm_accumulator_get(store, was->configuration_id, id, r->layers[i].channels, &a);
        if (status) return status;
        for (size_t c = 0; c < r->layers[i].channels; c++)
            pm_moments_add(&a->moments[c], (double)r->channel_variance[first + c],
                           r->in_h[first + c] != 0);
        a->dirty = true;
    }
    return PM_OK;
}

/* ---- the task ---- */

static pm_status step_on(pm_store *store, const scene *s, bool *done) {
    pm_status status;
    const bool last = s->item + 1 == s->task.end_item;
    if (last)
        status = pm_db_run(store, "DELETE FROM task WHERE task_id = ?1 AND next_item = ?2",
                           PM_BINDS(pm_id(s->task.task_id), pm_id(s->item)));
    else
        status = pm_db_run(store,
                           "UPDATE task SET next_item = next_item + 1, crashes = 0"
                           " WHERE task_id = ?1 AND next_item = ?2",
                           PM_BINDS(pm_id(s->task.task_id), pm_id(s->item)));
    if (status) return status;
    if (sqlite3_changes(store->db) != 1)
        return pm_fail(PM_E_STALE, "task %llu is not at item %llu",
                       (unsigned long long)s->task.task_id, (unsigned long long)s->item);
    *done = last;
    return pm_db_run(store,
                     "UPDATE run SET state = 'running' WHERE run_id = ?1 AND state = 'queued'",
                     PM_BINDS(pm_id(s->task.run_id)));
}

static pm_status put_size(pm_store *store, const scene *s, const pm_op_record *op) {
    if (!op->width || !op->height) return PM_OK;
    return pm_db_run(store,
                     "UPDATE image SET width = ?2, height = ?3"
                     " WHERE image_id = ?1 AND width IS NULL",
                     PM_BINDS(pm_int(s->image_id), pm_int(op->width), pm_int(op->height)));
}

static pm_status put_results(pm_store *store, const scene *s, const pm_op_record *op,
                             existing *was) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < op->result_count && !status; i++) {
        const pm_record_result *r = &op->results[i];
        status = read_existing(store, s, r->configuration, &was[i]);
        if (!status)
            status = pm_summary_spoil(store, s->task.run_id, was[i].configuration_id, s->image_id);
        if (status) return status;
        if (r->stage)
            status = put_error(store, s, &was[i], r->stage, r->reason, r->text);
        else if (!is_finite(r))
            status = put_error(store, s, &was[i], "compute", "not-finite",
                               "a number that was computed is not finite");
        else
            status = put_result(store, s, &was[i], r);
    }
    return status;
}

pm_status pm_apply_record(pm_store *store, pm_op_record *op) {
    scene s;
    existing *was = NULL;
    pm_status status = read_scene(store, op->task_id, op->item, op->worker_id, &s);
    if (status) return status;
    status = check_results(&s, op);
    if (!status) {
        was = calloc(op->result_count + 1, sizeof *was);
        if (!was) status = pm_fail(PM_E_MEMORY, "no memory for %zu results", op->result_count);
    }
    if (!status) status = step_on(store, &s, &op->task_done);
    if (!status) status = put_size(store, &s, op);
    if (!status) status = put_results(store, &s, op, was);
    for (size_t i = 0; i < op->result_count && !status; i++) {
        const pm_record_result *r = &op->results[i];
        const bool counted = was[i].any && !was[i].error && was[i].channels > 0;
        if (s.channels != PM_CHANNELS_NONE && !counted && !r->stage && is_finite(r))
            status = add_to_sums(store, &s, &was[i], r);
    }
    free(was);
    pm_task_row_fini(&s.task);
    return status;
}

pm_status pm_apply_poison(pm_store *store, pm_op_crash *op) {
    scene s;
    char text[160];
    pm_status status = read_scene(store, op->task_id, op->item, op->worker_id, &s);
    if (status) return status;
    snprintf(text, sizeof text, "every worker that took this image crashed (%s, %u times)",
             op->reason, s.task.crashes);
    status = step_on(store, &s, &op->task_done);
    for (size_t i = 0; i < s.task.config_count && !status; i++) {
        existing was;
        status = read_existing(store, &s, s.task.configs[i], &was);
        if (!status)
            status = pm_summary_spoil(store, s.task.run_id, was.configuration_id, s.image_id);
        if (!status) status = put_error(store, &s, &was, "crash", op->reason, text);
    }
    if (!status && !op->task_done) {
        s.task.next_item++;
        s.task.crashes = 0;
        status = pm_task_list_add(&op->changed, &s.task);
    }
    pm_task_row_fini(&s.task);
    return status;
}
