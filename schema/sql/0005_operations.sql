-- What people change of a run while it is there.

ALTER TABLE run ADD COLUMN priority INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100); -- the greater goes first
ALTER TABLE run ADD COLUMN paused INTEGER NOT NULL DEFAULT 0; -- 1: somebody paused it, nothing goes out; 0 once it has ended
ALTER TABLE run ADD COLUMN max_workers INTEGER NOT NULL DEFAULT 0; -- that may work on it at a time; 0: any number

DROP VIEW run_progress;

-- Where each run stands.
CREATE VIEW run_progress AS
SELECT run.run_id AS run, run.name, run.state, model.arch AS model, data_set.name AS data_set,
       data_set.items,
       data_set.items - run.items_dropped
           - (SELECT coalesce(sum(end_item - next_item), 0) FROM task
              WHERE task.run_id = run.run_id) AS items_done,
       (SELECT count(DISTINCT i.item)
        FROM run_configuration AS rc
        CROSS JOIN result AS r INDEXED BY result_error
            ON r.configuration_id = rc.configuration_id AND r.error IS NOT NULL
        CROSS JOIN data_set_item AS i
            ON i.image_id = r.image_id AND i.data_set_id = run.data_set_id
        WHERE rc.run_id = run.run_id -- and no task holds it; the tasks of a run do not overlap
          AND i.item >= coalesce((SELECT t.end_item FROM task AS t
                                  WHERE t.run_id = run.run_id AND t.next_item <= i.item
                                  ORDER BY t.next_item DESC LIMIT 1), 0)) AS items_failed,
       (SELECT count(*) FROM run_configuration AS rc WHERE rc.run_id = run.run_id)
           AS configurations,
       run.results_reused, run.submitted_ms, run.finished_ms, run.priority, run.paused,
       run.max_workers
FROM run
JOIN model USING (model_id)
JOIN data_set USING (data_set_id);
