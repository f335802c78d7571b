/* What was fetched, kept on disk by its SHA-256: weights, statistics and photographs.
 *
 * Any number of workers may share the folder. A file appears whole (written beside, renamed), is
 * verified when it is read, so that a damaged one counts as none, and may go at any moment: what
 * was used longest ago is dropped once all of it is larger than the limit. An open file that is
 * dropped goes on to be read. Nothing here fails: without a cache everything is fetched. Only a
 * folder that others can write into is refused. */
#ifndef PM_WORKER_CACHE_H
#define PM_WORKER_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/net/fetch.h"

typedef struct pm_cache pm_cache;

/* PM_CACHE_DEFAULT: 4 GiB, or a tenth of the file system where that is less. Another worker, this
 * one's doubles and what is being written may exceed it for a moment, by a twentieth each. */
#define PM_CACHE_DEFAULT UINT64_MAX

/* Made if need be, for this user alone; files half written by workers that died are removed.
 * PM_E_DENIED: others have a hand in it; PM_E_IO, PM_E_FULL, PM_E_FORMAT, PM_E_MEMORY. */
pm_status pm_cache_open(const char *folder, uint64_t limit_bytes, pm_cache **out);
void pm_cache_close(pm_cache **cache);

/* All below take NULL for no cache. */

/* The bytes with this hash, from malloc; false: not here. */
bool pm_cache_get(pm_cache *cache, const pm_sha256 *hash, uint64_t size_bytes, uint8_t **bytes);
/* Keep these, if there is room and the disk lets. */
void pm_cache_put(pm_cache *cache, const pm_sha256 *hash, const uint8_t *bytes, size_t size);

/* The file with this hash, open and verified; false: not here. */
bool pm_cache_find(pm_cache *cache, const pm_sha256 *hash, uint64_t size_bytes, int *fd);
/* An open file is a regular one of this size and hash. */
bool pm_cache_is_blob(int fd, const pm_sha256 *hash, uint64_t size_bytes);
/* For pm_fetch_new; NULL without a cache. */
const char *pm_cache_folder(const pm_cache *cache);
/* So much was written there by a fetch. */
void pm_cache_added(pm_cache *cache, uint64_t size_bytes);
/* The disk did not take something (the last pm_fail says why): said once. */
void pm_cache_refused(pm_cache *cache);

/* "500M", "4G", or bytes; K, M, G, T are powers of 1024. PM_E_USAGE. */
pm_status pm_cache_parse_size(const char *text, uint64_t *out);

#endif
