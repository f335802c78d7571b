-- Which channels' gradient variance differs most between images?
-- view channel_gradient_summary
-- ?1 run
-- ?2 a
SELECT layer, channel, count AS images, printf('%.2e', mean) AS mean, round(std / mean, 2) AS std_over_mean,
       printf('%.2e', max) AS max
FROM channel_gradient_summary WHERE configuration = ?2 AND mean > 0
ORDER BY std / mean DESC, conv, channel LIMIT 10;
