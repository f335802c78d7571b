/* Where a command works: at a standing broker (--broker), or at a private one on a database (--db)
 * that lives as long as the command. */
#ifndef PM_TOOLS_PLACE_H
#define PM_TOOLS_PLACE_H

#include <signal.h>

#include "lib/net/client.h"
#include "tools/options.h"
#include "tools/supervisor.h"

typedef struct pm_place {
    pm_supervisor *supervisor; /* NULL at a standing broker */
    pm_client *client;
} pm_place;

/* Connect; a private broker gets `workers` workers of `threads` threads. *stop (may be NULL) set
 * while waiting: PM_E_CANCELLED. Close it also after a failure. */
pm_status pm_place_open(const pm_options *options, size_t workers, size_t threads,
                        const volatile sig_atomic_t *stop, pm_place *out);
/* The credentials of --key, --broker-key and --insecure (or their defaults) for the standing broker
 * at `url`; errors as of pm_credentials_for_peer. Wipe them after use. */
pm_status pm_place_credentials(const pm_options *options, const char *url, pm_credentials *out);
/* Stops a private broker and its workers; *hurry as in pm_supervisor_stop. */
void pm_place_close(pm_place *place, const volatile sig_atomic_t *hurry);

/* Look after the children, then rest: what to call between two requests. */
pm_status pm_place_rest(pm_place *place, int ms);

/* After pm_stop_catch SIGINT, SIGTERM and SIGHUP set pm_stop_asked instead of ending the
 * process; the second one sets pm_stop_hurry. */
extern volatile sig_atomic_t pm_stop_asked, pm_stop_hurry;
void pm_stop_catch(void);

#endif
