/* The worker's parent: a small process that starts the real worker, watches it and starts it
 * again. It touches no image, so no image can kill it; it alone sees how a worker died. */
#ifndef PM_WORKER_PARENT_H
#define PM_WORKER_PARENT_H

#include "lib/base/status.h"

/* A worker that ends with this code has a thread that hangs: it is started again. */
enum { PM_EXIT_HUNG = 75 };

/* Runs the worker as /proc/self/exe with argv and `--child FD` behind it until it ends by itself or
 * is told to; its exit code in *exit_code. lifeline: a descriptor whose end of file means stop; -1:
 * none. A worker that dies by a signal is started again, after a pause that grows. */
pm_status pm_parent_run(int argc, char **argv, int lifeline, int *exit_code);

#endif
