/* The perturbation curves of an item's heat maps. Knows no wire.
 *
 * Forward passes would disturb results that the same context has still to give out: so keep what
 * one call of pm_context_attribute gives, and run after it. */
#ifndef PM_WORKER_EVALUATE_H
#define PM_WORKER_EVALUATE_H

#include "lib/base/hash.h"
#include "lib/spec/spec.h"
#include "lib/stats/perturbation.h"
#include "parchgrad.h"

enum { PM_EVALUATED_MAX = 32 }; /* heat maps kept at a time */

/* Ratios, over all heat maps of the items that the engine should take at once: a few seconds of the
 * slowest network. */
enum { PM_RATIOS_TOGETHER = 32 };

typedef struct pm_evaluator pm_evaluator;

/* `tensor` [3][side][side], borrowed, is what the heat maps are of; `image` the SHA-256 of its
 * photograph; `classes` of the model. PM_E_MEMORY. */
pm_status pm_evaluator_new(const pm_evaluation *evaluation, const float *tensor, size_t side,
                           size_t classes, const pm_sha256 *image, pm_evaluator **out);
void pm_evaluator_free(pm_evaluator **evaluator);

/* Copies heat map, logits and target; `key` is the caller's. At most PM_EVALUATED_MAX between runs.
 * PM_E_MEMORY. */
pm_status pm_evaluator_keep(pm_evaluator *evaluator, size_t key,
                            const pm_attribution_result *result);

/* Called for each that was kept, in order; the curves are valid during the call. */
typedef pm_status (*pm_curves_fn)(void *user, size_t key, const pm_curves_result *curves);

/* Curves of all that was kept, which is forgotten then. The context's beat is heard. */
pm_status pm_evaluator_run(pm_evaluator *evaluator, pm_context *context, pm_curves_fn give,
                           void *user);

#endif
