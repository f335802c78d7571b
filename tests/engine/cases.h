/* The engine's cases: synthetic models and inputs, and what PyTorch says of them. Used by the
 * oracle's tests and by the fast engine's, so that both are held to the same vectors.
 *
 * Use: pm_case_set set = {0}; for each index: pm_case_load, attribute c.input with
 * c.request, pm_case_compare; at the end pm_case_set_fini. A load frees what the
 * load before it made; the model is kept while the architecture stays the same. */
#ifndef PM_TESTS_ENGINE_CASES_H
#define PM_TESTS_ENGINE_CASES_H

#include "worker/engine/oracle/oracle.h"

typedef struct pm_case {
    const char *name, *arch;
    size_t height, width;
    pm_method method;
    bool transform; /* torchvision's transform_input */
    const pm_model *model;
    const pm_configuration *configuration;
    const float *input; /* [3][height][width] */
    int target;
    pm_request request;        /* the configuration at the target, with its baseline and noise */
    const pm_weights *vectors; /* tests/data/make_engine_vectors.py says what is in there */
} pm_case;

typedef struct pm_case_set {
    pm_case current;
    size_t classes;
    pm_model *model;
    pm_statistics *statistics;
    pm_configuration *configuration;
    float *input, *baseline;
    size_t count; /* values of an input */
    pm_weights *vectors;
} pm_case_set;

size_t pm_case_count(void);
const char *pm_case_name(size_t index);
/* False for a case that env PM_CASES leaves out: it is a glob of names, or "small" for a few of
 * each family. */
bool pm_case_wanted(size_t index);
pm_status pm_case_load(pm_case_set *set, size_t index, pm_case *out);
void pm_case_set_fini(pm_case_set *set);

/* The reference's noise, a pm_noise_fn: uniform of deviation 1 from the counter hash. user: const
 * size_t *, the number of values. */
void pm_case_noise(void *user, size_t draw, float *out);

/* How far a result is from double precision. */
typedef struct pm_case_distance {
    double heat_map;     /* relative L2 */
    double torch;        /* the same of PyTorch's own fp32 heat map */
    double from_torch;   /* relative L2 from that fp32 heat map */
    double logits;       /* largest difference over largest logit */
    double scales;       /* largest relative difference of M, N, the scales, over all layers */
    double torch_scales; /* the same of PyTorch's own fp32: a sum that cancels is no better there */
    double spread;       /* the same of variance before and after */
    double channels;     /* largest relative L2 of a layer's channel variances */
    double ig;           /* largest relative difference of ig's sum and of what it stands for */
    bool h_equal;        /* every layer's H, and whether it is partitioned */
} pm_case_distance;

/* PM_E_MISMATCH where the result has other layers or sizes than the vectors. */
pm_status pm_case_compare(const pm_case *c, const pm_oracle_result *result, pm_case_distance *out);

/* The fast engine's result as the oracle would give it: for a pm_result_fn to keep. */
pm_status pm_case_copy_result(const pm_attribution_result *result, size_t classes,
                              pm_oracle_result **out);

/* The oracle in double on a case. What pm_oracle_attribute_f64 says. */
pm_status pm_case_oracle(const pm_case *c, pm_oracle_result **out);

/* The fast engine on a case, compared. What pm_context_* and pm_case_compare say. */
pm_status pm_case_run(const pm_case *c, pm_case_distance *out);

/* A model whose parameters come from the counter hash, as the reference fills them. */
pm_status pm_case_model_new(const char *arch, size_t classes, pm_model **out);

#endif
