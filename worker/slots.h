/* The last item that each compute thread has started, in memory that the worker's parent shares, so
 * that the parent knows it also when the worker is gone; what was in hand before it follows from
 * the task's order and what is recorded. Written by one thread a slot, read by the parent after the
 * writer's death. */
#ifndef PM_WORKER_SLOTS_H
#define PM_WORKER_SLOTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/net/wire.h"

enum { PM_THREADS_MAX = 256 };

typedef struct pm_slot {
    atomic_int used;
    uint64_t task, ordinal;
    uint8_t token[PM_TOKEN_BYTES];
} pm_slot;

/* What a worker's parent tells it about the worker before it. */
typedef struct pm_in_hand {
    uint64_t task, ordinal;
    uint8_t token[PM_TOKEN_BYTES];
} pm_in_hand;

typedef struct pm_crash {
    bool happened;
    uint8_t instance[PM_INSTANCE_BYTES];
    char reason[32]; /* "SIGSEGV" */
    size_t count;
    pm_in_hand in_hand[PM_THREADS_MAX];
} pm_crash;

typedef struct pm_slots {
    pm_slot slots[PM_THREADS_MAX];       /* written by the worker */
    uint8_t instance[PM_INSTANCE_BYTES]; /* written by the parent before the worker starts */
    pm_crash crash;                      /* likewise */
} pm_slots;

/* New shared memory; *fd stays open for a child to map. */
pm_status pm_slots_new(pm_slots **out, int *fd);
/* Map what a parent gave. */
pm_status pm_slots_open(int fd, pm_slots **out);
void pm_slots_free(pm_slots **slots);
/* For the next worker: the slots in use become its crash report (`reason`), or, reason NULL, are
 * forgotten. A new instance. */
void pm_slots_turn(pm_slots *slots, const char *reason);

void pm_slot_set(pm_slot *slot, uint64_t task, const uint8_t *token, uint64_t ordinal);
void pm_slot_clear(pm_slot *slot);

#endif
