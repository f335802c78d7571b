-- How do all box scores compare, and how many images have none?
-- view score
-- ?1 run
SELECT configuration,
       max(n) FILTER (WHERE measure = 'mu_in_w') AS n,
       max(missing) FILTER (WHERE measure = 'mu_in_w') AS missing,
       round(max(mean) FILTER (WHERE measure = 'mu_in'), 3) AS mu_in,
       round(max(mean) FILTER (WHERE measure = 'mu_in_w'), 3) AS mu_in_w,
       round(max(mean) FILTER (WHERE measure = 'mu_out'), 3) AS mu_out,
       round(max(mean) FILTER (WHERE measure = 'mu_out_w'), 3) AS mu_out_w,
       round(max(mean) FILTER (WHERE measure = 'pointing'), 3) AS pointing,
       max(n) FILTER (WHERE measure = 'pointing') AS pointing_n
FROM score WHERE run = ?1 AND measure IN ('mu_in', 'mu_in_w', 'mu_out', 'mu_out_w', 'pointing')
GROUP BY configuration ORDER BY configuration;
