/* Where a command reads rows: a database file (--db) or a broker (--broker), which answers from
 * anywhere within the same limits. The command does not know which.
 *
 *     pm_source *source = NULL;
 *     pm_status status = pm_source_open(options, &source);
 *     if (!status) status = pm_source_ask(source, sql, parameters, count, &sink, NULL);
 *     pm_source_close(&source);                                                          */
#ifndef PM_TOOLS_SOURCE_H
#define PM_TOOLS_SOURCE_H

#include <stdbool.h>

#include "lib/base/rows.h"
#include "lib/store/query.h"
#include "tools/options.h"

typedef struct pm_source pm_source;

/* PM_E_USAGE: both are given; else as pm_query_open and pm_client_open. */
pm_status pm_source_open(const pm_options *options, pm_source **out);
/* The same with limits of the caller's on every question. A broker has limits of its own; of these
 * it takes rows and time, where they are the narrower. */
pm_status pm_source_open_within(const pm_options *options, const pm_query_limits *limits,
                                pm_source **out);
void pm_source_close(pm_source **source);

/* PM_E_MISMATCH, with what to do: a file of an older schema. A broker's is of its own schema, and
 * it says so itself. */
pm_status pm_source_current(const pm_source *source);

/* SQL that belongs to the command: a broker whose database has another schema refuses it
 * (PM_E_MISMATCH). Parameters [count] are bound to ?1, ?2 ...; `cut` may be NULL. Errors as
 * pm_query_run and pm_client_query. */
pm_status pm_source_ask(pm_source *source, const char *sql, const pm_value *parameters,
                        size_t count, const pm_query_sink *sink, bool *cut);
/* The same of SQL that somebody typed, who knows what is there. */
pm_status pm_source_ask_typed(pm_source *source, const char *sql, const pm_query_sink *sink,
                              bool *cut);

/* pm_source_ask for those who do not know a source; lives as long as it. */
pm_asker pm_source_asker(pm_source *source);

/* End the question that a file is answering, from a signal handler; a broker's goes on. */
void pm_source_interrupt(pm_source *source);

/* The file or the URL, for texts. */
const char *pm_source_name(const pm_source *source);

#endif
