/* Where an export goes: stdout, a file, or a folder, each there whole or not at all.
 *
 *     pm_out *out = NULL;
 *     pm_status status = pm_out_open(path, PM_OUT_FOLDER, force, &out);
 *     if (!status) status = pm_out_stream(out, "results.csv", &file);
 *     ... status = pm_out_close(out, "results.csv", &file, status);
 *     status = pm_out_end(&out, status);
 *
 * All is made in PATH.tmp-XXXXXX beside it, synced, and takes the place of PATH in one step. */
#ifndef PM_TOOLS_EXPORT_OUT_H
#define PM_TOOLS_EXPORT_OUT_H

#include <stdbool.h>
#include <stdio.h>

#include "lib/base/status.h"

typedef enum pm_out_kind { PM_OUT_FOLDER, PM_OUT_FILE } pm_out_kind;

typedef struct pm_out pm_out;

/* What a former export is known by: this file in a folder, which lists all others as "file":
 * "NAME"; this first line of a script. */
#define PM_OUT_MARK_FILE "tables.json"
#define PM_OUT_MARK_KEY "parchmill_export"
#define PM_OUT_MARK_LINE "-- parchmill export"

/* PM_E_USAGE: something is at `path` that is no former export of this kind and `force` is not
 * given, or is of another kind in any case. "-" is stdout (PM_OUT_FILE). */
pm_status pm_out_open(const char *path, pm_out_kind kind, bool force, pm_out **out);
/* The temporary file or folder; NULL where it is stdout. A file is not there yet. */
const char *pm_out_temporary(const pm_out *out);

/* A stream to write: PM_OUT_FILE's own, or `name` inside the folder. End it with pm_out_close,
 * which syncs it and tells whether all of it was written; after a failure, too. Whoever writes
 * fails as pm_fail_errno does: here the text gets the name of the file that was to be. */
pm_status pm_out_stream(pm_out *out, const char *name, FILE **stream);
pm_status pm_out_close(pm_out *out, const char *name, FILE **stream, pm_status status);

/* PM_OK in `status`: put it in its place. Else, or where that fails: remove the temporary. Returns
 * what came of it; *out may be NULL. */
pm_status pm_out_end(pm_out **out, pm_status status);

#endif
