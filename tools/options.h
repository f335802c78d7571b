/* The one table of options: name, argument, default, help and the commands that take each.
 *
 * Use: pm_options_parse on a command's arguments, then the getters. `--help`, near names and the
 * JSON form (`--spec FILE.json`: keys are option names, lists make grids) all come from the table.
 * A grid option takes a comma list and may be repeated; every other option may stand once. Two
 * rows may bear one name where no command takes both.
 * Failures: PM_E_USAGE with one line that says what, where and what to do. */
#ifndef PM_TOOLS_OPTIONS_H
#define PM_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/status.h"

/* Commands, as bits: which of them take an option. */
enum {
    PM_CMD_MODELS = 1 << 0,
    PM_CMD_INSPECT = 1 << 1,
    PM_CMD_ATTRIBUTE = 1 << 2,
    PM_CMD_RUN = 1 << 3,
    PM_CMD_SUBMIT = 1 << 4,
    PM_CMD_STATUS = 1 << 5,
    PM_CMD_CANCEL = 1 << 6,
    PM_CMD_RETRY = 1 << 7,
    PM_CMD_SQL = 1 << 8,
    PM_CMD_REFRESH = 1 << 9,
    PM_CMD_DEMO = 1 << 10,
    PM_CMD_STATS = 1 << 11,
    PM_CMD_PAUSE = 1 << 12,
    PM_CMD_RESUME = 1 << 13,
    PM_CMD_PRIORITY = 1 << 14,
    PM_CMD_MAX_WORKERS = 1 << 15,
    PM_CMD_FAILURES = 1 << 16,
    PM_CMD_WORKERS = 1 << 17,
    PM_CMD_DRAIN = 1 << 18,
    PM_CMD_KEYGEN = 1 << 20,
    PM_CMD_DOCTOR = 1 << 21,
    PM_CMD_QUERIES = 1 << 22,
    PM_CMD_EXPERIMENT = 1 << 23,
    PM_CMD_REPORT = 1 << 24,
    PM_CMD_EXPORT = 1 << 25,
    PM_CMD_PRUNE = 1 << 26,
    PM_CMD_COMPACT = 1 << 27,
    PM_CMD_MERGE = 1 << 28,
};

typedef enum pm_option_id {
    PM_OPT_MODEL,
    PM_OPT_WEIGHTS,
    PM_OPT_IMAGES,
    PM_OPT_CLASSES,
    PM_OPT_BOXES,
    PM_OPT_BOX_RULE,
    PM_OPT_BOX,
    PM_OPT_METHOD,
    PM_OPT_GUIDED,
    PM_OPT_STEPS,
    PM_OPT_BASELINE,
    PM_OPT_SAMPLES,
    PM_OPT_SIGMA,
    PM_OPT_CAM_LAYER,
    PM_OPT_MASK,
    PM_OPT_QUANTILE,
    PM_OPT_ALPHA,
    PM_OPT_P_VALUE_THRESHOLD,
    PM_OPT_TEST,
    PM_OPT_STATS,
    PM_OPT_LAYERS,
    PM_OPT_GAMMA,
    PM_OPT_EXACT,
    PM_OPT_VARIANCE_CONSERVATION,
    PM_OPT_TARGET,
    PM_OPT_CHANNELS,
    PM_OPT_HEATMAPS,
    PM_OPT_EVALUATE,
    PM_OPT_RATIOS,
    PM_OPT_REPLACE,
    PM_OPT_CHECK_RANDOMIZATION,
    PM_OPT_RESIZE,
    PM_OPT_CROP,
    PM_OPT_FILTER,
    PM_OPT_MEAN,
    PM_OPT_STD,
    PM_OPT_TRANSFORM_INPUT,
    PM_OPT_INPUT,
    PM_OPT_SEED,
    PM_OPT_DB,
    PM_OPT_BROKER,
    PM_OPT_KEY,
    PM_OPT_BROKER_KEY,
    PM_OPT_INSECURE,
    PM_OPT_ROLE,
    PM_OPT_KEY_NAME,
    PM_OPT_KEY_OUT,
    PM_OPT_WORKERS,
    PM_OPT_THREADS,
    PM_OPT_LIMIT,
    PM_OPT_PRIORITY,
    PM_OPT_MAX_WORKERS,
    PM_OPT_STAGE,
    PM_OPT_REASON,
    PM_OPT_IMAGE,
    PM_OPT_NAME,
    PM_OPT_FORCE,
    PM_OPT_KEY_FORCE,
    PM_OPT_SPEC,
    PM_OPT_DRY_RUN,
    PM_OPT_OUT,
    PM_OPT_MERGE_OUT,
    PM_OPT_MERGE_INTO,
    PM_OPT_DROP_CHANNEL_SUMS,
    PM_OPT_PRUNE_ACTIVATIONS,
    PM_OPT_PRUNE_HEAT_MAPS,
    PM_OPT_PRUNE_CHANNEL_ITEMS,
    PM_OPT_PRUNE_RUN,
    PM_OPT_PRUNE_ORPHANS,
    PM_OPT_PRUNE_DRY_RUN,
    PM_OPT_REPORT_OUT,
    PM_OPT_ITEMS,
    PM_OPT_EXPERIMENT_OUT,
    PM_OPT_EXPERIMENT_SEED,
    PM_OPT_DISTRIBUTION,
    PM_OPT_IMAGES_ONLY,
    PM_OPT_PICTURES_SEED,
    PM_OPT_FORMAT,
    PM_OPT_SHOW,
    PM_OPT_EXPORT_FORMAT,
    PM_OPT_EXPORT_OUT,
    PM_OPT_EXPORT_TABLE,
    PM_OPT_EXPORT_WITHOUT,
    PM_OPT_EXPORT_FORCE,
    PM_OPT_QUERY_FILE,
    PM_OPT_MAX_ROWS,
    PM_OPT_TIMEOUT,
    PM_OPT_MAX_MEMORY,
    PM_OPT_WATCH,
    PM_OPT_QUIET,
    PM_OPT_JSON,
    PM_OPT_HELP,
    PM_OPT_COUNT
} pm_option_id;

typedef enum pm_option_kind {
    PM_OPTION_FLAG,  /* stands alone */
    PM_OPTION_ONE,   /* one value, taken whole */
    PM_OPTION_GRID,  /* comma list or repeated */
    PM_OPTION_KEYED, /* the same of values like NAME:KEY=V,KEY=V: KEY=V belongs to what is before */
    PM_OPTION_SWITCH, /* grid of on, off; alone it is on */
} pm_option_kind;

typedef struct pm_option {
    const char *name;     /* without dashes */
    const char *argument; /* "N"; NULL for flags */
    const char *fallback; /* the default as typed; NULL: none */
    const char *help;
    unsigned commands;
    pm_option_kind kind;
    const char *group;
} pm_option;

const pm_option *pm_option_at(pm_option_id id);

typedef struct pm_options pm_options;

/* `command` is one PM_CMD bit, `name` its name for texts. argv holds the arguments behind the
 * command's name; --spec files are read here. */
pm_status pm_options_parse(unsigned command, const char *name, int argc, char *const *argv,
                           pm_options **out);
/* What was given of `from`, as far as `command` takes it too, behind the arguments argv (ends with
 * NULL), which win. */
pm_status pm_options_derive(const pm_options *from, unsigned command, const char *name,
                            const char *const *argv, pm_options **out);
void pm_options_free(pm_options **options);

bool pm_options_given(const pm_options *options, pm_option_id id);
/* How many values: those given, else 1 where there is a default, else 0. */
size_t pm_options_count(const pm_options *options, pm_option_id id);
const char *pm_options_value(const pm_options *options, pm_option_id id, size_t index);
/* The first value, or NULL. */
const char *pm_options_text(const pm_options *options, pm_option_id id);
bool pm_options_flag(const pm_options *options, pm_option_id id);
/* Whole number in least .. most. */
pm_status pm_options_size(const pm_options *options, pm_option_id id, size_t least, size_t most,
                          size_t *out);
/* The same with a sign. */
pm_status pm_options_int(const pm_options *options, pm_option_id id, int least, int most, int *out);
/* PM_E_USAGE if the option is missing: "run: --model NAME is missing". */
pm_status pm_options_need(const pm_options *options, pm_option_id id);

size_t pm_options_operand_count(const pm_options *options);
const char *pm_options_operand(const pm_options *options, size_t index);
/* PM_E_USAGE unless there are least .. most operands; `what` names them: "PHOTO". */
pm_status pm_options_operands(const pm_options *options, const char *what, size_t least,
                              size_t most);
/* The number of a run; `what` names it in texts: "RUN". PM_E_USAGE: none, or 0. */
pm_status pm_run_parse(const char *what, const char *text, uint64_t *out);
/* The operand `index` as a run's number; 0 where it is not given. */
pm_status pm_options_run(const pm_options *options, size_t index, uint64_t *out);

/* The options of a command by group, wrapped to `width` columns. */
void pm_options_print_help(unsigned command, FILE *out, size_t width);

/* The name nearest to `word` if it is near enough to be meant, else NULL. */
const char *pm_near_name(const char *word, const char *const *names, size_t count);

#endif
