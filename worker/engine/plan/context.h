/* The inside of a context, shared by the sources that run it: context.c (life), requests.c
 * (requests and results), path.c (the points that a method looks at, and its heat map), cam.c
 * (Grad-CAM's), zero.c (where ig from zeros begins), round.c (one backward pass of some jobs),
 * forward.c (one forward pass and what is read off it).
 *
 * A point is an input that is run forward: an image itself, or what a method makes of it. Several
 * run together (plan.points), and so do gradients at them (plan.batch). */
#ifndef PM_ENGINE_CONTEXT_H
#define PM_ENGINE_CONTEXT_H

#include "worker/engine/plan/job.h"

/* More than a batch: requests that look at the same points share the passes forward, in however
 * many rounds they go back. */
enum { PM_JOBS = 16 };

/* A gradient at zeros, of one configuration and class. */
typedef struct pm_zero {
    uint64_t configuration; /* its serial; 0: nothing */
    size_t target;
    uint64_t used;
    double p, logit;       /* of the target there */
    const float *gradient; /* [3, height, width] */
} pm_zero;

struct pm_context {
    const pm_model *model;
    pm_plan plan;
    pm_plan logits_plan; /* points 0: not asked for */
    pm_job *jobs;        /* [PM_JOBS] requests in work together */
    float *heat_maps, *channel_variances, *sums;
    uint8_t *in_h;
    double *cam_weights;
    pm_layer_gradient *layers;
    pm_pull *pulls; /* [batch] of the next backward pass */
    size_t pull_count;
    pm_zero zeros[PM_JOBS];
    uint64_t zero_clock;
    float *zero_gradients;          /* [PM_JOBS][3, height, width] */
    pm_layer_gradient *pull_layers; /* [batch][conv_count] for those that record nothing, */
    uint8_t *pull_in_h;             /* [batch][channels] likewise */
    /* the images that are attributed together */
    const float *const *inputs; /* [image_count] */
    size_t image_count;
    float *image_logits; /* [points][classes] */
    size_t *predicted;   /* [points] */
    /* the last forward pass: of each point */
    float *logits;      /* [points][classes] */
    float *activations; /* [points][channels of all convolutions], where measured */
    float *densities;   /* [points][conv_count] likewise */
    float *cam_map;     /* [points][cam_floats] cam_conv's raw output, as the plan lays it out */
    size_t cam_floats;
    bool at_images; /* it was at the images themselves, and nothing has run since */
    /* what a forward pass is to look at */
    bool *measured; /* [conv_count] convolutions whose activation it measures */
    int cam_conv;   /* the convolution whose raw output it copies, or -1 */
    /* scratch */
    float *point, *noise;     /* [3, height, width] */
    float *gradient;          /* [3, height, width] */
    size_t *targets;          /* [batch] of the pulls */
    float *seeds;             /* [batch] */
    float scale[3], shift[3]; /* the network sees scale x + shift of an input x */
    pm_hook_scratch scratch;
    size_t *channel_of; /* [conv_count + 1] where each convolution's channels begin */
    size_t *hook_step;  /* [conv_count] its hook's step */
    int *raw_of;        /* [conv_count] the tensor of its raw output */
    void (*beat)(void *user);
    void *beat_user;
};

/* Input [3, height, width] becomes a point of the next forward pass. */
void pm_context_load(pm_context *context, size_t point, const float *input);
/* One forward pass of the points loaded: fills logits, and what is to be looked at. */
void pm_context_forward(pm_context *context, size_t points);
const float *pm_context_point_logits(const pm_context *context, size_t point);
size_t pm_argmax(const float *values, size_t count);
/* softmax(logits)_k, worked out in double. */
double pm_softmax_at(const float *logits, size_t count, size_t k);
void pm_context_beat(const pm_context *context);

/* The backward pass of the pulls, from the points of the last forward pass; the gradient of the
 * probability-weighted target logit there. `guided` goes for all of them. */
void pm_context_backward(pm_context *context, bool guided);
/* The input's gradient of pulls[slot] into `gradient`. Not of gradcam's jobs, for which backward
 * may stop before it gets there. */
void pm_context_read_gradient(pm_context *context, size_t slot);

/* Run the first `count` jobs: the forward passes of each path are shared. */
pm_status pm_context_run_jobs(pm_context *context, size_t count);

/* As pm_context_new, by so many points at a time: for tests, as pm_context_new takes one alone for
 * a small model. */
pm_status pm_context_new_points(const pm_model *model, size_t height, size_t width, size_t points,
                                size_t batch, pm_context **out);

/* NULL: not among the last ones. */
const pm_zero *pm_context_find_zero(pm_context *context, const pm_job *job);
/* `gradient` is the job's at zeros. */
void pm_context_keep_zero(pm_context *context, const pm_job *job, double p, double logit);
void pm_context_forget_zeros(pm_context *context);

/* Grad-CAM: the weights, off the gradient in `in` of a hook's or the last pooling's step; the heat
 * map, once the weights stand. */
void pm_cam_weigh(const pm_plan *plan, const pm_step *step, size_t slot, pm_job *job);
void pm_cam_heat_map(pm_context *context, pm_job *job);

#endif
