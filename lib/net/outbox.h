/* Private to lib/net: how many bytes wait to be sent to each peer of a ROUTER.
 *
 * ZeroMQ's high-water mark counts messages, and a thousand chunks are a gigabyte. Here bytes are
 * counted, from the frame's making until ZeroMQ has handed it to the kernel or dropped it with its
 * connection. Lines are kept while bytes wait; a peer without is forgotten in time.
 * One thread makes frames; their release may come from any. */
#ifndef PM_NET_OUTBOX_H
#define PM_NET_OUTBOX_H

#include <stddef.h>
#include <zmq.h>

#include "lib/net/router.h"

enum {
    PM_PEER_WAITING_MAX = 1 << 24, /* bytes that may wait for one peer */
    PM_ALL_WAITING_MAX = 1 << 29   /* and for all of them */
};

typedef struct pm_outbox pm_outbox;
typedef struct pm_outbox_line pm_outbox_line; /* of one peer */

pm_status pm_outbox_new(pm_outbox **out);
/* Frames under way outlive it. */
void pm_outbox_free(pm_outbox **outbox);

/* The peer's line, if `size` bytes more may wait there. A message passes in any case where nothing
 * waits. PM_E_BUSY, PM_E_MEMORY. */
pm_status pm_outbox_admit(pm_outbox *outbox, const pm_peer *peer, size_t size,
                          pm_outbox_line **out);

/* A frame with a copy of bytes [size], counted in `line` (NULL: in none) until it is gone. */
pm_status pm_outbox_frame(pm_outbox_line *line, const void *bytes, size_t size, zmq_msg_t *frame);

size_t pm_outbox_waiting(const pm_outbox *outbox); /* bytes, for all peers */

#endif
