/* Owns the look at an address. Sends nothing. */
#include "lib/net/probe.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

void pm_net_zmq_version(char out[16]) {
    int major, minor, patch;
    zmq_version(&major, &minor, &patch);
    snprintf(out, 16, "%d.%d.%d", major, minor, patch);
}

static pm_place_state probe_ipc(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (access(path, F_OK) != 0) return PM_PLACE_FREE;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    /* Not to wait where a listener does not accept: EAGAIN says that it is there. */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return PM_PLACE_REFUSED;
    bool there = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    int error = errno;
    close(fd);
    if (there || error == EAGAIN) return PM_PLACE_TAKEN;
    return error == ECONNREFUSED ? PM_PLACE_STALE : PM_PLACE_REFUSED;
}

static pm_place_state probe_bind(const struct addrinfo *at) {
    int yes = 1, fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return PM_PLACE_REFUSED;
    /* As libzmq does: a connection that lingers is in nobody's way. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    bool bound = bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, 1) == 0;
    int error = errno;
    close(fd);
    if (bound) return PM_PLACE_FREE;
    return error == EADDRINUSE      ? PM_PLACE_TAKEN
           : error == EADDRNOTAVAIL ? PM_PLACE_ELSEWHERE
                                    : PM_PLACE_REFUSED;
}

static pm_place_state probe_tcp(const char *text) {
    char host[PM_ENDPOINT_BYTES];
    const char *colon = strrchr(text, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    if (!colon) return PM_PLACE_REFUSED;
    bool bracket = *text == '[' && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(colon - text) - 2 * bracket, text + bracket);
    const char *node = strcmp(host, "*") == 0 ? NULL : host;
    if (getaddrinfo(node, colon + 1, &hints, &found) != 0) return PM_PLACE_ELSEWHERE;
    pm_place_state state = probe_bind(found);
    freeaddrinfo(found);
    return state;
}

pm_place_state pm_endpoint_probe(const pm_endpoint *endpoint) {
    if (strncmp(endpoint->address, "ipc://", 6) == 0) return probe_ipc(endpoint->address + 6);
    return probe_tcp(endpoint->address + 6);
}
