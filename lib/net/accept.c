/* Owns the last descriptors. Knows no socket of ours from another's. */
#include "lib/net/accept.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_size_t refused;

size_t pm_accept_refused(void) { return atomic_load(&refused); }

/* Descriptors are given out lowest first, so that a high one means that few are left. */
static int is_one_of_the_last(int fd) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
           (rlim_t)fd + PM_DESCRIPTORS_KEPT >= limit.rlim_cur;
}

/* In front of the C library's, also for shared libraries. Called by ZeroMQ's own thread. */
int accept4(int listener, __SOCKADDR_ARG address, socklen_t *restrict size, int flags) {
    int fd = (int)syscall(SYS_accept4, listener, address.__sockaddr__, size, flags);
    if (fd >= 0 && !is_one_of_the_last(fd)) return fd;
    if (fd < 0 && errno != EMFILE) return fd;
    if (fd >= 0) close(fd);
    atomic_fetch_add(&refused, 1);
    errno = ECONNABORTED;
    return -1;
}
