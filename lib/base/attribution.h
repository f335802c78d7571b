/* The words of one way to attribute, shared by the engine and everything that names it.
 * Meanings and formulas: docs/ARCHITECTURE.md, "ParchGrad, exactly". */
#ifndef PM_BASE_ATTRIBUTION_H
#define PM_BASE_ATTRIBUTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Part of what identifies a result: raised whenever any number may change. */
#define PM_ENGINE_VERSION "0.3.0"

/* g is the gradient of the input x, [3, H, W], x as normalised; means over the colors c. */
typedef enum pm_method {
    PM_METHOD_GRAD,       /* mean_c |g| */
    PM_METHOD_INPUTGRAD,  /* mean_c |x g| */
    PM_METHOD_IG,         /* |mean_c (x - x0) gbar|, gbar the trapezoid mean over `steps` steps from
                             the baseline x0 to x (Sundararajan et al., arXiv:1703.01365) */
    PM_METHOD_SMOOTHGRAD, /* mean_c of the mean of |g(x + e)| over `samples` draws, e normal of
                             deviation sigma (max x - min x) (Smilkov et al., arXiv:1706.03825) */
    PM_METHOD_VARGRAD,    /* mean_c of the variance (over n) of g(x + e), the same draws
                             (Adebayo et al., arXiv:1810.03292) */
    PM_METHOD_GRADCAM,    /* max(0, sum_k a_k A_k) at `cam_layer`, a_k the mean over space of the
                             gradient there, enlarged bilinearly (Selvaraju et al.,
                             arXiv:1610.02391) */
    PM_METHOD_GATHER,     /* no heat map: the activations that statistics are made of */
    PM_METHOD_COUNT
} pm_method;
typedef enum pm_mask { PM_MASK_OFF, PM_MASK_CLS, PM_MASK_INS, PM_MASK_COUNT } pm_mask;
typedef enum pm_threshold { PM_THRESHOLD_QUANTILE, PM_THRESHOLD_ALPHA } pm_threshold;
typedef enum pm_test { PM_TEST_WELCH, PM_TEST_STUDENT, PM_TEST_COUNT } pm_test;
typedef enum pm_filter { PM_FILTER_BILINEAR, PM_FILTER_BICUBIC, PM_FILTER_COUNT } pm_filter;
/* Where ig starts: all zero (as normalised), the input blurred, or another photograph. */
typedef enum pm_baseline {
    PM_BASELINE_ZERO,
    PM_BASELINE_BLUR,
    PM_BASELINE_IMAGE,
    PM_BASELINE_COUNT
} pm_baseline;

enum { PM_LAYERS_BYTES = 512, PM_CAM_LAYER_BYTES = 128 };

/* One method with its mask and scaling. With mask off nothing is scaled, but the layers'
 * gradients are measured all the same. */
typedef struct pm_attribution {
    pm_method method;
    bool guided; /* the gradient is clamped to >= 0 at every ReLU and ReLU6 */
    /* ig */
    size_t steps; /* 1 .. 1000 */
    pm_baseline baseline;
    /* smoothgrad, vargrad */
    size_t samples; /* 1 .. 1000; vargrad: 2 at least */
    double sigma;   /* > 0, in units of max x - min x */
    uint64_t seed;  /* of every random draw, those of the input transform included */
    /* gradcam: "default" is what the last pooling reads, else a convolution's raw output */
    char cam_layer[PM_CAM_LAYER_BYTES];
    pm_mask mask;
    pm_threshold threshold_kind;
    double threshold;             /* quantile in (0, 1], or alpha in [0, 1] */
    double p_value_threshold;     /* t: a channel is in H only where its Shapiro-Wilk p < t */
    pm_test test;                 /* which class p-values; cls only */
    char layers[PM_LAYERS_BYTES]; /* "default", "ratio:R", or names and globs with commas */
    double gamma;                 /* > 0; INFINITY drops L */
    bool exact;                   /* rescale by measured variance; finite gamma only */
    bool variance_conservation;
} pm_attribution;

/* Whether the method draws random numbers; whether it makes a heat map. */
bool pm_method_is_random(pm_method method);
bool pm_method_has_heat_map(pm_method method);
/* Whether it looks at more points than the image itself. */
bool pm_method_has_path(pm_method method);

/* grad, off, quantile 0.1, t 0.05, welch, default layers, gamma infinite, conservation on; 25
 * steps from zero, 25 samples of sigma 0.15, seed 0, default cam layer. */
void pm_attribution_defaults(pm_attribution *out);

/* Names as typed and stored: "grad", "cls", "welch", "bilinear", "zero" ... The parsers give
 * PM_E_USAGE and list what there is. */
const char *pm_method_name(pm_method method);
const char *pm_mask_name(pm_mask mask);
const char *pm_test_name(pm_test test);
const char *pm_filter_name(pm_filter filter);
const char *pm_baseline_name(pm_baseline baseline);
pm_status pm_method_parse(const char *name, pm_method *out);
pm_status pm_mask_parse(const char *name, pm_mask *out);
pm_status pm_test_parse(const char *name, pm_test *out);
pm_status pm_filter_parse(const char *name, pm_filter *out);
pm_status pm_baseline_parse(const char *name, pm_baseline *out);

#ifdef __cplusplus
}
#endif
#endif
