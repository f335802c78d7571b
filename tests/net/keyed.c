#include "tests/net/keyed.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/random.h"

enum { CONNECTIONS = 32, KEPT_BYTES_MAX = 1 << 24 };

/* ---- ports and files ---- */

static int listen_at(unsigned port) {
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 64) == 0)
        return fd;
    if (fd >= 0) close(fd);
    return -1;
}

unsigned free_ports(void) {
    for (int i = 0; i < 1000; i++) {
        uint16_t dice;
        pm_random_bytes(&dice, sizeof dice);
        unsigned port = 20000 + dice % 12000;
        int first = listen_at(port), second = listen_at(port + 1);
        if (first >= 0) close(first);
        if (second >= 0) close(second);
        if (first >= 0 && second >= 0) return port;
    }
    fail_msg("no free ports");
    return 0;
}

void put_file(const char *path, const char *text) {
    char beside[512];
    snprintf(beside, sizeof beside, "%s.new", path);
    FILE *file = fopen(beside, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) < 0, 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(beside, 0644), 0);
    assert_int_equal(rename(beside, path), 0);
}

void put_list(const char *path, const listed *keys, size_t count) {
    char text[4096] = "# who may come\n";
    for (size_t i = 0; i < count; i++)
        if (keys[i].role)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s %s %s\n", keys[i].role,
                     keys[i].key->public_key, keys[i].name);
    put_file(path, text);
}

pm_credentials peer_key(const pm_credentials *broker) {
    pm_credentials made;
    assert_int_equal(pm_keys_new(&made), PM_OK);
    memcpy(made.broker_key, broker->public_key, sizeof made.broker_key);
    return made;
}

/* ---- the relay ---- */

struct relay {
    pthread_t thread;
    pthread_mutex_t lock;
    atomic_bool over;
    int listener;
    unsigned port, target;
    struct pollfd ends[2 * CONNECTIONS]; /* pairs: the peer's, ours to the target */
    size_t count;
    uint8_t *kept;
    size_t kept_size;
};

static void take(relay *r) {
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)r->target),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int peer = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
    int target = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer >= 0 && target >= 0 && r->count < 2 * CONNECTIONS &&
        connect(target, (struct sockaddr *)&at, sizeof at) == 0) {
        r->ends[r->count++] = (struct pollfd){.fd = peer, .events = POLLIN};
        r->ends[r->count++] = (struct pollfd){.fd = target, .events = POLLIN};
        return;
    }
    if (peer >= 0) close(peer);
    if (target >= 0) close(target);
}

/* False: the connection is over. */
static bool pass(relay *r, int from, int to) {
    uint8_t room[65536];
    ssize_t n = read(from, room, sizeof room);
    if (n <= 0) return false;
    pthread_mutex_lock(&r->lock);
    if (r->kept_size + (size_t)n <= KEPT_BYTES_MAX) {
        memcpy(r->kept + r->kept_size, room, (size_t)n);
        r->kept_size += (size_t)n;
    }
    pthread_mutex_unlock(&r->lock);
    for (ssize_t done = 0; done < n;) {
        ssize_t sent = send(to, room + done, (size_t)(n - done), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        done += sent;
    }
    return true;
}

static void *run(void *data) {
    relay *r = data;
    while (!r->over) {
        struct pollfd door = {.fd = r->listener, .events = POLLIN};
        if (poll(&door, 1, r->count ? 0 : 20) > 0) take(r);
        if (!r->count || poll(r->ends, (nfds_t)r->count, 20) <= 0) continue;
        for (size_t i = 0; i < r->count; i++) {
            if (r->ends[i].fd < 0 || !r->ends[i].revents) continue;
            if (pass(r, r->ends[i].fd, r->ends[i ^ 1].fd)) continue;
            close(r->ends[i].fd);
            close(r->ends[i ^ 1].fd);
            r->ends[i].fd = r->ends[i ^ 1].fd = -1;
        }
    }
    return NULL;
}

relay *relay_start(unsigned target) {
    relay *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->kept = malloc(KEPT_BYTES_MAX);
    assert_non_null(r->kept);
    r->target = target;
    r->port = free_ports();
    r->listener = listen_at(r->port);
    assert_true(r->listener >= 0);
    pthread_mutex_init(&r->lock, NULL);
    assert_int_equal(pthread_create(&r->thread, NULL, run, r), 0);
    return r;
}

unsigned relay_port(const relay *r) { return r->port; }

bool relay_saw(relay *r, const void *bytes, size_t size) {
    pthread_mutex_lock(&r->lock);
    bool saw = memmem(r->kept, r->kept_size, bytes, size) != NULL;
    pthread_mutex_unlock(&r->lock);
    return saw;
}

size_t relay_bytes(relay *r) {
    pthread_mutex_lock(&r->lock);
    size_t size = r->kept_size;
    pthread_mutex_unlock(&r->lock);
    return size;
}

void relay_stop(relay **relay_at) {
    relay *r = *relay_at;
    r->over = true;
    pthread_join(r->thread, NULL);
    for (size_t i = 0; i < r->count; i++)
        if (r->ends[i].fd >= 0) close(r->ends[i].fd);
    close(r->listener);
    pthread_mutex_destroy(&r->lock);
    free(r->kept);
    free(r);
    *relay_at = NULL;
}
