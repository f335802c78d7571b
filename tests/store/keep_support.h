/* Several databases in one scratch folder, and a look at whether one is whole. */
#ifndef TESTS_STORE_KEEP_SUPPORT_H
#define TESTS_STORE_KEEP_SUPPORT_H

#include "lib/store/keep.h"
#include "tests/store/fixture.h"

/* Another database of the same folder. */
scratch beside(const scratch *s, const char *name);
/* A database with these runs, one after the other. */
void make_db(const scratch *s, const plan *const *plans, size_t count);
/* Record items [first, end) of a run that is there; they must each be next in their task. */
void record_range(const scratch *s, const plan *p, uint64_t first, uint64_t end);
/* Submit again and compute whatever is open, then finish. Returns how many items that was. */
uint64_t complete(const scratch *s, const plan *p);
/* Statements on the file itself. */
void execute(const scratch *s, const char *sql);
/* integrity_check and foreign_key_check are clean, and the store opens. */
void assert_whole(const scratch *s);
void assert_same_dump(const scratch *a, const scratch *b);
void copy_db(const scratch *from, const scratch *to);
/* sha256 of the file. */
pm_sha256 hash_of_file(const char *path);

/* Mean of a channel's variance over images [first, end), by the textbook. */
double mean_variance(size_t config, size_t channel, size_t first, size_t end);
/* channel_gradient is that over the images, and counts them: of configuration with `ordinal` in
 * run 1. */
void assert_sums(const scratch *s, size_t ordinal, size_t first, size_t end);

#endif
