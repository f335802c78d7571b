/* Pieces of registered files, read by a thread of its own: a slow disk holds up whoever waits for
 * it and nothing else.
 *
 * The loop asks and takes; the thread opens and reads, in the order of asking. Few pieces are read
 * and not taken (PM_BLOBS_READY), so that it never runs away from the loop. */
#ifndef PM_BROKER_BLOBS_H
#define PM_BROKER_BLOBS_H

#include "lib/base/hash.h"
#include "lib/net/router.h"

enum {
    PM_BLOBS_OPEN = 16,       /* descriptors kept */
    PM_BLOBS_KNOWN = 1 << 16, /* files whose bytes were looked at, with what tells a change */
    PM_BLOBS_ASKED = 1 << 14, /* pieces asked for and not taken */
    PM_BLOBS_READY = 32
};

typedef struct pm_blobs pm_blobs;

typedef struct pm_piece {
    struct pm_piece *next;
    pm_peer peer; /* who wants it */
    pm_sha256 hash;
    uint64_t offset;
    uint32_t size_bytes;
    uint64_t file_bytes; /* as it was submitted */
    const char *missing; /* why there is none: one line for the worker; NULL: it is there */
    uint8_t *bytes;      /* [size_bytes], once taken */
    char path[];
} pm_piece;

/* A piece to ask for, its path set; `missing` set already: no file is looked at. PM_E_MEMORY. */
pm_status pm_piece_new(const char *path, pm_piece **out);
void pm_piece_free(pm_piece **piece);

pm_status pm_blobs_new(pm_blobs **out);
/* What is asked for is forgotten; waits for the read at hand. */
void pm_blobs_free(pm_blobs **blobs);
/* Readable while pieces can be taken. */
int pm_blobs_fd(const pm_blobs *blobs);
/* Takes *piece over (set NULL) on PM_OK. PM_E_BUSY: too many are asked for. */
pm_status pm_blobs_ask(pm_blobs *blobs, pm_piece **piece);
/* The next that was read, now the caller's; NULL: none. */
pm_piece *pm_blobs_take(pm_blobs *blobs);

#endif
