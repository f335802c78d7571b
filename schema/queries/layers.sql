-- How much of each layer's variance lies in the few channels of H?
-- view layer_gradient_mean
-- ?1 run
-- ?2 b
SELECT layer, channels, round(selected, 1) AS in_h, round(share_h, 3) AS share_h,
       round(share_h_ci95, 3) AS ci95, round(beta, 2) AS beta,
       printf('%.2e', m) AS m, printf('%.2e', n) AS n
FROM layer_gradient_mean WHERE run = ?1 AND configuration = ?2 ORDER BY conv;
