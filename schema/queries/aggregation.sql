-- The aggregation argument: do many small gradients add up? N / (M + N) by the size of L
-- view layer_gradient_mean
-- ?1 run
SELECT CASE WHEN in_l < 64 THEN '   < 64' WHEN in_l < 128 THEN '  64 .. 127'
       WHEN in_l < 256 THEN ' 128 .. 255' WHEN in_l < 512 THEN ' 256 .. 511' ELSE '512 ..' END AS size_of_l,
       count(*) AS layers, round(avg(1 - share_h), 3) AS share_of_l,
       round(avg(in_l / channels), 3) AS channels_in_l
FROM (SELECT channels - selected AS in_l, channels, share_h FROM layer_gradient_mean
      WHERE run = ?1 AND partitioned > 0)
GROUP BY size_of_l ORDER BY min(in_l);
