-- At which images does b gain most over a?
-- view result_wide
-- ?1 run
-- ?2 a
-- ?3 b
SELECT x.image, round(x.mu_in_w, 3) AS a, round(y.mu_in_w, 3) AS b,
       round(y.mu_in_w - x.mu_in_w, 3) AS gain
FROM result_wide AS x JOIN result_wide AS y ON y.run = x.run AND y.image = x.image
WHERE x.run = ?1 AND x.configuration = ?2 AND y.run = ?1 AND y.configuration = ?3
  AND x.mu_in_w IS NOT NULL AND y.mu_in_w IS NOT NULL
ORDER BY y.mu_in_w - x.mu_in_w DESC LIMIT 10;
