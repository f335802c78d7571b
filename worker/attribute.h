/* From open photographs to filled replies. */
#ifndef PM_WORKER_ATTRIBUTE_H
#define PM_WORKER_ATTRIBUTE_H

#include "lib/image/image.h"
#include "worker/contexts.h"
#include "worker/evaluate.h"
#include "worker/input.h"
#include "worker/reply.h"
#include "worker/stages.h"

enum { PM_TOGETHER_MAX = 8 }; /* items */

/* One item in work. Zeroed, then the caller's to fill as far as the gap. */
typedef struct pm_in_work {
    const pm_run_ready *ready;
    const Pm__Wire__Task *task;
    const Pm__Wire__Item *item;
    pm_reply *reply;
    pm_image image;

    pm_request *requests; /* [n_configurations] of one call of the engine */
    size_t *positions;    /* request -> position in the task's configurations */
    size_t request_count;
    pm_item_input input;     /* of those requests */
    pm_evaluator *evaluator; /* NULL: the run wants no curves */
} pm_in_work;

/* How many items of the task the engine should take at once: more than one where the model has wide
 * layers and each item is a few passes, which is quickly done. */
size_t pm_attribute_together(const pm_run_ready *ready, const Pm__Wire__Task *task);

/* Fill the replies of up to so many items, whose photographs are open. What fails for one item or
 * one configuration is in its reply. Not PM_OK: nothing can be said (no memory). */
pm_status pm_attribute_items(pm_contexts *contexts, pm_stages *stages, pm_in_work *items,
                             size_t count);

#endif
