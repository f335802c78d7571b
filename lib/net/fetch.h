/* A blob over the wire, in chunks, with credit: at most PM_FETCH_WINDOW requests unanswered.
 *
 * A state machine without a socket: whoever owns the link sends what pm_fetch_next gives and
 * hands in the chunks. Into a file of a cache folder (named by its hash; written beside, synced,
 * renamed, and only once the SHA-256 fits), into memory, or into a file without a name. */
#ifndef PM_NET_FETCH_H
#define PM_NET_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/net/wire.h"

typedef struct pm_fetch pm_fetch;

enum { PM_CACHE_PATH_BYTES = 4096 };

/* Where the cache has a blob: FOLDER/SHA256. PM_E_LIMIT where the path is too long. Whether the
 * file is there and whole is for the caller to see (pm_sha256_file). */
pm_status pm_cache_path(const char *folder, const pm_sha256 *hash, char out[PM_CACHE_PATH_BYTES]);

/* folder NULL: into memory. PM_E_LIMIT: over PM_BLOB_BYTES_MAX, or over PM_IMAGE_BYTES_MAX in
 * memory; PM_E_FORMAT: empty; PM_E_MEMORY; PM_E_IO and PM_E_FULL for the folder. */
pm_status pm_fetch_new(const char *folder, const pm_sha256 *hash, uint64_t size_bytes,
                       pm_fetch **out);
/* Into a file that lives in memory as long as it is open (pm_fetch_file). PM_E_LIMIT, PM_E_FORMAT,
 * PM_E_MEMORY. */
pm_status pm_fetch_new_nameless(const pm_sha256 *hash, uint64_t size_bytes, pm_fetch **out);
/* Removes what is unfinished. */
void pm_fetch_free(pm_fetch **fetch);

const pm_sha256 *pm_fetch_hash(const pm_fetch *fetch);

/* The next request to send; false: the window is full or all is asked for. sha256 in *request
 * points into the fetch. */
bool pm_fetch_next(pm_fetch *fetch, Pm__Wire__Fetch *request);

/* Requests that are not answered. */
size_t pm_fetch_unanswered(const pm_fetch *fetch);
/* Whether the chunk at this offset was asked for, lately or before. */
bool pm_fetch_asked(const pm_fetch *fetch, uint64_t offset);

/* Forget what was asked for and not answered: after a reconnect, or after long silence. */
void pm_fetch_restart(pm_fetch *fetch);

/* A chunk for this fetch. *done: all is there and verified: commit it, or take its bytes.
 * PM_E_NOT_FOUND: the broker has no such blob; PM_E_PROTOCOL: not what was asked for;
 * PM_E_MISMATCH: the bytes are not those of the hash, or the broker says so; PM_E_IO, PM_E_FULL.
 * After a failure only pm_fetch_free is left. */
pm_status pm_fetch_take(pm_fetch *fetch, const Pm__Wire__Chunk *chunk, const pm_bytes *bytes,
                        bool *done);

/* Make a finished fetch durable under its name in the cache folder; may take as long as the disk
 * takes. PM_E_IO, PM_E_FULL. */
pm_status pm_fetch_commit(pm_fetch *fetch);

/* The bytes of a finished fetch into memory, now the caller's (free). */
pm_status pm_fetch_bytes(pm_fetch *fetch, uint8_t **out, size_t *size);
/* The descriptor of a finished nameless file, now the caller's. */
pm_status pm_fetch_file(pm_fetch *fetch, int *out);

#endif
