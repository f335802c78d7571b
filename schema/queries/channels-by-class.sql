-- Is it the same channel in all classes that carries most of a layer's gradient variance (--channels full)?
-- view channel_gradient_item
-- ?1 run
-- ?2 a
WITH means AS MATERIALIZED (
    SELECT r.target, g.layer_id, count(*) AS images, mean_f32(g.variances) AS mean
    FROM run
    CROSS JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
    CROSS JOIN result AS r ON r.configuration_id = ?2 AND r.image_id = i.image_id
    CROSS JOIN channel_gradient_item AS g
        ON g.configuration_id = r.configuration_id AND g.image_id = r.image_id
    WHERE run.run_id = ?1 GROUP BY r.target, g.layer_id),
ranked AS (
    SELECT means.target, means.layer_id, means.images, v.i AS channel,
           v.value / sum(v.value) OVER w AS share,
           row_number() OVER (PARTITION BY means.target, means.layer_id ORDER BY v.value DESC) AS place
    FROM means CROSS JOIN values_f32(means.mean) AS v
    WINDOW w AS (PARTITION BY means.target, means.layer_id))
SELECT layer, channels, count(*) AS leaders, max(classes) AS classes_of_one, round(sum(share * classes) / sum(classes), 3) AS share
FROM (SELECT layer.conv, layer.name AS layer, layer.channels, count(*) AS classes,
             avg(ranked.share) AS share
      FROM ranked JOIN layer USING (layer_id) WHERE place = 1
      GROUP BY layer.conv, ranked.channel)
GROUP BY conv ORDER BY conv;
