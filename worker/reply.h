/* An ItemResult in the making: one Result for each configuration of a task, in the task's order.
 * Knows the wire's form of what the engine gives; computes nothing but box scores. */
#ifndef PM_WORKER_REPLY_H
#define PM_WORKER_REPLY_H

#include "lib/spec/spec.h"
#include "lib/stats/boxes.h"
#include "lib/stats/perturbation.h"
#include "parchgrad.h"
#include "worker/work.h"

typedef struct pm_reply pm_reply;

/* Every result starts as open. PM_E_MEMORY. */
pm_status pm_reply_new(const Pm__Wire__Task *task, const Pm__Wire__Item *item, pm_reply **out);
void pm_reply_free(pm_reply **reply);

void pm_reply_set_size(pm_reply *reply, size_t width, size_t height);

/* Result k (position in the task's configurations) is a failure. */
pm_status pm_reply_fail(pm_reply *reply, size_t k, const char *stage, const char *reason,
                        const char *text);
/* All that are open. */
pm_status pm_reply_fail_open(pm_reply *reply, const char *stage, const char *reason,
                             const char *text);

/* Result k from the engine's answer; its boxes in pixels of the heat map, none where the item has
 * none. A heat map with values that are not finite becomes a failure. PM_E_MEMORY. */
pm_status pm_reply_fill(pm_reply *reply, size_t k, const pm_model *model,
                        const pm_attribution_result *result, const pm_pixel_box *boxes,
                        size_t box_count, pm_channels channels, pm_heat_maps heat_maps);

/* Result k of method gather; `target` as in a request. PM_E_MEMORY. */
pm_status pm_reply_activations(pm_reply *reply, size_t k, const pm_model *model, int target,
                               const pm_activations *activations);

bool pm_reply_failed(const pm_reply *reply, size_t k);

/* Result k gets its curves too; logits that are not finite make it a failure. Nothing where it is
 * one already. PM_E_MEMORY. */
pm_status pm_reply_curves(pm_reply *reply, size_t k, const pm_curves_result *curves);

/* The finished reply as something to send; *reply is gone. Open results are our bug. */
pm_status pm_reply_finish(pm_reply **reply, double compute_ms_each, pm_outgoing **out);

#endif
