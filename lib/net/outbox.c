/* Owns the count of bytes that wait for each peer. Knows no message and no socket. */
#include "lib/net/outbox.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096, FIRST_SWEEP = 1024 };

/* Shared by the outbox and by frames under way; the last one frees it. */
typedef struct shared {
    atomic_size_t users, bytes;
} shared;

struct pm_outbox_line {
    shared count;
    shared *all; /* the outbox's, held */
    pm_outbox_line *next;
    pm_peer peer;
};

struct pm_outbox {
    shared *all;
    size_t count, sweep_at;
    pm_outbox_line *buckets[BUCKETS];
};

/* In front of a frame's bytes. */
typedef struct header {
    pm_outbox_line *line;
    size_t size;
} header;

static void leave_all(shared *all) {
    if (atomic_fetch_sub(&all->users, 1) == 1) free(all);
}

static void leave_line(pm_outbox_line *line) {
    if (atomic_fetch_sub(&line->count.users, 1) != 1) return;
    leave_all(line->all);
    free(line);
}

/* Called by ZeroMQ, in a thread of its own. */
static void release(void *bytes, void *hint) {
    header *h = hint;
    (void)bytes;
    if (h->line) {
        atomic_fetch_sub(&h->line->all->bytes, h->size);
        atomic_fetch_sub(&h->line->count.bytes, h->size);
        leave_line(h->line);
    }
    free(h);
}

pm_status pm_outbox_new(pm_outbox **out) {
    pm_outbox *outbox = calloc(1, sizeof *outbox);
    if (outbox) outbox->all = calloc(1, sizeof *outbox->all);
    if (!outbox || !outbox->all) {
        free(outbox);
        return pm_fail(PM_E_MEMORY, "outbox: no memory");
    }
    atomic_store(&outbox->all->users, 1);
    outbox->sweep_at = FIRST_SWEEP;
    *out = outbox;
    return PM_OK;
}

void pm_outbox_free(pm_outbox **outbox) {
    if (!*outbox) return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (pm_outbox_line *line = (*outbox)->buckets[i]; line;) {
            pm_outbox_line *next = line->next;
            leave_line(line);
            line = next;
        }
    leave_all((*outbox)->all);
    free(*outbox);
    *outbox = NULL;
}

static size_t bucket_of(const pm_peer *peer) {
    uint64_t hash = 14695981039346656037u ^ peer->identity ^ (uint64_t)peer->port; /* FNV-1a */
    for (size_t i = 0; i < peer->id_size; i++) hash = (hash ^ peer->id[i]) * 1099511628211u;
    return (size_t)(hash ^ hash >> 32) % BUCKETS;
}

/* Forget whom nothing waits for. */
static void sweep(pm_outbox *outbox) {
    for (size_t i = 0; i < BUCKETS; i++)
        for (pm_outbox_line **at = &outbox->buckets[i]; *at;) {
            pm_outbox_line *line = *at;
            if (atomic_load(&line->count.bytes) > 0) {
                at = &line->next;
                continue;
            }
            *at = line->next;
            outbox->count--;
            leave_line(line);
        }
    outbox->sweep_at = outbox->count > FIRST_SWEEP / 2 ? 2 * outbox->count : FIRST_SWEEP;
}

static pm_outbox_line *find(const pm_outbox *outbox, const pm_peer *peer, size_t bucket) {
    pm_outbox_line *line = outbox->buckets[bucket];
    while (line && !pm_peer_equal(&line->peer, peer)) line = line->next;
    return line;
}

static pm_outbox_line *make(pm_outbox *outbox, const pm_peer *peer, size_t bucket) {
    if (outbox->count >= outbox->sweep_at) sweep(outbox);
    pm_outbox_line *line = calloc(1, sizeof *line);
    if (!line) return NULL;
    line->peer = *peer;
    line->all = outbox->all;
    atomic_fetch_add(&outbox->all->users, 1);
    atomic_store(&line->count.users, 1);
    line->next = outbox->buckets[bucket];
    outbox->buckets[bucket] = line;
    outbox->count++;
    return line;
}

pm_status pm_outbox_admit(pm_outbox *outbox, const pm_peer *peer, size_t size,
                          pm_outbox_line **out) {
    size_t bucket = bucket_of(peer);
    pm_outbox_line *line = find(outbox, peer, bucket);
    if (!line) line = make(outbox, peer, bucket);
    if (!line) return pm_fail(PM_E_MEMORY, "message: no memory to count its bytes");
    size_t waiting = atomic_load(&line->count.bytes);
    if (waiting > 0 && (waiting + size > PM_PEER_WAITING_MAX ||
                        atomic_load(&outbox->all->bytes) + size > PM_ALL_WAITING_MAX))
        return pm_fail(PM_E_BUSY, "message: the peer does not read; %zu bytes wait for it",
                       waiting);
    *out = line;
    return PM_OK;
}

pm_status pm_outbox_frame(pm_outbox_line *line, const void *bytes, size_t size, zmq_msg_t *frame) {
    header *h = malloc(sizeof *h + size);
    if (!h) return pm_fail(PM_E_MEMORY, "message: no memory for a frame of %zu bytes", size);
    *h = (header){line, size};
    if (size) memcpy(h + 1, bytes, size);
    if (zmq_msg_init_data(frame, h + 1, size, release, h) != 0) {
        free(h);
        return pm_fail(PM_E_MEMORY, "message: no memory for a frame of %zu bytes", size);
    }
    if (line) {
        atomic_fetch_add(&line->count.users, 1);
        atomic_fetch_add(&line->count.bytes, size);
        atomic_fetch_add(&line->all->bytes, size);
    }
    return PM_OK;
}

size_t pm_outbox_waiting(const pm_outbox *outbox) { return atomic_load(&outbox->all->bytes); }
