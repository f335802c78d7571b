/* Where a worker's bytes come from: paths that the broker names, the cache, the broker. */
#ifndef PM_WORKER_SUPPLY_H
#define PM_WORKER_SUPPLY_H

#include "worker/cache.h"

typedef struct pm_supply {
    pm_cache *cache;      /* NULL: none */
    bool no_shared_paths; /* never open what the broker names */
} pm_supply;

#endif
