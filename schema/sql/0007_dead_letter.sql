-- Dead letters: what ended as error rows and waits for a retry. One row for each item and way to
-- fail; configurations is a list of their ids, or 'all' where every one of the run failed that way.
CREATE VIEW dead_letter AS
SELECT run.run_id AS run, i.item, i.path AS image,
       CASE WHEN count(*) = (SELECT count(*) FROM run_configuration AS n
                             WHERE n.run_id = run.run_id) THEN 'all'
            ELSE group_concat(r.configuration_id) END AS configurations,
       r.stage, r.reason, r.error AS text, r.hint, worker.name AS worker, max(r.recorded_ms) AS at_ms
FROM run
CROSS JOIN run_configuration AS rc ON rc.run_id = run.run_id
CROSS JOIN result AS r INDEXED BY result_error
    ON r.configuration_id = rc.configuration_id AND r.error IS NOT NULL
CROSS JOIN data_set_item AS i ON i.image_id = r.image_id AND i.data_set_id = run.data_set_id
LEFT JOIN worker ON worker.worker_id = r.worker_id
WHERE i.item >= coalesce((SELECT t.end_item FROM task AS t -- no task holds it
                          WHERE t.run_id = run.run_id AND t.next_item <= i.item
                          ORDER BY t.next_item DESC LIMIT 1), 0)
GROUP BY run.run_id, i.item, i.path, r.stage, r.reason, r.error, r.hint;
