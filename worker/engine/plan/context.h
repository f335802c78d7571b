/* The inside of a context, shared by the sources that run it: forward.c (one forward pass and what
 * is read off it) and context.c (requests, rounds of backward passes, results). */
#ifndef PM_ENGINE_CONTEXT_H
#define PM_ENGINE_CONTEXT_H

#include "worker/engine/plan/job.h"

struct pm_context {
    const pm_model *model;
    pm_plan plan;
    pm_job *jobs; /* [batch] */
    float *heat_maps, *channel_variances;
    uint8_t *in_h;
    pm_layer_gradient *layers;
    float *logits;            /* [classes] */
    float *gradient;          /* [3, height, width] */
    size_t *targets;          /* [batch] of the round's jobs */
    float *seeds;             /* [batch] */
    float scale[3], shift[3]; /* the network sees scale x + shift of an input x */
    pm_hook_scratch scratch;
    size_t *channel_of; /* [conv_count + 1] where each convolution's channels begin */
    float
        *activations; /* [channels of all convolutions] of the last forward pass, where measured */
    float *densities; /* [conv_count] likewise */
    bool *measured;   /* [conv_count] convolutions whose activation a forward pass measures */
    void (*beat)(void *user);
    void *beat_user;
};

/* One forward pass over input [3, height, width]: fills logits, and the activations of the
 * convolutions in `measured`. */
void pm_context_forward(pm_context *context, const float *input);
size_t pm_context_argmax(const pm_context *context);
/* softmax(logits)_k, worked out in double. */
float pm_context_probability(const pm_context *context, size_t k);
void pm_context_beat(const pm_context *context);

#endif
