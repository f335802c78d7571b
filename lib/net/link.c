/* Owns a peer's DEALER socket and notices when its connection breaks. Knows no message. */
#include "lib/net/link.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/net/socket.h"

static atomic_ulong connections;

struct pm_link {
    char address[PM_ENDPOINT_BYTES];
    pm_role role;
    zsock_t *socket;
    zsock_t *monitor; /* PAIR that gets the socket's events */
    bool lost;
};

pm_status pm_link_new(const char *url, pm_role role, bool insecure, pm_link **out) {
    char address[PM_ENDPOINT_BYTES];
    pm_status status = pm_endpoint_resolve(url, role, insecure, address);
    if (status) return status;
    pm_socket_setup();
    pm_link *link = calloc(1, sizeof *link);
    if (!link) return pm_fail(PM_E_MEMORY, "link: no memory");
    memcpy(link->address, address, sizeof address);
    link->role = role;
    *out = link;
    return PM_OK;
}

void pm_link_disconnect(pm_link *link) {
    if (link->socket) zmq_socket_monitor(zsock_resolve(link->socket), NULL, 0);
    zsock_destroy(&link->monitor);
    zsock_destroy(&link->socket);
}

void pm_link_free(pm_link **link) {
    if (!*link) return;
    pm_link_disconnect(*link);
    free(*link);
    *link = NULL;
}

void pm_link_finish(pm_link **link, int linger_ms) {
    if (*link && (*link)->socket) zsock_set_linger((*link)->socket, linger_ms);
    pm_link_free(link);
}

pm_status pm_link_connect(pm_link *link) {
    char events[64];
    pm_link_disconnect(link);
    link->lost = false;
    link->socket = zsock_new(ZMQ_DEALER);
    link->monitor = zsock_new(ZMQ_PAIR);
    if (!link->socket || !link->monitor) goto fail;
    pm_socket_limits(link->socket,
                     link->role == PM_ROLE_WORKER ? PM_WORKER_FRAME_MAX : PM_ITEM_LIST_BYTES_MAX);
    zsock_set_linger(link->monitor, 0);
    zsock_set_reconnect_ivl(link->socket, 50);
    zsock_set_reconnect_ivl_max(link->socket, 1000);
    /* Never used twice in a process: the name of a closed one may linger for a moment. */
    snprintf(events, sizeof events, "inproc://parchmill-link-%lu",
             atomic_fetch_add(&connections, 1));
    if (zmq_socket_monitor(zsock_resolve(link->socket), events, ZMQ_EVENT_DISCONNECTED) != 0 ||
        zmq_connect(zsock_resolve(link->monitor), events) != 0 ||
        zmq_connect(zsock_resolve(link->socket), link->address) != 0)
        goto fail;
    return PM_OK;
fail:;
    int error = errno;
    pm_link_disconnect(link);
    return pm_fail(PM_E_IO, "%s: cannot connect: %s", link->address, zmq_strerror(error));
}

static bool is_open(const pm_link *link) { return link->socket != NULL; }

bool pm_link_lost(pm_link *link) {
    if (!is_open(link)) return true;
    zmsg_t *event;
    /* Any event is a disconnection: nothing else is subscribed. */
    while ((event = zmsg_recv_nowait(link->monitor))) {
        zmsg_destroy(&event);
        link->lost = true;
    }
    return link->lost;
}

pm_status pm_link_wait(pm_link *link, pm_wait_fd *fds, size_t count, int timeout_ms,
                       bool *messages) {
    bool ready[2] = {false};
    zsock_t *sockets[2] = {link->socket, link->lost ? NULL : link->monitor};
    pm_status status = pm_socket_wait(sockets, 2, ready, fds, count, timeout_ms);
    if (status) return status;
    *messages = ready[0];
    return PM_OK;
}

pm_status pm_link_receive(pm_link *link, int timeout_ms, pm_message *message) {
    int64_t deadline_ms = pm_clock_ms() + timeout_ms;
    if (!is_open(link)) return pm_fail(PM_E_IO, "%s: not connected", link->address);
    for (;;) {
        pm_status status = pm_socket_receive(link->socket, NULL, message);
        if (status != PM_E_TIMEOUT) return status;
        int64_t left_ms = deadline_ms - pm_clock_ms();
        if (left_ms <= 0 || pm_link_lost(link)) return PM_E_TIMEOUT;
        bool any;
        status = pm_link_wait(link, NULL, 0, (int)left_ms, &any);
        if (status) return status;
    }
}

pm_status pm_link_send(pm_link *link, const Pm__Wire__Message *body, const pm_bytes *frames,
                       size_t frame_count) {
    if (!is_open(link)) return pm_fail(PM_E_IO, "%s: not connected", link->address);
    return pm_socket_send(link->socket, NULL, body, frames, frame_count);
}
