/* Owns the end of an oracle's result, which is the same for both precisions. */
#include <stdlib.h>

#include "worker/engine/oracle/oracle.h"

void pm_oracle_result_free(pm_oracle_result **result) {
    pm_oracle_result *r = result ? *result : NULL;
    if (!r) return;
    for (size_t i = 0; r->layers && i < r->layer_count; i++) {
        free(r->layers[i].channel_variance);
        free(r->layers[i].in_h);
    }
    free(r->layers);
    free(r->logits);
    free(r->heat_map);
    free(r);
    *result = NULL;
}
