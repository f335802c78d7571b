/* A private broker and its workers, kept alive.
 *
 * Use: pm_supervisor_new -> pm_supervisor_tend every 100 ms or so -> pm_supervisor_stop ->
 * pm_supervisor_free. Children are started in process groups of their own, so that Ctrl-C reaches
 * only the command; they hold a lifeline pipe and stop when the command is gone. What they write to
 * stderr goes to a log file beside the database.
 *
 * A child that dies is started again, with a growing pause; deaths at once, again and again, or a
 * refusal by the broker (database held, read-only ...) are given up on with the child's last line.
 */
#ifndef PM_TOOLS_SUPERVISOR_H
#define PM_TOOLS_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/status.h"

typedef struct pm_supervisor pm_supervisor;

/* Exit code of parchmill-broker where another one holds the database. */
enum { PM_BROKER_EXIT_HELD = 3 };

/* Start a broker on `db` and `workers` (0 .. 256) workers of `threads` each. PM_E_NOT_FOUND: the
 * programs; PM_E_IO, PM_E_MEMORY. */
pm_status pm_supervisor_new(const char *db, size_t workers, size_t threads, pm_supervisor **out);
/* Stops what still runs, at once. */
void pm_supervisor_free(pm_supervisor **supervisor);

const char *pm_supervisor_url(const pm_supervisor *supervisor);
const char *pm_supervisor_log_path(const pm_supervisor *supervisor);
/* How many deaths were mended so far. */
size_t pm_supervisor_restarts(const pm_supervisor *supervisor);

/* Tell it that the broker answered: from now on its deaths are mended. */
void pm_supervisor_broker_ready(pm_supervisor *supervisor);

/* Look after the children. A status other than PM_OK: given up, with the reason. */
pm_status pm_supervisor_tend(pm_supervisor *supervisor);

/* Workers finish what they have in hand, then the broker closes the database. *hurry (may be NULL)
 * is looked at while waiting: once it is set, whatever runs is killed. */
void pm_supervisor_stop(pm_supervisor *supervisor, const volatile int *hurry);

#endif
