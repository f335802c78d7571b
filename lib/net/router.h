/* The broker's side: one ROUTER for clients and one for workers, behind one object.
 *
 *     pm_router_new(&router);
 *     pm_router_bind(router, "ipc:///run/parchmill.sock", false);      any number of times
 *     while (running) {
 *         pm_router_wait(router, waits, wait_count, timeout_ms, &any);
 *         while (pm_router_receive(router, &peer, &message) == PM_OK) { ...; pm_message_fini(); }
 *     }
 *
 * One thread uses it. Sending never blocks: a peer that is gone gives PM_E_NOT_FOUND, one whose
 * queue is full PM_E_BUSY, and the message is dropped. The role is the socket that the message
 * came in by: nothing that a peer writes can change it. */
#ifndef PM_NET_ROUTER_H
#define PM_NET_ROUTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/net/endpoint.h"
#include "lib/net/wire.h"

typedef struct pm_router pm_router;

enum { PM_PEER_ID_BYTES = 255 };

/* Who sent a message, as the transport knows it. A peer that reconnects is another peer. */
typedef struct pm_peer {
    pm_role role;
    uint8_t id_size;
    uint8_t id[PM_PEER_ID_BYTES];
} pm_peer;

bool pm_peer_equal(const pm_peer *a, const pm_peer *b);

/* A file descriptor to wait for beside the sockets. */
typedef struct pm_wait_fd {
    int fd;
    bool readable; /* set by the wait: input, end of file or error */
} pm_wait_fd;

pm_status pm_router_new(pm_router **out);
void pm_router_free(pm_router **router);

/* Listen at a URL, both roles. PM_E_USAGE, PM_E_DENIED (see endpoint.h), PM_E_BUSY: somebody
 * listens there already; PM_E_IO. */
pm_status pm_router_bind(pm_router *router, const char *url, bool insecure);

/* Wait until a message or one of fds [count] is there, at most timeout_ms (-1: for ever). A signal
 * ends the wait early; that is PM_OK with nothing set. */
pm_status pm_router_wait(pm_router *router, pm_wait_fd *fds, size_t count, int timeout_ms,
                         bool *messages);

/* The next message, or PM_E_TIMEOUT where there is none. PM_E_PROTOCOL and PM_E_LIMIT: *peer is
 * set, its message was thrown away: answer with Refused. */
pm_status pm_router_receive(pm_router *router, pm_peer *peer, pm_message *message);

/* PM_E_NOT_FOUND, PM_E_BUSY: dropped; go on. PM_E_LIMIT, PM_E_MEMORY, PM_E_IO. */
pm_status pm_router_send(pm_router *router, const pm_peer *peer, const Pm__Wire__Message *body,
                         const pm_bytes *frames, size_t frame_count);

#endif
