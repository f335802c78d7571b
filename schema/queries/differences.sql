-- Two configurations on the same images: is b better than a?
-- view paired_difference
-- ?1 run
-- ?2 a
-- ?3 b
SELECT measure, n, round(mean_a, 4) AS a, round(mean_b, 4) AS b, round(delta, 4) AS delta,
       round(ci95, 4) AS ci95, round(t, 2) AS t
FROM paired_difference WHERE run = ?1 AND a = ?2 AND b = ?3;
