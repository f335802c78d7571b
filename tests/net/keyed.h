/* Keys, lists, free ports and a relay that looks at what goes by, for tests of tcp://. */
#ifndef TESTS_NET_KEYED_H
#define TESTS_NET_KEYED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/net/net.h"

/* A port that is free, with the one behind it, on 127.0.0.1 and [::1]. */
unsigned free_ports(void);

/* A file's content in place of what is there, by rename, as editors do. */
void put_file(const char *path, const char *text);
/* Lines ROLE KEY NAME; `role` NULL leaves a key out. */
typedef struct listed {
    const char *role, *name;
    const pm_credentials *key;
} listed;
void put_list(const char *path, const listed *keys, size_t count);

/* A peer's credentials: a new key, and this broker's. */
pm_credentials peer_key(const pm_credentials *broker);

/* Takes connections at a port of its own, passes bytes on to `target` (127.0.0.1) and keeps them.
 */
typedef struct relay relay;
relay *relay_start(unsigned target);
unsigned relay_port(const relay *r);
/* Whether these bytes went by, in either direction. */
bool relay_saw(relay *r, const void *bytes, size_t size);
size_t relay_bytes(relay *r);
void relay_stop(relay **r);

#endif
