-- Which classes score high, which low?
-- view result_wide
-- ?1 run
-- ?2 a
SELECT label, count(*) AS images, round(avg(predicted = label), 3) AS accuracy,
       round(avg(mu_in_w), 3) AS mu_in_w
FROM result_wide WHERE run = ?1 AND configuration = ?2 AND error IS NULL
GROUP BY label ORDER BY mu_in_w DESC;
