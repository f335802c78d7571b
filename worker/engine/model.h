/* What a model is inside the engine: its graph, and what the fast plan packs from it. Immutable
 * once made. */
#ifndef PM_ENGINE_MODEL_H
#define PM_ENGINE_MODEL_H

#include "worker/engine/graph.h"
#include "worker/engine/plan/packed.h"

struct pm_model {
    pm_graph *graph;
    pm_packed *packed;
};

/* A model of a finished graph, which it takes over (also on failure). The graph keeps its filters
 * here; pm_model_new lets them go once they are packed. For pm_model_new, and for
 * tests whose parameters come from no file. PM_E_USAGE (PARCHMILL_ISA), PM_E_MEMORY. */
pm_status pm_model_new_from(pm_graph *graph, pm_model **out);

#endif
