/* What `parchmill stats` does with statistics that are there: list, export, import. */
#ifndef PM_TOOLS_STATS_KEPT_H
#define PM_TOOLS_STATS_KEPT_H

#include "tools/options.h"
#include "tools/statistics/keep.h"

/* The operands behind `stats` are the caller's to read; these check them. */
pm_status pm_stats_list(const pm_options *options);
pm_status pm_stats_export(const pm_options *options);
pm_status pm_stats_import_folder(const pm_options *options);

/* --name, checked. PM_E_USAGE. */
pm_status pm_stats_name(const pm_options *options, const char **out);

/* Name, note, --force, and the words at the end: text, or with --json an object. `made` is kept in
 * --db; `spec` is the model's. */
pm_status pm_stats_finish(const pm_options *options, const pm_stats_made *made,
                          const pm_run_spec *spec, uint64_t run_id, const char *note);

#endif
