-- How fast is each worker?
-- view timing
-- ?1 run
-- answers vary
SELECT worker, threads, isa, images, results, errors, round(images_per_s, 1) AS images_per_s,
       round(mean_ms, 1) AS mean_ms, round(max_ms, 1) AS max_ms
FROM timing WHERE run = ?1 ORDER BY images DESC;
