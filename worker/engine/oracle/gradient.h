/* One gradient of the oracle: forward, the probability-weighted seed, backward with ParchGrad's
 * rule and guided clamping. Compiled for float and for double. */
#ifndef PM_ORACLE_GRADIENT_H
#define PM_ORACLE_GRADIENT_H

#include "worker/engine/oracle/run.h"

typedef struct pm_oracle_gradient {
    pm_oracle_run pass;
    const pm_configuration *configuration;
    pm_oracle_layer *layers; /* [hook_count] filled by each gradient */
    double *scores;          /* [most channels] scratch */
    int cam_node;            /* PM_NODE_NONE, or the map whose gradient is wanted as it arrives */
    pm_real *cam;            /* the gradient there, as that node's value is laid out */
} pm_oracle_gradient;

/* At point x [3][height][width]: pass.grad[0] is the gradient of the input for `target`. *p and
 * *logit: its softmax and logit there. */
pm_status PM_ORACLE(gradient_at)(pm_oracle_gradient *g, const pm_real *x, size_t target, double *p,
                                 double *logit);
/* softmax of `count` logits at k. */
double PM_ORACLE(softmax)(const pm_real *logits, size_t count, size_t k);

#endif
