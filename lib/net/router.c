/* Owns the broker's ROUTER sockets, and who may do what on them. Knows nothing of runs, tasks or
 * leases. */
#include "lib/net/router.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/net/guard.h"
#include "lib/net/intake.h"
#include "lib/net/socket.h"

enum { ENDPOINTS_MAX = 8, CLOSE_MS = 1000, BACKLOG = 1024 /* a fleet that comes at once */ };

/* Sockets with keys and without are apart: on one without, a peer may claim any User-Id. */
enum { PLAIN, KEYED, WAYS };

struct pm_router {
    zsock_t *sockets[WAYS * PM_PORT_COUNT]; /* [way * PM_PORT_COUNT + port]; NULL: not in use */
    size_t refused, broken;                 /* connections, as far as logged */
    pm_log_budget log;
    pm_outbox *outbox; /* of all of them */
    pm_guard *guard;   /* NULL: no list */
    uint64_t allow_version;
    size_t file_count;
    char files[ENDPOINTS_MAX * PM_PORT_COUNT][PM_ENDPOINT_BYTES]; /* ipc:// that we listen at */
    size_t turn; /* the socket that is asked first next time, so that none starves */
};

bool pm_peer_equal(const pm_peer *a, const pm_peer *b) {
    return a->port == b->port && a->keyed == b->keyed && a->identity == b->identity &&
           a->id_size == b->id_size && memcmp(a->id, b->id, a->id_size) == 0;
}

static zsock_t **socket_at(pm_router *router, bool keyed, pm_port port) {
    return &router->sockets[(size_t)(keyed ? KEYED : PLAIN) * PM_PORT_COUNT + port];
}

static size_t frame_bytes_max(pm_port port) {
    return port == PM_PORT_CLIENT ? PM_ITEM_LIST_BYTES_MAX : PM_WORKER_FRAME_MAX;
}

static pm_status open_sockets(pm_router *router, bool keyed) {
    for (pm_port port = 0; port < PM_PORT_COUNT; port++) {
        zsock_t *made = *socket_at(router, keyed, port) = zsock_new(ZMQ_ROUTER);
        if (!made) return pm_fail(PM_E_IO, "router: cannot make a socket: %s", zmq_strerror(errno));
        pm_socket_limits(made, frame_bytes_max(port));
        zsock_set_rcvhwm(made, PM_ROUTER_RECEIVE_DEPTH);
        zsock_set_backlog(made, BACKLOG);
        zsock_set_router_mandatory(made, 1);
    }
    return PM_OK;
}

pm_status pm_router_new(pm_router **out) {
    pm_socket_setup();
    pm_router *router = calloc(1, sizeof *router);
    if (!router) return pm_fail(PM_E_MEMORY, "router: no memory");
    pm_status status = pm_outbox_new(&router->outbox);
    if (!status) status = open_sockets(router, false);
    if (status)
        pm_router_free(&router);
    else
        *out = router;
    return status;
}

pm_status pm_router_allow(pm_router *router, const char *path) {
    if (router->guard) return pm_fail(PM_E_USAGE, "%s: there is a list of keys already", path);
    pm_status status = pm_guard_new(path, &router->guard);
    return status ? status : open_sockets(router, true);
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
    for (size_t i = 0; i < WAYS * PM_PORT_COUNT; i++) zsock_destroy(&(*router)->sockets[i]);
    pm_outbox_free(&(*router)->outbox);
    pm_guard_free(&(*router)->guard);
    /* ZeroMQ closes in the background: wait, so that the next one can listen there at once. */
    int64_t until_ms = pm_clock_ms() + CLOSE_MS;
    for (size_t i = 0; i < (*router)->file_count; i++)
        while (ipc_is_served((*router)->files[i] + 6) && pm_clock_ms() < until_ms) usleep(1000);
    free(*router);
    *router = NULL;
}

/* The socket files are ours alone, whatever the umask: who can open one is an admin. Nothing else
 * of the process makes a file meanwhile. */
static int bind_at(zsock_t *socket, const char *address) {
    mode_t mask = umask(0177);
    int result = zmq_bind(zsock_resolve(socket), address);
    int error = errno;
    umask(mask);
    errno = error;
    return result;
}

static bool is_ipc(const pm_endpoint *endpoint) {
    return strncmp(endpoint->address, "ipc://", 6) == 0;
}

static pm_status resolve_all(const pm_router *router, const char *url,
                             const pm_credentials *credentials,
                             pm_endpoint endpoints[PM_PORT_COUNT]) {
    if (router->file_count + PM_PORT_COUNT > sizeof router->files / sizeof router->files[0])
        return pm_fail(PM_E_LIMIT, "%s: more than %d places to listen at", url, ENDPOINTS_MAX);
    for (pm_port port = 0; port < PM_PORT_COUNT; port++) {
        pm_status status = pm_endpoint_resolve(url, port, credentials, &endpoints[port]);
        if (status) return status;
        if (is_ipc(&endpoints[port]) && ipc_is_served(endpoints[port].address + 6))
            return pm_fail(PM_E_BUSY, "%s: another broker listens there", url);
    }
    if (endpoints[0].keyed && !router->guard)
        return pm_fail(PM_E_USAGE, "%s: keys need a list of those allowed: --allow FILE", url);
    return PM_OK;
}

pm_status pm_router_bind(pm_router *router, const char *url, const pm_credentials *credentials) {
    pm_endpoint endpoints[PM_PORT_COUNT];
    pm_status status = resolve_all(router, url, credentials, endpoints);
    if (status) return status;
    for (pm_port port = 0; port < PM_PORT_COUNT; port++) {
        const pm_endpoint *at = &endpoints[port];
        zsock_t *socket = *socket_at(router, at->keyed, port);
        pm_socket_secure_server(socket, at, credentials);
        if (bind_at(socket, at->address) == 0) {
            if (is_ipc(at))
                memcpy(router->files[router->file_count++], at->address, sizeof at->address);
            continue;
        }
        int error = errno;
        if (port > 0)
            zmq_unbind(zsock_resolve(*socket_at(router, at->keyed, 0)), endpoints[0].address);
        return pm_fail(error == EADDRINUSE ? PM_E_BUSY : PM_E_IO, "%s: cannot listen at %s: %s",
                       url, at->address, zmq_strerror(error));
    }
    return PM_OK;
}

uint64_t pm_router_allow_version(const pm_router *router) { return router->allow_version; }

/* NULL where the list does not have it (any more), or there is no list. */
static const pm_allowed *allowed_of(const pm_router *router, uint64_t identity) {
    return router->guard && identity
               ? pm_allow_find_identity(pm_guard_allow(router->guard), identity)
               : NULL;
}

pm_role pm_router_role(const pm_router *router, const pm_peer *peer) {
    if (!peer->keyed) return peer->port == PM_PORT_WORKER ? PM_ROLE_WORKER : PM_ROLE_ADMIN;
    const pm_allowed *allowed = allowed_of(router, peer->identity);
    if (!allowed || pm_role_port(allowed->role) != peer->port) return PM_ROLE_NONE;
    return allowed->role;
}

const char *pm_router_name(const pm_router *router, uint64_t identity) {
    const pm_allowed *allowed = allowed_of(router, identity);
    return allowed ? allowed->name : "";
}

static void log_refused(pm_router *router) {
    size_t refused = pm_intake_refused();
    if (refused == router->refused) return;
    pm_log_seldom(&router->log, PM_LOG_WARN, "connections.full",
                  "refused=%zu reason=\"no descriptors are left; raise the limit (ulimit -n)\"",
                  refused - router->refused);
    router->refused = refused;
}

static void log_broken(pm_router *router) {
    size_t broken = pm_intake_broken();
    if (broken == router->broken) return;
    pm_log_seldom(&router->log, PM_LOG_WARN, "connections.broken",
                  "count=%zu reason=\"over %d bytes without the end of a message\"",
                  broken - router->broken, PM_INTAKE_MAX);
    router->broken = broken;
}

pm_status pm_router_wait(pm_router *router, pm_wait_fd *fds, size_t count, int timeout_ms,
                         bool *messages) {
    enum { ROUTERS = WAYS * PM_PORT_COUNT, GUARD = ROUTERS, ALL };
    bool ready[ALL] = {false};
    zsock_t *sockets[ALL] = {NULL};
    memcpy(sockets, router->sockets, sizeof router->sockets);
    log_refused(router);
    log_broken(router);
    if (router->guard) sockets[GUARD] = pm_guard_socket(router->guard);
    pm_status status = pm_socket_wait(sockets, ALL, ready, fds, count, timeout_ms);
    if (status) return status;
    if (ready[GUARD]) pm_guard_serve(router->guard);
    if (router->guard && pm_guard_refresh(router->guard, pm_clock_ms())) router->allow_version++;
    *messages = false;
    for (size_t i = 0; i < ROUTERS; i++) *messages |= ready[i];
    return PM_OK;
}

pm_status pm_router_receive(pm_router *router, pm_peer *peer, pm_message *message) {
    for (size_t i = 0; i < WAYS * PM_PORT_COUNT; i++) {
        size_t turn = router->turn;
        char key[PM_KEY_BYTES] = "";
        pm_peer from = {.port = (pm_port)(turn % PM_PORT_COUNT),
                        .keyed = turn / PM_PORT_COUNT == KEYED};
        router->turn = (turn + 1) % (WAYS * PM_PORT_COUNT);
        if (!router->sockets[turn]) continue;
        pm_status status = pm_socket_receive(router->sockets[turn], &from, key, message);
        if (status == PM_E_TIMEOUT) continue;
        if (from.keyed && key[0]) from.identity = pm_key_identity(key);
        from.role = pm_router_role(router, &from);
        *peer = from;
        return status;
    }
    return PM_E_TIMEOUT;
}

pm_status pm_router_send(pm_router *router, const pm_peer *peer, const Pm__Wire__Message *body,
                         const pm_bytes *frames, size_t frame_count) {
    zsock_t *socket = *socket_at(router, peer->keyed, peer->port);
    if (!socket) return pm_fail(PM_E_NOT_FOUND, "message: nobody connects there");
    return pm_socket_send(socket, router->outbox, peer, body, frames, frame_count);
}
