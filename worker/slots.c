/* Owns the shared memory between a worker and its parent. Knows no process. */
#include "worker/slots.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/random.h"

static pm_status map(int fd, pm_slots **out) {
    void *memory = mmap(NULL, sizeof(pm_slots), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return pm_fail(PM_E_MEMORY, "shared memory: %s", strerror(errno));
    *out = memory;
    return PM_OK;
}

pm_status pm_slots_new(pm_slots **out, int *fd) {
    /* Not closed on exec: the worker maps it. */
    int memory = memfd_create("parchmill-slots", 0);
    if (memory < 0) return pm_fail(PM_E_IO, "shared memory: %s", strerror(errno));
    if (ftruncate(memory, sizeof(pm_slots)) != 0) {
        int error = errno;
        close(memory);
        return pm_fail(PM_E_IO, "shared memory: %s", strerror(error));
    }
    pm_status status = map(memory, out);
    if (status) {
        close(memory);
        return status;
    }
    *fd = memory;
    return PM_OK;
}

pm_status pm_slots_open(int fd, pm_slots **out) { return map(fd, out); }

void pm_slots_free(pm_slots **slots) {
    if (!*slots) return;
    munmap(*slots, sizeof **slots);
    *slots = NULL;
}

void pm_slots_turn(pm_slots *slots, const char *reason) {
    pm_crash *crash = &slots->crash;
    memset(crash, 0, sizeof *crash);
    if (reason) {
        crash->happened = true;
        memcpy(crash->instance, slots->instance, PM_INSTANCE_BYTES);
        snprintf(crash->reason, sizeof crash->reason, "%s", reason);
    }
    for (size_t i = 0; i < PM_THREADS_MAX; i++) {
        pm_slot *slot = &slots->slots[i];
        if (reason && atomic_load(&slot->used)) {
            pm_in_hand *in_hand = &crash->in_hand[crash->count++];
            in_hand->task = slot->task;
            in_hand->ordinal = slot->ordinal;
            memcpy(in_hand->token, slot->token, PM_TOKEN_BYTES);
        }
        pm_slot_clear(slot);
    }
    pm_random_bytes(slots->instance, PM_INSTANCE_BYTES);
}

void pm_slot_set(pm_slot *slot, uint64_t task, const uint8_t *token, uint64_t ordinal) {
    atomic_store(&slot->used, 0);
    slot->task = task;
    slot->ordinal = ordinal;
    memcpy(slot->token, token, PM_TOKEN_BYTES);
    atomic_store(&slot->used, 1);
}

void pm_slot_clear(pm_slot *slot) { atomic_store(&slot->used, 0); }
