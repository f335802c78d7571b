-- How alike are the H of images of one class, and of all images? 1: the same, 0: by chance (Nogueira et al., JMLR 18, 2018)
-- view channel_gradient_item
-- ?1 run
-- ?2 b
WITH counts AS MATERIALIZED (
    SELECT r.target, g.layer_id, count(*) AS n, count_bits(g.in_h) AS times
    FROM run
    CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
    CROSS JOIN result AS r ON r.configuration_id = ?2 AND r.image_id = i.image_id
    CROSS JOIN channel_gradient_item AS g
        ON g.configuration_id = r.configuration_id AND g.image_id = r.image_id
    WHERE run.run_id = ?1 GROUP BY r.target, g.layer_id),
shares AS (
    SELECT c.target, c.layer_id, c.n, v.i AS channel, v.value AS times, v.value / c.n AS p
    FROM counts AS c JOIN layer AS l ON l.layer_id = c.layer_id
    CROSS JOIN values_f32(c.times) AS v WHERE v.i < l.channels),
within AS (
    SELECT layer_id, avg(selected) AS in_h,
           avg(1 - spread / nullif(selected / d * (1 - selected / d), 0)) AS stability
    FROM (SELECT layer_id, sum(p) AS selected, count(*) AS d,
                 avg(n / nullif(n - 1.0, 0) * p * (1 - p)) AS spread
          FROM shares GROUP BY target, layer_id)
    GROUP BY layer_id),
overall AS (
    SELECT layer_id, 1 - avg(n / (n - 1.0) * p * (1 - p))
                         / nullif(avg(p) * (1 - avg(p)), 0) AS stability
    FROM (SELECT layer_id, sum(n) AS n, sum(times) / sum(n) AS p FROM shares
          GROUP BY layer_id, channel)
    GROUP BY layer_id)
SELECT layer.name AS layer, layer.channels, round(within.in_h, 1) AS in_h,
       round(within.stability, 3) AS within_class, round(overall.stability, 3) AS overall
FROM within JOIN overall USING (layer_id) JOIN layer USING (layer_id) ORDER BY layer.conv;
