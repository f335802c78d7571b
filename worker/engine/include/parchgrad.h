/* libparchgrad: gradients of image classifiers, with ParchGrad's channel partition, on the CPU.
 *
 * Use: pm_weights_open -> pm_model_new -> pm_configuration_new (one a way to attribute)
 *      -> pm_context_new (one a thread) -> pm_context_attribute for each image.
 *
 * Ownership: `_new`/`_open` own heap memory, `_free(T **)` releases it, sets NULL and accepts NULL.
 * A model, a configuration and statistics are immutable and may be shared by threads; they must
 * outlive what was made from them. A context has one user at a time and allocates nothing after
 * creation. Failures: pm_status, with one line in pm_error_text() of the calling thread.
 *
 * Numbers: fp32, the same to the bit for the same image, model, configuration and ISA, whatever
 * else is in the batch. Everything runs on the calling thread. */
#ifndef PARCHGRAD_H
#define PARCHGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/attribution.h"
#include "lib/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- weights: .safetensors, PyTorch checkpoints (zip and the older stream) ---- */

typedef struct pm_weights pm_weights;

typedef enum pm_dtype { PM_DTYPE_F32, PM_DTYPE_F16, PM_DTYPE_BF16, PM_DTYPE_I64 } pm_dtype;

/* "F32", "F16", "BF16", "I64". */
const char *pm_dtype_name(pm_dtype dtype);

enum { PM_RANK_MAX = 8 };

typedef struct pm_tensor_info {
    const char *name; /* state-dict key, `module.` taken off; owned by the weights */
    pm_dtype dtype;
    size_t rank;
    size_t shape[PM_RANK_MAX];
    size_t count; /* product of shape; 1 for a scalar */
} pm_tensor_info;

/* Open and check a file whole. PM_E_NOT_FOUND, PM_E_IO, PM_E_FORMAT, PM_E_UNSUPPORTED, PM_E_LIMIT,
 * PM_E_MEMORY. Nothing in the file is ever executed. */
pm_status pm_weights_open(const char *path, pm_weights **out);
/* The same of a file that is open for reading and stays the caller's; `name` is for messages. */
pm_status pm_weights_open_fd(int fd, const char *name, pm_weights **out);
void pm_weights_free(pm_weights **weights);
const char *pm_weights_path(const pm_weights *weights);
const char *pm_weights_format(const pm_weights *weights); /* "safetensors", "pytorch-zip", ... */
size_t pm_weights_count(const pm_weights *weights);
/* In file order. */
const pm_tensor_info *pm_weights_at(const pm_weights *weights, size_t index);
/* NULL if there is none of that name. */
const pm_tensor_info *pm_weights_find(const pm_weights *weights, const char *name);
/* All elements, row-major, converted to float; `out` holds info->count floats. */
pm_status pm_weights_read(const pm_weights *weights, const pm_tensor_info *info, float *out);

/* ---- architectures ---- */

typedef struct pm_arch_info {
    const char *name;   /* torchvision's name, or cifar_resnetNN */
    const char *family; /* "resnet", "vgg", "mobilenet", ...: the file in arch/ */
    size_t resize;      /* short side after resize, pixels; 0: the image is used at its own size */
    size_t crop;        /* side of the centre crop, pixels */
    pm_filter filter;
    float mean[3], std[3]; /* of values in [0, 1], RGB */
} pm_arch_info;

size_t pm_arch_count(void);
const pm_arch_info *pm_arch_at(size_t index);
/* PM_E_USAGE with near names. */
pm_status pm_arch_find(const char *name, const pm_arch_info **out);
/* PM_OK where the tensors are exactly this architecture's (class count free); PM_E_MISMATCH names
 * the first missing, extra or wrong-shaped tensor, what was expected and how many more. */
pm_status pm_arch_check(const pm_arch_info *arch, const pm_weights *weights);

/* What torchvision's flag `transform_input` makes of an input x normalised by ImageNet's mean and
 * std, color by color: scale x + shift, which is x normalised by 0.5 and 0.5. PM_E_USAGE for an
 * architecture without that flag (all but googlenet and inception_v3). */
pm_status pm_arch_transform_input(const pm_arch_info *arch, float scale[3], float shift[3]);

/* How near a file is to an architecture. It fits where wrong and extra are 0. */
typedef struct pm_arch_fit {
    size_t same;    /* tensors of the architecture that the file has in the right shape */
    size_t wrong;   /* missing or of another shape */
    size_t extra;   /* tensors of the file that are not part of the architecture */
    size_t classes; /* by the last layer; 0 where the file has no such tensor */
} pm_arch_fit;

/* PM_E_MEMORY alone: being far off is an answer. */
pm_status pm_arch_compare(const pm_arch_info *arch, const pm_weights *weights, pm_arch_fit *out);

/* ---- model ---- */

typedef struct pm_model pm_model;

typedef struct pm_conv_info {
    const char *name; /* "layer1.0.conv1" */
    size_t channels;  /* of its output */
} pm_conv_info;

/* PM_E_USAGE (architecture), PM_E_MISMATCH (tensors), PM_E_MEMORY. Weights may be freed after. */
pm_status pm_model_new(const char *arch, const pm_weights *weights, pm_model **out);
void pm_model_free(pm_model **model);
const pm_arch_info *pm_model_arch(const pm_model *model);
size_t pm_model_classes(const pm_model *model);
/* Convolutions in registration order, which is state-dict order. */
size_t pm_model_conv_count(const pm_model *model);
const pm_conv_info *pm_model_conv(const pm_model *model, size_t conv);
/* Layers with weights (convolutions and linear layers) from the output on: layer 0 is the last.
 * NULL behind the first of the network. */
size_t pm_model_layer_count(const pm_model *model);
const char *pm_model_layer_name(const pm_model *model, size_t index);

/* For the cascading randomisation of Adebayo et al. (arXiv:1810.03292): the same model, but that
 * its last `layers` layers with weights, and every norm from the first of these on, start over as
 * before training: weights are normal of deviation sqrt(2 / fan-in) (He et al., arXiv:1502.01852),
 * biases 0, norms weight 1, bias 0, mean 0, variance 1, layer scales 1e-6. What a tensor draws
 * depends on the seed and its name alone, so that one more layer leaves the others' draws as they
 * are. layers 0: pm_model_new. PM_E_USAGE also where there are not so many. */
pm_status pm_model_new_randomized(const char *arch, const pm_weights *weights, size_t layers,
                                  uint64_t seed, pm_model **out);

/* A model to ask, and to make statistics and configurations for, of a file that fits: no weight is
 * read, and there is no context for it. */
pm_status pm_model_new_outline(const char *arch, const pm_weights *weights, pm_model **out);

/* How many inputs are worth running together, 1 .. 4: more than one where layers are so wide that
 * no cache holds their weights. 1 for an outline. */
size_t pm_model_together(const pm_model *model);

/* "avx512", "avx2" or "baseline": what the kernels run on (PARCHMILL_ISA forces one). */
const char *pm_model_isa(const pm_model *model);
/* The same of models yet to be made in this process. PM_E_USAGE: PARCHMILL_ISA names one that is
 * unknown, or that this CPU does not have. */
pm_status pm_isa_of_host(const char **out);

/* ---- statistics: what decides H ---- */

typedef struct pm_statistics pm_statistics;

/* From tensors named shapiro/CONV [C]; for mask cls welch/CONV, student/CONV [C, K], with `classes`
 * [K] naming the class of each column (absent: column k is class k); for mask ins mean/CONV and
 * std/CONV [C] of the channels' activations. CONV are convolution names; those that the file lacks
 * cannot be hooked. A class without a column has no p-values: attributing it with mask cls fails
 * with PM_E_NOT_FOUND. */
pm_status pm_statistics_new(const pm_model *model, const pm_weights *tensors, pm_statistics **out);
/* The same for configurations of these attributions alone: class p-values, nearly all of a file,
 * are read and kept only of the convolutions that these hook with mask cls, by the tests that these
 * name; of the others no more than the shapes are checked, and a configuration that hooks them is
 * refused as where the file lacks them. */
pm_status pm_statistics_new_for(const pm_model *model, const pm_weights *tensors,
                                const pm_attribution *const *attributions, size_t count,
                                pm_statistics **out);
/* The same from memory; arrays are copied. p_class: [channels][classes of the model], or NULL for
 * mask ins alone. `test` says which test the p-values are of. May be called for each convolution on
 * an empty object. PM_E_FORMAT: a p-value outside 0..1, a mean that is not finite, a negative std.
 */
pm_status pm_statistics_new_empty(const pm_model *model, pm_statistics **out);
pm_status pm_statistics_set(pm_statistics *statistics, size_t conv, pm_test test,
                            const float *p_class, const float *p_shapiro);
/* mean, std: [channels]. A channel of std 0 (or NaN: one image) is never in H. */
pm_status pm_statistics_set_moments(pm_statistics *statistics, size_t conv, const float *mean,
                                    const float *std);
void pm_statistics_free(pm_statistics **statistics);

/* ---- configuration: a pm_attribution made ready for a model ---- */

typedef struct pm_configuration pm_configuration;

/* `statistics` may be NULL for mask off. PM_E_USAGE: a value out of range, method gather, a cam
 * layer that is no convolution, a glob that names no convolution, cls or ins without the statistics
 * it needs. PM_E_UNSUPPORTED: cam layer default of a network without one last pooling.
 *
 * gradcam: the gradient at a map is what arrives there: of a hooked convolution as ParchGrad has
 * scaled it; of the map that the last pooling reads, before the ReLU that made it clamps it
 * (guided). */
pm_status pm_configuration_new(const pm_model *model, const pm_attribution *attribution,
                               const pm_statistics *statistics, pm_configuration **out);
void pm_configuration_free(pm_configuration **configuration);
/* Hooked convolutions, ascending indices into pm_model_conv. */
size_t pm_configuration_hook_count(const pm_configuration *configuration);
size_t pm_configuration_hook(const pm_configuration *configuration, size_t index);

/* ---- attribution ---- */

typedef struct pm_context pm_context;

enum { PM_TARGET_TOP = -1 };

/* Draw number `draw` (from 0) of standard normal noise, independent of every other draw: out
 * [3, height, width] of the context. */
typedef void (*pm_noise_fn)(void *user, size_t draw, float *out);

/* Requests that look at the same points share their forward passes: ig with the same baseline
 * pointer and steps; smoothgrad and vargrad with the same noise, noise_user, samples, sigma and
 * seed. */
typedef struct pm_request {
    const pm_configuration *configuration;
    size_t image;          /* of those given together; 0 for one alone */
    int target;            /* class index, or PM_TARGET_TOP: the predicted class of the image */
    const float *baseline; /* ig: x0, [3, height, width], normalised; NULL: zeros */
    pm_noise_fn noise;     /* smoothgrad, vargrad: must be given */
    void *noise_user;
} pm_request;

/* The gradient at one hooked convolution's output. M, N, variances: unbiased over space of the
 * channel sum (|sum| for 1x1 maps), with 1e-13 added to M and N. */
typedef struct pm_layer_gradient {
    size_t conv;       /* index into pm_model_conv */
    size_t channels;   /* C */
    size_t selected;   /* |H|; C with mask off, and where cls finds nobody; ins may find 0 */
    bool partitioned;  /* H and L both non-empty: m, n, beta and the scales mean something */
    double m, n, beta; /* beta: the factor sqrt((M+N)/(M g^2 + N)); for gamma infinite
                          sqrt((M+N)/M); 1 without conservation; as applied */
    double scale_h, scale_l;
    double variance_before, variance_after; /* of the sum over all channels */
    const float
        *channel_variance; /* [C], spatial variance of each channel before scaling; 0 for 1x1 */
    const uint8_t *in_h;   /* [C], 1 where the channel is in H */
} pm_layer_gradient;

typedef struct pm_attribution_result {
    size_t request;        /* index of the request this answers */
    int target, predicted; /* class indices */
    float p_target, p_predicted;
    const float *logits;   /* [classes] */
    const float *heat_map; /* [H, W] row-major */
    size_t height, width;
    /* One a hook, in hook order. Methods of many passes: of the last pass, which is the image
     * itself for ig and the last draw for smoothgrad and vargrad. */
    const pm_layer_gradient *layers;
    size_t layer_count;
    /* ig: the sum of (x - x0) gbar over all pixels and colors, and what it stands for, the integral
     * of p_y along the path over the target logit l, by the trapezoid rule over the same points:
     * the sum of (p_i + p_i+1) / 2 (l_i+1 - l_i). With mask off and not guided their gap goes to 0
     * as steps grow (completeness). NaN for other methods. */
    double ig_sum, ig_expected;
} pm_attribution_result;

/* Called once for each request, in order; what it points at is valid during the call, in which
 * nothing else may be asked of the context. A status other than PM_OK stops the attribution and is
 * returned. */
typedef pm_status (*pm_result_fn)(void *user, const pm_attribution_result *result);

/* A context for inputs of height x width pixels. `batch`: how many backward passes run together
 * (1 .. 16); more requests than that run in rounds. Up to pm_model_together inputs (images, or
 * points of ig, smoothgrad and vargrad), but no more than `batch`, also run forward together.
 * PM_E_USAGE: sizes that the network cannot take, a model that is an outline. */
pm_status pm_context_new(const pm_model *model, size_t height, size_t width, size_t batch,
                         pm_context **out);
void pm_context_free(pm_context **context);
size_t pm_context_arena_bytes(const pm_context *context);

/* One image: input [3, height, width], normalised. One forward pass, shared by all requests.
 * More for ig (steps), smoothgrad and vargrad (samples). PM_E_USAGE: a target out of range, no
 * noise, a baseline that is not zero and not given; PM_E_NOT_FOUND: no statistics for a target. All
 * are found before any result is given out. */
pm_status pm_context_attribute(pm_context *context, const float *input, const pm_request *requests,
                               size_t count, pm_result_fn give, void *user);

/* Several images at once: inputs[i] is image i, [3, height, width]; requests name theirs. The
 * numbers are those of each image alone. PM_E_USAGE also for more than pm_context_images. */
pm_status pm_context_attribute_images(pm_context *context, const float *const *inputs,
                                      size_t images, const pm_request *requests, size_t count,
                                      pm_result_fn give, void *user);
/* How many that may be. */
size_t pm_context_images(const pm_context *context);

/* Forward only: logits [classes]. */
pm_status pm_context_logits(pm_context *context, const float *input, float *logits);

/* Forward passes of which only the logits count run `batch` (1 .. 16) at once and with Winograd's
 * convolutions: about twice as fast, and off pm_context_logits's by a few 1e-6 of the largest
 * logit; the same to the bit whatever the batch. A model needs memory of its own for them, from the
 * first call for any of its contexts on. This and pm_context_new are where a context allocates.
 * PM_E_MEMORY, PM_E_USAGE (batch). */
pm_status pm_context_prepare_logits(pm_context *context, size_t batch);
/* inputs [count][3, height, width] to logits [count][classes]; after pm_context_prepare_logits. */
pm_status pm_context_logits_batch(pm_context *context, const float *inputs, size_t count,
                                  float *logits);
/* The same of inputs that are made one by one: `next` gives input n [3, height, width], asked for
 * each once in order, read before the next is asked for. */
typedef const float *(*pm_input_fn)(void *user, size_t n);
pm_status pm_context_logits_each(pm_context *context, pm_input_fn next, void *user, size_t count,
                                 float *logits);

/* What statistics are made of: the activation of a channel is the mean over space of the ReLU of
 * its convolution's raw output (bias included, before BatchNorm). Owned by the context, valid until
 * its next use. */
typedef struct pm_activations {
    const float *mean;    /* [channels]: all convolutions' channels, in registration order */
    const float *density; /* [conv_count]: share of a convolution's raw outputs above 0 */
    const float *logits;  /* [classes] */
    size_t channels;      /* of all convolutions together */
} pm_activations;

/* Forward only. */
pm_status pm_context_activations(pm_context *context, const float *input, pm_activations *out);

/* From now on the network sees scale x + shift in place of an input x, color by color, with zeros
 * around that; gradients and heat maps are of x as it is given. NULL, NULL: x itself, as at first.
 */
void pm_context_set_input_transform(pm_context *context, const float scale[3],
                                    const float shift[3]);

/* Called after each layer of each input and gradient: a worker beats its progress here. NULL: none.
 */
void pm_context_set_beat(pm_context *context, void (*beat)(void *user), void *user);

#ifdef __cplusplus
}
#endif
#endif
