/* The link thread: owns the socket, keeps the broker's and the worker's view of leases equal. */
#ifndef PM_WORKER_LINK_H
#define PM_WORKER_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/net/credentials.h"
#include "worker/work.h"

typedef struct pm_worker_options {
    const char *url;
    pm_credentials credentials;
    size_t threads;
} pm_worker_options;

/* Runs until SIGTERM or SIGINT arrives at signal_fd (then it drains: PM_OK), or the broker
 * refuses the worker for good: PM_E_MISMATCH, PM_E_DENIED; PM_E_USAGE for the URL. PM_E_TIMEOUT: a
 * thread hangs, this process is to be replaced. *left_computing: a thread is still at an image. */
pm_status pm_worker_link_run(const pm_worker_options *options, pm_work *work, int signal_fd,
                             bool *left_computing);

#endif
