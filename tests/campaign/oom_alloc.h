/* Allocations that fail when told. In plain builds malloc and its kin are this program's own, so
 * that every library's fail as well; under a sanitizer, which has its own malloc, only those of our
 * code do (by the linker's --wrap). */
#ifndef TESTS_CAMPAIGN_OOM_ALLOC_H
#define TESTS_CAMPAIGN_OOM_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

/* The n-th allocation of this thread from here on fails; `for_good`: and all after it. */
void oom_arm(uint64_t n, bool for_good);
/* No more; true: one has failed. */
bool oom_disarm(void);
/* Blocks that are allocated now; always 0 under a sanitizer, which looks for leaks itself. */
int64_t oom_live(void);

#endif
