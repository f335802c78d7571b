/* Owns the faults that tests ask for. */
#include "worker/fault.h"

#ifdef PARCHMILL_FAULTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void pm_fault_at_item(const char *path) {
    const char *fault = getenv("PARCHMILL_FAULT");
    const char *flag = getenv("PARCHMILL_FAULT_WHILE");
    if (!fault || (flag && access(flag, F_OK) != 0)) return;
    if (strncmp(fault, "crash:", 6) == 0 && strcmp(fault + 6, path) == 0) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    if (strncmp(fault, "hang:", 5) == 0 && strcmp(fault + 5, path) == 0)
        for (;;) pause();
}
#else
/* ISO C wants a declaration in every file. */
typedef int pm_fault_none;
#endif
