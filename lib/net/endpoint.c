/* Owns the rule from a broker's URL to socket addresses. Opens nothing. */
#include "lib/net/endpoint.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/text.h"

enum { IPC_PATH_BYTES_MAX = 107, PORT_MAX = 65535 };

const char *pm_role_name(pm_role role) {
    switch (role) {
    case PM_ROLE_CLIENT: return "client";
    case PM_ROLE_WORKER: return "worker";
    case PM_ROLE_COUNT: break;
    }
    return "?";
}

static pm_status resolve_ipc(const char *url, const char *path, pm_role role,
                             char out[PM_ENDPOINT_BYTES]) {
    size_t length = strlen(path);
    if (length == 0 || path[0] == '@' || path[0] == '*')
        return pm_fail(PM_E_USAGE, "%s: ipc:// needs the path of a socket file", url);
    if (length + 2 > IPC_PATH_BYTES_MAX)
        return pm_fail(PM_E_USAGE,
                       "%s: a socket path may have %d bytes, this one has %zu; use a shorter one",
                       url, IPC_PATH_BYTES_MAX - 2, length);
    snprintf(out, PM_ENDPOINT_BYTES, "ipc://%s%s", path, role == PM_ROLE_WORKER ? ".w" : "");
    return PM_OK;
}

static bool is_loopback(const char *host) {
    unsigned a, b, c, d;
    char end;
    if (strcmp(host, "localhost") == 0) return true;
    return sscanf(host, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &end) == 4 && a == 127 && b < 256 &&
           c < 256 && d < 256;
}

static pm_status resolve_tcp(const char *url, const char *rest, pm_role role, bool insecure,
                             char out[PM_ENDPOINT_BYTES]) {
    char host[64];
    size_t port = 0;
    const char *colon = strrchr(rest, ':');
    if (!colon || colon == rest || (size_t)(colon - rest) >= sizeof host ||
        pm_parse_size("port", colon + 1, &port) || port == 0 || port >= PORT_MAX)
        return pm_fail(PM_E_USAGE, "%s: expected tcp://HOST:PORT with a port of 1 to %d", url,
                       PORT_MAX - 1);
    memcpy(host, rest, (size_t)(colon - rest));
    host[colon - rest] = 0;
    if (!insecure)
        return pm_fail(PM_E_DENIED, "%s: tcp is not encrypted; say --insecure if that is meant",
                       url);
    if (!is_loopback(host))
        return pm_fail(PM_E_DENIED, "%s: tcp without keys is for loopback (127.0.0.1) only", url);
    snprintf(out, PM_ENDPOINT_BYTES, "tcp://%s:%zu",
             strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
             port + (role == PM_ROLE_WORKER ? 1 : 0));
    return PM_OK;
}

pm_status pm_endpoint_resolve(const char *url, pm_role role, bool insecure,
                              char out[PM_ENDPOINT_BYTES]) {
    if (strncmp(url, "ipc://", 6) == 0) return resolve_ipc(url, url + 6, role, out);
    if (strncmp(url, "tcp://", 6) == 0) return resolve_tcp(url, url + 6, role, insecure, out);
    return pm_fail(PM_E_USAGE, "%s: expected ipc://PATH or tcp://HOST:PORT", url);
}
