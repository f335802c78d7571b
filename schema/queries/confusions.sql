-- What is taken for what?
-- view result_named
-- ?1 run
-- ?2 a
SELECT label_name AS label, predicted_name AS predicted, count(*) AS times,
       round(avg(p_predicted), 3) AS p_predicted
FROM result_named WHERE run = ?1 AND configuration = ?2 AND label_name <> predicted_name
GROUP BY 1, 2 ORDER BY times DESC, label LIMIT 10;
