-- At which images and layers does H carry least of the variance, so that conserving it scales most?
-- view layer_gradient_wide
-- ?1 run
-- ?2 b
SELECT image, layer, selected AS in_h, printf('%.2e', m / (m + n)) AS share_h, round(beta, 1) AS beta
FROM layer_gradient_wide WHERE run = ?1 AND configuration = ?2 AND m IS NOT NULL
ORDER BY beta DESC LIMIT 10;
