/* A peer that speaks ZMTP by hand (https://rfc.zeromq.org/spec/23, mechanism NULL) and so can break
 * its rules. Over the socket file of an ipc:// address. Waits at most `timeout_ms`. */
#ifndef TESTS_NET_RAW_H
#define TESTS_NET_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/net/wire.h"

enum { RAW_MORE = 1, RAW_LONG = 2, RAW_COMMAND = 4, RAW_GREETING_BYTES = 64 };

/* -1: nobody listens. */
int raw_connect(const char *path);
void raw_greeting(uint8_t out[RAW_GREETING_BYTES]);
/* Greeting and READY, both ways. */
bool raw_handshake(int fd, int timeout_ms);
/* connect and handshake; -1 */
int raw_open(const char *path, int timeout_ms);

/* False where the other side has closed. */
bool raw_write(int fd, const void *bytes, size_t size);
/* The head of a frame of any size, without the frame. */
bool raw_head(int fd, int flags, uint64_t size);
bool raw_frame(int fd, int flags, const void *bytes, size_t size);
bool raw_say(int fd, const Pm__Wire__Message *body);

/* The next frame, at most `room` bytes of it kept; its size, or -1. PINGs are counted in *pings
 * (NULL: not) and passed over, without an answer. */
long raw_read(int fd, int *flags, void *out, size_t room, int *pings, int timeout_ms);
/* Wait for a Refused with this reason, other messages passed over. */
bool raw_refused(int fd, const char *reason, int timeout_ms);
/* Whether the other side closes, what it says passed over. */
bool raw_closed(int fd, int timeout_ms);

#endif
