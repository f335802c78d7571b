/* What `parchmill attribute` says of one photograph: for people, and as JSON. */
#ifndef PM_TOOLS_ATTRIBUTE_REPORT_H
#define PM_TOOLS_ATTRIBUTE_REPORT_H

#include <stdio.h>

#include "tools/attribute_score.h"
#include "tools/order.h"
#include "tools/randomization.h"

/* A pm_attribution_result that outlives its call. */
typedef struct pm_attribute_report {
    const pm_order *order;
    const char *photograph;
    char *const *class_names; /* [class_name_count], NULL where not known */
    size_t class_name_count;
    pm_geometry geometry;
    int target, predicted;
    double p_target, p_predicted;
    double ig_sum, ig_expected; /* ig: parchgrad.h; NAN for other methods */
    float *logits;              /* [classes] */
    float *heat_map;            /* [side][side] */
    size_t side;                /* pixels */
    size_t layer_count;
    pm_layer_gradient *layers; /* channel arrays are NULL */
    double prepare_ms, compute_ms;
    pm_attribute_score score;
    pm_randomization randomization;
} pm_attribute_report;

/* Copies what the result points at. PM_E_MEMORY. */
pm_status pm_attribute_report_take(pm_attribute_report *report, const pm_attribution_result *from);
void pm_attribute_report_fini(pm_attribute_report *report);

void pm_attribute_report_print(const pm_attribute_report *report, FILE *out);
/* From malloc, ends with a newline. PM_E_MEMORY. */
pm_status pm_attribute_report_json(const pm_attribute_report *report, char **out);

#endif
