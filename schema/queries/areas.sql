-- Deletion area (less is better) and insertion area (more is better) of each configuration
-- view score
-- ?1 run
SELECT configuration, configuration_label, max(n) AS n,
       round(max(mean) FILTER (WHERE measure = 'deletion_auc'), 3) AS deletion,
       round(max(ci95) FILTER (WHERE measure = 'deletion_auc'), 3) AS ci95,
       round(max(mean) FILTER (WHERE measure = 'insertion_auc'), 3) AS insertion,
       round(max(ci95) FILTER (WHERE measure = 'insertion_auc'), 3) AS insertion_ci95
FROM score WHERE run = ?1 AND measure IN ('deletion_auc', 'insertion_auc')
GROUP BY configuration, configuration_label ORDER BY deletion;
