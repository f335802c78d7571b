-- What to do about a failure. The text follows from stage and reason (lib/spec/failure.c).

ALTER TABLE failure ADD COLUMN hint TEXT; -- what to do about it, one line; NULL: written by an older broker
ALTER TABLE result ADD COLUMN hint TEXT; -- error: what to do about it, one line

DROP VIEW result_wide;

-- One row for each item and configuration of each run, joined to everything that names it.
CREATE VIEW result_wide AS
SELECT run.run_id AS run, model.arch AS model, data_set.name AS data_set, i.path AS image,
       image.label, c.configuration_id AS configuration, c.method, c.mask, c.quantile, c.alpha,
       c.layers, c.gamma, c.variance_conservation, r.target, r.predicted, r.p_target,
       r.p_predicted, r.mu_in, r.mu_in_w, r.mu_out, r.mu_out_w, r.compute_ms AS ms,
       worker.name AS worker, r.error, r.mu_in AS energy_in, r.pointing, r.box_reason,
       r.evaluation, r.deletion_auc, r.insertion_auc, r.completeness_gap, c.steps, c.baseline,
       c.samples, c.sigma, c.seed, c.guided, c.cam_layer, c.boxes, c.input,
       c.transform_input, r.stage, r.reason, r.hint
FROM run
JOIN model ON model.model_id = run.model_id
JOIN data_set ON data_set.data_set_id = run.data_set_id
JOIN run_configuration AS rc ON rc.run_id = run.run_id
JOIN configuration AS c ON c.configuration_id = rc.configuration_id
JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
JOIN image ON image.image_id = i.image_id
JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id
LEFT JOIN worker ON worker.worker_id = r.worker_id;
