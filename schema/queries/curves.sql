-- How fast does the answer go as the most attributed pixels are taken away?
-- view curve
-- ?1 run
SELECT configuration, ratio, n, round(p_target, 3) AS p_target, round(p_target_ci95, 3) AS ci95,
       round(aopc, 3) AS aopc, round(lodds, 2) AS lodds, lodds_n, round(correct, 3) AS correct
FROM curve WHERE run = ?1 AND curve = 'morf' ORDER BY configuration, ratio;
