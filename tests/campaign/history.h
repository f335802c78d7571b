/* A history of the store: three runs with failures, crashes, a cancel and retries, from wherever
 * the database stands to one and the same end, and what was answered on the way. */
#ifndef TESTS_CAMPAIGN_HISTORY_H
#define TESTS_CAMPAIGN_HISTORY_H

#include "lib/store/store.h"
#include "tests/campaign/campaign.h"

enum { HISTORY_RUNS = 3, HISTORY_ITEMS = 24 };

typedef enum item_fact { ITEM_UNKNOWN, ITEM_GOOD, ITEM_ERROR } item_fact;
typedef enum run_fact { RUN_UNKNOWN, RUN_THERE, RUN_OPEN, RUN_IS_DONE, RUN_IS_CANCELLED } run_fact;

/* What the store has answered for and nothing asked of it since could have undone. */
typedef struct facts {
    run_fact runs[HISTORY_RUNS];
    item_fact items[HISTORY_RUNS][HISTORY_ITEMS];
    uint32_t crashes[HISTORY_RUNS]; /* of its item alone, at least */
} facts;

typedef struct history {
    luck luck;
    bool straight; /* nothing goes wrong: the shortest way to the end */
    bool small;    /* no fat heat maps: the log never grows to its checkpoint */
    facts facts;
    /* An apply found no room: try again? NULL: no. */
    bool (*room)(void *user);
    /* Whenever `facts` changes; may be NULL. */
    void (*told)(void *user, const facts *facts);
    /* In place of pm_store_apply; NULL: that. */
    pm_status (*commit)(void *user, pm_store *store, pm_op *const *ops, size_t count);
    void *user;
} history;

/* To the end, or the first failure to commit. A refused op is a failure: PM_E_INTERNAL. */
pm_status history_run(history *h, pm_store *store);

/* Is all of it in the database? PM_E_NOT_FOUND: the first thing that is lost. */
pm_status history_check(const facts *facts, const char *db);

#endif
