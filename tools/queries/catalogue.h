/* The ready-made queries: schema/queries/NAME.sql, embedded.
 *
 * A file begins with comment lines: the question; `-- view NAME`, the view that it shows; and one
 * `-- ?N NAME` for each value that it takes. A value of that name that is not given is found in the
 * database: run, the newest that attributes; a and b, the run's first and second configuration
 * (where there is but one, that); statistics, the first by name. */
#ifndef PM_QUERIES_CATALOGUE_H
#define PM_QUERIES_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/rows.h"

typedef struct pm_ready_text {
    const char *name, *text;
} pm_ready_text;
extern const pm_ready_text pm_ready_texts[]; /* by name */
extern const size_t pm_ready_count;

enum { PM_READY_PARAMETERS = 4, PM_READY_WORD = 32, PM_READY_LINE = 200 };

typedef struct pm_ready {
    const char *name, *sql; /* borrowed, for ever */
    char question[PM_READY_LINE], view[PM_READY_WORD];
    bool varies; /* `-- answers vary`: not a matter of the work alone, but of when and where */
    size_t parameter_count;
    char parameters[PM_READY_PARAMETERS][PM_READY_WORD];
} pm_ready;

/* Number `index` of pm_ready_count. PM_E_INTERNAL: its head is not as above. */
pm_status pm_ready_at(size_t index, pm_ready *out);
/* PM_E_USAGE, with the nearest name. */
pm_status pm_ready_find(const char *name, pm_ready *out);

/* Values for ?1 .. from words [count] as typed, the rest from the database. `values`
 * [PM_READY_PARAMETERS]; text among them is borrowed from `words`, or from `name`, which holds a
 * statistics' name that was found. PM_E_USAGE: a number that is none, a configuration that the run
 * does not have; PM_E_NOT_FOUND: no such run, or nothing in the database. */
pm_status pm_ready_values(const pm_ready *query, const pm_asker *asker, const char *const *words,
                          size_t count, char name[PM_READY_LINE], pm_value *values);

/* The newest run that attributes, which is meant where none is named. PM_E_NOT_FOUND: none. */
pm_status pm_newest_run(const pm_asker *asker, int64_t *out);

#endif
