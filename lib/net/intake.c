/* Owns the last descriptors, and how much each connection may bring. Knows no message. Both calls
 * stand in front of the C library's, also for shared libraries, and run in ZeroMQ's own thread. */
#include "lib/net/intake.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DESCRIPTORS_MAX = 1 << 16 }; /* beyond them nothing is counted */

static atomic_size_t refused, broken;

/* By descriptor. The cookie names the connection for good: a descriptor may be another's by now. */
static struct intake {
    atomic_size_t bytes;
    atomic_ullong cookie; /* 0: not one that was accepted */
} intakes[DESCRIPTORS_MAX];

size_t pm_intake_refused(void) { return atomic_load(&refused); }
size_t pm_intake_broken(void) { return atomic_load(&broken); }

static struct intake *intake_of(int fd) {
    return fd >= 0 && fd < DESCRIPTORS_MAX ? &intakes[fd] : NULL;
}

void pm_intake_read(int fd) {
    struct intake *intake = intake_of(fd);
    if (intake) atomic_store(&intake->bytes, 0);
}

static unsigned long long cookie_of(int fd) {
    unsigned long long cookie = 0;
    socklen_t size = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

/* Descriptors are given out lowest first, so that a high one means that few are left. */
static int is_one_of_the_last(int fd) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
           (rlim_t)fd + PM_DESCRIPTORS_KEPT >= limit.rlim_cur;
}

int accept4(int listener, __SOCKADDR_ARG address, socklen_t *restrict size, int flags) {
    int fd = (int)syscall(SYS_accept4, listener, address.__sockaddr__, size, flags);
    if (fd >= 0 && !is_one_of_the_last(fd)) {
        struct intake *intake = intake_of(fd);
        if (!intake) return fd;
        atomic_store(&intake->bytes, 0);
        atomic_store(&intake->cookie, cookie_of(fd));
        return fd;
    }
    if (fd < 0 && errno != EMFILE) return fd;
    if (fd >= 0) close(fd);
    atomic_fetch_add(&refused, 1);
    errno = ECONNABORTED;
    return -1;
}

ssize_t recv(int fd, void *bytes, size_t size, int flags) {
    ssize_t n = syscall(SYS_recvfrom, fd, bytes, size, flags, NULL, NULL);
    struct intake *intake = intake_of(fd);
    unsigned long long cookie = intake && n > 0 ? atomic_load(&intake->cookie) : 0;
    if (!cookie) return n;
    if (atomic_fetch_add(&intake->bytes, (size_t)n) + (size_t)n <= PM_INTAKE_MAX) return n;
    if (cookie_of(fd) != cookie) {
        atomic_store(&intake->cookie, 0); /* closed, and the descriptor is another's */
        return n;
    }
    atomic_fetch_add(&broken, 1);
    errno = ECONNRESET;
    return -1;
}
