#include "tests/net/raw.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"

int raw_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

bool raw_write(int fd, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *bytes, size_t size, int64_t until_ms) {
    uint8_t *at = bytes;
    while (size > 0) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int64_t left = until_ms - pm_clock_ms();
        if (poll(&wait, 1, left > 0 ? (int)left : 0) <= 0) return false;
        ssize_t n = recv(fd, at, size, 0);
        if (n <= 0) return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

void raw_greeting(uint8_t out[RAW_GREETING_BYTES]) {
    memset(out, 0, RAW_GREETING_BYTES);
    out[0] = 0xff;
    out[9] = 0x7f;
    out[10] = 3;
    out[11] = 1;
    memcpy(out + 12, "NULL", 4);
}

bool raw_handshake(int fd, int timeout_ms) {
    static const char ready[] = "\5READY\13Socket-Type\0\0\0\6DEALER";
    uint8_t greeting[RAW_GREETING_BYTES], theirs[512];
    int flags;
    raw_greeting(greeting);
    if (!raw_write(fd, greeting, sizeof greeting)) return false;
    if (!read_all(fd, theirs, RAW_GREETING_BYTES, pm_clock_ms() + timeout_ms)) return false;
    if (!raw_frame(fd, RAW_COMMAND, ready, sizeof ready - 1)) return false;
    return raw_read(fd, &flags, theirs, sizeof theirs, NULL, timeout_ms) > 0 &&
           flags == RAW_COMMAND && memcmp(theirs, "\5READY", 6) == 0;
}

int raw_open(const char *path, int timeout_ms) {
    int fd = raw_connect(path);
    if (fd < 0 || raw_handshake(fd, timeout_ms)) return fd;
    close(fd);
    return -1;
}

bool raw_head(int fd, int flags, uint64_t size) {
    uint8_t head[9] = {(uint8_t)flags, (uint8_t)size};
    if (size < 256) return raw_write(fd, head, 2);
    head[0] |= RAW_LONG;
    for (int i = 0; i < 8; i++) head[1 + i] = (uint8_t)(size >> (56 - 8 * i));
    return raw_write(fd, head, sizeof head);
}

bool raw_frame(int fd, int flags, const void *bytes, size_t size) {
    return raw_head(fd, flags, size) && raw_write(fd, bytes, size);
}

bool raw_say(int fd, const Pm__Wire__Message *body) {
    pm_buffer bytes = {0};
    bool said = pm_wire_pack(body, &bytes) == PM_OK && raw_frame(fd, 0, bytes.bytes, bytes.size);
    pm_buffer_fini(&bytes);
    return said;
}

long raw_read(int fd, int *flags, void *out, size_t room, int *pings, int timeout_ms) {
    int64_t until_ms = pm_clock_ms() + timeout_ms;
    for (;;) {
        uint8_t head[9];
        uint64_t size = 0;
        if (!read_all(fd, head, 2, until_ms)) return -1;
        size = head[1];
        if (head[0] & RAW_LONG) {
            if (!read_all(fd, head + 2, 7, until_ms)) return -1;
            size = 0;
            for (int i = 0; i < 8; i++) size = size << 8 | head[1 + i];
        }
        for (uint64_t done = 0; done < size;) {
            uint8_t aside[4096];
            size_t n = size - done < sizeof aside ? (size_t)(size - done) : sizeof aside;
            if (!read_all(fd, aside, n, until_ms)) return -1;
            if (done < room)
                memcpy((uint8_t *)out + done, aside, n < room - done ? n : room - done);
            done += n;
        }
        *flags = head[0] & ~RAW_LONG;
        if (!(*flags & RAW_COMMAND) || size < 5 || room < 5 || memcmp(out, "\4PING", 5) != 0)
            return (long)size;
        if (pings) ++*pings;
    }
}

bool raw_refused(int fd, const char *reason, int timeout_ms) {
    static uint8_t bytes[1 << 16];
    int64_t until_ms = pm_clock_ms() + timeout_ms;
    for (;;) {
        int flags;
        Pm__Wire__Message *body = NULL;
        long size =
            raw_read(fd, &flags, bytes, sizeof bytes, NULL, (int)(until_ms - pm_clock_ms()));
        if (size < 0) return false;
        if (flags & RAW_COMMAND || (size_t)size > sizeof bytes) continue;
        if (pm_wire_unpack(bytes, (size_t)size, &body) != PM_OK) continue;
        bool found = body->body_case == PM__WIRE__MESSAGE__BODY_REFUSED &&
                     strcmp(body->refused->reason, reason) == 0;
        pm_wire_free(&body);
        if (found) return true;
    }
}

bool raw_closed(int fd, int timeout_ms) {
    int64_t until_ms = pm_clock_ms() + timeout_ms;
    for (;;) {
        uint8_t aside[4096];
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int64_t left = until_ms - pm_clock_ms();
        if (left < 0 || poll(&wait, 1, (int)left) <= 0) return false;
        if (recv(fd, aside, sizeof aside, 0) <= 0) return true;
    }
}
