/* Owns how a message is put on and taken from a ZeroMQ socket. Knows no message's meaning. */
#include "lib/net/socket.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/net/guard.h"
#include "lib/net/intake.h"

enum {
    QUEUE_DEPTH = 1000, /* messages, each direction and peer */
    HANDSHAKE_MS = 5000,
    TRANSPORT_BEAT_MS = 2000, /* clears dead TCP; who is alive is decided by our own heartbeats */
    TRANSPORT_SILENCE_MS = 6000,
};

static void setup(void) {
    zsys_handler_set(NULL);
    zsys_init();
    zsys_set_linger(0);
}

void pm_socket_setup(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, setup);
}

void pm_socket_limits(zsock_t *socket, size_t frame_bytes_max) {
    zsock_set_linger(socket, 0);
    zsock_set_maxmsgsize(socket, (int)frame_bytes_max);
    zsock_set_handshake_ivl(socket, HANDSHAKE_MS);
    zsock_set_sndhwm(socket, QUEUE_DEPTH);
    zsock_set_rcvhwm(socket, QUEUE_DEPTH);
    zsock_set_heartbeat_ivl(socket, TRANSPORT_BEAT_MS);
    zsock_set_heartbeat_timeout(socket, TRANSPORT_SILENCE_MS);
}

void pm_socket_secure_server(zsock_t *socket, const pm_endpoint *endpoint,
                             const pm_credentials *credentials) {
    zsock_set_ipv6(socket, endpoint->ipv6);
    if (!endpoint->keyed) return;
    /* libzmq lets every key in where it finds nobody to ask (to forbid that is a draft option).
     * Such a connection has no User-Id, and so no role. */
    zsock_set_zap_domain(socket, PM_GUARD_DOMAIN);
    zsock_set_curve_server(socket, 1);
    zsock_set_curve_publickey(socket, credentials->public_key);
    zsock_set_curve_secretkey(socket, credentials->secret_key);
}

/* A name that has only IPv6 addresses needs telling; one that has both is taken by IPv4, at which
 * brokers listen unless their URL has an IPv6 address in it. */
static bool needs_ipv6(const pm_endpoint *endpoint) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char host[PM_ENDPOINT_BYTES];
    if (!endpoint->named) return endpoint->ipv6;
    snprintf(host, sizeof host, "%s", endpoint->address + strlen("tcp://"));
    *strrchr(host, ':') = '\0';
    if (getaddrinfo(host, NULL, &hints, &found) != 0) {
        hints.ai_family = AF_INET6;
        if (getaddrinfo(host, NULL, &hints, &found) != 0) return false;
    }
    freeaddrinfo(found);
    return hints.ai_family == AF_INET6;
}

void pm_socket_secure_client(zsock_t *socket, const pm_endpoint *endpoint,
                             const pm_credentials *credentials) {
    zsock_set_ipv6(socket, needs_ipv6(endpoint));
    if (!endpoint->keyed) return;
    zsock_set_curve_serverkey(socket, credentials->broker_key);
    zsock_set_curve_publickey(socket, credentials->public_key);
    zsock_set_curve_secretkey(socket, credentials->secret_key);
}

static pm_status send_frame(zsock_t *socket, zmq_msg_t *frame, bool more) {
    for (;;) {
        if (zmq_msg_send(frame, zsock_resolve(socket), (more ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT) >=
            0)
            return PM_OK;
        if (errno != EINTR) break;
    }
    if (errno == EAGAIN) return pm_fail(PM_E_BUSY, "message: the peer's queue is full");
    if (errno == EHOSTUNREACH) return pm_fail(PM_E_NOT_FOUND, "message: the peer is gone");
    return pm_fail(PM_E_IO, "message: %s", zmq_strerror(errno));
}

static pm_status check_frames(const Pm__Wire__Message *body, const pm_bytes *frames,
                              size_t frame_count, size_t *total) {
    if (frame_count > PM_FRAMES_MAX)
        return pm_fail(PM_E_LIMIT, "message %s: %zu frames, the limit is %d",
                       pm_wire_name(body->body_case), frame_count, PM_FRAMES_MAX);
    for (size_t i = 0; i < frame_count; i++) {
        if (frames[i].size > PM_MESSAGE_BYTES_MAX - *total)
            return pm_fail(PM_E_LIMIT, "message %s: over %d bytes", pm_wire_name(body->body_case),
                           PM_MESSAGE_BYTES_MAX);
        *total += frames[i].size;
    }
    return PM_OK;
}

static pm_status make_frame(pm_outbox_line *line, const void *bytes, size_t size, zmq_msg_t *made,
                            size_t *count) {
    pm_status status = pm_outbox_frame(line, bytes, size, &made[*count]);
    if (!status) ++*count;
    return status;
}

pm_status pm_socket_send(zsock_t *socket, pm_outbox *outbox, const pm_peer *peer,
                         const Pm__Wire__Message *body, const pm_bytes *frames,
                         size_t frame_count) {
    pm_buffer control = {0};
    pm_outbox_line *line = NULL;
    zmq_msg_t *made = NULL;
    size_t total = 0, made_count = 0, sent = 0;
    pm_status status = check_frames(body, frames, frame_count, &total);
    if (status) return status;
    status = pm_wire_pack(body, &control);
    if (!status && outbox) status = pm_outbox_admit(outbox, peer, total + control.size, &line);
    if (!status && !(made = malloc((frame_count + 2) * sizeof *made)))
        status = pm_fail(PM_E_MEMORY, "message: no memory for %zu frames", frame_count);
    /* All are made before the first is sent: ZeroMQ refuses a message at its first frame or takes
     * all of it, and what is left out in between would be filled by the next message. */
    if (peer && !status) status = make_frame(NULL, peer->id, peer->id_size, made, &made_count);
    if (!status) status = make_frame(line, control.bytes, control.size, made, &made_count);
    for (size_t i = 0; i < frame_count && !status; i++)
        status = make_frame(line, frames[i].bytes, frames[i].size, made, &made_count);
    while (!status && sent < made_count) {
        status = send_frame(socket, &made[sent], sent + 1 < made_count);
        if (!status) sent++;
    }
    while (made_count > sent) zmq_msg_close(&made[--made_count]);
    free(made);
    pm_buffer_fini(&control);
    return status;
}

/* What ZeroMQ keeps for its ZMQ_SRCFD: the descriptor that a frame came by. */
static void note_read(zframe_t *frame) {
    const char *text = zframe_meta(frame, "__fd");
    size_t fd;
    if (text && pm_parse_size("descriptor", text, &fd) == PM_OK && fd < INT_MAX)
        pm_intake_read((int)fd);
}

/* Frames of one message, taken whole even where they break a limit, so that the next message
 * starts at its start. */
static pm_status receive_frames(zsock_t *socket, zmsg_t *into, bool *over) {
    size_t total = 0;
    for (;;) {
        zframe_t *frame = zframe_recv_nowait(socket);
        if (!frame) {
            if (errno == EINTR) continue;
            return errno == EAGAIN && zmsg_size(into) == 0
                       ? PM_E_TIMEOUT
                       : pm_fail(PM_E_IO, "message: %s", zmq_strerror(errno));
        }
        bool more = zframe_more(frame);
        if (!more) note_read(frame);
        total += zframe_size(frame);
        *over = *over || total > PM_MESSAGE_BYTES_MAX || zmsg_size(into) > PM_FRAMES_MAX;
        if (*over)
            zframe_destroy(&frame);
        else if (zmsg_append(into, &frame) != 0) {
            zframe_destroy(&frame);
            *over = true;
        }
        if (!more) return PM_OK;
    }
}

static pm_status build(zmsg_t *from, pm_message *message) {
    zframe_t *control = zmsg_first(from);
    size_t count = zmsg_size(from) - 1;
    Pm__Wire__Message *body = NULL;
    pm_bytes *frames = NULL;
    pm_status status = pm_wire_unpack(zframe_data(control), zframe_size(control), &body);
    if (status) return status;
    if (count > 0) {
        frames = calloc(count, sizeof *frames);
        if (!frames) {
            pm_wire_free(&body);
            return pm_fail(PM_E_MEMORY, "message: no memory for %zu frames", count);
        }
        for (size_t i = 0; i < count; i++) {
            zframe_t *frame = zmsg_next(from);
            frames[i] = (pm_bytes){zframe_data(frame), zframe_size(frame)};
        }
    }
    *message = (pm_message){body, count, frames, from};
    return PM_OK;
}

/* libzmq has it from our guard: a peer's own metadata cannot replace it on a keyed connection, but
 * can make one up elsewhere, so only keyed sockets are asked (router.c). */
static void take_key(zframe_t *frame, char key[PM_KEY_BYTES]) {
    const char *proven = frame ? zframe_meta(frame, "User-Id") : NULL;
    key[0] = '\0';
    if (proven && strlen(proven) == PM_KEY_BYTES - 1) memcpy(key, proven, PM_KEY_BYTES);
}

pm_status pm_socket_receive(zsock_t *socket, pm_peer *peer, char key[PM_KEY_BYTES],
                            pm_message *message) {
    zmsg_t *all = zmsg_new();
    bool over = false;
    pm_status status;
    if (!all) return pm_fail(PM_E_MEMORY, "message: no memory");
    status = receive_frames(socket, all, &over);
    if (status) goto fail;
    if (peer) {
        zframe_t *id = zmsg_pop(all);
        size_t size = id ? zframe_size(id) : 0;
        peer->id_size = (uint8_t)size; /* ZeroMQ allows 255 at most */
        if (size > 0) memcpy(peer->id, zframe_data(id), size);
        zframe_destroy(&id);
        /* The id is the ROUTER's own; what came over the wire is behind it. */
        take_key(zmsg_first(all), key);
    }
    if (over) {
        status = pm_fail(PM_E_LIMIT, "message: over %d frames or %d bytes", PM_FRAMES_MAX,
                         PM_MESSAGE_BYTES_MAX);
        goto fail;
    }
    if (zmsg_size(all) == 0) {
        status = pm_fail(PM_E_PROTOCOL, "message: without a control frame");
        goto fail;
    }
    status = build(all, message);
    if (status) goto fail;
    return PM_OK;
fail:
    zmsg_destroy(&all);
    return status;
}

void pm_message_fini(pm_message *message) {
    zmsg_t *all = message->owner;
    pm_wire_free(&message->body);
    free((void *)message->frames);
    zmsg_destroy(&all);
    *message = (pm_message){0};
}

pm_status pm_socket_wait(zsock_t *const *sockets, size_t socket_count, bool *ready, pm_wait_fd *fds,
                         size_t count, int timeout_ms) {
    zmq_pollitem_t items[PM_SOCKET_WAIT_FDS_MAX + PM_SOCKET_WAIT_SOCKETS_MAX];
    if (count > PM_SOCKET_WAIT_FDS_MAX || socket_count > PM_SOCKET_WAIT_SOCKETS_MAX)
        return pm_fail(PM_E_LIMIT, "wait: %zu descriptors, the limit is %d", count,
                       PM_SOCKET_WAIT_FDS_MAX);
    memset(items, 0, sizeof items);
    for (size_t i = 0; i < count; i++) {
        items[i] = (zmq_pollitem_t){.fd = fds[i].fd, .events = ZMQ_POLLIN};
        fds[i].readable = false;
    }
    size_t used = count;
    for (size_t i = 0; i < socket_count; i++) {
        ready[i] = false;
        if (sockets[i])
            items[used++] =
                (zmq_pollitem_t){.socket = zsock_resolve(sockets[i]), .events = ZMQ_POLLIN};
    }
    if (zmq_poll(items, (int)used, timeout_ms) < 0)
        return errno == EINTR ? PM_OK : pm_fail(PM_E_IO, "wait: %s", zmq_strerror(errno));
    for (size_t i = 0; i < count; i++) fds[i].readable = items[i].revents != 0;
    used = count;
    for (size_t i = 0; i < socket_count; i++)
        if (sockets[i]) ready[i] = (items[used++].revents & ZMQ_POLLIN) != 0;
    return PM_OK;
}
