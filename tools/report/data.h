/* What a report says, as numbers and texts: read from a database once, then only looked at.
 *
 * Use: pm_report_load -> the sections (tools/report/sections.h) -> pm_report_fini. PM_E_NOT_FOUND
 * for a run that is not there, else the errors of pm_query. */
#ifndef PM_TOOLS_REPORT_DATA_H
#define PM_TOOLS_REPORT_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/stats/paired.h"
#include "lib/store/query.h"

/* What is told of each result, in this order everywhere. */
typedef enum pm_metric {
    PM_METRIC_MU_IN_W,
    PM_METRIC_MU_IN,
    PM_METRIC_POINTING,
    PM_METRIC_DELETION,
    PM_METRIC_INSERTION,
    PM_METRIC_P_TARGET,
    PM_METRIC_GAP,
    PM_METRIC_COUNT
} pm_metric;

typedef struct pm_metric_info {
    const char *column; /* of result_wide, and the word in the page's address */
    const char *name;
    const char *meaning; /* a line for people */
    int better;          /* 1: more is better, -1: less */
} pm_metric_info;
extern const pm_metric_info pm_metrics[PM_METRIC_COUNT];

enum { PM_REPORT_PARAMETERS_MAX = 32, PM_REPORT_EXAMPLES = 3 };

typedef struct pm_report_configuration {
    int64_t id;
    char letter[8]; /* A, B .. Z, AA .. */
    char *label;
    char *parameters[PM_REPORT_PARAMETERS_MAX]; /* NULL: means nothing here */
    pm_moments moments[PM_METRIC_COUNT];
    pm_moments differences[PM_METRIC_COUNT]; /* this less the reference, on the same images */
    size_t results, errors, heat_maps;
    bool masked;
} pm_report_configuration;

typedef struct pm_report_item {
    int64_t image_id;
    char *path;
    char *sha256;
    int label;             /* -1: none */
    int target, predicted; /* of its first result; -1: none */
    float p_predicted;     /* likewise */
    bool done;             /* has a result with numbers */
} pm_report_item;

typedef struct pm_report_worker {
    int64_t id, first_ms, last_ms;
    char *name, *isa;
    size_t images, results, last_item;
    int threads;
    double *ms; /* [results] ascending once loaded */
    size_t room;
} pm_report_worker;

typedef struct pm_report_failure {
    char *stage, *reason, *hint;
    size_t images;
    size_t last_item;
    char *paths[PM_REPORT_EXAMPLES], *texts[PM_REPORT_EXAMPLES];
    size_t examples;
} pm_report_failure;

typedef struct pm_report_curve_point {
    size_t configuration; /* index */
    bool lerf;
    double ratio, p_target, half_width;
    size_t n;
} pm_report_curve_point;

typedef struct pm_report_layer {
    size_t configuration; /* index */
    int conv;
    char *name;
    size_t channels, results;
    double selected, share_h, beta; /* means; share_h and beta NAN where never H and L both */
} pm_report_layer;

typedef struct pm_report_channel {
    size_t configuration; /* index */
    bool by_selection;    /* ranked so; else by mean variance */
    char *layer;
    int channel;
    double mean, std;
    size_t count, selected;
} pm_report_channel;

/* All channels of the reference configuration, by layer, the greatest mean variance first. */
typedef struct pm_report_share {
    int conv;
    char layer[96];
    double mean;
} pm_report_share;

typedef struct pm_report {
    int64_t run;
    char *name, *state, *arch, *weights_sha256, *weights_path, *data_set, *data_root, *data_sha256,
        *engine, *evaluation, *channels_kept, *heat_maps_kept, *statistics, *filter;
    int64_t model_id, data_set_id, submitted_ms, finished_ms; /* finished_ms 0: not yet */
    size_t items, items_done, items_failed, results_reused, resize, crop;
    bool paused, all_boxes;
    char *parameter_names[PM_REPORT_PARAMETERS_MAX];
    size_t parameter_count;
    pm_report_configuration *configurations;
    size_t configuration_count, reference; /* index: what the others are compared with */
    pm_report_item *of_items; /* a photograph that stands twice in the data set is one, as in the
                                 views; in the order of the run */
    size_t item_count, items_seen;
    double *values; /* [configuration][metric][item]; NAN: none */
    char **class_names;
    size_t class_count;
    pm_report_worker *workers;
    size_t worker_count;
    pm_report_failure *failures;
    size_t failure_count, failed_rows;
    pm_report_curve_point *curve;
    size_t curve_count;
    pm_report_layer *layers;
    size_t layer_count;
    pm_report_channel *channels;
    size_t channel_count;
    pm_report_share *shares;
    size_t share_count;
    pm_metric main_metric; /* the gallery's first order */
} pm_report;

pm_status pm_report_load(pm_query *query, int64_t run, pm_report *out);
void pm_report_fini(pm_report *report);

/* Of a metric of a configuration: [item_count]. */
double *pm_report_values(const pm_report *report, size_t configuration, pm_metric metric);
bool pm_report_has(const pm_report *report, pm_metric metric);
/* The class by name or number, in `out`; "–" for -1. */
const char *pm_report_class(const pm_report *report, int class_index, char out[64]);
/* Of ascending values [count]; NAN without any. */
double pm_report_quantile(const double *ascending, size_t count, double share);

/* Inside: the further parts, each by queries of its own. */
pm_status pm_report_load_parts(pm_query *query, pm_report *report);
/* A new last element, all zero, of an array that grows; NULL without memory. */
void *pm_report_grow(void *array_pointer, size_t *count, size_t size);
char *pm_report_text(const pm_value *value); /* a copy; "" for NULL */
pm_status pm_report_no_memory(void);

#endif
