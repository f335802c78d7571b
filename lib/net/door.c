/* Owns the addresses of a ROUTER and what it hears of connections. Knows no message. */
#include "lib/net/door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"

enum {
    ADDRESSES_MAX = 8,
    SPARE = 16,       /* descriptors held in reserve */
    HEADROOM = 8,     /* and so many more must be free before the door opens */
    CLOSED_MS = 1000, /* how long it stays closed at least */
};

struct pm_door {
    zsock_t *socket, *monitor;
    size_t count;
    pm_endpoint endpoints[ADDRESSES_MAX];
    bool bound[ADDRESSES_MAX];
    bool closed;
    int64_t open_ms; /* not before */
    size_t spare_count;
    int spare[SPARE + HEADROOM];
    pm_log_budget log;
};

static void drop_spare(pm_door *door, size_t keep) {
    while (door->spare_count > keep) close(door->spare[--door->spare_count]);
}

/* All of them or none. */
static bool take_spare(pm_door *door) {
    while (door->spare_count < SPARE + HEADROOM) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            drop_spare(door, 0);
            return false;
        }
        door->spare[door->spare_count++] = fd;
    }
    drop_spare(door, SPARE);
    return true;
}

pm_status pm_door_new(zsock_t *socket, pm_door **out) {
    static atomic_ulong doors;
    char events[64];
    pm_door *door = calloc(1, sizeof *door);
    if (!door) return pm_fail(PM_E_MEMORY, "router: no memory");
    door->socket = socket;
    door->monitor = zsock_new(ZMQ_PAIR);
    if (!door->monitor) goto fail;
    snprintf(events, sizeof events, "inproc://parchmill-door-%lu", atomic_fetch_add(&doors, 1));
    zsock_set_linger(door->monitor, 0);
    zsock_set_rcvhwm(door->monitor, 0); /* a full one would hold up the thread that accepts */
    if (zmq_socket_monitor(zsock_resolve(socket), events, ZMQ_EVENT_ACCEPT_FAILED) != 0 ||
        zmq_connect(zsock_resolve(door->monitor), events) != 0)
        goto fail;
    if (!take_spare(door)) goto fail;
    *out = door;
    return PM_OK;
fail:;
    int error = errno;
    pm_door_free(&door);
    return pm_fail(PM_E_IO, "router: cannot watch its connections: %s", zmq_strerror(error));
}

void pm_door_free(pm_door **door) {
    if (!*door) return;
    if ((*door)->socket) zmq_socket_monitor(zsock_resolve((*door)->socket), NULL, 0);
    zsock_destroy(&(*door)->monitor);
    drop_spare(*door, 0);
    free(*door);
    *door = NULL;
}

/* Nothing else of the process makes a file meanwhile. */
static int bind_at(zsock_t *socket, const pm_endpoint *endpoint) {
    zsock_set_ipv6(socket, endpoint->ipv6);
    mode_t mask = umask(0177);
    int error = zmq_bind(zsock_resolve(socket), endpoint->address) == 0 ? 0 : errno;
    umask(mask);
    return error;
}

int pm_door_listen(pm_door *door, const pm_endpoint *endpoint) {
    if (door->count == ADDRESSES_MAX) return ENOSPC;
    int error = bind_at(door->socket, endpoint);
    if (error) return error;
    door->endpoints[door->count] = *endpoint;
    door->bound[door->count++] = true;
    return 0;
}

void pm_door_leave(pm_door *door, const pm_endpoint *endpoint) {
    for (size_t i = 0; i < door->count; i++) {
        if (strcmp(door->endpoints[i].address, endpoint->address) != 0) continue;
        zmq_unbind(zsock_resolve(door->socket), endpoint->address);
        door->endpoints[i] = door->endpoints[--door->count];
        door->bound[i] = door->bound[door->count];
        return;
    }
}

static void shut(pm_door *door) {
    for (size_t i = 0; i < door->count; i++)
        if (door->bound[i]) zmq_unbind(zsock_resolve(door->socket), door->endpoints[i].address);
    memset(door->bound, 0, sizeof door->bound);
    drop_spare(door, 0);
    door->closed = true;
    door->open_ms = pm_clock_ms() + CLOSED_MS;
    pm_log_seldom(&door->log, PM_LOG_WARN, "connections.full",
                  "listen=%s reason=\"no descriptors are left; raise the limit (ulimit -n)\"",
                  door->endpoints[0].address);
}

static void reopen(pm_door *door) {
    if (pm_clock_ms() < door->open_ms) return;
    door->open_ms = pm_clock_ms() + CLOSED_MS;
    if (!take_spare(door)) return;
    door->closed = false;
    for (size_t i = 0; i < door->count; i++) {
        if (!door->bound[i]) door->bound[i] = bind_at(door->socket, &door->endpoints[i]) == 0;
        door->closed = door->closed || !door->bound[i]; /* the old one may not be gone yet */
    }
    if (!door->closed)
        pm_log_seldom(&door->log, PM_LOG_INFO, "connections.open", "listen=%s",
                      door->endpoints[0].address);
}

void pm_door_look(pm_door *door) {
    bool failed = false;
    zmsg_t *event;
    while ((event = zmsg_recv_nowait(door->monitor))) {
        zmsg_destroy(&event); /* nothing else is subscribed */
        failed = true;
    }
    if (failed && !door->closed)
        shut(door);
    else if (door->closed)
        reopen(door);
}
