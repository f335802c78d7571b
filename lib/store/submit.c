/* Owns what a submission writes: model, statistics, data set, configurations, run. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/store/db.h"

static int64_t inserted(const pm_store *store) { return sqlite3_last_insert_rowid(store->db); }

pm_status pm_model_put(pm_store *store, const pm_run_spec *spec, int64_t *id) {
    const pm_config *config = &spec->configs[0];
    char hex[PM_SHA256_HEX_BYTES];
    bool found = false;
    pm_sha256_hex(&config->weights, hex);
    pm_status status =
        pm_db_get(store, "SELECT model_id FROM model WHERE arch = ?1 AND weights_sha256 = ?2",
                  PM_BINDS(pm_text(config->arch), pm_text(hex)), id, &found);
    if (status || found) return status;
    status = pm_db_run(store,
                       "INSERT INTO model (arch, weights_sha256, size_bytes, path, classes)"
                       " VALUES (?1, ?2, ?3, ?4, ?5)",
                       PM_BINDS(pm_text(config->arch), pm_text(hex), pm_id(spec->weights_size),
                                pm_text(spec->weights_path), pm_id(spec->classes)));
    *id = inserted(store);
    return status;
}

static pm_status put_statistics(pm_store *store, const pm_run_spec *spec, const pm_config *config,
                                int64_t model_id, int64_t *id) {
    char hex[PM_SHA256_HEX_BYTES];
    bool found = false;
    pm_sha256_hex(&config->statistics, hex);
    pm_status status = pm_db_get(store, "SELECT statistics_id FROM statistics WHERE sha256 = ?1",
                                 PM_BINDS(pm_text(hex)), id, &found);
    if (status || found) return status;
    status = pm_db_run(store,
                       "INSERT INTO statistics (sha256, size_bytes, path, model_id)"
                       " VALUES (?1, ?2, ?3, ?4)",
                       PM_BINDS(pm_text(hex), pm_id(spec->statistics_size),
                                pm_text(spec->statistics_path), pm_int(model_id)));
    *id = inserted(store);
    return status;
}

/* ---- data set ---- */

static void boxes_hash(const pm_item *item, char hex[PM_SHA256_HEX_BYTES]) {
    hex[0] = 0;
    if (item->box_count == 0) return;
    pm_sha256_stream stream;
    pm_sha256_begin(&stream);
    for (size_t b = 0; b < item->box_count; b++) {
        const pm_spec_box *box = &item->boxes[b];
        double corners[4] = {box->xmin + 0.0, box->ymin + 0.0, box->xmax + 0.0, box->ymax + 0.0};
        pm_sha256_update(&stream, corners, sizeof corners);
    }
    pm_sha256 hash = pm_sha256_end(&stream);
    pm_sha256_hex(&hash, hex);
}

static pm_status put_image(pm_store *store, const pm_item *item, int64_t *id) {
    char hex[PM_SHA256_HEX_BYTES], boxes[PM_SHA256_HEX_BYTES];
    bool found = false;
    pm_sha256_hex(&item->sha256, hex);
    boxes_hash(item, boxes);
    pm_status status =
        pm_db_get(store,
                  "SELECT image_id FROM image WHERE sha256 = ?1"
                  " AND ifnull(label, -1) = ?2 AND boxes_sha256 = ?3",
                  PM_BINDS(pm_text(hex), pm_int(item->label), pm_text(boxes)), id, &found);
    if (status || found) return status;
    status = pm_db_run(
        store,
        "INSERT INTO image (sha256, size_bytes, label, boxes_sha256) VALUES (?1, ?2, ?3, ?4)",
        PM_BINDS(pm_text(hex), pm_id(item->size_bytes), pm_int_if(item->label >= 0, item->label),
                 pm_text(boxes)));
    *id = inserted(store);
    for (size_t b = 0; b < item->box_count && !status; b++) {
        const pm_spec_box *box = &item->boxes[b];
        status = pm_db_run(store,
                           "INSERT INTO box (image_id, ordinal, xmin, ymin, xmax, ymax)"
                           " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                           PM_BINDS(pm_int(*id), pm_id(b), pm_real(box->xmin), pm_real(box->ymin),
                                    pm_real(box->xmax), pm_real(box->ymax)));
    }
    return status;
}

/* Items [first, end) of the data set. */
static pm_status put_items(pm_store *store, const pm_data_set *set, int64_t id, size_t first,
                           size_t end) {
    for (size_t i = first; i < end; i++) {
        int64_t image_id = 0;
        pm_status status = put_image(store, &set->items[i], &image_id);
        if (!status)
            status = pm_db_run(
                store,
                "INSERT INTO data_set_item (data_set_id, item, image_id, path)"
                " VALUES (?1, ?2, ?3, ?4)",
                PM_BINDS(pm_int(id), pm_id(i), pm_int(image_id), pm_text(set->items[i].path)));
        if (status == PM_E_INTERNAL)
            return pm_fail(PM_E_USAGE, "data set: image '%.200s' is named twice",
                           set->items[i].path);
        if (status) return status;
    }
    return PM_OK;
}

static pm_status put_class_names(pm_store *store, const pm_data_set *set, int64_t id) {
    pm_status status = PM_OK;
    for (size_t c = 0; c < set->class_name_count && !status; c++) {
        if (!set->class_names[c] || !set->class_names[c][0]) continue;
        status = pm_db_run(store,
                           "INSERT INTO class_name (data_set_id, class, name) VALUES (?1, ?2, ?3)"
                           " ON CONFLICT DO UPDATE SET name = excluded.name",
                           PM_BINDS(pm_int(id), pm_id(c), pm_text(set->class_names[c])));
    }
    return status;
}

static pm_status find_data_set(pm_store *store, const pm_data_set *set, int64_t *id) {
    char hex[PM_SHA256_HEX_BYTES];
    bool found = false;
    pm_sha256 hash = pm_data_set_hash(set);
    pm_sha256_hex(&hash, hex);
    pm_status status = pm_db_get(store, "SELECT data_set_id FROM data_set WHERE sha256 = ?1",
                                 PM_BINDS(pm_text(hex)), id, &found);
    if (status || found) return status;
    status =
        pm_db_run(store, "INSERT INTO data_set (sha256, name, root, items) VALUES (?1, ?2, ?3, ?4)",
                  PM_BINDS(pm_text(hex), pm_text(set->name ? set->name : ""),
                           pm_text(set->root ? set->root : ""), pm_id(set->count)));
    *id = inserted(store);
    return status;
}

static pm_status last_item(pm_store *store, int64_t data_set_id, int64_t *item, bool *any) {
    return pm_db_get(store, "SELECT max(item) FROM data_set_item WHERE data_set_id = ?1",
                     PM_BINDS(pm_int(data_set_id)), item, any);
}

/* A data set is known by the hash of all its items, so one that a kill cut short is gone on with.
 */
static pm_status put_data_set(pm_store *store, pm_op_submit *op, int64_t *id) {
    const pm_data_set *set = op->data_set;
    int64_t last = -1;
    bool any = false;
    pm_status status = PM_OK;
    *id = op->data_set_id;
    if (*id) status = last_item(store, *id, &last, &any);
    if (status) return status;
    if (!any) { /* not there yet, or not any more */
        status = find_data_set(store, set, id);
        if (!status) status = last_item(store, *id, &last, &any);
    }
    if (status) return status;
    const size_t first = any ? (size_t)last + 1 : 0;
    size_t end = set->count;
    op->unfinished = op->slice_items && first < end && end - first > op->slice_items;
    if (op->unfinished) end = first + op->slice_items;
    status = put_items(store, set, *id, first, end);
    if (status) return status;
    op->data_set_id = *id;
    return op->unfinished ? PM_OK : put_class_names(store, set, *id);
}

/* ---- configurations ---- */

static pm_status insert_configuration(pm_store *store, const pm_config *config, const char *hex,
                                      const char *text, const char *engine_version,
                                      int64_t model_id, pm_bind statistics_id) {
    const pm_attribution *a = &config->attribution;
    const bool masked = a->mask != PM_MASK_OFF;
    const bool alpha = a->threshold_kind == PM_THRESHOLD_ALPHA;
    char label[PM_LAYERS_BYTES + 128], target[32];
    pm_config_label(config, label, sizeof label);
    switch (config->target_rule) {
    case PM_TARGET_RULE_LABEL: snprintf(target, sizeof target, "label"); break;
    case PM_TARGET_RULE_TOP: snprintf(target, sizeof target, "top"); break;
    case PM_TARGET_RULE_CLASS: snprintf(target, sizeof target, "%zu", config->target_class); break;
    }
    pm_status status = pm_db_run(
        store,
        "INSERT INTO configuration (sha256, engine_version, text, label, model_id, statistics_id,"
        " method, mask, quantile, alpha, p_value_threshold, test, layers, gamma, exact,"
        " variance_conservation, target, resize, crop, filter) VALUES"
        " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,"
        " ?20)",
        PM_BINDS(
            pm_text(hex), pm_text(engine_version), pm_text(text), pm_text(label), pm_int(model_id),
            statistics_id, pm_text(pm_method_name(a->method)), pm_text(pm_mask_name(a->mask)),
            pm_real_if(masked && !alpha, a->threshold), pm_real_if(masked && alpha, a->threshold),
            pm_real_if(masked, a->p_value_threshold),
            pm_text(masked ? pm_test_name(a->test) : NULL), pm_text(a->layers),
            pm_real_if(masked, a->gamma), pm_int_if(masked, a->exact),
            pm_int_if(masked, a->variance_conservation), pm_text(target), pm_id(config->resize),
            pm_id(config->crop), pm_text(pm_filter_name(config->filter))));
    if (status) return status;
    /* Canonical text has a key only where it means something. As in schema/sql/0003. */
    return pm_db_run(
        store,
        "UPDATE configuration SET steps = json_extract(text, '$.steps'),"
        " baseline = CASE WHEN json_extract(text, '$.baseline') = 'image'"
        "  THEN 'image:' || json_extract(text, '$.baseline_image')"
        "  ELSE json_extract(text, '$.baseline') END,"
        " samples = json_extract(text, '$.samples'), sigma = json_extract(text, '$.sigma'),"
        " seed = json_extract(text, '$.seed'), cam_layer = json_extract(text, '$.cam_layer'),"
        " guided = CASE WHEN method <> 'gather'"
        "  THEN coalesce(json_extract(text, '$.guided'), 0) END,"
        " boxes = CASE WHEN method <> 'gather'"
        "  THEN coalesce(json_extract(text, '$.boxes'), 'first') END,"
        " input = coalesce(json_extract(text, '$.input'), 'none'),"
        " transform_input = coalesce(json_extract(text, '$.transform_input'), 0)"
        " WHERE configuration_id = ?1",
        PM_BINDS(pm_int(inserted(store))));
}

static pm_status put_configuration(pm_store *store, const pm_op_submit *op, const pm_config *config,
                                   int64_t model_id, int64_t *id) {
    char *text = NULL, hex[PM_SHA256_HEX_BYTES];
    pm_sha256 hash;
    bool found = false;
    int64_t statistics_id = 0;
    pm_status status = pm_config_format(config, &text, &hash);
    if (status) return status;
    pm_sha256_hex(&hash, hex);
    status = pm_db_get(
        store,
        "SELECT configuration_id FROM configuration WHERE sha256 = ?1 AND engine_version = ?2",
        PM_BINDS(pm_text(hex), pm_text(op->engine_version)), id, &found);
    if (!status && !found) {
        bool needs = config->attribution.mask != PM_MASK_OFF && config->has_statistics;
        if (needs) status = put_statistics(store, op->spec, config, model_id, &statistics_id);
        if (!status)
            status = insert_configuration(store, config, hex, text, op->engine_version, model_id,
                                          pm_int_if(needs, statistics_id));
        *id = inserted(store);
    }
    free(text);
    return status;
}

static pm_status put_configurations(pm_store *store, const pm_op_submit *op, int64_t model_id) {
    for (size_t i = 0; i < op->spec->config_count; i++) {
        int64_t id = 0;
        pm_status status = put_configuration(store, op, &op->spec->configs[i], model_id, &id);
        if (!status)
            status = pm_db_run(store,
                               "INSERT INTO run_configuration (run_id, ordinal, configuration_id)"
                               " VALUES (?1, ?2, ?3)",
                               PM_BINDS(pm_id(op->run_id), pm_id(i), pm_int(id)));
        if (status) return status;
    }
    return PM_OK;
}

/* ---- run ---- */

/* Before anything of it is written. */
static pm_status check_differ(const pm_run_spec *spec) {
    pm_sha256 *hashes = calloc(spec->config_count, sizeof *hashes);
    pm_status status = hashes ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for configurations");
    for (size_t i = 0; i < spec->config_count && !status; i++) {
        char *text = NULL;
        status = pm_config_format(&spec->configs[i], &text, &hashes[i]);
        free(text);
        for (size_t k = 0; k < i && !status; k++)
            if (pm_sha256_equal(&hashes[k], &hashes[i]))
                status = pm_fail(PM_E_USAGE, "configurations %zu and %zu are the same", k, i);
    }
    free(hashes);
    return status;
}

static pm_status check(const pm_op_submit *op) {
    const pm_run_spec *spec = op->spec;
    if (!spec || !op->data_set || spec->config_count == 0)
        return pm_fail(PM_E_USAGE, "a run needs at least one configuration");
    if (op->data_set->count == 0) return pm_fail(PM_E_USAGE, "the data set has no images");
    if (!op->engine_version[0]) return pm_fail(PM_E_USAGE, "a run needs an engine version");
    pm_status terms = pm_terms_check(&op->terms);
    if (terms) return terms;
    for (size_t i = 0; i < spec->config_count; i++) {
        const pm_config *config = &spec->configs[i];
        pm_status status = pm_config_check(config);
        if (status) return pm_fail_in(status, "configuration %zu", i);
        if (strcmp(config->arch, spec->configs[0].arch) != 0 ||
            !pm_sha256_equal(&config->weights, &spec->configs[0].weights))
            return pm_fail(PM_E_USAGE, "configuration %zu is of another model than the first", i);
        if (config->attribution.method == PM_METHOD_IG &&
            config->attribution.baseline == PM_BASELINE_IMAGE &&
            !pm_sha256_equal(&config->baseline_image, pm_run_spec_baseline(spec)))
            return pm_fail(PM_E_USAGE, "configuration %zu starts from another photograph", i);
        /* It records activations, and nothing of what the others record. */
        if (config->attribution.method == PM_METHOD_GATHER &&
            (spec->config_count > 1 || spec->channels != PM_CHANNELS_NONE ||
             spec->heat_maps != PM_HEAT_MAPS_NONE || spec->evaluation.on))
            return pm_fail(PM_E_USAGE, "method gather stands alone in a run without channels, "
                                       "heat maps and evaluation");
    }
    return PM_OK;
}

/* Passes through the network that an item takes; a masked one counts as any other. */
static size_t passes_of(const pm_run_spec *spec) {
    size_t passes = 0;
    for (size_t i = 0; i < spec->config_count; i++) {
        const pm_attribution *a = &spec->configs[i].attribution;
        passes += a->method == PM_METHOD_IG        ? a->steps + 1
                  : pm_method_is_random(a->method) ? a->samples
                                                   : 1;
        if (spec->evaluation.on) passes += 2 * spec->evaluation.ratio_count;
    }
    return passes;
}

/* A task is never given to two workers, so it stays below some seconds of work on the slowest
 * networks, and a short run has enough of them for everybody. How many a worker holds at a time
 * follows from how long they take it. */
static uint64_t task_items(const pm_op_submit *op) {
    enum { PASSES = 64, ITEMS_MOST = 16, TASKS_LEAST = 32 };
    if (op->task_items) return op->task_items;
    size_t items = PASSES / passes_of(op->spec);
    if (items > op->data_set->count / TASKS_LEAST) items = op->data_set->count / TASKS_LEAST;
    return items < 1 ? 1 : items > ITEMS_MOST ? ITEMS_MOST : items;
}

static pm_status insert_run(pm_store *store, pm_op_submit *op, const char *request) {
    const pm_run_spec *spec = op->spec;
    int64_t model_id = 0, data_set_id = 0, statistics_id = 0;
    const pm_config *masked = NULL;
    char evaluation[PM_EVALUATION_BYTES];
    pm_evaluation_format(&spec->evaluation, evaluation);
    for (size_t i = 0; i < spec->config_count && !masked; i++)
        if (spec->configs[i].attribution.mask != PM_MASK_OFF) masked = &spec->configs[i];
    pm_status status = pm_model_put(store, spec, &model_id);
    if (!status && masked) status = put_statistics(store, spec, masked, model_id, &statistics_id);
    if (!status) status = put_data_set(store, op, &data_set_id);
    if (!status && op->unfinished) return PM_OK;
    if (!status)
        status = pm_db_run(
            store,
            "INSERT INTO run (request_id, name, model_id, data_set_id, statistics_id,"
            " engine_version, channels, heat_maps, data_root, weights_path, statistics_path,"
            " foreground, task_items, results_reused, state, items_dropped, submitted_ms,"
            " evaluation, baseline_path, baseline_bytes, priority, paused, max_workers) VALUES"
            " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0, 'queued', 0, ?14, ?15,"
            " ?16, ?17, ?18, ?19, ?20)",
            PM_BINDS(pm_text(request), pm_text(spec->name), pm_int(model_id), pm_int(data_set_id),
                     pm_int_if(masked != NULL, statistics_id), pm_text(op->engine_version),
                     pm_text(pm_channels_name(spec->channels)),
                     pm_text(pm_heat_maps_name(spec->heat_maps)),
                     pm_text(op->data_set->root ? op->data_set->root : ""),
                     pm_text(spec->weights_path), pm_text(spec->statistics_path),
                     pm_int(op->foreground), pm_id(task_items(op)), pm_int(pm_clock_wall_ms()),
                     pm_text(evaluation), pm_text(spec->baseline_path), pm_id(spec->baseline_size),
                     pm_int(op->terms.priority), pm_int(op->terms.paused),
                     pm_int(op->terms.max_workers)));
    op->run_id = (uint64_t)inserted(store);
    return status ? status : put_configurations(store, op, model_id);
}

/* The request is known: nothing to do for a live run, else take up what is missing. */
static pm_status find_run(pm_store *store, pm_op_submit *op, const char *request) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(store,
                                   "SELECT run_id, results_reused, state FROM run"
                                   " WHERE request_id = ?1",
                                   PM_BINDS(pm_text(request)), &statement);
    if (status) return status;
    status = pm_db_step(store, statement, &row);
    if (!status && row) {
        const char *state = (const char *)sqlite3_column_text(statement, 2);
        op->existed = true;
        op->run_id = pm_db_column_id(statement, 0);
        op->results_reused = pm_db_column_id(statement, 1);
        for (int s = PM_RUN_QUEUED; s <= PM_RUN_CANCELLED; s++)
            if (state && strcmp(state, pm_run_state_name((pm_run_state)s)) == 0)
                op->state = (pm_run_state)s;
    }
    pm_db_end(statement);
    return status;
}

/* An id that is used for something else is the client's mistake, and must not be taken for done. */
static pm_status check_same(pm_store *store, const pm_op_submit *op) {
    char hex[PM_SHA256_HEX_BYTES];
    int64_t value = 0;
    bool found = false;
    pm_sha256 hash = pm_data_set_hash(op->data_set);
    pm_sha256_hex(&hash, hex);
    pm_status status = pm_db_get(store,
                                 "SELECT (SELECT count(*) FROM run_configuration AS rc"
                                 "        WHERE rc.run_id = run.run_id)"
                                 " FROM run JOIN data_set USING (data_set_id)"
                                 " WHERE run_id = ?1 AND data_set.sha256 = ?2",
                                 PM_BINDS(pm_id(op->run_id), pm_text(hex)), &value, &found);
    if (status) return status;
    bool same = found && (size_t)value == op->spec->config_count;
    for (size_t i = 0; i < op->spec->config_count && same; i++) {
        char *text = NULL;
        if ((status = pm_config_format(&op->spec->configs[i], &text, &hash))) return status;
        free(text);
        pm_sha256_hex(&hash, hex);
        status = pm_db_get(store,
                           "SELECT 1 FROM run_configuration JOIN configuration"
                           " USING (configuration_id)"
                           " WHERE run_id = ?1 AND ordinal = ?2 AND sha256 = ?3",
                           PM_BINDS(pm_id(op->run_id), pm_id(i), pm_text(hex)), &value, &same);
        if (status) return status;
    }
    if (same) return PM_OK;
    return pm_fail(PM_E_MISMATCH, "run %llu has the same request id but another content",
                   (unsigned long long)op->run_id);
}

static pm_status open_items(pm_store *store, pm_op_submit *op) {
    int64_t open = 0;
    bool found = false;
    pm_status status =
        pm_db_get(store, "SELECT sum(end_item - next_item) FROM task WHERE run_id = ?1",
                  PM_BINDS(pm_id(op->run_id)), &open, &found);
    op->items_open = found ? (uint64_t)open : 0;
    return status;
}

pm_status pm_apply_submit(pm_store *store, pm_op_submit *op) {
    char request[PM_SHA256_HEX_BYTES];
    uint64_t results_open = 0;
    pm_sha256_hex(&op->request_id, request);
    pm_status status = check(op);
    if (!status && !op->data_set_id) status = check_differ(op->spec);
    if (!status) status = find_run(store, op, request);
    if (!status) status = op->existed ? check_same(store, op) : insert_run(store, op, request);
    if (status || op->unfinished) return status;
    if (op->existed) status = pm_terms_read(store, op->run_id, &op->terms);
    if (status) return status;
    op->items = op->data_set->count;
    if (op->existed && (op->state == PM_RUN_QUEUED || op->state == PM_RUN_RUNNING))
        return open_items(store, op);
    status =
        pm_tasks_make(store, op->run_id, !op->existed, &op->made, &op->items_open, &results_open);
    if (status) return status;
    if (!op->existed) op->results_reused = op->items * op->spec->config_count - results_open;
    pm_run_state before = op->state;
    op->state = op->items_open ? PM_RUN_QUEUED : PM_RUN_DONE;
    if (op->existed && before == PM_RUN_DONE && op->state == PM_RUN_DONE) return PM_OK;
    status = pm_db_run(store,
                       "UPDATE run SET state = ?2, results_reused = ?3, items_dropped = 0,"
                       " foreground = ?4, finished_ms = ?5 WHERE run_id = ?1",
                       PM_BINDS(pm_id(op->run_id), pm_text(pm_run_state_name(op->state)),
                                pm_id(op->results_reused), pm_int(op->foreground),
                                pm_int_if(op->state == PM_RUN_DONE, pm_clock_wall_ms())));
    return status;
}
