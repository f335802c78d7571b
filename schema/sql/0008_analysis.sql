-- Answers about whole runs. Of a run that has ended they are kept in the tables *_summary, written
-- at its end and by refresh; of any other the views compute them. *_live are the computations.
--
-- Half widths of 95 % intervals are the standard error times t of n - 1 degrees of freedom, which SQL
-- does not have: its Cornish-Fisher series in 1 / (n - 1) (Abramowitz and Stegun, 26.7.5), with two
-- terms fitted at 1 to 4, is right to 1e-4 everywhere.

ALTER TABLE run ADD COLUMN summarised INTEGER NOT NULL DEFAULT 0; -- 1: the *_summary tables hold it as it stands; -1: being written; 0: not there, or out of date

-- What the results of a run are on the whole: one row for each configuration and measure.
CREATE TABLE score_summary (
    run_id INTEGER NOT NULL REFERENCES run, -- of which run
    configuration_id INTEGER NOT NULL REFERENCES configuration, -- of which configuration
    measure TEXT NOT NULL,                 -- column of result, or accuracy (predicted = label)
    n INTEGER NOT NULL,                    -- results with a value
    missing INTEGER NOT NULL,              -- results that are no errors and have none
    mean REAL,                             -- NULL: no value
    std REAL,                              -- n - 1; NULL below two values
    min REAL,                              -- least value
    max REAL,                              -- greatest value
    PRIMARY KEY (run_id, configuration_id, measure)
) STRICT, WITHOUT ROWID;

-- Means of a run's perturbation curves, with half the width of their 95 % intervals.
CREATE TABLE curve_summary (
    run_id INTEGER NOT NULL REFERENCES run, -- of which run
    configuration_id INTEGER NOT NULL REFERENCES configuration, -- of which configuration
    evaluation TEXT NOT NULL,              -- which curves, as in result
    curve TEXT NOT NULL,                   -- morf, lerf
    ratio REAL NOT NULL,                   -- share of pixels taken, 0 to 1
    n INTEGER NOT NULL,                    -- images
    p_target REAL,                         -- mean p_y(x_r)
    p_target_ci95 REAL,                    -- half width; NULL below two images
    aopc REAL,                             -- mean p_y(x) - p_y(x_r)
    aopc_ci95 REAL,                        -- half width
    lodds_n INTEGER NOT NULL,              -- images whose lodds has a value
    lodds REAL,                            -- mean ln(p_y(x_r) / p_y(x)) of these
    lodds_ci95 REAL,                       -- half width
    fracdiff REAL,                         -- mean |p(x) - p(x_r)| of the first argmax
    fracdiff_ci95 REAL,                    -- half width
    correct REAL,                          -- share whose argmax is still y
    correct_ci95 REAL,                     -- half width
    PRIMARY KEY (run_id, configuration_id, evaluation, curve, ratio)
) STRICT, WITHOUT ROWID;

-- Means of a run's gradients at each hooked convolution.
CREATE TABLE layer_summary (
    run_id INTEGER NOT NULL REFERENCES run, -- of which run
    configuration_id INTEGER NOT NULL REFERENCES configuration, -- of which configuration
    layer_id INTEGER NOT NULL REFERENCES layer, -- at which layer
    images INTEGER NOT NULL,               -- results
    partitioned INTEGER NOT NULL,          -- of these, how many have an H and an L
    selected REAL NOT NULL,                -- mean |H|, channels
    m REAL,                                -- mean spread of the sum over H; NULL: none partitioned
    n REAL,                                -- mean spread of the sum over L
    share_h REAL,                          -- mean m / (m + n)
    share_h_ci95 REAL,                     -- half width of its 95 % interval
    beta REAL,                             -- mean factor that conserves the variance
    beta_ci95 REAL,                        -- half width of its 95 % interval
    scale_h REAL NOT NULL,                 -- mean of what H was multiplied by
    scale_l REAL NOT NULL,                 -- mean of what L was multiplied by
    variance_before REAL NOT NULL,         -- mean spread of the sum over all channels, before
    variance_after REAL NOT NULL,          -- the same, after
    PRIMARY KEY (run_id, configuration_id, layer_id)
) STRICT, WITHOUT ROWID;

-- What each worker did of a run. Results that were there before are nobody's.
CREATE TABLE timing_summary (
    run_id INTEGER NOT NULL REFERENCES run, -- of which run
    worker_id INTEGER NOT NULL,            -- by which worker; 0: not known
    images INTEGER NOT NULL,               -- images
    results INTEGER NOT NULL,              -- results, errors included
    errors INTEGER NOT NULL,               -- of these, errors
    mean_ms REAL,                          -- mean compute time of a result, ms; NULL: only errors
    min_ms REAL,                           -- least, ms
    max_ms REAL,                           -- greatest, ms
    first_ms INTEGER NOT NULL,             -- when the first was recorded, ms
    last_ms INTEGER NOT NULL,              -- when the last was recorded, ms
    PRIMARY KEY (run_id, worker_id)
) STRICT, WITHOUT ROWID;

-- score_summary of runs that have none that holds, from their results.
CREATE VIEW score_live AS
WITH sums AS (
    SELECT run.run_id AS run, rc.configuration_id AS configuration, count(*) AS results,
           count(image.label) AS n_ac, avg(r.predicted = image.label) AS s_ac,
           avg(r.predicted = image.label) AS q_ac, min(r.predicted = image.label) AS a_ac,
           max(r.predicted = image.label) AS z_ac,
           count(r.p_target) AS n_pt, avg(r.p_target) AS s_pt,
           avg(r.p_target * r.p_target) AS q_pt, min(r.p_target) AS a_pt, max(r.p_target) AS z_pt,
           count(r.p_predicted) AS n_pp, avg(r.p_predicted) AS s_pp,
           avg(r.p_predicted * r.p_predicted) AS q_pp, min(r.p_predicted) AS a_pp,
           max(r.p_predicted) AS z_pp,
           count(r.mu_in) AS n_mi, avg(r.mu_in) AS s_mi, avg(r.mu_in * r.mu_in) AS q_mi,
           min(r.mu_in) AS a_mi, max(r.mu_in) AS z_mi,
           count(r.mu_in_w) AS n_mw, avg(r.mu_in_w) AS s_mw, avg(r.mu_in_w * r.mu_in_w) AS q_mw,
           min(r.mu_in_w) AS a_mw, max(r.mu_in_w) AS z_mw,
           count(r.mu_out) AS n_mo, avg(r.mu_out) AS s_mo, avg(r.mu_out * r.mu_out) AS q_mo,
           min(r.mu_out) AS a_mo, max(r.mu_out) AS z_mo,
           count(r.mu_out_w) AS n_ow, avg(r.mu_out_w) AS s_ow,
           avg(r.mu_out_w * r.mu_out_w) AS q_ow, min(r.mu_out_w) AS a_ow, max(r.mu_out_w) AS z_ow,
           count(r.pointing) AS n_po, avg(r.pointing) AS s_po, avg(r.pointing) AS q_po,
           min(r.pointing) AS a_po, max(r.pointing) AS z_po,
           count(r.deletion_auc) AS n_de, avg(r.deletion_auc) AS s_de,
           avg(r.deletion_auc * r.deletion_auc) AS q_de, min(r.deletion_auc) AS a_de,
           max(r.deletion_auc) AS z_de,
           count(r.insertion_auc) AS n_in, avg(r.insertion_auc) AS s_in,
           avg(r.insertion_auc * r.insertion_auc) AS q_in, min(r.insertion_auc) AS a_in,
           max(r.insertion_auc) AS z_in,
           count(r.completeness_gap) AS n_cg, avg(r.completeness_gap) AS s_cg,
           avg(r.completeness_gap * r.completeness_gap) AS q_cg, min(r.completeness_gap) AS a_cg,
           max(r.completeness_gap) AS z_cg,
           count(r.compute_ms) AS n_ms, avg(r.compute_ms) AS s_ms,
           avg(r.compute_ms * r.compute_ms) AS q_ms, min(r.compute_ms) AS a_ms,
           max(r.compute_ms) AS z_ms
    FROM run
    CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id
    CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
    CROSS JOIN result AS r ON r.configuration_id = rc.configuration_id AND r.image_id = i.image_id
    CROSS JOIN image ON image.image_id = i.image_id
    WHERE run.summarised < 1 AND r.error IS NULL
      AND NOT EXISTS (SELECT 1 FROM data_set_item AS o -- each photograph once
                      WHERE o.image_id = i.image_id AND o.data_set_id = i.data_set_id
                        AND o.item < i.item)
    GROUP BY run.run_id, rc.ordinal, rc.configuration_id),
tall AS (
    SELECT run, configuration, results, m.column1 AS measure,
           CASE m.column1 WHEN 'accuracy' THEN n_ac WHEN 'p_target' THEN n_pt
               WHEN 'p_predicted' THEN n_pp WHEN 'mu_in' THEN n_mi WHEN 'mu_in_w' THEN n_mw
               WHEN 'mu_out' THEN n_mo WHEN 'mu_out_w' THEN n_ow WHEN 'pointing' THEN n_po
               WHEN 'deletion_auc' THEN n_de WHEN 'insertion_auc' THEN n_in
               WHEN 'completeness_gap' THEN n_cg ELSE n_ms END AS n,
           CASE m.column1 WHEN 'accuracy' THEN s_ac WHEN 'p_target' THEN s_pt
               WHEN 'p_predicted' THEN s_pp WHEN 'mu_in' THEN s_mi WHEN 'mu_in_w' THEN s_mw
               WHEN 'mu_out' THEN s_mo WHEN 'mu_out_w' THEN s_ow WHEN 'pointing' THEN s_po
               WHEN 'deletion_auc' THEN s_de WHEN 'insertion_auc' THEN s_in
               WHEN 'completeness_gap' THEN s_cg ELSE s_ms END AS mean,
           CASE m.column1 WHEN 'accuracy' THEN q_ac WHEN 'p_target' THEN q_pt
               WHEN 'p_predicted' THEN q_pp WHEN 'mu_in' THEN q_mi WHEN 'mu_in_w' THEN q_mw
               WHEN 'mu_out' THEN q_mo WHEN 'mu_out_w' THEN q_ow WHEN 'pointing' THEN q_po
               WHEN 'deletion_auc' THEN q_de WHEN 'insertion_auc' THEN q_in
               WHEN 'completeness_gap' THEN q_cg ELSE q_ms END AS square,
           CASE m.column1 WHEN 'accuracy' THEN a_ac WHEN 'p_target' THEN a_pt
               WHEN 'p_predicted' THEN a_pp WHEN 'mu_in' THEN a_mi WHEN 'mu_in_w' THEN a_mw
               WHEN 'mu_out' THEN a_mo WHEN 'mu_out_w' THEN a_ow WHEN 'pointing' THEN a_po
               WHEN 'deletion_auc' THEN a_de WHEN 'insertion_auc' THEN a_in
               WHEN 'completeness_gap' THEN a_cg ELSE a_ms END AS min,
           CASE m.column1 WHEN 'accuracy' THEN z_ac WHEN 'p_target' THEN z_pt
               WHEN 'p_predicted' THEN z_pp WHEN 'mu_in' THEN z_mi WHEN 'mu_in_w' THEN z_mw
               WHEN 'mu_out' THEN z_mo WHEN 'mu_out_w' THEN z_ow WHEN 'pointing' THEN z_po
               WHEN 'deletion_auc' THEN z_de WHEN 'insertion_auc' THEN z_in
               WHEN 'completeness_gap' THEN z_cg ELSE z_ms END AS max
    FROM sums CROSS JOIN (VALUES ('accuracy'), ('p_target'), ('p_predicted'), ('mu_in'),
        ('mu_in_w'), ('mu_out'), ('mu_out_w'), ('pointing'), ('deletion_auc'), ('insertion_auc'),
        ('completeness_gap'), ('compute_ms')) AS m)
SELECT run, configuration, measure, n, results - n AS missing, mean,
       sqrt(max(0, square - mean * mean) * n / nullif(n - 1, 0)) AS std, min, max
FROM tall;

-- Scores of a run by configuration and measure: mean, with half the width of its 95 % interval
-- (Student's t), over n results; missing have no value (box_reason says why).
CREATE VIEW score AS
WITH rows AS (
    SELECT s.run_id AS run, s.configuration_id AS configuration, s.measure, s.n, s.missing, s.mean,
           s.std, s.min, s.max
    FROM score_summary AS s JOIN run ON run.run_id = s.run_id AND run.summarised = 1
    UNION ALL SELECT run, configuration, measure, n, missing, mean, std, min, max FROM score_live)
SELECT rows.run, rows.configuration, c.label AS configuration_label, rows.measure, rows.n,
       rows.missing, rows.mean,
       (1.959964 + (2.372271 + (2.822498 + 
           (2.555851 + (1.589532 + (0.6484 + 0.7576 / rows.d) / rows.d) / rows.d) / rows.d) / rows.d) / rows.d)
           * rows.std / sqrt(rows.n) AS ci95,
       rows.std, rows.min, rows.max
FROM (SELECT *, nullif(n - 1.0, 0) AS d FROM rows) AS rows
JOIN configuration AS c ON c.configuration_id = rows.configuration;

DROP VIEW curve;

-- curve_summary of runs that have none that holds, from their results.
CREATE VIEW curve_live AS
WITH moments AS (
    SELECT run.run_id AS run, rc.configuration_id AS configuration, r.evaluation, p.curve, p.ratio,
           count(*) AS n, count(p.lodds) AS lodds_n,
           avg(p.p_target) AS p, avg(p.p_target * p.p_target) AS pp,
           avg(p.aopc) AS a, avg(p.aopc * p.aopc) AS aa,
           avg(p.lodds) AS l, avg(p.lodds * p.lodds) AS ll,
           avg(p.fracdiff) AS f, avg(p.fracdiff * p.fracdiff) AS ff,
           avg(p.correct) AS t
    FROM run
    CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id
    CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
    CROSS JOIN result AS r ON r.configuration_id = rc.configuration_id AND r.image_id = i.image_id
    CROSS JOIN perturbation AS p
        ON p.configuration_id = r.configuration_id AND p.image_id = r.image_id
    WHERE run.summarised < 1
      AND NOT EXISTS (SELECT 1 FROM data_set_item AS o -- each photograph once
                      WHERE o.image_id = i.image_id AND o.data_set_id = i.data_set_id
                        AND o.item < i.item)
    GROUP BY run.run_id, rc.ordinal, rc.configuration_id, r.evaluation, p.curve, p.ratio),
widths AS (
    SELECT *,
           (1.959964 + (2.372271 + (2.822498 + 
               (2.555851 + (1.589532 + (0.6484 + 0.7576 / d) / d) / d) / d) / d) / d) AS t_n,
           (1.959964 + (2.372271 + (2.822498 + 
               (2.555851 + (1.589532 + (0.6484 + 0.7576 / e) / e) / e) / e) / e) / e) AS t_l
    FROM (SELECT *, nullif(n - 1.0, 0) AS d, nullif(lodds_n - 1.0, 0) AS e FROM moments))
SELECT run, configuration, evaluation, curve, ratio, n,
       p AS p_target, t_n * sqrt(max(0, pp - p * p) / nullif(n - 1, 0)) AS p_target_ci95,
       a AS aopc, t_n * sqrt(max(0, aa - a * a) / nullif(n - 1, 0)) AS aopc_ci95,
       lodds_n, l AS lodds, t_l * sqrt(max(0, ll - l * l) / nullif(lodds_n - 1, 0)) AS lodds_ci95,
       f AS fracdiff, t_n * sqrt(max(0, ff - f * f) / nullif(n - 1, 0)) AS fracdiff_ci95,
       t AS correct, t_n * sqrt(max(0, t - t * t) / nullif(n - 1, 0)) AS correct_ci95
FROM widths;

-- Perturbation curves of a run: at each ratio the mean over its images of each measure, with half
-- the width of its 95 % interval (Student's t; NULL below two images). n images; lodds
-- has a value in lodds_n of them.
CREATE VIEW curve AS
WITH rows AS (
    SELECT s.run_id AS run, s.configuration_id AS configuration, s.evaluation, s.curve, s.ratio,
           s.n, s.p_target, s.p_target_ci95, s.aopc, s.aopc_ci95, s.lodds_n, s.lodds, s.lodds_ci95,
           s.fracdiff, s.fracdiff_ci95, s.correct, s.correct_ci95
    FROM curve_summary AS s JOIN run ON run.run_id = s.run_id AND run.summarised = 1
    UNION ALL SELECT * FROM curve_live)
SELECT rows.run, rows.configuration, c.label AS configuration_label, rows.evaluation, rows.curve,
       rows.ratio, rows.n, rows.p_target, rows.p_target_ci95, rows.aopc, rows.aopc_ci95,
       rows.lodds_n, rows.lodds, rows.lodds_ci95, rows.fracdiff, rows.fracdiff_ci95, rows.correct,
       rows.correct_ci95
FROM rows JOIN configuration AS c ON c.configuration_id = rows.configuration;

-- layer_summary of runs that have none that holds, from their results.
CREATE VIEW layer_live AS
WITH sums AS (
    SELECT run.run_id AS run, rc.configuration_id AS configuration, g.layer_id, count(*) AS images,
           count(g.m) AS partitioned, avg(g.selected) AS selected, avg(g.m) AS m, avg(g.n) AS n,
           avg(g.m / (g.m + g.n)) AS share,
           avg(g.m / (g.m + g.n) * (g.m / (g.m + g.n))) AS share_square, avg(g.beta) AS beta,
           avg(g.beta * g.beta) AS beta_square, avg(g.scale_h) AS scale_h,
           avg(g.scale_l) AS scale_l, avg(g.variance_before) AS variance_before,
           avg(g.variance_after) AS variance_after
    FROM run
    CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id
    CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
    CROSS JOIN layer_gradient AS g
        ON g.configuration_id = rc.configuration_id AND g.image_id = i.image_id
    WHERE run.summarised < 1
      AND NOT EXISTS (SELECT 1 FROM data_set_item AS o -- each photograph once
                      WHERE o.image_id = i.image_id AND o.data_set_id = i.data_set_id
                        AND o.item < i.item)
    GROUP BY run.run_id, rc.ordinal, rc.configuration_id, g.layer_id),
widths AS (
    SELECT *, (1.959964 + (2.372271 + (2.822498 + 
               (2.555851 + (1.589532 + (0.6484 + 0.7576 / d) / d) / d) / d) / d) / d) AS t
    FROM (SELECT *, nullif(partitioned - 1.0, 0) AS d FROM sums))
SELECT run, configuration, layer_id, images, partitioned, selected, m, n, share AS share_h,
       t * sqrt(max(0, share_square - share * share) / nullif(partitioned - 1, 0))
           AS share_h_ci95,
       beta, t * sqrt(max(0, beta_square - beta * beta) / nullif(partitioned - 1, 0))
           AS beta_ci95,
       scale_h, scale_l, variance_before, variance_after
FROM widths;

-- The gradient at each hooked convolution of a run, on the mean over its images: |H|, M, N, beta,
-- scales, and share_h = M / (M + N), which part of the variance lies in H.
CREATE VIEW layer_gradient_mean AS
WITH rows AS (
    SELECT s.run_id AS run, s.configuration_id AS configuration, s.layer_id, s.images,
           s.partitioned, s.selected, s.m, s.n, s.share_h, s.share_h_ci95, s.beta, s.beta_ci95,
           s.scale_h, s.scale_l, s.variance_before, s.variance_after
    FROM layer_summary AS s JOIN run ON run.run_id = s.run_id AND run.summarised = 1
    UNION ALL SELECT * FROM layer_live)
SELECT rows.run, rows.configuration, c.label AS configuration_label, layer.conv,
       layer.name AS layer, layer.channels, rows.images, rows.partitioned, rows.selected, rows.m,
       rows.n, rows.share_h, rows.share_h_ci95, rows.beta, rows.beta_ci95, rows.scale_h,
       rows.scale_l, rows.variance_before, rows.variance_after
FROM rows
JOIN configuration AS c ON c.configuration_id = rows.configuration
JOIN layer ON layer.layer_id = rows.layer_id;

-- timing_summary of runs that have none that holds, from their results.
CREATE VIEW timing_live AS
SELECT run.run_id AS run, ifnull(r.worker_id, 0) AS worker_id,
       count(DISTINCT r.image_id) AS images, count(*) AS results, count(r.error) AS errors,
       avg(r.compute_ms) AS mean_ms, min(r.compute_ms) AS min_ms, max(r.compute_ms) AS max_ms,
       min(r.recorded_ms) AS first_ms, max(r.recorded_ms) AS last_ms
FROM run
CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id
CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
CROSS JOIN result AS r ON r.configuration_id = rc.configuration_id AND r.image_id = i.image_id
WHERE run.summarised < 1 AND r.run_id = run.run_id
  AND NOT EXISTS (SELECT 1 FROM data_set_item AS o -- each photograph once
                  WHERE o.image_id = i.image_id AND o.data_set_id = i.data_set_id
                    AND o.item < i.item)
GROUP BY run.run_id, ifnull(r.worker_id, 0);

-- What each worker did of a run, and how fast: images a second between its first and its last
-- result, compute time of a result in ms.
CREATE VIEW timing AS
WITH rows AS (
    SELECT s.run_id AS run, s.worker_id, s.images, s.results, s.errors, s.mean_ms, s.min_ms,
           s.max_ms, s.first_ms, s.last_ms
    FROM timing_summary AS s JOIN run ON run.run_id = s.run_id AND run.summarised = 1
    UNION ALL SELECT * FROM timing_live)
SELECT rows.run, worker.name AS worker, worker.host, worker.threads, worker.isa, rows.images,
       rows.results, rows.errors,
       1000.0 * rows.images / nullif(rows.last_ms - rows.first_ms, 0) AS images_per_s,
       rows.mean_ms, rows.min_ms, rows.max_ms, rows.first_ms, rows.last_ms
FROM rows LEFT JOIN worker ON worker.worker_id = rows.worker_id;

-- Two configurations of a run on the same images: mean of b less a, with half the width of its
-- 95 % interval (Student's t) and t = mean / standard error. Ask for one a and one b.
CREATE VIEW paired_difference AS
WITH sums AS (
    SELECT run.run_id AS run, ra.configuration_id AS a, rb.configuration_id AS b,
           count(y.mu_in - x.mu_in) AS n_mi, avg(x.mu_in) FILTER (WHERE y.mu_in IS NOT NULL) AS x_mi,
           avg(y.mu_in - x.mu_in) AS d_mi,
           avg((y.mu_in - x.mu_in) * (y.mu_in - x.mu_in)) AS q_mi,
           count(y.mu_in_w - x.mu_in_w) AS n_mw,
           avg(x.mu_in_w) FILTER (WHERE y.mu_in_w IS NOT NULL) AS x_mw,
           avg(y.mu_in_w - x.mu_in_w) AS d_mw,
           avg((y.mu_in_w - x.mu_in_w) * (y.mu_in_w - x.mu_in_w)) AS q_mw,
           count(y.pointing - x.pointing) AS n_po,
           avg(x.pointing) FILTER (WHERE y.pointing IS NOT NULL) AS x_po,
           avg(y.pointing - x.pointing) AS d_po,
           avg((y.pointing - x.pointing) * (y.pointing - x.pointing)) AS q_po,
           count(y.deletion_auc - x.deletion_auc) AS n_de,
           avg(x.deletion_auc) FILTER (WHERE y.deletion_auc IS NOT NULL) AS x_de,
           avg(y.deletion_auc - x.deletion_auc) AS d_de,
           avg((y.deletion_auc - x.deletion_auc) * (y.deletion_auc - x.deletion_auc)) AS q_de,
           count(y.insertion_auc - x.insertion_auc) AS n_in,
           avg(x.insertion_auc) FILTER (WHERE y.insertion_auc IS NOT NULL) AS x_in,
           avg(y.insertion_auc - x.insertion_auc) AS d_in,
           avg((y.insertion_auc - x.insertion_auc) * (y.insertion_auc - x.insertion_auc)) AS q_in
    FROM run
    CROSS JOIN run_configuration AS ra ON ra.run_id = run.run_id
    CROSS JOIN run_configuration AS rb
        ON rb.run_id = run.run_id AND rb.configuration_id <> ra.configuration_id
    CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
    CROSS JOIN result AS x ON x.configuration_id = ra.configuration_id AND x.image_id = i.image_id
    CROSS JOIN result AS y ON y.configuration_id = rb.configuration_id AND y.image_id = i.image_id
    WHERE NOT EXISTS (SELECT 1 FROM data_set_item AS o -- each photograph once
                      WHERE o.image_id = i.image_id AND o.data_set_id = i.data_set_id
                        AND o.item < i.item)
    GROUP BY run.run_id, ra.ordinal, rb.ordinal, ra.configuration_id, rb.configuration_id),
tall AS (
    SELECT run, a, b, m.column1 AS measure,
           CASE m.column1 WHEN 'mu_in' THEN n_mi WHEN 'mu_in_w' THEN n_mw WHEN 'pointing' THEN n_po
               WHEN 'deletion_auc' THEN n_de ELSE n_in END AS n,
           CASE m.column1 WHEN 'mu_in' THEN x_mi WHEN 'mu_in_w' THEN x_mw WHEN 'pointing' THEN x_po
               WHEN 'deletion_auc' THEN x_de ELSE x_in END AS mean_a,
           CASE m.column1 WHEN 'mu_in' THEN d_mi WHEN 'mu_in_w' THEN d_mw WHEN 'pointing' THEN d_po
               WHEN 'deletion_auc' THEN d_de ELSE d_in END AS delta,
           CASE m.column1 WHEN 'mu_in' THEN q_mi WHEN 'mu_in_w' THEN q_mw WHEN 'pointing' THEN q_po
               WHEN 'deletion_auc' THEN q_de ELSE q_in END AS square
    FROM sums CROSS JOIN (VALUES ('mu_in'), ('mu_in_w'), ('pointing'), ('deletion_auc'),
        ('insertion_auc')) AS m),
errors AS (
    SELECT *, nullif(n - 1.0, 0) AS d,
           sqrt(max(0, square - delta * delta) / nullif(n - 1, 0)) AS error
    FROM tall)
SELECT run, a, b, measure, n, mean_a, mean_a + delta AS mean_b, delta,
       (1.959964 + (2.372271 + (2.822498 + 
           (2.555851 + (1.589532 + (0.6484 + 0.7576 / d) / d) / d) / d) / d) / d)
           * error AS ci95,
       delta / nullif(error, 0) AS t
FROM errors WHERE n > 0;

-- Channels of a configuration's hooked layers by what they carry: mean spatial variance of the
-- gradient, share = part of the sum over the layer's channels, and how often they were in H;
-- rank 1 has most within its layer.
CREATE VIEW channel_rank AS
SELECT g.configuration_id AS configuration, c.label AS configuration_label, layer.conv,
       layer.name AS layer, layer.channels, g.channel, g.count AS images, g.mean, g.std,
       g.mean / nullif(sum(g.mean) OVER w, 0) AS share,
       CAST(g.selected AS REAL) / g.count AS selected_share,
       rank() OVER (PARTITION BY g.configuration_id, g.layer_id ORDER BY g.mean DESC)
           AS rank_by_variance,
       rank() OVER (PARTITION BY g.configuration_id, g.layer_id ORDER BY g.selected DESC)
           AS rank_by_selection
FROM channel_gradient AS g
JOIN configuration AS c ON c.configuration_id = g.configuration_id
JOIN layer ON layer.layer_id = g.layer_id
WHERE g.class = -1
WINDOW w AS (PARTITION BY g.configuration_id, g.layer_id);

-- The diary of what went wrong, by names; also what a later try put right.
CREATE VIEW failure_named AS
SELECT f.run_id AS run, f.item, i.path AS image, c.label AS configuration_label,
       worker.name AS worker, f.stage, f.reason, f.text, f.hint, f.at_ms
FROM failure AS f
JOIN run ON run.run_id = f.run_id
JOIN data_set_item AS i ON i.data_set_id = run.data_set_id AND i.item = f.item
LEFT JOIN configuration AS c ON c.configuration_id = f.configuration_id
LEFT JOIN worker ON worker.worker_id = f.worker_id;

-- The wide views again, read in this order: without statistics of its tables SQLite may look through
-- a whole data set for each result.
DROP VIEW result_wide;
DROP VIEW result_named;
DROP VIEW layer_gradient_wide;
DROP VIEW dead_letter;

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
CROSS JOIN model ON model.model_id = run.model_id
CROSS JOIN data_set ON data_set.data_set_id = run.data_set_id
CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id
CROSS JOIN configuration AS c ON c.configuration_id = rc.configuration_id
CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
CROSS JOIN image ON image.image_id = i.image_id
CROSS JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id
LEFT JOIN worker ON worker.worker_id = r.worker_id;

-- Classes by name: of label, target and predicted, for the results that are no errors.
CREATE VIEW result_named AS
SELECT run.run_id AS run, i.path AS image, c.configuration_id AS configuration,
       c.label AS configuration_label, r.p_target, r.p_predicted,
       (SELECT name FROM class_name AS n
        WHERE n.data_set_id = run.data_set_id AND n.class = image.label) AS label_name,
       (SELECT name FROM class_name AS n
        WHERE n.data_set_id = run.data_set_id AND n.class = r.target) AS target_name,
       (SELECT name FROM class_name AS n
        WHERE n.data_set_id = run.data_set_id AND n.class = r.predicted) AS predicted_name
FROM run
CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id
CROSS JOIN configuration AS c ON c.configuration_id = rc.configuration_id
CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
CROSS JOIN image ON image.image_id = i.image_id
CROSS JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id
WHERE r.error IS NULL;

-- The gradients at the hooked layers, by names.
CREATE VIEW layer_gradient_wide AS
SELECT run.run_id AS run, model.arch AS model, data_set.name AS data_set, i.path AS image,
       image.label, c.configuration_id AS configuration, c.method, c.mask, c.quantile, c.alpha,
       c.layers, c.gamma, c.variance_conservation, r.target, layer.conv, layer.name AS layer,
       layer.channels, g.selected, g.m, g.n, g.beta, g.scale_h, g.scale_l, g.variance_before,
       g.variance_after
FROM run
CROSS JOIN model ON model.model_id = run.model_id
CROSS JOIN data_set ON data_set.data_set_id = run.data_set_id
CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id
CROSS JOIN configuration AS c ON c.configuration_id = rc.configuration_id
CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
CROSS JOIN image ON image.image_id = i.image_id
CROSS JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id
CROSS JOIN layer_gradient AS g ON g.configuration_id = r.configuration_id AND g.image_id = r.image_id
CROSS JOIN layer ON layer.layer_id = g.layer_id;

-- Dead letters: what ended as error rows and waits for a retry. One row for each item and way to
-- fail; configurations is a list of their ids, or 'all' where every one of the run failed that way.
CREATE VIEW dead_letter AS
SELECT run.run_id AS run, i.item, i.path AS image,
       CASE WHEN count(*) = (SELECT count(*) FROM run_configuration AS n
                             WHERE n.run_id = run.run_id) THEN 'all'
            ELSE group_concat(r.configuration_id) END AS configurations,
       r.stage, r.reason, r.error AS text, r.hint, worker.name AS worker, max(r.recorded_ms) AS at_ms
FROM run
CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id
CROSS JOIN result AS r INDEXED BY result_error
    ON r.configuration_id = rc.configuration_id AND r.error IS NOT NULL
CROSS JOIN data_set_item AS i INDEXED BY data_set_item_image
    ON i.image_id = r.image_id AND i.data_set_id = run.data_set_id
LEFT JOIN worker ON worker.worker_id = r.worker_id
WHERE i.item >= coalesce((SELECT t.end_item FROM task AS t -- no task holds it
                          WHERE t.run_id = run.run_id AND t.next_item <= i.item
                          ORDER BY t.next_item DESC LIMIT 1), 0)
GROUP BY run.run_id, i.item, i.path, r.stage, r.reason, r.error, r.hint;
