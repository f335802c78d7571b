/* Owns the broker's two ROUTER sockets. Knows nothing of runs, tasks or leases. */
#include "lib/net/router.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/net/socket.h"

enum { ENDPOINTS_MAX = 8, CLOSE_MS = 1000 };

struct pm_router {
    zsock_t *sockets[PM_ROLE_COUNT];
    size_t file_count;
    char files[ENDPOINTS_MAX * PM_ROLE_COUNT][PM_ENDPOINT_BYTES]; /* ipc:// that we listen at */
    pm_role turn; /* the role that is asked first next time, so that none starves */
};

bool pm_peer_equal(const pm_peer *a, const pm_peer *b) {
    return a->role == b->role && a->id_size == b->id_size && memcmp(a->id, b->id, a->id_size) == 0;
}

static size_t frame_bytes_max(pm_role role) {
    return role == PM_ROLE_CLIENT ? PM_ITEM_LIST_BYTES_MAX : PM_WORKER_FRAME_MAX;
}

pm_status pm_router_new(pm_router **out) {
    pm_socket_setup();
    pm_router *router = calloc(1, sizeof *router);
    if (!router) return pm_fail(PM_E_MEMORY, "router: no memory");
    for (pm_role role = 0; role < PM_ROLE_COUNT; role++) {
        router->sockets[role] = zsock_new(ZMQ_ROUTER);
        if (!router->sockets[role]) {
            pm_router_free(&router);
            return pm_fail(PM_E_IO, "router: cannot make a socket: %s", zmq_strerror(errno));
        }
        pm_socket_limits(router->sockets[role], frame_bytes_max(role));
        zsock_set_router_mandatory(router->sockets[role], 1);
    }
    *out = router;
    return PM_OK;
}

/* ZeroMQ unlinks a socket file that is there before it binds, also one that is in use. */
static bool ipc_is_served(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    bool served = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return served;
}

void pm_router_free(pm_router **router) {
    if (!*router) return;
    for (pm_role role = 0; role < PM_ROLE_COUNT; role++) zsock_destroy(&(*router)->sockets[role]);
    /* ZeroMQ closes in the background: wait, so that the next one can listen there at once. */
    int64_t until_ms = pm_clock_ms() + CLOSE_MS;
    for (size_t i = 0; i < (*router)->file_count; i++)
        while (ipc_is_served((*router)->files[i] + 6) && pm_clock_ms() < until_ms) usleep(1000);
    free(*router);
    *router = NULL;
}

pm_status pm_router_bind(pm_router *router, const char *url, bool insecure) {
    char addresses[PM_ROLE_COUNT][PM_ENDPOINT_BYTES];
    if (router->file_count + PM_ROLE_COUNT > sizeof router->files / sizeof router->files[0])
        return pm_fail(PM_E_LIMIT, "%s: more than %d places to listen at", url, ENDPOINTS_MAX);
    for (pm_role role = 0; role < PM_ROLE_COUNT; role++) {
        pm_status status = pm_endpoint_resolve(url, role, insecure, addresses[role]);
        if (status) return status;
        if (strncmp(addresses[role], "ipc://", 6) == 0 && ipc_is_served(addresses[role] + 6))
            return pm_fail(PM_E_BUSY, "%s: another broker listens there", url);
    }
    for (pm_role role = 0; role < PM_ROLE_COUNT; role++) {
        if (zmq_bind(zsock_resolve(router->sockets[role]), addresses[role]) == 0) {
            if (strncmp(addresses[role], "ipc://", 6) == 0)
                memcpy(router->files[router->file_count++], addresses[role], PM_ENDPOINT_BYTES);
            continue;
        }
        int error = errno;
        if (role > 0) zmq_unbind(zsock_resolve(router->sockets[0]), addresses[0]);
        return pm_fail(error == EADDRINUSE ? PM_E_BUSY : PM_E_IO, "%s: cannot listen at %s: %s",
                       url, addresses[role], zmq_strerror(error));
    }
    return PM_OK;
}

pm_status pm_router_wait(pm_router *router, pm_wait_fd *fds, size_t count, int timeout_ms,
                         bool *messages) {
    bool ready[PM_ROLE_COUNT] = {false};
    pm_status status =
        pm_socket_wait(router->sockets, PM_ROLE_COUNT, ready, fds, count, timeout_ms);
    if (status) return status;
    *messages = ready[PM_ROLE_CLIENT] || ready[PM_ROLE_WORKER];
    return PM_OK;
}

pm_status pm_router_receive(pm_router *router, pm_peer *peer, pm_message *message) {
    for (int i = 0; i < PM_ROLE_COUNT; i++) {
        pm_role role = router->turn;
        router->turn = (pm_role)((router->turn + 1) % PM_ROLE_COUNT);
        pm_peer from = {.role = role};
        pm_status status = pm_socket_receive(router->sockets[role], &from, message);
        if (status == PM_E_TIMEOUT) continue;
        *peer = from;
        return status;
    }
    return PM_E_TIMEOUT;
}

pm_status pm_router_send(pm_router *router, const pm_peer *peer, const Pm__Wire__Message *body,
                         const pm_bytes *frames, size_t frame_count) {
    return pm_socket_send(router->sockets[peer->role], peer, body, frames, frame_count);
}
