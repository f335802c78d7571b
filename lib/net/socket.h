/* Private to lib/net: what the broker's and the peer's sockets share. */
#ifndef PM_NET_SOCKET_H
#define PM_NET_SOCKET_H

#include <czmq.h>

#include "lib/net/endpoint.h"
#include "lib/net/outbox.h"
#include "lib/net/router.h"
#include "lib/net/wire.h"

/* Once a process: CZMQ leaves signals alone, linger 0. Cheap to call again. */
void pm_socket_setup(void);

/* Limits, queue depths and ZMTP heartbeats; before bind or connect. */
void pm_socket_limits(zsock_t *socket, size_t frame_bytes_max);

/* CURVE, for the next bind or connect; before it. `endpoint` not keyed: none, for the next. */
void pm_socket_secure_server(zsock_t *socket, const pm_endpoint *endpoint,
                             const pm_credentials *credentials);
void pm_socket_secure_client(zsock_t *socket, const pm_endpoint *endpoint,
                             const pm_credentials *credentials);

/* All frames or none. outbox and peer NULL for a DEALER. Errors as pm_router_send. */
pm_status pm_socket_send(zsock_t *socket, pm_outbox *outbox, const pm_peer *peer,
                         const Pm__Wire__Message *body, const pm_bytes *frames, size_t frame_count);

/* What is there now; PM_E_TIMEOUT. A ROUTER's first frame goes to *peer (its id only), and the key
 * that the connection has proven, if any, to `key`; else "". */
pm_status pm_socket_receive(zsock_t *socket, pm_peer *peer, char key[PM_KEY_BYTES],
                            pm_message *message);

/* Messages of one peer that wait to be read by a ROUTER; what is more waits at the peer's. */
enum { PM_ROUTER_RECEIVE_DEPTH = 128 };

enum { PM_SOCKET_WAIT_FDS_MAX = 16, PM_SOCKET_WAIT_SOCKETS_MAX = 8 };

/* Poll sockets [socket_count] (NULL allowed) and fds [count]. ready[socket_count]. */
pm_status pm_socket_wait(zsock_t *const *sockets, size_t socket_count, bool *ready, pm_wait_fd *fds,
                         size_t count, int timeout_ms);

#endif
