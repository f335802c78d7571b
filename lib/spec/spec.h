/* What is to be computed: the run specification and its configurations, as text that hashes.
 *
 * A configuration is one canonical JSON object: keys sorted, no blanks, numbers as %.17g, infinity
 * as "inf". Keys of the first version are always there; later ones only where they mean something
 * and, for switches, differ from their default, so that older texts stay canonical. Its SHA-256 is
 * its identity (DESIGN 1). The same text travels on the wire, stands in the database and is what a
 * worker computes from. */
#ifndef PM_SPEC_H
#define PM_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/attribution.h"
#include "lib/base/hash.h"
#include "lib/base/input.h"
#include "lib/base/status.h"
#include "lib/spec/evaluation.h"

typedef enum pm_target_rule {
    PM_TARGET_RULE_LABEL,
    PM_TARGET_RULE_TOP,
    PM_TARGET_RULE_CLASS
} pm_target_rule;

/* One way to attribute, whole: everything that can change a number but the image itself. */
typedef struct pm_config {
    char arch[64];
    pm_sha256 weights;
    bool has_statistics;
    pm_sha256 statistics; /* of the statistics file; masks cls and ins only */
    size_t resize, crop;  /* preprocessing, pixels */
    pm_filter filter;
    float mean[3], std[3];
    pm_input input; /* what is done to the crop before mean and std */
    pm_target_rule target_rule;
    size_t target_class;      /* for PM_TARGET_RULE_CLASS */
    bool all_boxes;           /* score the union of an image's boxes; else the first */
    bool transform_input;     /* inception_v3, googlenet: torchvision's flag of that name */
    pm_sha256 baseline_image; /* of the file; PM_BASELINE_IMAGE only */
    pm_attribution attribution;
} pm_config;

/* Canonical text from malloc (the caller frees) and its hash. Fields that method or mask make
 * meaningless are written at their defaults, so that equal work has an equal hash. */
pm_status pm_config_format(const pm_config *config, char **text, pm_sha256 *hash);
/* The reverse; PM_E_FORMAT on an unknown, missing or ill-typed field. */
pm_status pm_config_parse(const char *text, pm_config *out);
/* Ranges and combinations that need no model; PM_E_USAGE. */
pm_status pm_config_check(const pm_config *config);
/* Whether both resize, crop and normalise alike. */
bool pm_config_same_preprocessing(const pm_config *a, const pm_config *b);
/* Whether both show the network the same tensor of an image: preprocessing, input and, where that
 * draws, its seed; the network's own transform of it. */
bool pm_config_same_tensor(const pm_config *a, const pm_config *b);
/* One short line for people: "cls q0.1 t0.05 default gamma inf vc on". */
void pm_config_label(const pm_config *config, char *out, size_t size);

typedef enum pm_channels {
    PM_CHANNELS_NONE,
    PM_CHANNELS_SUMMARY,
    PM_CHANNELS_FULL,
    PM_CHANNELS_COUNT
} pm_channels;
typedef enum pm_heat_maps {
    PM_HEAT_MAPS_NONE,
    PM_HEAT_MAPS_F16,
    PM_HEAT_MAPS_F32,
    PM_HEAT_MAPS_COUNT
} pm_heat_maps;
const char *pm_channels_name(pm_channels channels);
const char *pm_heat_maps_name(pm_heat_maps heat_maps);
pm_status pm_channels_parse(const char *name, pm_channels *out);
pm_status pm_heat_maps_parse(const char *name, pm_heat_maps *out);

typedef struct pm_spec_box {
    double xmin, ymin, xmax, ymax; /* source pixels */
} pm_spec_box;

/* One image of a data set. */
typedef struct pm_item {
    char *path; /* relative to the data set's root; unique in it */
    pm_sha256 sha256;
    uint64_t size_bytes;
    int label; /* -1: none */
    size_t box_count;
    pm_spec_box *boxes;
} pm_item;

/* An ordered list of images. Identity: SHA-256 over every item's path, hash, label and boxes. */
typedef struct pm_data_set {
    char *root; /* absolute folder */
    char *name; /* for people: last part of the path */
    size_t count;
    pm_item *items;
    size_t class_name_count;
    char **class_names; /* [class_name_count], NULL where not known */
} pm_data_set;

void pm_data_set_fini(pm_data_set *data_set);
pm_sha256 pm_data_set_hash(const pm_data_set *data_set);

/* One submission. */
typedef struct pm_run_spec {
    char name[128];                                 /* for people; may be "" */
    char weights_path[4096], statistics_path[4096]; /* absolute; statistics "" where none */
    uint64_t weights_size, statistics_size;         /* bytes */
    char baseline_path[4096]; /* absolute; the one photograph of PM_BASELINE_IMAGE, "" where none */
    uint64_t baseline_size;   /* bytes */
    size_t classes;           /* of the model */
    size_t config_count;
    pm_config *configs; /* all of the same arch and weights */
    pm_channels channels;
    pm_heat_maps heat_maps;
    pm_evaluation evaluation;
} pm_run_spec;

void pm_run_spec_fini(pm_run_spec *spec);

/* The hash of the photograph that configurations start from; NULL where none does. */
const pm_sha256 *pm_run_spec_baseline(const pm_run_spec *spec);

/* What makes the same command the same run: SHA-256 over the data set's hash, the configurations'
 * hashes in order, what is recorded, the name, and the evaluation where there is one. */
pm_sha256 pm_run_request_id(const pm_run_spec *spec, const pm_data_set *data_set);

#endif
