-- Which share of a layer's channels looks normal (Shapiro-Wilk)?
-- view channel_statistics_named
-- ?1 statistics
SELECT layer, count(*) AS channels, round(avg(shapiro_p >= 0.05), 3) AS normal,
       round(avg(mean), 4) AS mean, round(avg(std), 4) AS std
FROM channel_statistics_named WHERE name = ?1 GROUP BY conv, layer ORDER BY conv;
