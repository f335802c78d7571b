/* Where a broker listens: one URL for people, two sockets behind it.
 *
 *   ipc://PATH        clients at PATH, workers at PATH.w (PATH.w must fit into 107 bytes)
 *   tcp://HOST:PORT   clients at PORT, workers at PORT + 1; only with `insecure`, and only on
 *                     loopback addresses (127.0.0.0/8, localhost), because nothing is encrypted */
#ifndef PM_NET_ENDPOINT_H
#define PM_NET_ENDPOINT_H

#include <stdbool.h>

#include "lib/base/status.h"

typedef enum pm_role { PM_ROLE_CLIENT, PM_ROLE_WORKER, PM_ROLE_COUNT } pm_role;

enum { PM_ENDPOINT_BYTES = 160 };

/* "client", "worker". */
const char *pm_role_name(pm_role role);

/* The socket's address for a role. PM_E_USAGE: not a URL of these forms, path too long or
 * relative to nothing, port out of range; PM_E_DENIED: tcp without `insecure`, or not loopback. */
pm_status pm_endpoint_resolve(const char *url, pm_role role, bool insecure,
                              char out[PM_ENDPOINT_BYTES]);

#endif
