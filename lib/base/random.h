/* Randomness: unpredictable bytes for tokens, and a counter hash that any language reproduces.
 *
 * pm_synth is the stream of the reference implementation (see tests/data): value i of stream NAME
 * is 2u - 1 with u = (splitmix64(fnv1a64(NAME) + i) >> 40) * 2^-24. FNV-1a: Fowler, Noll, Vo;
 * SplitMix64: Steele, Lea, Flood, OOPSLA 2014. */
#ifndef PM_BASE_RANDOM_H
#define PM_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void pm_random_bytes(void *out, size_t size);

uint64_t pm_fnv1a64(const char *text);
uint64_t pm_splitmix64(uint64_t counter);

/* Values first .. first + count - 1 of the named stream, in [-1, 1). */
void pm_synth(const char *name, uint64_t first, float *out, size_t count);

#endif
