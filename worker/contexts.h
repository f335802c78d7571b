/* The engine's contexts of one compute thread, kept warm from item to item. One thread's own. */
#ifndef PM_WORKER_CONTEXTS_H
#define PM_WORKER_CONTEXTS_H

#include "worker/run.h"

enum { PM_CONTEXTS_KEPT = 2, PM_CONTEXT_BATCH = 8 /* backward passes that run together */ };

/* A context for a model and a side; holds the model. */
typedef struct pm_warm_context {
    pm_loaded *loaded;
    size_t side, batch;
    pm_context *context;
    uint64_t used;
} pm_warm_context;

typedef struct pm_contexts {
    pm_warm_context warm[PM_CONTEXTS_KEPT];
    uint64_t clock;
    void (*beat)(void *user); /* of every context */
    void *beat_user;
} pm_contexts;

/* A context as the configuration wants it, good for so many requests at once; it stays ours. */
pm_status pm_contexts_get(pm_contexts *contexts, pm_loaded *loaded, const pm_config *config,
                          size_t requests, pm_context **out);
void pm_contexts_fini(pm_contexts *contexts);

#endif
