/* A model and many ways to attribute with it, and results by their bits. */
#ifndef PM_TESTS_ENGINE_WAYS_H
#define PM_TESTS_ENGINE_WAYS_H

#include "tests/engine/cases.h"

enum { SIDE = 64, PIXELS = SIDE * SIDE, CLASSES = 30, FORMS = 16, KEPT_MAX = 120, REQUESTS = 40 };
extern const char *const pm_isas[3];

typedef struct pm_ways {
    pm_model *model;
    pm_statistics *statistics;
    pm_configuration *forms[FORMS];
    float input[2][3 * PIXELS], baseline[3 * PIXELS];
    size_t count; /* of their values: pm_case_noise's */
} pm_ways;

typedef struct pm_kept {
    size_t count;
    size_t requests[KEPT_MAX];
    uint64_t hashes[KEPT_MAX];
} pm_kept;

pm_ways *pm_ways_new(const char *arch);
void pm_ways_free(pm_ways *ways);
/* In an order that parts what shares a path. */
void pm_ways_requests(pm_ways *ways, pm_request *requests, size_t count);
/* A pm_result_fn; user: pm_kept, with room. */
pm_status pm_kept_keep(void *user, const pm_attribution_result *r);
/* Each of REQUESTS alone, in a context of its own. */
void pm_ways_alone(pm_ways *ways, size_t image, uint64_t *hashes);

#endif
