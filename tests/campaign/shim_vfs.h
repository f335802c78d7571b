/* A VFS between SQLite and its own, with a hook in front of and behind what touches the disk. */
#ifndef TESTS_CAMPAIGN_SHIM_VFS_H
#define TESTS_CAMPAIGN_SHIM_VFS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

typedef enum shim_kind {
    SHIM_OPEN,
    SHIM_READ,
    SHIM_WRITE,
    SHIM_TRUNCATE,
    SHIM_SYNC,
    SHIM_LOCK,
    SHIM_SHM_MAP,
    SHIM_SHM_LOCK,
    SHIM_DELETE
} shim_kind;

typedef struct shim_call {
    shim_kind kind;
    const char *path; /* OPEN, DELETE; else NULL */
    int flags;        /* OPEN: SQLITE_OPEN_...; DELETE: 1 where the folder is to be synced */
    size_t *file;     /* the hook's own number of the file; NULL for DELETE */
    const void *bytes;
    size_t size;    /* READ, WRITE: bytes; what a `before` leaves here is done */
    int64_t offset; /* READ, WRITE: where; TRUNCATE: the size */
} shim_call;

typedef struct shim_hooks {
    void *user;
    /* Not SQLITE_OK is what SQLite is told; with a WRITE of a smaller `size` that much is done. */
    int (*before)(void *user, shim_call *call);
    /* After it went well; may be NULL. */
    void (*after)(void *user, const shim_call *call);
} shim_hooks;

/* Become the default VFS; one at a time. */
void shim_begin(const shim_hooks *hooks);
/* No longer; files opened meanwhile must be closed. */
void shim_end(void);

#endif
