-- Where does a heat map miss the object most?
-- view result_wide
-- ?1 run
-- ?2 a
SELECT image, label, predicted, round(p_target, 3) AS p_target, round(mu_in_w, 3) AS mu_in_w
FROM result_wide WHERE run = ?1 AND configuration = ?2 AND mu_in_w IS NOT NULL
ORDER BY mu_in_w LIMIT 10;
