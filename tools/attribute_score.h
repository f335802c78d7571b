/* What `parchmill attribute` says of a heat map beside its numbers: how much of it lies in boxes,
 * and what taking pixels away does. */
#ifndef PM_TOOLS_ATTRIBUTE_SCORE_H
#define PM_TOOLS_ATTRIBUTE_SCORE_H

#include <jansson.h>
#include <stdio.h>

#include "lib/image/image.h"
#include "lib/spec/spec.h"
#include "lib/stats/boxes.h"
#include "lib/stats/perturbation.h"
#include "parchgrad.h"
#include "tools/options.h"

/* Zero-initialise; pm_attribute_score_fini also after a failure. */
typedef struct pm_attribute_score {
    pm_item item; /* its boxes in pixels of the photograph; the path is borrowed */
    size_t box_count;
    pm_pixel_box *boxes; /* [box_count] that are scored, in pixels of the crop, clamped */
    pm_box_score inside; /* where box_count > 0 */
    pm_evaluation evaluation;
    size_t row_count;
    pm_perturbation *rows;              /* [row_count], 0 without evaluation */
    double deletion_auc, insertion_auc; /* NAN where the ratios have no range */
} pm_attribute_score;

/* --evaluate, --ratios, --replace, with --seed. PM_E_USAGE. */
pm_status pm_evaluation_asked(const pm_options *options, pm_evaluation *out);

/* --box, or what --boxes has for the photograph of that name; none where neither is given.
 * PM_E_USAGE, and what reading gives. */
pm_status pm_attribute_boxes(const pm_options *options, const char *photograph,
                             pm_attribute_score *out);

/* Of a heat map [side][side] of `input` [3][side][side]; logits [classes] and target as the engine
 * gave them. `image`: SHA-256 of the photograph's file. PM_E_MEMORY; PM_E_FORMAT: logits of a
 * masked photograph are not finite. */
typedef struct pm_scored {
    pm_context *context;
    const float *input, *heat_map, *logits;
    size_t side, classes, target;
    pm_sha256 image;
    pm_geometry geometry; /* maps the boxes */
    bool all_boxes;       /* else the first */
} pm_scored;
pm_status pm_attribute_score_make(const pm_scored *subject, const pm_evaluation *evaluation,
                                  pm_attribute_score *score);
void pm_attribute_score_fini(pm_attribute_score *score);

/* Nothing where nothing was asked for. */
void pm_attribute_score_print(const pm_attribute_score *score, FILE *out);
/* Keys "boxes" and "evaluation", each null where it was not asked for. PM_E_MEMORY. */
pm_status pm_attribute_score_json(const pm_attribute_score *score, json_t *object);

#endif
