/* One request in work: what is asked, what its hooks measure, what its passes have summed; and the
 * gradients of it that a backward pass takes back together. */
#ifndef PM_ENGINE_JOB_H
#define PM_ENGINE_JOB_H

#include "worker/engine/plan/plan.h"

typedef struct pm_job {
    const pm_configuration *configuration;
    const float *baseline; /* these three as in the request */
    pm_noise_fn noise;
    void *noise_user;
    size_t image; /* of those that are attributed together */
    size_t target;
    float p_target;            /* of the image itself */
    bool done;                 /* its heat map stands */
    pm_layer_gradient *layers; /* [conv_count], the configuration's hooks in front */
    float *channel_variance;   /* [sum of all convolutions' channels], hook by hook */
    uint8_t *in_h;             /* the same */
    float *heat_map;           /* [height, width] */
    float *sum, *squares; /* [3, height, width]: sums over passes so far; for methods of many */
    double *cam_weights;  /* gradcam: [most channels] mean gradient of each channel */
    /* ig: the result's, and where the path was before */
    double ig_sum, ig_expected, ig_p, ig_logit;
} pm_job;

/* One gradient of a backward pass: a job's, at one point of the last forward pass. */
typedef struct pm_pull {
    pm_job *job;
    size_t point;              /* place in the forward pass */
    size_t index;              /* of the point among all that the job looks at */
    bool record;               /* the job's last, whose layers are given out */
    pm_layer_gradient *layers; /* as in the job; scratch where nothing is recorded */
    uint8_t *in_h;             /* likewise */
} pm_pull;

/* Scratch of the hooks of one context. */
typedef struct pm_hook_scratch {
    double *sum_h, *sum_l; /* [largest convolution's height width] */
    float *weight_h;       /* [most blocks v], aligned */
    double *scores;        /* [most channels] */
} pm_hook_scratch;

/* Whether H can be chosen: PM_E_NOT_FOUND where the target has no statistics. */
pm_status pm_job_check(const pm_configuration *configuration, size_t target);

/* Choose H at every hook. activations: at the pull's point, all convolutions' channels, those of
 * convolution i from channel_of[i] on; read for mask ins only. */
pm_status pm_pull_select(const pm_model *model, const pm_pull *pull, const float *activations,
                         const size_t *channel_of, const pm_hook_scratch *scratch);

/* Measure the gradient at the hook step's convolution, and scale it as the job's configuration
 * says. slot: the pull's place in the backward pass. Nothing where the convolution is not hooked,
 * or where nothing is recorded and nothing is to be scaled. */
void pm_pull_hook(const pm_plan *plan, const pm_step *step, size_t slot, const pm_pull *pull,
                  const pm_hook_scratch *scratch);

#endif
