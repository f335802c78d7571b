-- Evaluation: perturbation curves and their areas, the pointing game, the completeness of ig; and
-- columns for what configurations can say by now.

ALTER TABLE run ADD COLUMN evaluation TEXT NOT NULL DEFAULT ''; -- curves asked for, e.g. zero:0,0.1,0.2; '': none

ALTER TABLE result ADD COLUMN evaluation TEXT NOT NULL DEFAULT ''; -- which its rows in perturbation are; '': it has none
ALTER TABLE result ADD COLUMN deletion_auc REAL; -- mean of p_y along curve morf; NULL: not evaluated, or one ratio
ALTER TABLE result ADD COLUMN insertion_auc REAL; -- the same along lerf, which is insertion mirrored
ALTER TABLE result ADD COLUMN pointing INTEGER; -- 1: the map's maximum is in a box or less than 15 px off; NULL: no box, or map-zero
ALTER TABLE result ADD COLUMN completeness_gap REAL; -- ig: sum of (x - x0) gbar, less what it stands for along the path; 0 is complete; NULL: other methods

ALTER TABLE perturbation ADD COLUMN p_target REAL; -- p_y(x_r)

ALTER TABLE configuration ADD COLUMN steps INTEGER; -- ig: steps of the path; NULL: other methods
ALTER TABLE configuration ADD COLUMN baseline TEXT; -- ig: where the path starts: zero, blur, image:SHA-256; NULL: other methods
ALTER TABLE configuration ADD COLUMN samples INTEGER; -- draws; NULL: a method that draws nothing
ALTER TABLE configuration ADD COLUMN sigma REAL; -- deviation of the noise, in units of max x - min x; NULL: as above
ALTER TABLE configuration ADD COLUMN seed TEXT; -- of every random draw, decimal (64 bits, no sign); NULL: nothing is drawn
ALTER TABLE configuration ADD COLUMN guided INTEGER; -- 1: the gradient is clamped to >= 0 at every ReLU; NULL: gather
ALTER TABLE configuration ADD COLUMN cam_layer TEXT; -- gradcam: which convolution's output, or default; NULL: other methods
ALTER TABLE configuration ADD COLUMN boxes TEXT; -- scored: first, or all of an image; NULL: gather
ALTER TABLE configuration ADD COLUMN input TEXT; -- what is done to the crop: none, jigsaw:..., blur:..., noise:...
ALTER TABLE configuration ADD COLUMN transform_input INTEGER; -- 1: colors rescaled by torchvision's flag of that name

UPDATE configuration SET
    steps = json_extract(text, '$.steps'),
    baseline = CASE WHEN json_extract(text, '$.baseline') = 'image'
               THEN 'image:' || json_extract(text, '$.baseline_image')
               ELSE json_extract(text, '$.baseline') END,
    samples = json_extract(text, '$.samples'),
    sigma = json_extract(text, '$.sigma'),
    seed = json_extract(text, '$.seed'),
    guided = CASE WHEN method <> 'gather' THEN coalesce(json_extract(text, '$.guided'), 0) END,
    cam_layer = json_extract(text, '$.cam_layer'),
    boxes = CASE WHEN method <> 'gather' THEN coalesce(json_extract(text, '$.boxes'), 'first') END,
    input = coalesce(json_extract(text, '$.input'), 'none'),
    transform_input = coalesce(json_extract(text, '$.transform_input'), 0);

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
       c.transform_input
FROM run
JOIN model ON model.model_id = run.model_id
JOIN data_set ON data_set.data_set_id = run.data_set_id
JOIN run_configuration AS rc ON rc.run_id = run.run_id
JOIN configuration AS c ON c.configuration_id = rc.configuration_id
JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
JOIN image ON image.image_id = i.image_id
JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id
LEFT JOIN worker ON worker.worker_id = r.worker_id;

-- Perturbation curves of a run: at each ratio the mean over its images of each measure, with half
-- the width of its 95 % interval (1.96 standard errors; NULL below two images). n images; lodds
-- has a value in lodds_n of them.
CREATE VIEW curve AS
WITH moments AS (
    SELECT run.run_id AS run, c.configuration_id AS configuration, c.label AS configuration_label,
           r.evaluation, p.curve, p.ratio, count(*) AS n, count(p.lodds) AS lodds_n,
           avg(p.p_target) AS p, avg(p.p_target * p.p_target) AS pp,
           avg(p.aopc) AS a, avg(p.aopc * p.aopc) AS aa,
           avg(p.lodds) AS l, avg(p.lodds * p.lodds) AS ll,
           avg(p.fracdiff) AS f, avg(p.fracdiff * p.fracdiff) AS ff,
           avg(p.correct) AS t
    FROM run
    JOIN run_configuration AS rc ON rc.run_id = run.run_id
    JOIN configuration AS c ON c.configuration_id = rc.configuration_id
    JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
    JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id
    JOIN perturbation AS p ON p.configuration_id = r.configuration_id AND p.image_id = r.image_id
    GROUP BY run.run_id, c.configuration_id, r.evaluation, p.curve, p.ratio)
SELECT run, configuration, configuration_label, evaluation, curve, ratio, n,
       p AS p_target, 1.96 * sqrt(max(0, pp - p * p) / nullif(n - 1, 0)) AS p_target_ci95,
       a AS aopc, 1.96 * sqrt(max(0, aa - a * a) / nullif(n - 1, 0)) AS aopc_ci95,
       lodds_n, l AS lodds, 1.96 * sqrt(max(0, ll - l * l) / nullif(lodds_n - 1, 0)) AS lodds_ci95,
       f AS fracdiff, 1.96 * sqrt(max(0, ff - f * f) / nullif(n - 1, 0)) AS fracdiff_ci95,
       t AS correct, 1.96 * sqrt(max(0, t - t * t) / nullif(n - 1, 0)) AS correct_ci95
FROM moments;
