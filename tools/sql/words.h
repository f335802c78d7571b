/* Words that the SQL prompt completes: tables, views, columns, functions, keywords. No terminal. */
#ifndef PM_TOOLS_SQL_WORDS_H
#define PM_TOOLS_SQL_WORDS_H

#include <stddef.h>
#include <stdio.h>

#include "lib/base/rows.h"
#include "lib/base/text.h"

/* Zero-initialise; pm_words_fini releases. Sorted without regard to case, each word once. */
typedef struct pm_words {
    char **at;
    size_t count, capacity;
} pm_words;

pm_status pm_words_load(pm_words *words, const pm_asker *asker);
void pm_words_fini(pm_words *words);

/* What may be put behind the `length` bytes at `prefix`, as far as all words that begin so agree,
 * a blank behind the only one; `out` is text, "" for nothing. Keywords follow the prefix's case.
 * How many words begin so: 0 for an empty prefix. */
size_t pm_words_complete(const pm_words *words, const char *prefix, size_t length, char *out,
                         size_t out_size);
/* They, in columns of a terminal of `width`. */
void pm_words_show(const pm_words *words, const char *prefix, size_t length, size_t width,
                   FILE *out);

#endif
