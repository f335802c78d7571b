/* Owns random numbers. */
#include "lib/base/random.h"

#include <sodium.h>

void pm_random_bytes(void *out, size_t size) { randombytes_buf(out, size); }

uint64_t pm_fnv1a64(const char *text) {
    uint64_t h = 0xCBF29CE484222325u;
    for (; *text; text++) h = (h ^ (uint8_t)*text) * 0x100000001B3u;
    return h;
}

uint64_t pm_splitmix64(uint64_t counter) {
    uint64_t z = counter + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void pm_synth(const char *name, uint64_t first, float *out, size_t count) {
    uint64_t base = pm_fnv1a64(name) + first;
    for (size_t i = 0; i < count; i++) {
        double u = (double)(pm_splitmix64(base + i) >> 40) * 0x1p-24;
        out[i] = (float)(2.0 * u - 1.0);
    }
}
