-- Which configuration puts most of the gradient on the object?
-- view score
-- ?1 run
SELECT configuration, configuration_label, n, missing, round(mean, 3) AS mu_in_w,
       round(ci95, 3) AS ci95
FROM score WHERE run = ?1 AND measure = 'mu_in_w' ORDER BY mean DESC;
