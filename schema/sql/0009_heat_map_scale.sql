-- float16 has no value between 0 and 6e-8, and gradients can be smaller: each map has its own scale.

ALTER TABLE heat_map ADD COLUMN scale REAL NOT NULL DEFAULT 1; -- the map is this times the values; a power of two
