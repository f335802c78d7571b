/* The sanity check of Adebayo et al. (arXiv:1810.03292): layers start over as before training, from
 * the output on, and each model's heat map is compared with the trained one's by Spearman's rank
 * correlation. A method that explains what the model has learned falls towards 0.
 *
 * Target, statistics and all else stay those of the trained model; draws come from the seed of the
 * configuration (pm_model_new_randomized). */
#ifndef PM_TOOLS_RANDOMIZATION_H
#define PM_TOOLS_RANDOMIZATION_H

#include <jansson.h>
#include <stdio.h>

#include "tools/order.h"

typedef struct pm_randomization {
    size_t count; /* layers; 0: not asked for */
    double
        *correlations; /* [count] with the last 1, 2 .. layers anew; NAN where a map is constant */
} pm_randomization;

/* request: of the order's first configuration, its target a class; input: [3][side][side];
 * heat_map: [side][side], the trained model's. Reads the order's weights again. What opening them
 * gives, PM_E_MEMORY. */
pm_status pm_randomization_make(const pm_order *order, const pm_request *request,
                                const float *input, const float *heat_map, pm_randomization *out);
void pm_randomization_fini(pm_randomization *randomization);

/* Nothing where it was not asked for. */
void pm_randomization_print(const pm_randomization *randomization, const pm_model *model,
                            FILE *out);
/* `randomization`: a list of {layer, rank_correlation} in `root`. PM_E_MEMORY. */
pm_status pm_randomization_json(const pm_randomization *randomization, const pm_model *model,
                                json_t *root);

#endif
