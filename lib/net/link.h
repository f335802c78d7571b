/* The other side: one DEALER from a client or a worker to the broker.
 *
 * One thread uses it. A lost connection is noticed by the transport (pm_link_lost) and is never
 * mended behind the caller's back: call pm_link_connect again and say Hello again, so that both
 * sides always know where they are. Linger is 0: what was not sent is gone. */
#ifndef PM_NET_LINK_H
#define PM_NET_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/net/endpoint.h"
#include "lib/net/router.h"
#include "lib/net/wire.h"

typedef struct pm_link pm_link;

/* Checks the URL; connects nothing yet. `credentials` are copied; NULL: none. */
pm_status pm_link_new(const char *url, pm_role role, const pm_credentials *credentials,
                      pm_link **out);
void pm_link_free(pm_link **link);
/* The same, but what was sent may take linger_ms more to leave, until the process exits. */
void pm_link_finish(pm_link **link, int linger_ms);

/* A fresh connection; an earlier one is closed. Does not wait: what is sent goes out when the
 * broker answers. PM_E_IO. */
pm_status pm_link_connect(pm_link *link);

/* Close the connection: nothing arrives until pm_link_connect. */
void pm_link_disconnect(pm_link *link);

/* True once the connection that was there has broken, until pm_link_connect. */
bool pm_link_lost(pm_link *link);

/* Whether the connection failed when the two sides met, since pm_link_connect, with one line on it:
 * PM_E_DENIED: the broker does not know our key; PM_E_PROTOCOL: one side has keys and the other has
 * none, or no broker is there; PM_E_MISMATCH: it hung up, as one with another key than we expect
 * does, or one that just ended, or in the case before, where it was quicker. PM_OK: nothing like
 * that; where nothing ever arrives, nobody listens. */
pm_status pm_link_handshake(pm_link *link);

/* As pm_router_wait. A lost connection ends the wait too. */
pm_status pm_link_wait(pm_link *link, pm_wait_fd *fds, size_t count, int timeout_ms,
                       bool *messages);

/* The next message, waiting at most timeout_ms; PM_E_TIMEOUT. PM_E_PROTOCOL, PM_E_LIMIT: thrown
 * away. */
pm_status pm_link_receive(pm_link *link, int timeout_ms, pm_message *message);

/* Never blocks. PM_E_BUSY: too much is waiting to be sent; try later. */
pm_status pm_link_send(pm_link *link, const Pm__Wire__Message *body, const pm_bytes *frames,
                       size_t frame_count);

#endif
