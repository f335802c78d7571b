/* Inside lib/image: what a taken-over decoder might try, for tests; compiled to nothing without
 * PARCHMILL_FAULTS. A file that ends with "parchmill-deed:NAME" does it before it is decoded:
 * open, socket, exec, fork, trace, executable, kill, crash, abort, exit,
 * memory, below-limit, above-limit (2,304 and 2,816 MB, given back), spin, sleep (30 s), twice. */
#ifndef PM_IMAGE_DEEDS_H
#define PM_IMAGE_DEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef PARCHMILL_FAULTS
void pm_deed_of_file(const uint8_t *bytes, size_t size);
/* The last file asked to be answered for twice. */
bool pm_deed_twice(void);
#else
static inline void pm_deed_of_file(const uint8_t *bytes, size_t size) {
    (void)bytes;
    (void)size;
}
static inline bool pm_deed_twice(void) { return false; }
#endif

#endif
