/* Owns the Mersenne Twister. */
#include "lib/stats/mt19937.h"

#include <math.h>

#include "lib/base/real.h"

enum { N = 624, M = 397 };

void pm_mt_begin(pm_mt *generator, uint32_t seed) {
    *generator = (pm_mt){.next = N};
    generator->words[0] = seed;
    for (uint32_t i = 1; i < N; i++) {
        uint32_t last = generator->words[i - 1];
        generator->words[i] = 1812433253U * (last ^ (last >> 30)) + i;
    }
}

static void make_words(pm_mt *generator) {
    uint32_t *w = generator->words;
    for (size_t i = 0; i < N; i++) {
        uint32_t y = (w[i] & 0x80000000U) | (w[(i + 1) % N] & 0x7fffffffU);
        w[i] = w[(i + M) % N] ^ (y >> 1) ^ (y & 1U ? 0x9908b0dfU : 0);
    }
    generator->next = 0;
}

uint32_t pm_mt_word(pm_mt *generator) {
    if (generator->next == N) make_words(generator);
    uint32_t y = generator->words[generator->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680U;
    y ^= (y << 15) & 0xefc60000U;
    return y ^ (y >> 18);
}

double pm_mt_uniform(pm_mt *generator) {
    uint32_t high = pm_mt_word(generator) >> 5, low = pm_mt_word(generator) >> 6;
    return ((double)high * 67108864.0 + (double)low) / 9007199254740992.0;
}

double pm_mt_normal(pm_mt *generator) {
    double a, b, square;
    if (generator->has_normal) {
        generator->has_normal = false;
        return generator->normal;
    }
    do {
        a = 2 * pm_mt_uniform(generator) - 1;
        b = 2 * pm_mt_uniform(generator) - 1;
        square = a * a + b * b;
    } while (square >= 1 || square == 0);
    double factor = sqrt(-2 * pm_real_log(square) / square);
    generator->normal = factor * a;
    generator->has_normal = true;
    return factor * b;
}
