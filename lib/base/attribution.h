/* The words of one way to attribute, shared by the engine and everything that names it.
 * Meanings and formulas: docs/ARCHITECTURE.md, "ParchGrad, exactly". */
#ifndef PM_BASE_ATTRIBUTION_H
#define PM_BASE_ATTRIBUTION_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Part of what identifies a result: raised whenever any number may change. */
#define PM_ENGINE_VERSION "0.1.0"

/* g is the gradient of the input x, [3, H, W]; means over the colors c. */
typedef enum pm_method {
    PM_METHOD_GRAD,      /* mean_c |g| */
    PM_METHOD_INPUTGRAD, /* mean_c |x g|, x as normalised */
    PM_METHOD_COUNT
} pm_method;
typedef enum pm_mask { PM_MASK_OFF, PM_MASK_CLS, PM_MASK_COUNT } pm_mask;
typedef enum pm_threshold { PM_THRESHOLD_QUANTILE, PM_THRESHOLD_ALPHA } pm_threshold;
typedef enum pm_test { PM_TEST_WELCH, PM_TEST_STUDENT, PM_TEST_COUNT } pm_test;
typedef enum pm_filter { PM_FILTER_BILINEAR, PM_FILTER_BICUBIC, PM_FILTER_COUNT } pm_filter;

enum { PM_LAYERS_BYTES = 512 };

/* One method with its mask and scaling. With mask off only `method` and `layers` matter: nothing
 * is scaled, but the layers' gradients are measured all the same. */
typedef struct pm_attribution {
    pm_method method;
    pm_mask mask;
    pm_threshold threshold_kind;
    double threshold;             /* quantile in (0, 1], or alpha in [0, 1] */
    double p_value_threshold;     /* t: a channel is in H only where its Shapiro-Wilk p < t */
    pm_test test;                 /* which class p-values */
    char layers[PM_LAYERS_BYTES]; /* "default", "ratio:R", or names and globs with commas */
    double gamma;                 /* > 0; INFINITY drops L */
    bool exact;                   /* rescale by measured variance; finite gamma only */
    bool variance_conservation;
} pm_attribution;

/* grad, off, quantile 0.1, t 0.05, welch, default layers, gamma infinite, conservation on. */
void pm_attribution_defaults(pm_attribution *out);

/* Names as typed and stored: "grad", "inputgrad", "off", "cls", "welch", "student", "bilinear",
 * "bicubic". The parsers give PM_E_USAGE and list what there is. */
const char *pm_method_name(pm_method method);
const char *pm_mask_name(pm_mask mask);
const char *pm_test_name(pm_test test);
const char *pm_filter_name(pm_filter filter);
pm_status pm_method_parse(const char *name, pm_method *out);
pm_status pm_mask_parse(const char *name, pm_mask *out);
pm_status pm_test_parse(const char *name, pm_test *out);
pm_status pm_filter_parse(const char *name, pm_filter *out);

#ifdef __cplusplus
}
#endif
#endif
