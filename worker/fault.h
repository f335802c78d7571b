/* Faults on purpose, for tests; compiled to nothing without PARCHMILL_FAULTS.
 * PARCHMILL_FAULT=crash:PATH dies by SIGSEGV when an item of that path starts, hang:PATH never
 * comes back from it; only while the file PARCHMILL_FAULT_WHILE is there, where that is set. */
#ifndef PM_WORKER_FAULT_H
#define PM_WORKER_FAULT_H

#ifdef PARCHMILL_FAULTS
void pm_fault_at_item(const char *path);
#else
static inline void pm_fault_at_item(const char *path) { (void)path; }
#endif

#endif
