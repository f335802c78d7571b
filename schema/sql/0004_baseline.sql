-- Integrated gradients from a photograph: one file a run, known in configurations by its SHA-256.

ALTER TABLE run ADD COLUMN baseline_path TEXT NOT NULL DEFAULT ''; -- that photograph as submitted; ''
ALTER TABLE run ADD COLUMN baseline_bytes INTEGER NOT NULL DEFAULT 0; -- its size, bytes; 0: none
