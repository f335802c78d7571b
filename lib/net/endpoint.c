/* Owns the rule from a broker's URL to socket addresses. Opens nothing. */
#include "lib/net/endpoint.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/text.h"

enum { IPC_PATH_BYTES_MAX = 107, PORT_MAX = 65535, HOST_BYTES = 254 };

const char *pm_role_name(pm_role role) {
    switch (role) {
    case PM_ROLE_CLIENT: return "client";
    case PM_ROLE_WORKER: return "worker";
    case PM_ROLE_ADMIN: return "admin";
    case PM_ROLE_NONE: break;
    }
    return "none";
}

pm_role pm_role_parse(const char *text) {
    pm_role role = PM_ROLE_CLIENT;
    while (role < PM_ROLE_COUNT && strcmp(pm_role_name(role), text) != 0) role++;
    return role;
}

pm_port pm_role_port(pm_role role) {
    return role == PM_ROLE_WORKER ? PM_PORT_WORKER : PM_PORT_CLIENT;
}

static pm_status resolve_ipc(const char *url, const char *path, pm_port port, pm_endpoint *out) {
    size_t length = strlen(path);
    if (length == 0 || path[0] == '@' || path[0] == '*')
        return pm_fail(PM_E_USAGE, "%s: ipc:// needs the path of a socket file", url);
    if (length + 2 > IPC_PATH_BYTES_MAX)
        return pm_fail(PM_E_USAGE,
                       "%s: a socket path may have %d bytes, this one has %zu; use a shorter one",
                       url, IPC_PATH_BYTES_MAX - 2, length);
    snprintf(out->address, sizeof out->address, "ipc://%s%s", path,
             port == PM_PORT_WORKER ? ".w" : "");
    return PM_OK;
}

static bool is_ipv4(const char *host, unsigned byte[4]) {
    char end;
    return sscanf(host, "%3u.%3u.%3u.%3u%c", &byte[0], &byte[1], &byte[2], &byte[3], &end) == 4 &&
           byte[0] < 256 && byte[1] < 256 && byte[2] < 256 && byte[3] < 256;
}

static bool is_loopback(const char *host) {
    unsigned byte[4];
    if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0) return true;
    return is_ipv4(host, byte) && byte[0] == 127;
}

/* ZeroMQ's own addresses have more in them: a source in front of ';', a path behind '/'. */
static bool is_host(const char *host) {
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    size_t length = strlen(host);
    if (strcmp(host, "*") == 0) return true;
    if (host[0] != '[') return strspn(host, name) == length;
    return length > 3 && host[length - 1] == ']' && strchr(host, ':') &&
           strspn(host + 1, "0123456789abcdefABCDEF:.") == length - 2;
}

static pm_status split(const char *url, const char *rest, char host[HOST_BYTES], size_t *port) {
    const char *colon = strrchr(rest, ':');
    size_t length = colon ? (size_t)(colon - rest) : 0;
    if (length > 0 && length < HOST_BYTES) {
        memcpy(host, rest, length);
        host[length] = 0;
        if (is_host(host) && !pm_parse_size("port", colon + 1, port) && *port > 0 &&
            *port < PORT_MAX)
            return PM_OK;
    }
    return pm_fail(PM_E_USAGE,
                   "%s: expected tcp://HOST:PORT with a port of 1 to %d, and an IPv6 address in "
                   "brackets",
                   url, PORT_MAX - 1);
}

static pm_status resolve_tcp(const char *url, const char *rest, pm_port port,
                             const pm_credentials *credentials, pm_endpoint *out) {
    char host[HOST_BYTES];
    size_t number = 0;
    unsigned byte[4];
    bool keyed = credentials && credentials->secret_key[0];
    pm_status status = split(url, rest, host, &number);
    if (status) return status;
    if (!keyed && !(credentials && credentials->insecure))
        return pm_fail(PM_E_DENIED,
                       "%s: tcp needs a key (--key FILE; `parchmill keygen` makes one), or "
                       "--insecure on loopback",
                       url);
    if (!keyed && !is_loopback(host))
        return pm_fail(PM_E_DENIED,
                       "%s: tcp without keys is for loopback (127.0.0.1) only; `parchmill keygen` "
                       "makes keys",
                       url);
    out->keyed = keyed;
    out->ipv6 = host[0] == '[';
    out->named = !out->ipv6 && !is_ipv4(host, byte) && strcmp(host, "*") != 0 &&
                 strcmp(host, "localhost") != 0;
    snprintf(out->address, sizeof out->address, "tcp://%s:%zu",
             strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
             number + (port == PM_PORT_WORKER ? 1 : 0));
    return PM_OK;
}

pm_status pm_endpoint_resolve(const char *url, pm_port port, const pm_credentials *credentials,
                              pm_endpoint *out) {
    pm_endpoint made = {.keyed = false};
    pm_status status;
    if (strncmp(url, "ipc://", 6) == 0)
        status = resolve_ipc(url, url + 6, port, &made);
    else if (strncmp(url, "tcp://", 6) == 0)
        status = resolve_tcp(url, url + 6, port, credentials, &made);
    else
        status = pm_fail(PM_E_USAGE, "%s: expected ipc://PATH or tcp://HOST:PORT", url);
    if (!status) *out = made;
    return status;
}
