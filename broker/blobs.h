/* Pieces of registered files, with a few descriptors kept open. */
#ifndef PM_BROKER_BLOBS_H
#define PM_BROKER_BLOBS_H

#include "broker/runs.h"

enum { PM_BLOBS_OPEN = 16 };

typedef struct pm_blobs {
    struct {
        pm_sha256 hash;
        int fd; /* -1: unused */
        uint64_t size_bytes, used;
    } open[PM_BLOBS_OPEN];
    uint64_t clock;
} pm_blobs;

void pm_blobs_init(pm_blobs *blobs);
void pm_blobs_fini(pm_blobs *blobs);

/* Bytes [offset, offset + size) of the blob into out. Only files that a live run registered under
 * this hash, of the size that was registered. On failure *missing is one line for the worker. */
pm_status pm_blobs_read(pm_blobs *blobs, const pm_runs *runs, const pm_sha256 *hash,
                        uint64_t offset, size_t size, uint8_t *out, const char **missing);

#endif
