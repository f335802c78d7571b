/* Between work.c and work_fetch.c. */
#ifndef PM_WORKER_WORK_PRIVATE_H
#define PM_WORKER_WORK_PRIVATE_H

#include "worker/work.h"

/* All three under the mutex. */
void pm_work_wait_changed(pm_work *work);
void pm_work_wake_link(pm_work *work);
pm_status pm_work_flush_fetch(pm_work *work, pm_send_fn send, void *user);

#endif
