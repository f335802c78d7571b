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
    pm_endpoint endpoint;
    pm_credentials credentials;
    pm_port port;
    zsock_t *socket;
    zsock_t *monitor; /* PAIR that gets the socket's events */
    bool lost;
    uint16_t failure; /* the event of a handshake that failed; 0: none */
    uint32_t failure_value;
};

enum {
    HANDSHAKE_FAILED = ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    EVENTS = ZMQ_EVENT_DISCONNECTED | HANDSHAKE_FAILED
};

pm_status pm_link_new(const char *url, pm_role role, const pm_credentials *credentials,
                      pm_link **out) {
    pm_endpoint endpoint;
    pm_status status = pm_endpoint_resolve(url, pm_role_port(role), credentials, &endpoint);
    if (status) return status;
    if (endpoint.keyed && !credentials->broker_key[0])
        return pm_fail(PM_E_USAGE, "%s: the broker's key is needed too: --broker-key", url);
    pm_socket_setup();
    pm_link *link = calloc(1, sizeof *link);
    if (!link) return pm_fail(PM_E_MEMORY, "link: no memory");
    link->endpoint = endpoint;
    link->port = pm_role_port(role);
    if (credentials) link->credentials = *credentials;
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
    pm_credentials_wipe(&(*link)->credentials);
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
    link->failure = 0;
    link->socket = zsock_new(ZMQ_DEALER);
    link->monitor = zsock_new(ZMQ_PAIR);
    if (!link->socket || !link->monitor) goto fail;
    pm_socket_limits(link->socket,
                     link->port == PM_PORT_WORKER ? PM_WORKER_FRAME_MAX : PM_ITEM_LIST_BYTES_MAX);
    zsock_set_linger(link->monitor, 0);
    zsock_set_reconnect_ivl(link->socket, 50);
    zsock_set_reconnect_ivl_max(link->socket, 1000);
    pm_socket_secure_client(link->socket, &link->endpoint, &link->credentials);
    /* Never used twice in a process: the name of a closed one may linger for a moment. */
    snprintf(events, sizeof events, "inproc://parchmill-link-%lu",
             atomic_fetch_add(&connections, 1));
    if (zmq_socket_monitor(zsock_resolve(link->socket), events, EVENTS) != 0 ||
        zmq_connect(zsock_resolve(link->monitor), events) != 0 ||
        zmq_connect(zsock_resolve(link->socket), link->endpoint.address) != 0)
        goto fail;
    return PM_OK;
fail:;
    int error = errno;
    pm_link_disconnect(link);
    return pm_fail(PM_E_IO, "%s: cannot connect: %s", link->endpoint.address, zmq_strerror(error));
}

static bool is_open(const pm_link *link) { return link->socket != NULL; }

/* An event is 2 bytes of what and 4 of a value, as the host has them; then the address. */
static void take_event(pm_link *link, zmsg_t *event) {
    zframe_t *frame = zmsg_first(event);
    uint16_t what = 0;
    uint32_t value = 0;
    if (frame && zframe_size(frame) == sizeof what + sizeof value) {
        memcpy(&what, zframe_data(frame), sizeof what);
        memcpy(&value, zframe_data(frame) + sizeof what, sizeof value);
    }
    if (what & HANDSHAKE_FAILED) {
        link->failure = what;
        link->failure_value = value;
    }
    link->lost = true; /* each kind that is subscribed to means that */
}

bool pm_link_lost(pm_link *link) {
    if (!is_open(link)) return true;
    zmsg_t *event;
    while ((event = zmsg_recv_nowait(link->monitor))) {
        take_event(link, event);
        zmsg_destroy(&event);
    }
    return link->lost;
}

static pm_status mechanism_mismatch(const pm_link *link) {
    return link->endpoint.keyed
               ? pm_fail(PM_E_PROTOCOL,
                         "%s: this program shows a key, and the broker there has none; say "
                         "--insecure if that is meant",
                         link->endpoint.address)
               : pm_fail(PM_E_PROTOCOL, "%s: the broker there asks for a key; leave --insecure out",
                         link->endpoint.address);
}

pm_status pm_link_handshake(pm_link *link) {
    const char *address = link->endpoint.address;
    (void)pm_link_lost(link);
    if (!link->failure) return PM_OK;
    if (link->failure == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        return pm_fail(PM_E_DENIED,
                       "%s: the broker does not know this key; have the line 'ROLE %s NAME' put "
                       "into its list",
                       address, link->credentials.public_key);
    if (link->failure_value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH &&
        link->failure == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL)
        return mechanism_mismatch(link);
    if (link->failure_value != ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC &&
        link->failure == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL)
        return pm_fail(PM_E_PROTOCOL, "%s: what listens there is no broker", address);
    return link->endpoint.keyed
               ? pm_fail(PM_E_MISMATCH,
                         "%s: what listens there hangs up: --broker-key is not its key, or it has "
                         "none",
                         address)
               : pm_fail(PM_E_MISMATCH,
                         "%s: what listens there hangs up: it is no broker, or one that asks for a "
                         "key",
                         address);
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
    if (!is_open(link)) return pm_fail(PM_E_IO, "%s: not connected", link->endpoint.address);
    for (;;) {
        pm_status status = pm_socket_receive(link->socket, NULL, NULL, message);
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
    if (!is_open(link)) return pm_fail(PM_E_IO, "%s: not connected", link->endpoint.address);
    return pm_socket_send(link->socket, NULL, NULL, body, frames, frame_count);
}
