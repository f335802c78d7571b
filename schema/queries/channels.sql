-- Which channels of which layers carry most of their layer's gradient variance?
-- view channel_rank
-- ?1 run
-- ?2 a
SELECT layer, channel, images, printf('%.2e', mean) AS mean, round(share, 3) AS share, round(selected_share, 3) AS in_h
FROM channel_rank WHERE configuration = ?2 AND rank_by_variance = 1 ORDER BY conv, channel;
