/* What the campaigns share: a counter of luck, scratch folders, and the comparison of a database
 * with the one of an undisturbed run. A campaign ends with one line of figures; exit 0: all held,
 * 1: something did not (with the command that replays it), 2: usage, 77: cannot run here. */
#ifndef TESTS_CAMPAIGN_CAMPAIGN_H
#define TESTS_CAMPAIGN_CAMPAIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/store/query.h"

enum { CAMPAIGN_PATH = 256, CAMPAIGN_SKIP = 77 };

/* The same seed, the same luck. */
typedef struct luck {
    uint64_t seed, drawn;
} luck;
uint64_t luck_below(luck *l, uint64_t n); /* 0 .. n - 1, n > 0 */
bool luck_one_in(luck *l, uint64_t n);

/* A new folder; in memory (/dev/shm) where that is there and `fast`. */
pm_status campaign_folder(bool fast, char out[CAMPAIGN_PATH]);
/* With all that is in it. */
void campaign_remove(const char *folder);
/* The files in it, not the folder. */
void campaign_empty(const char *folder);

/* The database's comparable text and its channel statistics, from malloc. */
typedef struct picture {
    char *dump;
    size_t channel_count;
    double (*channels)[3]; /* count, mean, sum of spreads of each row, by natural key */
} picture;
pm_status picture_take(const char *db, picture *out);
void picture_fini(picture *p);
/* The dump to the byte, the sums to 1e-9. PM_E_MISMATCH with the first line that differs. */
pm_status picture_same(const picture *want, const picture *got);

/* integrity_check, foreign_key_check. PM_E_FORMAT. */
pm_status campaign_sound(const char *db);

/* The first column of the first row; -1 without a row. */
pm_status campaign_ask(const char *db, const char *sql, int64_t *out);
pm_status campaign_ask_in(pm_query *query, const char *sql, int64_t *out);

/* Milliseconds at p in 0 .. 1 of `values`, which are sorted here; 0 of none. */
int64_t campaign_percentile(int64_t *values, size_t count, double p);

#endif
