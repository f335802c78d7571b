-- The first schema. Words as in docs/ARCHITECTURE.md, section 1; every time is wall time in
-- milliseconds since 1970-01-01T00:00:00Z; every sha256 is 64 lower-case hex digits.

-- One row for each life of a broker on this database.
CREATE TABLE broker (
    epoch INTEGER PRIMARY KEY,             -- counts broker lives
    random BLOB NOT NULL UNIQUE,           -- 8 random bytes, part of every lease token
    host TEXT NOT NULL,                    -- where it ran
    pid INTEGER NOT NULL,                  -- its process id there
    started_ms INTEGER NOT NULL            -- when it opened the database, ms
) STRICT;

-- An architecture with its weights.
CREATE TABLE model (
    model_id INTEGER PRIMARY KEY,          -- row id
    arch TEXT NOT NULL,                    -- architecture, e.g. resnet18
    weights_sha256 TEXT NOT NULL,          -- of the weights file
    size_bytes INTEGER NOT NULL,           -- of the weights file, bytes
    path TEXT NOT NULL,                    -- where the file lay when first submitted
    classes INTEGER NOT NULL,              -- number of classes, from the weights
    UNIQUE (arch, weights_sha256)
) STRICT;

-- The convolutions of a model that have been measured.
CREATE TABLE layer (
    layer_id INTEGER PRIMARY KEY,          -- row id
    model_id INTEGER NOT NULL REFERENCES model, -- whose layer
    conv INTEGER NOT NULL,                 -- index among the convolutions, registration order
    name TEXT NOT NULL,                    -- state-dict name, e.g. layer4.1.conv2
    channels INTEGER NOT NULL,             -- output channels
    UNIQUE (model_id, conv)
) STRICT;

-- An ordered list of images, known by the hash of all of it.
CREATE TABLE data_set (
    data_set_id INTEGER PRIMARY KEY,       -- row id
    sha256 TEXT NOT NULL UNIQUE,           -- over every item's path, bytes, label and boxes
    name TEXT NOT NULL,                    -- for people: last part of the folder's path
    root TEXT NOT NULL,                    -- folder when first submitted
    items INTEGER NOT NULL                 -- number of items
) STRICT;

-- What the class indices of a data set's labels are called, where known.
CREATE TABLE class_name (
    data_set_id INTEGER NOT NULL REFERENCES data_set, -- whose labels
    class INTEGER NOT NULL,                -- class index
    name TEXT NOT NULL,                    -- for people
    PRIMARY KEY (data_set_id, class)
) STRICT, WITHOUT ROWID;

-- A photograph with what results depend on: bytes, label, boxes. Shared by data sets.
CREATE TABLE image (
    image_id INTEGER PRIMARY KEY,          -- row id
    sha256 TEXT NOT NULL,                  -- of the file's bytes
    size_bytes INTEGER NOT NULL,           -- of the file, bytes
    label INTEGER,                         -- class index; NULL: none
    boxes_sha256 TEXT NOT NULL,            -- over its boxes; '' without
    width INTEGER,                         -- pixels; NULL until decoded
    height INTEGER                         -- pixels; NULL until decoded
) STRICT;
CREATE UNIQUE INDEX image_identity ON image (sha256, ifnull(label, -1), boxes_sha256);

-- Where objects are, in pixels of the photograph; xmax and ymax exclusive.
CREATE TABLE box (
    image_id INTEGER NOT NULL REFERENCES image, -- on which image
    ordinal INTEGER NOT NULL,              -- 0 is the box that is scored
    xmin REAL NOT NULL,                    -- left edge, pixels
    ymin REAL NOT NULL,                    -- upper edge, pixels
    xmax REAL NOT NULL,                    -- right edge, pixels, exclusive
    ymax REAL NOT NULL,                    -- lower edge, pixels, exclusive
    PRIMARY KEY (image_id, ordinal)
) STRICT, WITHOUT ROWID;

-- Which images a data set has, in its order.
CREATE TABLE data_set_item (
    data_set_id INTEGER NOT NULL REFERENCES data_set, -- whose item
    item INTEGER NOT NULL,                 -- ordinal, from 0
    image_id INTEGER NOT NULL REFERENCES image, -- the photograph
    path TEXT NOT NULL,                    -- relative to the data set's folder
    PRIMARY KEY (data_set_id, item),
    UNIQUE (data_set_id, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX data_set_item_image ON data_set_item (image_id, data_set_id);

-- A statistics file: what decides H.
CREATE TABLE statistics (
    statistics_id INTEGER PRIMARY KEY,     -- row id
    sha256 TEXT NOT NULL UNIQUE,           -- of the file
    size_bytes INTEGER NOT NULL,           -- of the file, bytes
    path TEXT NOT NULL,                    -- where the file lay when first submitted
    model_id INTEGER REFERENCES model,     -- of which model
    data_set_id INTEGER REFERENCES data_set -- over which images; NULL: came with the file
) STRICT;

-- Per channel: its activation (mean over space of ReLU of the raw convolution output) over images.
CREATE TABLE channel_statistics (
    statistics_id INTEGER NOT NULL REFERENCES statistics, -- of which statistics
    layer_id INTEGER NOT NULL REFERENCES layer, -- of which layer
    channel INTEGER NOT NULL,              -- from 0
    mean REAL NOT NULL,                    -- of the activation
    std REAL NOT NULL,                     -- of the activation, n - 1
    shapiro_p REAL NOT NULL,               -- Shapiro-Wilk p of the activation
    PRIMARY KEY (statistics_id, layer_id, channel)
) STRICT, WITHOUT ROWID;

-- Per channel and class: is the activation greater than for all the rest (one-sided t-test).
CREATE TABLE class_statistics (
    statistics_id INTEGER NOT NULL REFERENCES statistics, -- of which statistics
    layer_id INTEGER NOT NULL REFERENCES layer, -- of which layer
    channel INTEGER NOT NULL,              -- from 0
    class INTEGER NOT NULL,                -- class index
    welch_p REAL,                          -- p of Welch's test
    student_p REAL,                        -- p of Student's pooled test
    PRIMARY KEY (statistics_id, layer_id, channel, class)
) STRICT, WITHOUT ROWID;

-- Per image and layer: the activations that statistics are made of. Can be pruned.
CREATE TABLE activation (
    statistics_id INTEGER NOT NULL REFERENCES statistics, -- gathered for which statistics
    image_id INTEGER NOT NULL REFERENCES image, -- of which image
    layer_id INTEGER NOT NULL REFERENCES layer, -- of which layer
    activations BLOB NOT NULL,             -- float32 LE, one a channel
    PRIMARY KEY (statistics_id, image_id, layer_id)
) STRICT;

-- One way to attribute; its text is all of it, the columns repeat it for queries. Columns that the
-- mask makes meaningless are NULL.
CREATE TABLE configuration (
    configuration_id INTEGER PRIMARY KEY,  -- row id
    sha256 TEXT NOT NULL,                  -- of text
    engine_version TEXT NOT NULL,          -- of the engine whose numbers these are
    text TEXT NOT NULL,                    -- canonical JSON
    label TEXT NOT NULL,                   -- one short line for people
    model_id INTEGER NOT NULL REFERENCES model, -- architecture and weights
    statistics_id INTEGER REFERENCES statistics, -- what H is chosen by; NULL with mask off
    method TEXT NOT NULL,                  -- grad, ...
    mask TEXT NOT NULL,                    -- off, cls
    quantile REAL,                         -- share of channels in H, in (0, 1]; NULL with alpha
    alpha REAL,                            -- significance level for H, in [0, 1]; NULL with quantile
    p_value_threshold REAL,                -- H only where Shapiro-Wilk p is below
    test TEXT,                             -- welch, student
    layers TEXT NOT NULL,                  -- hooked convolutions: default, ratio:R, names, globs
    gamma REAL,                            -- weight of L against H; Inf drops L
    exact INTEGER,                         -- 1: rescaled by the measured variance
    variance_conservation INTEGER,         -- 1: the variance is conserved
    target TEXT NOT NULL,                  -- label, top, or a class index
    resize INTEGER NOT NULL,               -- short side after resize, pixels; 0: as it is
    crop INTEGER NOT NULL,                 -- side of the centre crop, pixels
    filter TEXT NOT NULL,                  -- bilinear, bicubic
    UNIQUE (sha256, engine_version)
) STRICT;

-- One submission.
CREATE TABLE run (
    run_id INTEGER PRIMARY KEY AUTOINCREMENT, -- row id, never used twice
    request_id TEXT NOT NULL UNIQUE,       -- 64 hex digits; the same request is the same run
    name TEXT NOT NULL,                    -- for people; may be ''
    model_id INTEGER NOT NULL REFERENCES model, -- model of all its configurations
    data_set_id INTEGER NOT NULL REFERENCES data_set, -- its items
    statistics_id INTEGER REFERENCES statistics, -- NULL: none needed
    engine_version TEXT NOT NULL,          -- of the engine that was asked
    channels TEXT NOT NULL,                -- per-channel record: none, summary, full
    heat_maps TEXT NOT NULL,               -- heat maps kept: none, f16, f32
    data_root TEXT NOT NULL,               -- folder of the images
    weights_path TEXT NOT NULL,            -- weights file as submitted
    statistics_path TEXT NOT NULL,         -- statistics file as submitted; ''
    foreground INTEGER NOT NULL,           -- 1: somebody waits for it
    task_items INTEGER NOT NULL,           -- items a task
    results_reused INTEGER NOT NULL,       -- results that were there already when submitted
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'cancelled')), -- where it stands
    items_dropped INTEGER NOT NULL,        -- items still open when it was cancelled
    submitted_ms INTEGER NOT NULL,         -- first submission, ms
    finished_ms INTEGER                    -- done or cancelled, ms; NULL before
) STRICT;
CREATE INDEX run_open ON run (run_id) WHERE state IN ('queued', 'running');

-- The configurations of a run.
CREATE TABLE run_configuration (
    run_id INTEGER NOT NULL REFERENCES run, -- of which run
    ordinal INTEGER NOT NULL,              -- from 0, in the order submitted
    configuration_id INTEGER NOT NULL REFERENCES configuration, -- which configuration
    PRIMARY KEY (run_id, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_configuration_by_configuration ON run_configuration (configuration_id);

-- Open work: items next_item .. end_item - 1 of a run. Shrinks with every recorded item.
CREATE TABLE task (
    task_id INTEGER PRIMARY KEY AUTOINCREMENT, -- row id, never used twice
    run_id INTEGER NOT NULL REFERENCES run, -- of which run
    next_item INTEGER NOT NULL,            -- ordinal of the first item not recorded
    end_item INTEGER NOT NULL,             -- ordinal behind the last
    configurations TEXT NOT NULL,          -- JSON array of ordinals in the run
    alone INTEGER NOT NULL,                -- 1: one item that a worker crashed on
    crashes INTEGER NOT NULL,              -- crashes with its next item in hand
    CHECK (next_item < end_item)
) STRICT;
CREATE INDEX task_run ON task (run_id, next_item);

-- A worker process.
CREATE TABLE worker (
    worker_id INTEGER PRIMARY KEY,         -- row id
    instance TEXT NOT NULL UNIQUE,         -- 32 hex digits, random for each process
    name TEXT NOT NULL,                    -- host:pid
    host TEXT NOT NULL,                    -- where it runs
    pid INTEGER NOT NULL,                  -- its process id there
    threads INTEGER NOT NULL,              -- compute threads
    isa TEXT NOT NULL,                     -- what its kernels run on: avx512, avx2, baseline
    engine_version TEXT NOT NULL,          -- of its engine
    first_seen_ms INTEGER NOT NULL,        -- first hello, ms
    last_seen_ms INTEGER NOT NULL          -- latest hello, ms
) STRICT;

-- What one configuration says of one image: numbers, or an error.
CREATE TABLE result (
    configuration_id INTEGER NOT NULL REFERENCES configuration, -- which configuration
    image_id INTEGER NOT NULL REFERENCES image, -- of which image
    run_id INTEGER NOT NULL REFERENCES run, -- the run that had it computed
    target INTEGER,                        -- class attributed
    predicted INTEGER,                     -- class with the greatest logit
    p_target REAL,                         -- softmax probability of target
    p_predicted REAL,                      -- softmax probability of predicted
    mu_in REAL,                            -- share of the heat map inside the first box
    mu_in_w REAL,                          -- mu_in over the box's share of the area
    mu_out REAL,                           -- share outside
    mu_out_w REAL,                         -- mu_out over the rest's share of the area
    box_reason TEXT,                       -- why the four are NULL: no-box, box-empty, ...
    compute_ms REAL,                       -- compute time, ms
    worker_id INTEGER REFERENCES worker,   -- who computed it
    recorded_ms INTEGER NOT NULL,          -- when, ms
    channels_kept INTEGER NOT NULL,        -- 0 none, 1 in the sums, 2 and each item's own
    heat_map_kept INTEGER NOT NULL,        -- 0 none, 1 float16, 2 float32
    stage TEXT,                            -- error: fetch, decode, preprocess, compute, crash
    reason TEXT,                           -- error: stable word
    error TEXT,                            -- error: one line; NULL: there are numbers
    PRIMARY KEY (configuration_id, image_id),
    CHECK ((error IS NULL) = (p_target IS NOT NULL AND p_predicted IS NOT NULL
                              AND target IS NOT NULL AND predicted IS NOT NULL)),
    CHECK ((error IS NULL) = (stage IS NULL) AND (error IS NULL) = (reason IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX result_error ON result (configuration_id, image_id) WHERE error IS NOT NULL;

-- How the model's output falls as pixels are taken away, most or least attributed first.
CREATE TABLE perturbation (
    configuration_id INTEGER NOT NULL,     -- of which result
    image_id INTEGER NOT NULL,             -- of which result
    curve TEXT NOT NULL,                   -- morf: most relevant first; lerf: least
    ratio REAL NOT NULL,                   -- share of pixels taken, 0 to 1
    aopc REAL,                             -- p_y(x) - p_y(x_r)
    lodds REAL,                            -- ln(p_y(x_r) / p_y(x)); NULL where p_y(x_r) = 0
    fracdiff REAL,                         -- |p(x) - p(x_r)| of the first argmax
    correct INTEGER,                       -- 1: the argmax is still y
    PRIMARY KEY (configuration_id, image_id, curve, ratio),
    FOREIGN KEY (configuration_id, image_id) REFERENCES result
) STRICT, WITHOUT ROWID;

-- The gradient at one hooked convolution's output. Spread: variance over space of a sum over
-- channels (absolute value for 1x1 maps).
CREATE TABLE layer_gradient (
    configuration_id INTEGER NOT NULL,     -- of which result
    image_id INTEGER NOT NULL,             -- of which result
    layer_id INTEGER NOT NULL REFERENCES layer, -- at which layer
    selected INTEGER NOT NULL,             -- channels in H; all of them with mask off
    m REAL,                                -- spread of the sum over H, + 1e-13; NULL: H or L empty
    n REAL,                                -- spread of the sum over L, + 1e-13; NULL: H or L empty
    beta REAL,                             -- factor that conserves the variance; NULL: as above
    scale_h REAL NOT NULL,                 -- what H was multiplied by
    scale_l REAL NOT NULL,                 -- what L was multiplied by
    variance_before REAL NOT NULL,         -- spread of the sum over all channels, before
    variance_after REAL NOT NULL,          -- the same, after
    PRIMARY KEY (configuration_id, image_id, layer_id),
    FOREIGN KEY (configuration_id, image_id) REFERENCES result
) STRICT, WITHOUT ROWID;

-- Spatial variance of each channel's gradient over all images that its configuration has results
-- of: written at a run's end and by refresh.
CREATE TABLE channel_gradient (
    configuration_id INTEGER NOT NULL REFERENCES configuration, -- of which configuration
    layer_id INTEGER NOT NULL REFERENCES layer, -- at which layer
    class INTEGER NOT NULL,                -- target class; -1: all
    channel INTEGER NOT NULL,              -- from 0
    count INTEGER NOT NULL,                -- images
    mean REAL NOT NULL,                    -- of the variance
    std REAL,                              -- of the variance, n - 1; NULL below two images
    min REAL NOT NULL,                     -- of the variance
    max REAL NOT NULL,                     -- of the variance
    selected INTEGER NOT NULL,             -- images where the channel was in H
    PRIMARY KEY (configuration_id, layer_id, class, channel)
) STRICT, WITHOUT ROWID;

-- The same while runs are live: what channel_gradient is written from.
CREATE TABLE channel_accumulator (
    configuration_id INTEGER NOT NULL REFERENCES configuration, -- of which configuration
    layer_id INTEGER NOT NULL REFERENCES layer, -- at which layer
    class INTEGER NOT NULL,                -- target class; -1: all
    moments BLOB NOT NULL,                 -- per channel 48 bytes LE: count, selected uint64; mean, m2, min, max float64
    PRIMARY KEY (configuration_id, layer_id, class)
) STRICT;

-- Per item and layer, where asked for: each channel's own.
CREATE TABLE channel_gradient_item (
    configuration_id INTEGER NOT NULL,     -- of which result
    image_id INTEGER NOT NULL,             -- of which result
    layer_id INTEGER NOT NULL REFERENCES layer, -- at which layer
    variances BLOB NOT NULL,               -- float32 LE, one a channel: variance over space
    in_h BLOB NOT NULL,                    -- one bit a channel, low bit first: 1 in H
    PRIMARY KEY (configuration_id, image_id, layer_id),
    FOREIGN KEY (configuration_id, image_id) REFERENCES result
) STRICT;

-- Heat maps, where asked for.
CREATE TABLE heat_map (
    configuration_id INTEGER NOT NULL,     -- of which result
    image_id INTEGER NOT NULL,             -- of which result
    side INTEGER NOT NULL,                 -- pixels; the map is side x side, row-major
    format TEXT NOT NULL CHECK (format IN ('f16', 'f32')), -- of a value, LE
    zstd BLOB NOT NULL,                    -- the values, compressed
    PRIMARY KEY (configuration_id, image_id),
    FOREIGN KEY (configuration_id, image_id) REFERENCES result
) STRICT;

-- A diary of what went wrong, also what a later try put right.
CREATE TABLE failure (
    failure_id INTEGER PRIMARY KEY,        -- row id
    run_id INTEGER NOT NULL REFERENCES run, -- in which run
    item INTEGER NOT NULL,                 -- ordinal of the item
    image_id INTEGER NOT NULL REFERENCES image, -- the photograph
    configuration_id INTEGER REFERENCES configuration, -- NULL: all of the task
    worker_id INTEGER REFERENCES worker,   -- who met it
    stage TEXT NOT NULL,                   -- fetch, decode, preprocess, compute, crash
    reason TEXT NOT NULL,                  -- stable word
    text TEXT NOT NULL,                    -- one line
    at_ms INTEGER NOT NULL                 -- when, ms
) STRICT;
CREATE INDEX failure_run ON failure (run_id, item);

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
       run.results_reused, run.submitted_ms, run.finished_ms
FROM run
JOIN model USING (model_id)
JOIN data_set USING (data_set_id);

-- One row for each item and configuration of each run, joined to everything that names it.
CREATE VIEW result_wide AS
SELECT run.run_id AS run, model.arch AS model, data_set.name AS data_set, i.path AS image,
       image.label, c.configuration_id AS configuration, c.method, c.mask, c.quantile, c.alpha,
       c.layers, c.gamma, c.variance_conservation, r.target, r.predicted, r.p_target,
       r.p_predicted, r.mu_in, r.mu_in_w, r.mu_out, r.mu_out_w, r.compute_ms AS ms,
       worker.name AS worker, r.error
FROM run
JOIN model ON model.model_id = run.model_id
JOIN data_set ON data_set.data_set_id = run.data_set_id
JOIN run_configuration AS rc ON rc.run_id = run.run_id
JOIN configuration AS c ON c.configuration_id = rc.configuration_id
JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
JOIN image ON image.image_id = i.image_id
JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id
LEFT JOIN worker ON worker.worker_id = r.worker_id;

-- Classes by name: of label, target and predicted, for the results that are no errors.
CREATE VIEW result_named AS
SELECT run.run_id AS run, i.path AS image, c.configuration_id AS configuration,
       c.label AS configuration_label, r.p_target, r.p_predicted,
       (SELECT name FROM class_name AS n
        WHERE n.data_set_id = run.data_set_id AND n.class = image.label) AS label_name,
       (SELECT name FROM class_name AS n
        WHERE n.data_set_id = run.data_set_id AND n.class = r.target) AS target_name,
       (SELECT name FROM class_name AS n
        WHERE n.data_set_id = run.data_set_id AND n.class = r.predicted) AS predicted_name
FROM run
JOIN run_configuration AS rc ON rc.run_id = run.run_id
JOIN configuration AS c ON c.configuration_id = rc.configuration_id
JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
JOIN image ON image.image_id = i.image_id
JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id
WHERE r.error IS NULL;

-- The gradients at the hooked layers, by names.
CREATE VIEW layer_gradient_wide AS
SELECT run.run_id AS run, model.arch AS model, data_set.name AS data_set, i.path AS image,
       image.label, c.configuration_id AS configuration, c.method, c.mask, c.quantile, c.alpha,
       c.layers, c.gamma, c.variance_conservation, r.target, layer.conv, layer.name AS layer,
       layer.channels, g.selected, g.m, g.n, g.beta, g.scale_h, g.scale_l, g.variance_before,
       g.variance_after
FROM run
JOIN model ON model.model_id = run.model_id
JOIN data_set ON data_set.data_set_id = run.data_set_id
JOIN run_configuration AS rc ON rc.run_id = run.run_id
JOIN configuration AS c ON c.configuration_id = rc.configuration_id
JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
JOIN image ON image.image_id = i.image_id
JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id
JOIN layer_gradient AS g ON g.configuration_id = r.configuration_id AND g.image_id = r.image_id
JOIN layer ON layer.layer_id = g.layer_id;

-- Gradient variance by channel over the images of a configuration, by names.
CREATE VIEW channel_gradient_summary AS
SELECT c.configuration_id AS configuration, c.label AS configuration_label, model.arch AS model,
       c.method, c.mask, c.quantile, c.alpha, c.layers, c.gamma, c.variance_conservation,
       layer.conv, layer.name AS layer, g.channel, nullif(g.class, -1) AS class, g.count, g.mean,
       g.std, g.min, g.max, g.selected,
       CAST(g.selected AS REAL) / g.count AS selected_share
FROM channel_gradient AS g
JOIN configuration AS c ON c.configuration_id = g.configuration_id
JOIN model ON model.model_id = c.model_id
JOIN layer ON layer.layer_id = g.layer_id;
