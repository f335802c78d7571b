-- Where does every run stand?
-- view run_progress
SELECT run, name, state, model, items_done || ' of ' || items AS images, items_failed AS failed,
       configurations
FROM run_progress ORDER BY run;
