/* A compute thread: takes a lease, does its items in order, hands in their results. */
#ifndef PM_WORKER_COMPUTE_H
#define PM_WORKER_COMPUTE_H

#include "worker/run.h"
#include "worker/work.h"

typedef struct pm_compute pm_compute;

/* Starts the thread. `supply` must outlive it. `index` is its slot. */
pm_status pm_compute_start(pm_work *work, pm_models *models, const pm_supply *supply, size_t index,
                           pm_compute **out);
/* Before the first lease: wait until its decoder is there. PM_E_UNSUPPORTED, PM_E_IO. */
pm_status pm_compute_ready(pm_compute *compute);
/* After pm_work_stop: wait for its end and free. */
void pm_compute_join(pm_compute **compute);

#endif
