/* The Mersenne Twister as NumPy's np.random.seed(S) starts it and its legacy functions read it, so
 * that published numbers of such programs can be drawn again. For nothing else: our own random
 * numbers are of lib/base/draw.h and random.h.
 *
 * Matsumoto and Nishimura, ACM TOMACS 8 (1998); seeding: their init_genrand of 2002. (GSL has the
 * same generator, but takes seed 0 for 4357.) */
#ifndef PM_STATS_MT19937_H
#define PM_STATS_MT19937_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fill with pm_mt_begin. */
typedef struct pm_mt {
    uint32_t words[624];
    size_t next;
    bool has_normal;
    double normal;
} pm_mt;

void pm_mt_begin(pm_mt *generator, uint32_t seed);
uint32_t pm_mt_word(pm_mt *generator);
/* np.random.random(): 53 bits of two words, in [0, 1). */
double pm_mt_uniform(pm_mt *generator);
/* np.random.standard_normal(): Marsaglia's polar method, two at a time. */
double pm_mt_normal(pm_mt *generator);

#endif
