/* Owns the statements that carry rows from one database into another, in the order that references
 * ask for. Nothing here is read into memory: SQLite streams from file to file. */
#include "lib/store/merge.h"

/* Which count the rows go into. */
typedef enum tally { NOWHERE, RUNS, RUNS_BOTH, IMAGES, RESULTS, COMPLETED, REPLACED } tally;

typedef struct step {
    tally tally;
    const char *sql;
} step;

static const step identities[] = {
    {NOWHERE, "INSERT INTO main.model (arch, weights_sha256, size_bytes, path, classes)"
              " SELECT arch, weights_sha256, size_bytes, path, classes FROM src.model"
              " WHERE true ORDER BY model_id ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO temp.map_model SELECT s.model_id, d.model_id FROM src.model AS s"
              " JOIN main.model AS d USING (arch, weights_sha256)"},
    {NOWHERE, "INSERT INTO main.layer (model_id, conv, name, channels)"
              " SELECT m.dst, s.conv, s.name, s.channels FROM src.layer AS s"
              " JOIN temp.map_model AS m ON m.src = s.model_id WHERE true"
              " ORDER BY s.layer_id ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO temp.map_layer SELECT s.layer_id, d.layer_id FROM src.layer AS s"
              " JOIN temp.map_model AS m ON m.src = s.model_id JOIN main.layer AS d"
              " ON d.model_id = m.dst AND d.conv = s.conv"},
    {NOWHERE, "INSERT INTO main.data_set (sha256, name, root, items)"
              " SELECT sha256, name, root, items FROM src.data_set"
              " WHERE true ORDER BY data_set_id ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO temp.map_data_set SELECT s.data_set_id, d.data_set_id"
              " FROM src.data_set AS s JOIN main.data_set AS d USING (sha256)"},
    {NOWHERE, "INSERT INTO main.class_name (data_set_id, class, name)"
              " SELECT m.dst, s.class, s.name FROM src.class_name AS s"
              " JOIN temp.map_data_set AS m ON m.src = s.data_set_id WHERE true"
              " ON CONFLICT DO NOTHING"},
    {IMAGES, "INSERT INTO main.image (sha256, size_bytes, label, boxes_sha256, width, height)"
             " SELECT sha256, size_bytes, label, boxes_sha256, width, height FROM src.image"
             " WHERE true ORDER BY image_id ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO temp.map_image SELECT s.image_id, d.image_id FROM src.image AS s"
              " CROSS JOIN main.image AS d ON d.sha256 = s.sha256"
              " AND ifnull(d.label, -1) = ifnull(s.label, -1) AND d.boxes_sha256 = s.boxes_sha256"},
    {NOWHERE, "UPDATE main.image AS d SET width = s.width, height = s.height FROM src.image AS s"
              " JOIN temp.map_image AS m ON m.src = s.image_id"
              " WHERE d.image_id = m.dst AND d.width IS NULL AND s.width IS NOT NULL"},
    {NOWHERE, "INSERT INTO main.box (image_id, ordinal, xmin, ymin, xmax, ymax)"
              " SELECT m.dst, s.ordinal, s.xmin, s.ymin, s.xmax, s.ymax FROM src.box AS s"
              " JOIN temp.map_image AS m ON m.src = s.image_id WHERE true ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO main.data_set_item (data_set_id, item, image_id, path)"
              " SELECT m.dst, s.item, i.dst, s.path FROM src.data_set_item AS s"
              " JOIN temp.map_data_set AS m ON m.src = s.data_set_id"
              " JOIN temp.map_image AS i ON i.src = s.image_id WHERE true ON CONFLICT DO NOTHING"},
    /* Its configuration comes later: each may refer to the other. */
    {NOWHERE, "INSERT INTO main.statistics (sha256, size_bytes, path) SELECT sha256, size_bytes,"
              " path FROM src.statistics WHERE true ORDER BY statistics_id"
              " ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO temp.map_statistics SELECT s.statistics_id, d.statistics_id"
              " FROM src.statistics AS s JOIN main.statistics AS d USING (sha256)"},
    {NOWHERE, "INSERT INTO main.configuration (sha256, engine_version, text, label, model_id,"
              " statistics_id, method, mask, quantile, alpha, p_value_threshold, test, layers,"
              " gamma, exact, variance_conservation, target, resize, crop, filter, steps, baseline,"
              " samples, sigma, seed, guided, cam_layer, boxes, input, transform_input)"
              " SELECT s.sha256, s.engine_version, s.text, s.label, m.dst, t.dst, s.method, s.mask,"
              " s.quantile, s.alpha, s.p_value_threshold, s.test, s.layers, s.gamma, s.exact,"
              " s.variance_conservation, s.target, s.resize, s.crop, s.filter, s.steps, s.baseline,"
              " s.samples, s.sigma, s.seed, s.guided, s.cam_layer, s.boxes, s.input,"
              " s.transform_input FROM src.configuration AS s"
              " JOIN temp.map_model AS m ON m.src = s.model_id"
              " LEFT JOIN temp.map_statistics AS t ON t.src = s.statistics_id WHERE true"
              " ORDER BY s.configuration_id ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO temp.map_configuration SELECT s.configuration_id, d.configuration_id"
              " FROM src.configuration AS s JOIN main.configuration AS d"
              " USING (sha256, engine_version)"},
    {NOWHERE, "UPDATE main.statistics AS d SET name = s.name, images = s.images, note = s.note,"
              " created_ms = s.created_ms FROM src.statistics AS s"
              " JOIN temp.map_statistics AS m ON m.src = s.statistics_id"
              " WHERE d.statistics_id = m.dst AND d.name IS NULL AND s.name IS NOT NULL"},
    {NOWHERE, "UPDATE main.statistics AS d SET model_id = coalesce(d.model_id, o.dst),"
              " data_set_id = coalesce(d.data_set_id, e.dst),"
              " configuration_id = coalesce(d.configuration_id, c.dst)"
              " FROM src.statistics AS s JOIN temp.map_statistics AS m ON m.src = s.statistics_id"
              " LEFT JOIN temp.map_model AS o ON o.src = s.model_id"
              " LEFT JOIN temp.map_data_set AS e ON e.src = s.data_set_id"
              " LEFT JOIN temp.map_configuration AS c ON c.src = s.configuration_id"
              " WHERE d.statistics_id = m.dst"},
    {NOWHERE, "INSERT INTO main.layer_statistics (statistics_id, layer_id, density)"
              " SELECT m.dst, l.dst, s.density FROM src.layer_statistics AS s"
              " JOIN temp.map_statistics AS m ON m.src = s.statistics_id"
              " JOIN temp.map_layer AS l ON l.src = s.layer_id WHERE true ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO main.channel_statistics (statistics_id, layer_id, channel, mean, std,"
              " shapiro_w, shapiro_p) SELECT m.dst, l.dst, s.channel, s.mean, s.std, s.shapiro_w,"
              " s.shapiro_p FROM src.channel_statistics AS s"
              " JOIN temp.map_statistics AS m ON m.src = s.statistics_id"
              " JOIN temp.map_layer AS l ON l.src = s.layer_id WHERE true ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO main.class_statistics (statistics_id, layer_id, class, images, welch_p,"
              " student_p) SELECT m.dst, l.dst, s.class, s.images, s.welch_p, s.student_p"
              " FROM src.class_statistics AS s"
              " JOIN temp.map_statistics AS m ON m.src = s.statistics_id"
              " JOIN temp.map_layer AS l ON l.src = s.layer_id WHERE true ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO main.worker (instance, name, host, pid, threads, isa, engine_version,"
              " first_seen_ms, last_seen_ms) SELECT instance, name, host, pid, threads, isa,"
              " engine_version, first_seen_ms, last_seen_ms FROM src.worker WHERE true"
              " ORDER BY worker_id ON CONFLICT DO UPDATE SET"
              " first_seen_ms = min(first_seen_ms, excluded.first_seen_ms),"
              " last_seen_ms = max(last_seen_ms, excluded.last_seen_ms)"},
    {NOWHERE, "INSERT INTO temp.map_worker SELECT s.worker_id, d.worker_id FROM src.worker AS s"
              " JOIN main.worker AS d USING (instance)"},
    {RUNS_BOTH, "INSERT INTO temp.both_run SELECT s.run_id, d.run_id FROM src.run AS s"
                " JOIN main.run AS d USING (request_id)"},
    {RUNS, "INSERT INTO main.run (request_id, name, model_id, data_set_id, statistics_id,"
           " engine_version, channels, heat_maps, data_root, weights_path, statistics_path,"
           " foreground, task_items, results_reused, state, items_dropped, submitted_ms,"
           " finished_ms, evaluation, baseline_path, baseline_bytes, priority, paused, max_workers)"
           " SELECT s.request_id, s.name, m.dst, e.dst, t.dst, s.engine_version, s.channels,"
           " s.heat_maps, s.data_root, s.weights_path, s.statistics_path, s.foreground,"
           " s.task_items, s.results_reused, s.state, s.items_dropped, s.submitted_ms,"
           " s.finished_ms, s.evaluation, s.baseline_path, s.baseline_bytes, s.priority, s.paused,"
           " s.max_workers FROM src.run AS s JOIN temp.map_model AS m ON m.src = s.model_id"
           " JOIN temp.map_data_set AS e ON e.src = s.data_set_id"
           " LEFT JOIN temp.map_statistics AS t ON t.src = s.statistics_id WHERE true"
           " ORDER BY s.run_id ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT INTO temp.map_run SELECT s.run_id, d.run_id FROM src.run AS s"
              " JOIN main.run AS d USING (request_id)"},
    {NOWHERE, "INSERT INTO main.run_configuration (run_id, ordinal, configuration_id)"
              " SELECT r.dst, s.ordinal, c.dst FROM src.run_configuration AS s"
              " JOIN temp.map_run AS r ON r.src = s.run_id"
              " JOIN temp.map_configuration AS c ON c.src = s.configuration_id WHERE true"
              " ON CONFLICT DO NOTHING"},
};

/* A row that hangs on a result, with both ids mapped, in the order of the source. */
#define OF_RESULT(table)                                                                           \
    " FROM src." table                                                                             \
    " AS s CROSS JOIN temp.map_configuration AS c ON c.src = s.configuration_id"                   \
    " CROSS JOIN temp.map_image AS i ON i.src = s.image_id"
/* What we have of it; all NULL where it is new, or had an error that made room. */
#define WITH_OURS " LEFT JOIN main.result AS d ON d.configuration_id = c.dst AND d.image_id = i.dst"

/* As lib/store/record.c has it: what is there stays, what it lacks is added, numbers take the
 * place of an error. References are looked at when the transaction ends, so what hangs on results
 * goes first: whether a result is new is then still to be seen. */
static const step results[] = {
    /* What was kept of runs that have these configurations; written anew at the end. */
    {NOWHERE, "UPDATE main.run SET summarised = 0 WHERE summarised <> 0 AND run_id IN"
              " (SELECT rc.run_id FROM main.run_configuration AS rc"
              "  JOIN temp.map_configuration AS c ON c.dst = rc.configuration_id)"},
    {REPLACED,
     "DELETE FROM main.result AS d WHERE d.error IS NOT NULL AND EXISTS (SELECT 1"
     " FROM temp.map_configuration AS c CROSS JOIN temp.map_image AS i CROSS JOIN src.result AS s"
     " ON s.configuration_id = c.src AND s.image_id = i.src"
     " WHERE c.dst = d.configuration_id AND i.dst = d.image_id AND s.error IS NULL)"},
    {NOWHERE, "INSERT INTO main.perturbation (configuration_id, image_id, curve, ratio, aopc,"
              " lodds, fracdiff, correct, p_target) SELECT c.dst, i.dst, s.curve, s.ratio, s.aopc,"
              " s.lodds, s.fracdiff, s.correct, s.p_target" OF_RESULT("perturbation") WITH_OURS
     " WHERE ifnull(d.evaluation, '') = '' ON CONFLICT DO NOTHING"},
    {NOWHERE,
     "INSERT INTO main.layer_gradient (configuration_id, image_id, layer_id, selected, m,"
     " n, beta, scale_h, scale_l, variance_before, variance_after) SELECT c.dst, i.dst,"
     " l.dst, s.selected, s.m, s.n, s.beta, s.scale_h, s.scale_l, s.variance_before,"
     " s.variance_after" OF_RESULT(
         "layer_gradient") " CROSS JOIN temp.map_layer AS l ON l.src = s.layer_id WHERE true"
                           " ON CONFLICT DO NOTHING"},
    {NOWHERE,
     "INSERT INTO main.channel_gradient_item (configuration_id, image_id, layer_id,"
     " variances, in_h) SELECT c.dst, i.dst, l.dst, s.variances,"
     " s.in_h" OF_RESULT(
         "channel_gradient_item") " CROSS JOIN temp.map_layer AS l ON l.src = s.layer_id WHERE true"
                                  " ON CONFLICT DO NOTHING"},
    {NOWHERE, "INSERT OR REPLACE INTO main.heat_map (configuration_id, image_id, side, format,"
              " zstd, scale) SELECT c.dst, i.dst, s.side, s.format, s.zstd, s.scale" OF_RESULT(
                  "heat_map") WITH_OURS " WHERE ifnull(d.heat_map_kept, 0) <"
                                        " CASE s.format WHEN 'f32' THEN 2 ELSE 1 END"},
    {NOWHERE, "INSERT INTO main.activation (configuration_id, image_id, activations, density)"
              " SELECT c.dst, i.dst, s.activations, s.density" OF_RESULT(
                  "activation") " WHERE true ON CONFLICT DO NOTHING"},
    /* By way of a table: SQLite would set each of our results against all of theirs. */
    {NOWHERE,
     "INSERT INTO temp.more SELECT c.dst, i.dst, s.channels_kept, s.heat_map_kept, s.evaluation,"
     " s.deletion_auc, s.insertion_auc" OF_RESULT("result") WITH_OURS
     " WHERE s.error IS NULL AND d.error IS NULL AND (s.channels_kept > d.channels_kept"
     "  OR s.heat_map_kept > d.heat_map_kept OR (d.evaluation = '' AND s.evaluation <> ''))"},
    {COMPLETED,
     "UPDATE main.result AS d SET channels_kept = max(d.channels_kept, n.channels_kept),"
     " heat_map_kept = max(d.heat_map_kept, n.heat_map_kept),"
     " deletion_auc = iif(d.evaluation = '', n.deletion_auc, d.deletion_auc),"
     " insertion_auc = iif(d.evaluation = '', n.insertion_auc, d.insertion_auc),"
     " evaluation = iif(d.evaluation = '', n.evaluation, d.evaluation) FROM temp.more AS n"
     " WHERE d.configuration_id = n.configuration_id AND d.image_id = n.image_id"},
    {RESULTS,
     "INSERT INTO main.result (configuration_id, image_id, run_id, target, predicted, p_target,"
     " p_predicted, mu_in, mu_in_w, mu_out, mu_out_w, box_reason, compute_ms, worker_id,"
     " recorded_ms, channels_kept, heat_map_kept, stage, reason, error, evaluation, deletion_auc,"
     " insertion_auc, pointing, completeness_gap, hint) SELECT c.dst, i.dst, r.dst, s.target,"
     " s.predicted, s.p_target, s.p_predicted, s.mu_in, s.mu_in_w, s.mu_out, s.mu_out_w,"
     " s.box_reason, s.compute_ms, w.dst, s.recorded_ms, s.channels_kept, s.heat_map_kept, s.stage,"
     " s.reason, s.error, s.evaluation, s.deletion_auc, s.insertion_auc, s.pointing,"
     " s.completeness_gap, s.hint" OF_RESULT(
         "result") " CROSS JOIN temp.map_run AS r ON r.src = s.run_id"
                   " LEFT JOIN temp.map_worker AS w ON w.src = s.worker_id WHERE true ON CONFLICT "
                   "DO NOTHING"},
    {NOWHERE,
     "INSERT INTO main.failure (run_id, item, image_id, configuration_id, worker_id, stage, reason,"
     " text, at_ms, hint) SELECT r.dst, s.item, i.dst, c.dst, w.dst, s.stage, s.reason, s.text,"
     " s.at_ms, s.hint FROM src.failure AS s JOIN temp.map_run AS r ON r.src = s.run_id"
     " JOIN temp.map_image AS i ON i.src = s.image_id"
     " LEFT JOIN temp.map_configuration AS c ON c.src = s.configuration_id"
     " LEFT JOIN temp.map_worker AS w ON w.src = s.worker_id"
     " WHERE NOT EXISTS (SELECT 1 FROM main.failure AS d WHERE d.run_id = r.dst"
     "  AND d.item = s.item AND d.configuration_id IS c.dst AND d.stage = s.stage"
     "  AND d.reason = s.reason AND d.text = s.text AND d.at_ms = s.at_ms)"
     " ORDER BY s.failure_id"},
    /* What is open of a run that both have is what neither has done. */
    {NOWHERE,
     "INSERT INTO temp.both_task SELECT d.run_id, max(d.next_item, s.next_item),"
     " min(d.end_item, s.end_item), d.configurations, max(d.alone, s.alone),"
     " max(d.crashes, s.crashes) FROM temp.both_run AS b JOIN main.task AS d ON d.run_id = b.dst"
     " JOIN src.task AS s ON s.run_id = b.src AND s.next_item < d.end_item"
     " AND d.next_item < s.end_item"},
    {NOWHERE, "DELETE FROM main.task WHERE run_id IN (SELECT dst FROM temp.both_run)"},
    {NOWHERE, "INSERT INTO main.task (run_id, next_item, end_item, configurations, alone, crashes)"
              " SELECT run_id, next_item, end_item, configurations, alone, crashes"
              " FROM temp.both_task ORDER BY run_id, next_item"},
    {NOWHERE, "INSERT INTO main.task (run_id, next_item, end_item, configurations, alone, crashes)"
              " SELECT r.dst, s.next_item, s.end_item, s.configurations, s.alone, s.crashes"
              " FROM src.task AS s JOIN temp.map_run AS r ON r.src = s.run_id"
              " WHERE s.run_id NOT IN (SELECT src FROM temp.both_run) ORDER BY s.task_id"},
};

enum {
    IDENTITIES = sizeof identities / sizeof *identities,
    RESULT_STEPS = sizeof results / sizeof *results
};

const char *pm_merge_statement(size_t index) {
    if (index < IDENTITIES) return identities[index].sql;
    return index < IDENTITIES + RESULT_STEPS ? results[index - IDENTITIES].sql : NULL;
}

static uint64_t *counter(pm_merge_counts *counts, tally which) {
    switch (which) {
    case NOWHERE: break;
    case RUNS: return &counts->runs;
    case RUNS_BOTH: return &counts->runs_both;
    case IMAGES: return &counts->images;
    case RESULTS: return &counts->results;
    case COMPLETED: return &counts->completed;
    case REPLACED: return &counts->replaced;
    }
    return NULL;
}

static pm_status take(pm_merge *merge, const step *steps, size_t count) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < count && !status; i++) {
        uint64_t changed = 0, *into = counter(merge->counts, steps[i].tally);
        status = pm_db_run_once(merge->store, steps[i].sql, NULL, 0, &changed);
        if (!status && into) *into += changed;
    }
    return status;
}

pm_status pm_merge_identities(pm_merge *merge) { return take(merge, identities, IDENTITIES); }

pm_status pm_merge_results(pm_merge *merge) {
    const uint64_t before = merge->counts->results;
    int64_t all = 0;
    bool found = false;
    pm_status status = take(merge, results, RESULT_STEPS);
    if (!status)
        status = pm_db_get(merge->store, "SELECT count(*) FROM src.result", NULL, 0, &all, &found);
    if (!status) merge->counts->same += (uint64_t)all - (merge->counts->results - before);
    return status;
}
