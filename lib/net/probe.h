/* Whether something listens where a broker would, without speaking to it. */
#ifndef PM_NET_PROBE_H
#define PM_NET_PROBE_H

#include "lib/net/endpoint.h"

typedef enum pm_place_state {
    PM_PLACE_FREE,
    PM_PLACE_TAKEN,
    PM_PLACE_STALE,     /* a socket file that nobody listens at; a broker puts it right */
    PM_PLACE_ELSEWHERE, /* not an address of this machine */
    PM_PLACE_REFUSED    /* this user may not listen there */
} pm_place_state;

pm_place_state pm_endpoint_probe(const pm_endpoint *endpoint);
/* libzmq's, "4.3.4". */
void pm_net_zmq_version(char out[16]);

#endif
