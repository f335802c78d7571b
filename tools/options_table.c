/* Owns the option table's rows. Nothing else knows an option's name, default or help text. */
#include "tools/options.h"

enum {
    SPEC = PM_CMD_RUN | PM_CMD_SUBMIT,
    STUDY = PM_CMD_EXPERIMENT,
    HOW = SPEC | PM_CMD_ATTRIBUTE | STUDY,
    TERMS = PM_CMD_PAUSE | PM_CMD_RESUME | PM_CMD_PRIORITY | PM_CMD_MAX_WORKERS,
    ASK = PM_CMD_STATUS | PM_CMD_CANCEL | PM_CMD_RETRY | TERMS,
    FLEET = PM_CMD_WORKERS | PM_CMD_DRAIN,
    FAILED = PM_CMD_RETRY | PM_CMD_FAILURES,
    STATS = PM_CMD_STATS,
    REMOTE = PM_CMD_SUBMIT | ASK | STATS | FLEET | PM_CMD_SQL | PM_CMD_QUERIES | PM_CMD_FAILURES |
             PM_CMD_DOCTOR | PM_CMD_REFRESH,
    KEEP = PM_CMD_PRUNE | PM_CMD_COMPACT | PM_CMD_MERGE,
};

static const char what[] = "What to attribute";
static const char how[] = "How";
static const char input[] = "From photograph to input";
static const char record[] = "What to record";
static const char where[] = "Where";
static const char much[] = "How much";
static const char show[] = "What to show";

static const pm_option table[PM_OPT_COUNT] = {
    [PM_OPT_MODEL] = {"model", "NAME", NULL, "Architecture; `parchmill models` lists them.",
                      HOW | STATS, PM_OPTION_ONE, what},
    [PM_OPT_WEIGHTS] = {"weights", "FILE", NULL,
                        "Its weights: .safetensors or a PyTorch checkpoint (.pth, .pt, .th).",
                        HOW | STATS, PM_OPTION_ONE, what},
    [PM_OPT_IMAGES] = {"images", "PATH", NULL,
                       "A photograph, a flat folder, class folders, or a folder with labels.csv "
                       "(path,label,xmin,ymin,xmax,ymax).",
                       SPEC | STATS | STUDY | PM_CMD_DOCTOR, PM_OPTION_ONE, what},
    [PM_OPT_CLASSES] = {"classes", "FILE", NULL,
                        "Class names, CSV: index,wnid,name. Class folders that are named by wnid "
                        "need it.",
                        HOW | STATS, PM_OPTION_ONE, what},
    [PM_OPT_BOXES] = {"boxes", "DIR", NULL,
                      "Folder of Pascal VOC XML files, joined to the photographs by name. The "
                      "words first and all stand for --box-rule.",
                      HOW | STATS, PM_OPTION_ONE, what},
    [PM_OPT_BOX] = {"box", "XMIN,YMIN,XMAX,YMAX", NULL,
                    "A box around the object, pixels of the photograph, maxima exclusive.",
                    PM_CMD_ATTRIBUTE, PM_OPTION_ONE, what},
    [PM_OPT_BOX_RULE] = {"box-rule", "RULE", "first",
                         "Which boxes of a photograph a heat map is scored by: first, all (their "
                         "union).",
                         HOW, PM_OPTION_GRID, how},
    [PM_OPT_METHOD] = {"method", "NAME", "grad",
                       "How the heat map is made: grad (mean of |g|), inputgrad (mean of |x g|), "
                       "ig (integrated gradients), smoothgrad, vargrad, gradcam.",
                       HOW, PM_OPTION_GRID, how},
    [PM_OPT_GUIDED] = {"guided", "on|off", "off",
                       "Clamp the gradient to 0 and above at every ReLU (guided backpropagation).",
                       HOW, PM_OPTION_SWITCH, how},
    [PM_OPT_STEPS] = {"steps", "N", "25", "ig: steps from the baseline to the photograph.", HOW,
                      PM_OPTION_GRID, how},
    [PM_OPT_BASELINE] = {"baseline", "WHAT", "zero",
                         "ig: where it starts: zero (the mean color), blur (the photograph, "
                         "blurred), or a photograph's file.",
                         HOW, PM_OPTION_GRID, how},
    [PM_OPT_SAMPLES] = {"samples", "N", "25", "smoothgrad, vargrad: noisy draws.", HOW,
                        PM_OPTION_GRID, how},
    [PM_OPT_SIGMA] = {"sigma", "S", "0.15",
                      "smoothgrad, vargrad: the noise's standard deviation, as a share of the "
                      "input's range.",
                      HOW, PM_OPTION_GRID, how},
    [PM_OPT_CAM_LAYER] = {"cam-layer", "NAME", "default",
                          "gradcam: which convolution; default is what the last pooling reads.",
                          HOW, PM_OPTION_GRID, how},
    [PM_OPT_MASK] = {"mask", "NAME", "off",
                     "Which channels are set apart: off (none), cls (by class statistics), ins (by "
                     "the photograph's own activations); both need --stats.",
                     HOW, PM_OPTION_GRID, how},
    [PM_OPT_QUANTILE] = {"quantile", "Q", "0.1",
                         "Set apart the share Q of a layer's channels with the smallest p-values "
                         "(of the class for cls, of the photograph for ins), 0 < Q <= 1.",
                         HOW, PM_OPTION_GRID, how},
    [PM_OPT_ALPHA] = {"alpha", "A", NULL,
                      "Instead of --quantile: set apart the channels whose p-value is at most A "
                      "(cls) or below A (ins).",
                      HOW, PM_OPTION_GRID, how},
    [PM_OPT_P_VALUE_THRESHOLD] = {"p-value-threshold", "T", "0.05",
                                  "Only channels whose Shapiro-Wilk p is below T can be set apart.",
                                  HOW, PM_OPTION_GRID, how},
    [PM_OPT_TEST] = {"test", "NAME", "welch", "cls: which class p-values: welch, student.", HOW,
                     PM_OPTION_GRID, how},
    [PM_OPT_STATS] = {"stats", "FILE", NULL,
                      "Statistics of the model, for --mask cls and ins: a .safetensors file, or "
                      "the name that `parchmill stats` gave them in the database.",
                      HOW, PM_OPTION_ONE, how},
    [PM_OPT_LAYERS] = {"layers", "WHICH", "default",
                       "Convolutions to act on: default, ratio:R, or names and globs joined by + "
                       "(layer3.*+layer4.*.conv1).",
                       HOW, PM_OPTION_GRID, how},
    [PM_OPT_GAMMA] = {"gamma", "G", "inf",
                      "Ratio of the spreads after scaling; inf drops the other channels.", HOW,
                      PM_OPTION_GRID, how},
    [PM_OPT_EXACT] = {"exact", "on|off", "off",
                      "Conserve the measured variance rather than its estimate; finite --gamma "
                      "only.",
                      HOW, PM_OPTION_SWITCH, how},
    [PM_OPT_VARIANCE_CONSERVATION] = {"variance-conservation", "on|off", "on",
                                      "Scale so that the gradient keeps its variance.", HOW,
                                      PM_OPTION_SWITCH, how},
    [PM_OPT_TARGET] = {"target", "RULE", NULL,
                       "Which class to explain: label, top, a class index, or a class name where "
                       "names are known (label where there are labels, else top).",
                       HOW, PM_OPTION_GRID, how},
    [PM_OPT_RESIZE] = {"resize", "N", NULL,
                       "Short side after resizing, pixels; 0 leaves the size (the "
                       "architecture's).",
                       HOW | STATS, PM_OPTION_ONE, input},
    [PM_OPT_CROP] = {"crop", "N", NULL, "Side of the centre crop, pixels (the architecture's).",
                     HOW | STATS, PM_OPTION_ONE, input},
    [PM_OPT_FILTER] = {"filter", "NAME", NULL, "bilinear or bicubic (the architecture's).",
                       HOW | STATS, PM_OPTION_ONE, input},
    [PM_OPT_MEAN] = {"mean", "R,G,B", NULL, "Subtracted from values in 0..1 (the architecture's).",
                     HOW | STATS, PM_OPTION_ONE, input},
    [PM_OPT_STD] = {"std", "R,G,B", NULL, "Divided by after that (the architecture's).",
                    HOW | STATS, PM_OPTION_ONE, input},
    [PM_OPT_TRANSFORM_INPUT] = {"transform-input", "on|off", "off",
                                "googlenet, inception_v3: torchvision's flag of that name, which "
                                "its own weights of the two were trained with.",
                                HOW | STATS, PM_OPTION_SWITCH, input},
    [PM_OPT_INPUT] = {"input", "WHAT", "none",
                      "What is done to the photograph first: none, jigsaw:grid=4,swaps=8, "
                      "blur:radius=3, noise:sigma=0.1.",
                      HOW, PM_OPTION_KEYED, input},
    [PM_OPT_SEED] = {"seed", "S", "0",
                     "Of all random numbers: --input jigsaw and noise, --method smoothgrad and "
                     "vargrad; --replace noise takes the first.",
                     SPEC | PM_CMD_ATTRIBUTE, PM_OPTION_GRID, how},
    [PM_OPT_CHANNELS] = {"channels", "WHAT", "summary",
                         "Gradient variance of channels: none, summary (merged per "
                         "configuration), full (every image's as well).",
                         SPEC | STUDY, PM_OPTION_ONE, record},
    [PM_OPT_HEATMAPS] =
        {"heatmaps", "WHAT", "none",
         "Keep heat maps in the database: none, f16 (11 bits, down to 2^-28 of the map's greatest "
         "value), f32.",
         SPEC | STUDY, PM_OPTION_ONE, record},
    [PM_OPT_EVALUATE] = {"evaluate", NULL, NULL,
                         "Perturbation curves: take the most (morf) and the least (lerf) "
                         "attributed pixels away and see what is left of the answer.",
                         HOW, PM_OPTION_FLAG, record},
    [PM_OPT_RATIOS] = {"ratios", "R,R,...", "0,.1,.2,.3,.4,.5",
                       "--evaluate: which shares of the pixels, ascending, within 0..1; 0 is "
                       "always there.",
                       HOW, PM_OPTION_ONE, record},
    [PM_OPT_REPLACE] = {"replace", "WHAT", "zero",
                        "--evaluate: what takes their place: zero (the mean color), mean (of the "
                        "photograph), blur, noise.",
                        HOW, PM_OPTION_ONE, record},
    [PM_OPT_CHECK_RANDOMIZATION] = {"check-randomization", NULL, NULL,
                                    "Sanity check: layers start over as before training, from the "
                                    "output on; how far does the heat map follow (Spearman)?",
                                    PM_CMD_ATTRIBUTE, PM_OPTION_FLAG, record},
    [PM_OPT_DB] = {"db", "FILE", "parchmill.db", "The database.",
                   HOW | ASK | STATS | PM_CMD_SQL | PM_CMD_QUERIES | PM_CMD_REFRESH |
                       PM_CMD_FAILURES | PM_CMD_DOCTOR | PM_CMD_EXPORT | PM_CMD_PRUNE |
                       PM_CMD_COMPACT | PM_CMD_REPORT,
                   PM_OPTION_ONE, where},
    [PM_OPT_BROKER] = {"broker", "URL", NULL, "A standing broker: ipc://... or tcp://...",
                       REMOTE | PM_CMD_REPORT, PM_OPTION_ONE, where},
    [PM_OPT_KEY] = {"key", "FILE", NULL,
                    "tcp://: your secret key ($PARCHMILL_KEY, else "
                    "~/.config/parchmill/client.key); `parchmill keygen` makes it.",
                    REMOTE, PM_OPTION_ONE, where},
    [PM_OPT_BROKER_KEY] = {"broker-key", "KEY", NULL,
                           "tcp://: the broker's public key, a .pub file or the key itself "
                           "($PARCHMILL_BROKER_KEY, else ~/.config/parchmill/broker.pub).",
                           REMOTE, PM_OPTION_ONE, where},
    [PM_OPT_INSECURE] = {"insecure", NULL, NULL,
                         "Allow tcp:// without keys and encryption; this machine only (127.0.0.1).",
                         REMOTE, PM_OPTION_FLAG, where},
    [PM_OPT_OUT] = {"out", "FILE", NULL,
                    "What to write: .npy (float32 [H,W]), .png (overlay on the photograph) or "
                    ".json (the numbers); stats export: .safetensors.",
                    PM_CMD_ATTRIBUTE | PM_CMD_DEMO | STATS, PM_OPTION_ONE, where},
    [PM_OPT_MERGE_OUT] = {"out", "FILE", NULL,
                          "A new database, of all those named; it must not be there yet.",
                          PM_CMD_MERGE, PM_OPTION_ONE, where},
    [PM_OPT_MERGE_INTO] = {"into", "FILE", NULL,
                           "A database that is there, and gets what the other one has.",
                           PM_CMD_MERGE, PM_OPTION_ONE, where},
    [PM_OPT_DROP_CHANNEL_SUMS] = {"drop-channel-sums", NULL, NULL,
                                  "Leave out the channel sums of configurations where they cannot "
                                  "be made to count each image once.",
                                  PM_CMD_MERGE | PM_CMD_PRUNE, PM_OPTION_FLAG, what},
    [PM_OPT_PRUNE_ACTIVATIONS] = {"activations", NULL, NULL,
                                  "What statistics were made of, once they are made.", PM_CMD_PRUNE,
                                  PM_OPTION_FLAG, what},
    [PM_OPT_PRUNE_HEAT_MAPS] = {"heat-maps", NULL, NULL,
                                "Heat maps of RUN, else of all runs that have ended.", PM_CMD_PRUNE,
                                PM_OPTION_FLAG, what},
    [PM_OPT_PRUNE_CHANNEL_ITEMS] = {"channel-items", NULL, NULL,
                                    "Each image's own channels (--channels full), likewise; the "
                                    "sums stay.",
                                    PM_CMD_PRUNE, PM_OPTION_FLAG, what},
    [PM_OPT_PRUNE_RUN] = {"run", "RUN", NULL,
                          "The run itself, and the results that no other run has.", PM_CMD_PRUNE,
                          PM_OPTION_ONE, what},
    [PM_OPT_PRUNE_ORPHANS] = {"orphans", NULL, NULL,
                              "What nothing refers to: data sets without a run, their images, "
                              "configurations, statistics without a name, models, workers.",
                              PM_CMD_PRUNE, PM_OPTION_FLAG, what},
    [PM_OPT_PRUNE_DRY_RUN] = {"dry-run", NULL, NULL, "Say what would go; change nothing.",
                              PM_CMD_PRUNE, PM_OPTION_FLAG, much},
    [PM_OPT_REPORT_OUT] = {"out", "DIR", NULL,
                           "The folder to write; a report that is there is replaced.",
                           PM_CMD_REPORT, PM_OPTION_ONE, where},
    [PM_OPT_ITEMS] = {"items", "N", "300",
                      "Photographs in the gallery; of more, the best, the worst and a sample.",
                      PM_CMD_REPORT, PM_OPTION_ONE, much},
    [PM_OPT_EXPERIMENT_OUT] = {"out", "DIR", NULL,
                               "Folder for data, figures and the reading (the experiment's name).",
                               PM_CMD_EXPERIMENT, PM_OPTION_ONE, where},
    [PM_OPT_EXPERIMENT_SEED] = {"seed", "S", NULL,
                                "Of all random numbers (gradient-sum: 21; else 0).",
                                PM_CMD_EXPERIMENT, PM_OPTION_ONE, how},
    [PM_OPT_DISTRIBUTION] = {"distribution", "NAME", NULL,
                             "gradient-sum: normal (as in the text) or uniform (as in the "
                             "published code); both unless given.",
                             PM_CMD_EXPERIMENT, PM_OPTION_ONE, how},
    [PM_OPT_IMAGES_ONLY] = {"images-only", NULL, NULL, "Only draw the pictures and labels.csv.",
                            PM_CMD_DEMO, PM_OPTION_FLAG, what},
    [PM_OPT_PICTURES_SEED] = {"seed", "S", "2", "Which stream of pictures --images-only draws.",
                              PM_CMD_DEMO, PM_OPTION_ONE, what},
    [PM_OPT_WORKERS] = {"workers", "N", "1", "Worker processes to start.",
                        PM_CMD_RUN | PM_CMD_DEMO | STATS | STUDY, PM_OPTION_ONE, much},
    [PM_OPT_THREADS] = {"threads", "N", NULL,
                        "Compute threads of each worker (the cores, shared out).",
                        PM_CMD_RUN | STATS | STUDY, PM_OPTION_ONE, much},
    [PM_OPT_LIMIT] = {"limit", "N", NULL, "Only the first N photographs.",
                      SPEC | STATS | STUDY | PM_CMD_DEMO, PM_OPTION_ONE, much},
    [PM_OPT_PRIORITY] = {"priority", "N", NULL,
                         "Of a new run, -100 .. 100: the greater goes first (0).", SPEC,
                         PM_OPTION_ONE, much},
    [PM_OPT_MAX_WORKERS] = {"max-workers", "N", NULL,
                            "Of a new run: at most N workers work on it at a time.", SPEC,
                            PM_OPTION_ONE, much},
    [PM_OPT_STAGE] = {"stage", "NAME", NULL,
                      "Only what failed there: fetch, decode, preprocess, compute, crash.", FAILED,
                      PM_OPTION_ONE, what},
    [PM_OPT_REASON] = {"reason", "WORD", NULL, "Only what failed for this reason.", FAILED,
                       PM_OPTION_ONE, what},
    [PM_OPT_IMAGE] = {"image", "GLOB", NULL,
                      "Only photographs whose path matches: * is any text, ? one letter, [a-z] "
                      "one of these.",
                      FAILED | SPEC | STUDY, PM_OPTION_ONE, what},
    [PM_OPT_NAME] =
        {"name", "TEXT", "",
         "A name for the run; another name is another run. Of stats: what --stats calls them.",
         SPEC | STATS | STUDY, PM_OPTION_ONE, what},
    [PM_OPT_FORCE] = {"force", NULL, NULL, "Give the name to these statistics, whatever has it.",
                      STATS, PM_OPTION_FLAG, what},
    [PM_OPT_ROLE] = {"role", "ROLE", "client",
                     "What the key is for: client (asks for runs), worker (computes), admin (a "
                     "client that may do more), broker.",
                     PM_CMD_KEYGEN, PM_OPTION_ONE, what},
    [PM_OPT_KEY_NAME] = {"name", "NAME", NULL, "How the broker's list and log call it (USER@HOST).",
                         PM_CMD_KEYGEN, PM_OPTION_ONE, what},
    [PM_OPT_KEY_OUT] =
        {"out", "PATH", NULL,
         "Write PATH.key (secret) and PATH.pub (~/.config/parchmill/client, worker or "
         "broker, by the role).",
         PM_CMD_KEYGEN, PM_OPTION_ONE, where},
    [PM_OPT_KEY_FORCE] = {"force", NULL, NULL,
                          "Replace key files that are there; who has the old key is locked out.",
                          PM_CMD_KEYGEN, PM_OPTION_FLAG, what},
    [PM_OPT_SPEC] = {"spec", "FILE", NULL,
                     "Options from a JSON object: keys are option names, lists are grids. The "
                     "command line wins.",
                     HOW | STATS, PM_OPTION_ONE, what},
    [PM_OPT_DRY_RUN] = {"dry-run", NULL, NULL,
                        "Say how many results, how long and how large the file; write nothing.",
                        PM_CMD_RUN, PM_OPTION_FLAG, much},
    [PM_OPT_FORMAT] = {"format", "NAME", "table", "table, csv, json, jsonl or markdown.",
                       PM_CMD_SQL | PM_CMD_QUERIES, PM_OPTION_ONE, show},
    [PM_OPT_SHOW] = {"show", NULL, NULL, "Print the SQL, ask nothing.", PM_CMD_QUERIES,
                     PM_OPTION_FLAG, show},
    [PM_OPT_EXPORT_FORMAT] = {"format", "NAME", NULL,
                              "csv, jsonl (a folder of tables), npy (a folder of arrays), sqlite "
                              "(a database of this run alone) or postgres (a script for psql).",
                              PM_CMD_EXPORT, PM_OPTION_ONE, how},
    [PM_OPT_EXPORT_OUT] = {"out", "PATH", NULL,
                           "What to make; - is standard output: of postgres, and of csv and jsonl "
                           "with --table.",
                           PM_CMD_EXPORT, PM_OPTION_ONE, where},
    [PM_OPT_EXPORT_TABLE] = {"table", "NAME", NULL,
                             "csv, jsonl: only this one, into a file: results, curves, layers, "
                             "channels, configurations, images, boxes, failures.",
                             PM_CMD_EXPORT, PM_OPTION_ONE, how},
    [PM_OPT_EXPORT_WITHOUT] = {"without", "TABLE,...", NULL,
                               "sqlite, postgres: leave these empty: heat_map, "
                               "channel_gradient_item, layer_gradient, perturbation, activation, "
                               "channel_statistics, class_statistics, failure.",
                               PM_CMD_EXPORT, PM_OPTION_GRID, how},
    [PM_OPT_EXPORT_FORCE] =
        {"force", NULL, NULL,
         "Replace the file at --out, whatever it is; a former export in a folder, or "
         "of postgres, is replaced without.",
         PM_CMD_EXPORT, PM_OPTION_FLAG, where},
    [PM_OPT_QUERY_FILE] = {"file", "FILE", NULL, "Read the question from a file; - is stdin.",
                           PM_CMD_SQL, PM_OPTION_ONE, where},
    [PM_OPT_MAX_ROWS] = {"max-rows", "N", "1000000",
                         "Show at most N rows, and say so; 0: all. At the prompt 1000.", PM_CMD_SQL,
                         PM_OPTION_ONE, much},
    [PM_OPT_TIMEOUT] = {"timeout", "SECONDS", "60",
                        "End a question that takes longer; 0: none. A broker has its own limit, "
                        "too.",
                        PM_CMD_SQL, PM_OPTION_ONE, much},
    [PM_OPT_MAX_MEMORY] = {"max-memory", "MIB", "512",
                           "--db: end a question that needs more memory; 0: no limit.", PM_CMD_SQL,
                           PM_OPTION_ONE, much},
    [PM_OPT_WATCH] = {"watch", NULL, NULL, "Go on showing until the run is done.", PM_CMD_STATUS,
                      PM_OPTION_FLAG, show},
    [PM_OPT_QUIET] = {"quiet", NULL, NULL, "Show errors only.",
                      PM_CMD_RUN | PM_CMD_ATTRIBUTE | STATS | STUDY, PM_OPTION_FLAG, show},
    [PM_OPT_JSON] = {"json", NULL, NULL, "One JSON object on stdout instead of text.",
                     PM_CMD_MODELS | PM_CMD_INSPECT | SPEC | PM_CMD_ATTRIBUTE | ASK | STATS |
                         FLEET | PM_CMD_FAILURES | PM_CMD_DOCTOR | KEEP,
                     PM_OPTION_FLAG, show},
    [PM_OPT_HELP] = {"help", NULL, NULL, "Show this.", ~0u, PM_OPTION_FLAG, show},
};

const pm_option *pm_option_at(pm_option_id id) { return &table[id]; }
