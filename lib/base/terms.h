/* What may be changed of a run at any time: read by the scheduler, kept by the store, asked for on
 * the wire. */
#ifndef PM_BASE_TERMS_H
#define PM_BASE_TERMS_H

#include <stdbool.h>
#include <stdint.h>

enum { PM_PRIORITY_MOST = 100 }; /* the least is its negative */

/* All zero is what a run has unless told. */
typedef struct pm_run_terms {
    int priority;         /* -PM_PRIORITY_MOST .. PM_PRIORITY_MOST, the greater goes first */
    bool paused;          /* no task goes out; what is out is finished */
    uint32_t max_workers; /* that may hold leases of it at a time; 0: any number */
} pm_run_terms;

#endif
