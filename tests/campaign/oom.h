/* The cases of the campaign: each an operation that can be done any number of times. */
#ifndef TESTS_CAMPAIGN_OOM_H
#define TESTS_CAMPAIGN_OOM_H

#include "tests/campaign/campaign.h"
#include "tests/campaign/oom_alloc.h"

/* What is computed goes into *digest, to be the same each time; all that it made is freed. */
typedef pm_status (*oom_operation)(uint64_t *digest);

typedef struct oom_case {
    const char *name;
    oom_operation run;
    bool library_leaks; /* of its own: libzip's fopen; ours are seen under a sanitizer */
} oom_case;

extern const oom_case oom_parsers[];
extern const size_t oom_parser_count;

/* Every call of a scheduler's short life, until each succeeds; the actions are those of a life
 * with memory enough. *points: calls that failed. */
pm_status oom_scheduler(bool for_good, uint64_t *points);

/* The same of a store: each group of operations again until it is committed; the same end. */
pm_status oom_store(bool for_good, uint64_t *points);
/* Open, submit, close, of a new database each time; every `stride`-th of some thousands. */
pm_status oom_store_cold(bool for_good, uint64_t stride, uint64_t *points);

#endif
