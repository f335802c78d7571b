/* The SQL prompt of `parchmill sql` at a terminal. */
#ifndef PM_TOOLS_SQL_SHELL_H
#define PM_TOOLS_SQL_SHELL_H

#include "tools/source.h"
#include "tools/table.h"

/* Until .quit or the input's end; a question that fails is told and does not end it. `rows_max` is
 * the source's limit. Failures: of what it needs to begin. */
pm_status pm_shell_run(pm_source *source, pm_table_format format, size_t rows_max);

/* A question's rows to stdout, and a line to stderr where they were cut at rows_max. */
pm_status pm_shell_answer(pm_source *source, const char *sql, pm_table_format format,
                          size_t rows_max);

#endif
