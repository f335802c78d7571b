/* Shared by the statistics tests: the samples and the tables of tests/data/make_stats_vectors.py.
 */
#ifndef PM_TESTS_STATS_SAMPLES_H
#define PM_TESTS_STATS_SAMPLES_H

#include <stddef.h>
#include <stdio.h>

/* float32 [n] of the kind, from the stream; the caller frees. */
float *sample_new(const char *kind, const char *stream, size_t n);
void sample_sort(float *values, size_t n);

/* tests/data/stats/FILE, its header line read. */
FILE *open_table(const char *file);

void close_to(double got, double want, double relative, const char *what);

#endif
