-- What went wrong on the way, also what a later try put right?
-- view failure_named
-- ?1 run
SELECT image, worker, stage, reason, text, count(*) AS times FROM failure_named
WHERE run = ?1 GROUP BY image, worker, stage, reason, text ORDER BY max(at_ms) DESC LIMIT 20;
