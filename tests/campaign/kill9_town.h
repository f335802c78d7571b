/* The processes of kill9: a broker, workers and their children, and a `parchmill submit` now and
 * then; all of them end with the campaign. */
#ifndef TESTS_CAMPAIGN_KILL9_TOWN_H
#define TESTS_CAMPAIGN_KILL9_TOWN_H

#include <sys/types.h>

#include "lib/net/client.h"
#include "tests/campaign/campaign.h"
#include "tests/integration/fixture.h"

enum { TOWN_WORKERS_MAX = 8, TOWN_RUNS_MAX = 512, TOWN_STOPPED_MAX = 16 };

typedef struct town {
    char folder[CAMPAIGN_PATH], db[CAMPAIGN_PATH + 16], url[CAMPAIGN_PATH + 16];
    char log[CAMPAIGN_PATH + 16];
    const pm_fixture *data;
    size_t samples; /* of smoothgrad: how long an item takes */
    size_t worker_count;
    pid_t broker, workers[TOWN_WORKERS_MAX];
    /* submissions, one at a time */
    pid_t submit; /* 0: none under way */
    int submit_out;
    size_t runs_asked, runs_wanted; /* asked: answered ones */
    uint64_t run_ids[TOWN_RUNS_MAX];
    uint64_t submits_again;
    struct {
        pid_t pid;
        int64_t until_ms;
    } stopped[TOWN_STOPPED_MAX];
} town;

void town_tick(void); /* a millisecond */

void town_start_broker(town *t);
/* Until it answers; *ms since it was started. PM_E_TIMEOUT. */
pm_status town_await_broker(town *t, int64_t *ms);
void town_start_worker(town *t, size_t i);
/* A worker's processes below its parent: its child, and the child's. */
size_t town_family(const town *t, size_t i, pid_t *out, size_t most);

/* Kill -9 and bury; 0 is left alone. */
void town_kill_broker(town *t);
void town_kill_worker(town *t, size_t i);

/* Stand still for a while. */
void town_stop(town *t, pid_t pid, int64_t for_ms);
void town_wake(town *t, bool all);

/* A submission, where fewer than two runs are open; what came of the one under way. */
pm_status town_look_at_submissions(town *t);
/* Every worker is there: those that ended by themselves are an error. */
pm_status town_look_at_workers(town *t);

/* All that was asked is done. */
bool town_is_done(const town *t);
int64_t town_results(const town *t);

/* SIGTERM to all; every one must end cleanly. */
pm_status town_end(town *t);
/* Kill all that is left. */
void town_raze(town *t);

#endif
