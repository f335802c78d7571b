/* Private to lib/net: how much memory a peer's bytes may unpack to. */
#ifndef PM_NET_BUDGET_H
#define PM_NET_BUDGET_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct pm_budget {
    size_t left_bytes;
    bool exceeded;  /* it was the peer's doing */
    bool no_memory; /* it was not */
} pm_budget;

enum { PM_BUDGET_BLOCK_BYTES = 16 }; /* charged for each block beside its size */

/* An honest message unpacks to a few times its size (an Item of 60 bytes to some 250); empty
 * submessages of two bytes each would reach a hundred times. */
static inline pm_budget pm_budget_for(size_t size) {
    return (pm_budget){.left_bytes = ((size_t)1 << 20) + 16 * size};
}

/* NULL on failure. The result is freed by protobuf_c_message_free_unpacked(..., NULL). */
ProtobufCMessage *pm_budget_unpack(const ProtobufCMessageDescriptor *what, const void *bytes,
                                   size_t size, pm_budget *budget);

#endif
