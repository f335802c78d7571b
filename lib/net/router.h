/* The broker's side: ROUTERs for clients and for workers, with keys and without, behind one
 * object.
 *
 *     pm_router_new(&router);
 *     pm_router_allow(router, "/etc/parchmill/allow");                 where a URL needs keys
 *     pm_router_bind(router, "ipc:///run/parchmill.sock", NULL);       any number of times
 *     while (running) {
 *         pm_router_wait(router, waits, wait_count, timeout_ms, &any);
 *         while (pm_router_receive(router, &peer, &message) == PM_OK) { ...; pm_message_fini(); }
 *     }
 *
 * One thread uses it. Sending never blocks: a peer that is gone gives PM_E_NOT_FOUND, one whose
 * queue is full, in messages or bytes, PM_E_BUSY, and the message is dropped.
 *
 * What a peer may do is found anew for every message, by the key that its connection has proven to
 * have and by the socket that the message came in by; nothing that a peer writes can change it. On
 * ipc:// and `insecure` tcp whoever gets in is admin at the clients' socket and worker at the
 * workers'. */
#ifndef PM_NET_ROUTER_H
#define PM_NET_ROUTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/net/endpoint.h"
#include "lib/net/wire.h"

typedef struct pm_router pm_router;

enum { PM_PEER_ID_BYTES = 255 };

/* Who sent a message, as the transport knows it. A peer that reconnects has another id and, where
 * there are keys, the same identity. An id may be another's that has left: it says where to send an
 * answer, and never who somebody is. */
typedef struct pm_peer {
    pm_role role; /* what it may do now; NONE: its key has left the list, or is for other sockets */
    pm_port port; /* the socket */
    bool keyed;
    uint64_t identity; /* whose key the connection has proven; 0: no keys here */
    uint8_t id_size;
    uint8_t id[PM_PEER_ID_BYTES];
} pm_peer;

/* The same connection of the same key. */
bool pm_peer_equal(const pm_peer *a, const pm_peer *b);

/* A file descriptor to wait for beside the sockets. */
typedef struct pm_wait_fd {
    int fd;
    bool readable; /* set by the wait: input, end of file or error */
} pm_wait_fd;

pm_status pm_router_new(pm_router **out);
void pm_router_free(pm_router **router);

/* Whose keys may come (allow.h); before a URL that needs keys, once. The file is read again when it
 * changes. PM_E_BUSY: another router of this process has a list. */
pm_status pm_router_allow(pm_router *router, const char *path);

/* Listen at a URL, both sockets. `credentials` NULL: none. PM_E_USAGE, PM_E_DENIED (see
 * endpoint.h), PM_E_BUSY: somebody listens there already; PM_E_IO. */
pm_status pm_router_bind(pm_router *router, const char *url, const pm_credentials *credentials);

/* How often the list has been read anew: another number, and roles may be others. */
uint64_t pm_router_allow_version(const pm_router *router);
/* What this peer may do now: its `role` found anew. */
pm_role pm_router_role(const pm_router *router, const pm_peer *peer);
/* The name that the list has for an identity; "" for none. */
const char *pm_router_name(const pm_router *router, uint64_t identity);

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
