-- What went wrong most, and what is to be done about it?
-- view dead_letter
-- ?1 run
SELECT stage, reason, count(*) AS images, min(image) AS such_as, min(text) AS text, hint
FROM dead_letter WHERE run = ?1 GROUP BY stage, reason, hint ORDER BY images DESC;
