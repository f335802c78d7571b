-- Which channels are chosen most, and do they carry much?
-- view channel_rank
-- ?1 run
-- ?2 b
SELECT layer, channel, round(selected_share, 3) AS in_h, round(share, 3) AS share,
       rank_by_variance
FROM channel_rank WHERE configuration = ?2 AND selected_share > 0
ORDER BY selected_share DESC, share DESC, conv, channel LIMIT 10;
