/* The inside of a context, shared by the sources that run it: context.c (life, requests, results),
 * path.c (the points that a method looks at, and its heat map), cam.c (Grad-CAM's), round.c (one
 * backward pass of some jobs), forward.c (one forward pass and what is read off it). */
#ifndef PM_ENGINE_CONTEXT_H
#define PM_ENGINE_CONTEXT_H

#include "worker/engine/plan/job.h"

struct pm_context {
    const pm_model *model;
    pm_plan plan;
    pm_plan logits_plan; /* batch 0: not asked for */
    pm_job *jobs;        /* [batch] */
    float *heat_maps, *channel_variances, *sums;
    uint8_t *in_h;
    double *cam_weights;
    pm_layer_gradient *layers;
    /* the image */
    float *image_logits; /* [classes] */
    size_t predicted;
    /* the last forward pass */
    float *logits;      /* [classes] */
    float *activations; /* [channels of all convolutions], where measured */
    float *densities;   /* [conv_count] likewise */
    float *cam_map;     /* cam_conv's raw output, as the plan lays it out */
    bool at_image;      /* it was at the image itself, and nothing has run since */
    /* what a forward pass is to look at */
    bool *measured; /* [conv_count] convolutions whose activation it measures */
    int cam_conv;   /* the convolution whose raw output it copies, or -1 */
    /* scratch */
    float *point, *noise;     /* [3, height, width] */
    float *gradient;          /* [3, height, width] */
    size_t *targets;          /* [batch] of the round's jobs */
    float *seeds;             /* [batch] */
    float scale[3], shift[3]; /* the network sees scale x + shift of an input x */
    pm_hook_scratch scratch;
    size_t *channel_of; /* [conv_count + 1] where each convolution's channels begin */
    size_t *hook_step;  /* [conv_count] its hook's step */
    int *raw_of;        /* [conv_count] the tensor of its raw output */
    void (*beat)(void *user);
    void *beat_user;
};

/* One forward pass over input [3, height, width]: fills logits, and what is to be looked at. */
void pm_context_forward(pm_context *context, const float *input);
size_t pm_argmax(const float *values, size_t count);
/* softmax(logits)_k, worked out in double. */
double pm_softmax_at(const float *logits, size_t count, size_t k);
void pm_context_beat(const pm_context *context);

/* The backward pass of `count` jobs from where the last forward pass was; the gradient of the
 * probability-weighted target logit. `guided` goes for all of them. */
void pm_context_backward(pm_context *context, pm_job *const *jobs, size_t count, bool guided);
/* The input's gradient of jobs[slot] into `gradient`. Not of gradcam's jobs, for which backward may
 * stop before it gets there. */
void pm_context_read_gradient(pm_context *context, size_t slot);

/* Run the first `count` jobs: the forward passes of each path are shared. x: [3, height, width],
 * the image. */
pm_status pm_context_run_jobs(pm_context *context, const float *x, size_t count);

/* Grad-CAM: the weights, off the gradient in `in` of a hook's or the last pooling's step; the heat
 * map, once the weights stand. */
void pm_cam_weigh(const pm_plan *plan, const pm_step *step, size_t image, pm_job *job);
void pm_cam_heat_map(pm_context *context, pm_job *job);

#endif
