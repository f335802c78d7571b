/* Between session.c, work.c, work_fetch.c and work_send.c. */
#ifndef PM_WORKER_WORK_PRIVATE_H
#define PM_WORKER_WORK_PRIVATE_H

#include "worker/work.h"

/* Seeded mistakes, for the test that shows that the simulator finds them. */
#ifdef PM_WORK_PLANTS
extern int pm_work_plant;
#define PM_WORK_PLANTED(n) (pm_work_plant == (n))
#else
#define PM_WORK_PLANTED(n) false
#endif

/* All under the mutex, but for the clock. */
void pm_work_wait_changed(pm_work *work);
int64_t pm_work_now_us(const pm_work *work);
void pm_work_wake_link(pm_work *work);
pm_status pm_work_flush_fetch(pm_work *work, pm_send_fn send, void *user);
/* Leases that are not revoked. */
size_t pm_work_count_live(const pm_work *work);
/* Take leases that are over out of the list. */
void pm_work_sweep(pm_work *work);

#endif
