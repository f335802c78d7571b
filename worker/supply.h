/* Where a worker's bytes come from: paths that the broker names, the cache, the broker; and what a
 * photograph's decoder may take. */
#ifndef PM_WORKER_SUPPLY_H
#define PM_WORKER_SUPPLY_H

#include "lib/image/decoder.h"
#include "worker/cache.h"

typedef struct pm_supply {
    pm_cache *cache;                   /* NULL: none */
    bool no_shared_paths;              /* never open what the broker names */
    const pm_decoder_limits *decoding; /* NULL: the default ones */
} pm_supply;

#endif
