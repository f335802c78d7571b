/* Where a broker listens: one URL for people, two sockets behind it.
 *
 *   ipc://PATH        clients at PATH, workers at PATH.w (PATH.w must fit into 107 bytes); guarded
 *                     by the socket files' permissions: only the same user gets in
 *   tcp://HOST:PORT   clients at PORT, workers at PORT + 1; HOST is a name, an IPv4 address, an
 *                     IPv6 address in brackets or, to listen, an interface or *. With keys (CURVE);
 *                     without them only by `insecure` and only on loopback (127.0.0.0/8, [::1],
 *                     localhost), because nothing is encrypted and anybody may come */
#ifndef PM_NET_ENDPOINT_H
#define PM_NET_ENDPOINT_H

#include <stdbool.h>

#include "lib/net/credentials.h"

/* What a peer may do. PM_ROLE_NONE: nothing. */
typedef enum pm_role {
    PM_ROLE_CLIENT,
    PM_ROLE_WORKER,
    PM_ROLE_ADMIN,
    PM_ROLE_COUNT,
    PM_ROLE_NONE = PM_ROLE_COUNT
} pm_role;

/* The two sockets of a URL. */
typedef enum pm_port { PM_PORT_CLIENT, PM_PORT_WORKER, PM_PORT_COUNT } pm_port;

enum { PM_ENDPOINT_BYTES = 288 };

/* "client", "worker", "admin", "none". */
const char *pm_role_name(pm_role role);
/* PM_ROLE_NONE where the text is no role. */
pm_role pm_role_parse(const char *text);
/* The socket for a role: admins and clients share one. */
pm_port pm_role_port(pm_role role);

typedef struct pm_endpoint {
    char address[PM_ENDPOINT_BYTES]; /* as ZeroMQ takes it */
    bool keyed;                      /* CURVE */
    bool ipv6;                       /* an address in brackets */
    bool named;                      /* a host's name, to be looked up */
} pm_endpoint;

/* `credentials` NULL: none. PM_E_USAGE: not a URL of these forms, path too long or relative to
 * nothing, port out of range; PM_E_DENIED: tcp without keys or `insecure`, or `insecure` and not
 * loopback. */
pm_status pm_endpoint_resolve(const char *url, pm_port port, const pm_credentials *credentials,
                              pm_endpoint *out);

#endif
