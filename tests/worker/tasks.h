/* Runs and tasks, as the broker would give them to a worker's work. */
#ifndef PM_TESTS_WORKER_TASKS_H
#define PM_TESTS_WORKER_TASKS_H

#include "worker/work.h"

enum { TASKS_ITEMS_MAX = 12 };

/* As it would come off the wire. */
pm_message tasks_message(const Pm__Wire__Message *from);
/* Run 1, with one configuration. */
void tasks_announce(pm_work *work, const char *data_root);
/* A task of so many items: item i is file iN.png of N + 1 letters, N. */
void tasks_give(pm_work *work, uint64_t task, size_t count);

#endif
