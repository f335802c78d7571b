/* Private to lib/net: where a ROUTER listens, and when it must not.
 *
 * ZeroMQ, out of descriptors, tries to accept for ever at full speed. So the door is closed then
 * (who is connected stays) and opened again once some are free. A few are held in reserve: closing
 * the door gives them to the rest of the process. One thread uses it. */
#ifndef PM_NET_DOOR_H
#define PM_NET_DOOR_H

#include <czmq.h>

#include "lib/net/endpoint.h"

typedef struct pm_door pm_door;

/* Before the first bind. PM_E_IO, PM_E_MEMORY. */
pm_status pm_door_new(zsock_t *socket, pm_door **out);
/* Before the socket is destroyed. */
void pm_door_free(pm_door **door);

/* 0, or errno as zmq_bind. A socket file is ours alone, whatever the umask: who can open one is an
 * admin. */
int pm_door_listen(pm_door *door, const pm_endpoint *endpoint);
void pm_door_leave(pm_door *door, const pm_endpoint *endpoint);

/* Often: look whether it must close, or may open. */
void pm_door_look(pm_door *door);

#endif
