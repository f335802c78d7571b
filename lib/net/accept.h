/* Private to lib/net: accept4(2) as libzmq gets it in a process of ours.
 *
 * libzmq 4.3 has no limit on connections. Out of descriptors its ipc listener aborts the process
 * (ipc_listener.cpp, the EMFILE that its assertion leaves out), and its tcp listener tries again
 * for ever at full speed. Here a connection that would take one of the last descriptors is closed
 * at once, as if the peer had gone away; peers come again by themselves. */
#ifndef PM_NET_ACCEPT_H
#define PM_NET_ACCEPT_H

#include <stddef.h>

enum { PM_DESCRIPTORS_KEPT = 32 }; /* for everything that is not a connection */

/* How many were turned away so far. Calling it is what links accept4 in. */
size_t pm_accept_refused(void);

#endif
