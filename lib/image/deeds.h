/* Inside lib/image: what a taken-over decoder might try, for tests; compiled to nothing without
 * PARCHMILL_FAULTS. A file that ends with "parchmill-deed:NAME" does it before it is decoded:
 * open, socket, exec, fork, trace, executable, kill, crash, abort, exit,
 * memory, spin, sleep. */
#ifndef PM_IMAGE_DEEDS_H
#define PM_IMAGE_DEEDS_H

#include <stddef.h>
#include <stdint.h>

#ifdef PARCHMILL_FAULTS
void pm_deed_of_file(const uint8_t *bytes, size_t size);
#else
static inline void pm_deed_of_file(const uint8_t *bytes, size_t size) {
    (void)bytes;
    (void)size;
}
#endif

#endif
