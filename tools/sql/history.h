/* Lines typed at the SQL prompt, kept in $XDG_STATE_HOME/parchmill/history (~/.local/state), mode
 * 0600, a line each, the last PM_HISTORY_LINES. */
#ifndef PM_TOOLS_SQL_HISTORY_H
#define PM_TOOLS_SQL_HISTORY_H

#include "lib/base/status.h"

enum { PM_HISTORY_LINES = 1000 };

typedef struct pm_history pm_history;

pm_status pm_history_new(pm_history **out);
void pm_history_free(pm_history **history);
/* For el_set(EL_HIST): libedit's own. */
void *pm_history_of(const pm_history *history);
void pm_history_add(pm_history *history, const char *line);
/* What is there; nothing is no failure. */
pm_status pm_history_load(pm_history *history);
pm_status pm_history_save(const pm_history *history);

#endif
