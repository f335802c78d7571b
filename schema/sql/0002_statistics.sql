-- Statistics that are made or imported here: kept by name, channel by channel. The three tables
-- that are made anew had no rows in any database so far.

ALTER TABLE statistics ADD COLUMN name TEXT; -- what --stats calls them; NULL: only a file
ALTER TABLE statistics ADD COLUMN images INTEGER; -- how many they are made of; NULL: not known
ALTER TABLE statistics ADD COLUMN configuration_id INTEGER REFERENCES configuration; -- that gathered them; NULL: a file, or imported
ALTER TABLE statistics ADD COLUMN note TEXT; -- where they come from, one line; NULL: only a file
ALTER TABLE statistics ADD COLUMN created_ms INTEGER; -- when they came into the database, ms; NULL: only a file
CREATE UNIQUE INDEX statistics_name ON statistics (name) WHERE name IS NOT NULL;

DROP TABLE channel_statistics;
DROP TABLE class_statistics;
DROP TABLE activation;

-- Per layer: how much of its raw output is above 0.
CREATE TABLE layer_statistics (
    statistics_id INTEGER NOT NULL REFERENCES statistics, -- of which statistics
    layer_id INTEGER NOT NULL REFERENCES layer, -- of which layer
    density REAL,                          -- mean share of raw outputs above 0; NULL: not known
    PRIMARY KEY (statistics_id, layer_id)
) STRICT, WITHOUT ROWID;

-- Per channel: its activation (mean over space of ReLU of the raw convolution output) over images.
CREATE TABLE channel_statistics (
    statistics_id INTEGER NOT NULL REFERENCES statistics, -- of which statistics
    layer_id INTEGER NOT NULL REFERENCES layer, -- of which layer
    channel INTEGER NOT NULL,              -- from 0
    mean REAL,                             -- of the activation; NULL: not known
    std REAL,                              -- of the activation, n - 1; NULL: not known, or below two images
    shapiro_w REAL,                        -- Shapiro-Wilk W of the activation; NULL: not known, or undefined
    shapiro_p REAL NOT NULL,               -- its p; 1 where W is undefined
    PRIMARY KEY (statistics_id, layer_id, channel)
) STRICT, WITHOUT ROWID;

-- Per class: is the activation greater than for all the rest (one-sided t-test). One row holds all
-- channels of a layer: a ResNet50 with 1,000 classes would be 26 million rows of single numbers.
CREATE TABLE class_statistics (
    statistics_id INTEGER NOT NULL REFERENCES statistics, -- of which statistics
    layer_id INTEGER NOT NULL REFERENCES layer, -- of which layer
    class INTEGER NOT NULL,                -- class index
    images INTEGER,                        -- of that class; NULL: not known
    welch_p BLOB,                          -- float32 LE, one a channel: p of Welch's test; NULL: not known
    student_p BLOB,                        -- float32 LE, one a channel: p of Student's pooled test; NULL: not known
    PRIMARY KEY (statistics_id, layer_id, class)
) STRICT;

-- What a gather run says of one image: that of which statistics are made. Can be pruned.
CREATE TABLE activation (
    configuration_id INTEGER NOT NULL,     -- of which result
    image_id INTEGER NOT NULL,             -- of which result
    activations BLOB NOT NULL,             -- float32 LE, one a channel, all convolutions in registration order
    density BLOB NOT NULL,                 -- float32 LE, one a convolution: share of raw outputs above 0
    PRIMARY KEY (configuration_id, image_id),
    FOREIGN KEY (configuration_id, image_id) REFERENCES result
) STRICT;

-- Statistics by name: of which model, over which images.
CREATE VIEW statistics_named AS
SELECT s.name, model.arch AS model, data_set.name AS data_set, s.images,
       (SELECT count(*) FROM class_statistics AS c
        WHERE c.statistics_id = s.statistics_id
          AND c.layer_id = (SELECT min(layer_id) FROM layer_statistics AS l
                            WHERE l.statistics_id = s.statistics_id)) AS classes,
       (SELECT count(*) FROM layer_statistics AS l WHERE l.statistics_id = s.statistics_id)
           AS layers,
       (SELECT count(*) FROM channel_statistics AS c WHERE c.statistics_id = s.statistics_id)
           AS channels,
       s.sha256, s.note, s.created_ms
FROM statistics AS s
LEFT JOIN model ON model.model_id = s.model_id
LEFT JOIN data_set ON data_set.data_set_id = s.data_set_id
WHERE s.name IS NOT NULL;

-- Channels by the names of statistics and layer.
CREATE VIEW channel_statistics_named AS
SELECT s.name, layer.conv, layer.name AS layer, c.channel, c.mean, c.std, c.shapiro_w, c.shapiro_p
FROM channel_statistics AS c
JOIN statistics AS s ON s.statistics_id = c.statistics_id
JOIN layer ON layer.layer_id = c.layer_id
WHERE s.name IS NOT NULL;
