/* Private to lib/net: what libzmq takes in, as accept4(2) and recv(2) are in a process of ours.
 *
 * libzmq 4.3 has no limit on connections. Out of descriptors its ipc listener aborts the process
 * (ipc_listener.cpp, the EMFILE that its assertion leaves out), and its tcp listener tries again
 * for ever at full speed. Here a connection that would take one of the last descriptors is closed
 * at once, as if the peer had gone away; peers come again by themselves.
 *
 * Nor has it a limit on a message of several frames (MAXMSGSIZE is for one), and it shows none of
 * them before the last. Here a connection that has brought more than PM_INTAKE_MAX bytes since its
 * last message was read is broken off. */
#ifndef PM_NET_INTAKE_H
#define PM_NET_INTAKE_H

#include <stddef.h>

#include "lib/net/wire.h"

enum {
    PM_DESCRIPTORS_KEPT = 32, /* for everything that is not a connection */
    PM_INTAKE_MAX = PM_MESSAGE_BYTES_MAX + (1 << 25)
};

/* How many connections were turned away so far, and how many broken off. Calling one of these is
 * what links the two calls in. */
size_t pm_intake_refused(void);
size_t pm_intake_broken(void);

/* A message of the connection of this descriptor was read. */
void pm_intake_read(int fd);

#endif
