/* Everything between processes: messages, the broker's sockets, the peer's socket, keys and who is
 * allowed, client calls, blobs. The only room that calls zmq_ and zsock_. */
#ifndef PM_NET_H
#define PM_NET_H

#include "lib/net/allow.h"
#include "lib/net/client.h"
#include "lib/net/credentials.h"
#include "lib/net/endpoint.h"
#include "lib/net/fetch.h"
#include "lib/net/link.h"
#include "lib/net/router.h"
#include "lib/net/wire.h"

#endif
