/* Owns one blob on its way: which chunks are asked for, and that what arrives is what was named.
 * Knows no socket and no clock. */
#include "lib/net/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/random.h"

struct pm_fetch {
    pm_sha256 hash;
    uint64_t size_bytes;
    uint64_t asked, received; /* offsets: all before is asked for, is here */
    pm_sha256_stream stream;
    int fd; /* -1: into memory */
    char folder[PM_CACHE_PATH_BYTES], path[PM_CACHE_PATH_BYTES], partial[PM_CACHE_PATH_BYTES];
    uint8_t *memory;
};

pm_status pm_cache_path(const char *folder, const pm_sha256 *hash, char out[PM_CACHE_PATH_BYTES]) {
    char hex[PM_SHA256_HEX_BYTES], path[PM_CACHE_PATH_BYTES];
    pm_sha256_hex(hash, hex);
    int length = snprintf(path, sizeof path, "%s/%s", folder, hex);
    if (length < 0 || (size_t)length >= sizeof path - 32)
        return pm_fail(PM_E_LIMIT, "%s: path too long", folder);
    memcpy(out, path, sizeof path);
    return PM_OK;
}

static pm_status open_partial(pm_fetch *fetch, const char *folder) {
    uint32_t unique;
    pm_status status = pm_cache_path(folder, &fetch->hash, fetch->path);
    if (!status) status = pm_dir_make_as(folder, 0700);
    if (status) return status;
    pm_random_bytes(&unique, sizeof unique);
    snprintf(fetch->folder, sizeof fetch->folder, "%s", folder);
    snprintf(fetch->partial, sizeof fetch->partial, "%s.%08x.part", fetch->path, (unsigned)unique);
    fetch->fd = open(fetch->partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fetch->fd < 0 ? pm_file_fail(fetch->partial, errno) : PM_OK;
}

static pm_status open_nameless(pm_fetch *fetch) {
    fetch->fd = memfd_create("blob", MFD_CLOEXEC);
    return fetch->fd < 0 ? pm_fail(PM_E_MEMORY, "fetch: no file in memory: %s", strerror(errno))
                         : PM_OK;
}

static pm_status begin(const pm_sha256 *hash, uint64_t size_bytes, uint64_t limit, pm_fetch **out) {
    if (size_bytes > limit)
        return pm_fail(PM_E_LIMIT, "fetch: %llu bytes, the limit is %llu",
                       (unsigned long long)size_bytes, (unsigned long long)limit);
    if (size_bytes == 0) return pm_fail(PM_E_FORMAT, "fetch: an empty blob");
    pm_fetch *fetch = calloc(1, sizeof *fetch);
    if (!fetch) return pm_fail(PM_E_MEMORY, "fetch: no memory");
    fetch->fd = -1;
    fetch->hash = *hash;
    fetch->size_bytes = size_bytes;
    pm_sha256_begin(&fetch->stream);
    *out = fetch;
    return PM_OK;
}

pm_status pm_fetch_new_nameless(const pm_sha256 *hash, uint64_t size_bytes, pm_fetch **out) {
    pm_fetch *fetch = NULL;
    pm_status status = begin(hash, size_bytes, PM_BLOB_BYTES_MAX, &fetch);
    if (!status) status = open_nameless(fetch);
    if (status)
        pm_fetch_free(&fetch);
    else
        *out = fetch;
    return status;
}

pm_status pm_fetch_new(const char *folder, const pm_sha256 *hash, uint64_t size_bytes,
                       pm_fetch **out) {
    pm_fetch *fetch = NULL;
    pm_status status =
        begin(hash, size_bytes, folder ? PM_BLOB_BYTES_MAX : PM_IMAGE_BYTES_MAX, &fetch);
    if (status) return status;
    if (folder) {
        status = open_partial(fetch, folder);
    } else {
        fetch->memory = malloc((size_t)size_bytes);
        if (!fetch->memory)
            status = pm_fail(PM_E_MEMORY, "fetch: no memory for %llu bytes",
                             (unsigned long long)size_bytes);
    }
    if (status) {
        pm_fetch_free(&fetch);
        return status;
    }
    *out = fetch;
    return PM_OK;
}

void pm_fetch_free(pm_fetch **fetch) {
    if (!*fetch) return;
    if ((*fetch)->fd >= 0) {
        close((*fetch)->fd);
        if ((*fetch)->partial[0]) unlink((*fetch)->partial);
    }
    free((*fetch)->memory);
    free(*fetch);
    *fetch = NULL;
}

const pm_sha256 *pm_fetch_hash(const pm_fetch *fetch) { return &fetch->hash; }

bool pm_fetch_next(pm_fetch *fetch, Pm__Wire__Fetch *request) {
    uint64_t left = fetch->size_bytes - fetch->asked;
    if (left == 0 || fetch->asked - fetch->received >= (uint64_t)PM_FETCH_WINDOW * PM_CHUNK_BYTES)
        return false;
    pm__wire__fetch__init(request);
    request->sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, fetch->hash.bytes};
    request->offset = fetch->asked;
    request->size_bytes = left < PM_CHUNK_BYTES ? (uint32_t)left : PM_CHUNK_BYTES;
    fetch->asked += request->size_bytes;
    return true;
}

size_t pm_fetch_unanswered(const pm_fetch *fetch) {
    return (size_t)((fetch->asked - fetch->received + PM_CHUNK_BYTES - 1) / PM_CHUNK_BYTES);
}

bool pm_fetch_asked(const pm_fetch *fetch, uint64_t offset) { return offset < fetch->asked; }

void pm_fetch_restart(pm_fetch *fetch) { fetch->asked = fetch->received; }

static pm_status store(pm_fetch *fetch, const uint8_t *bytes, size_t size) {
    pm_sha256_update(&fetch->stream, bytes, size);
    if (fetch->fd < 0) memcpy(fetch->memory + fetch->received, bytes, size);
    fetch->received += size;
    while (fetch->fd >= 0 && size > 0) {
        ssize_t n = write(fetch->fd, bytes, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pm_file_fail(fetch->partial, errno);
        bytes += n;
        size -= (size_t)n;
    }
    return PM_OK;
}

static pm_status verify(pm_fetch *fetch) {
    char hex[PM_SHA256_HEX_BYTES];
    pm_sha256 hash = pm_sha256_end(&fetch->stream);
    if (!pm_sha256_equal(&hash, &fetch->hash)) {
        pm_sha256_hex(&fetch->hash, hex);
        return pm_fail(PM_E_MISMATCH,
                       "the bytes are not those of %s: changed since the run was submitted", hex);
    }
    return PM_OK;
}

pm_status pm_fetch_commit(pm_fetch *fetch) {
    if (fetch->fd < 0 || !fetch->partial[0] || fetch->received != fetch->size_bytes)
        return pm_fail(PM_E_INTERNAL, "fetch: not finished, or not into a file");
    if (fsync(fetch->fd) != 0) return pm_file_fail(fetch->partial, errno);
    if (rename(fetch->partial, fetch->path) != 0) return pm_file_fail(fetch->path, errno);
    close(fetch->fd);
    fetch->fd = -1;
    return pm_file_sync(fetch->folder);
}

/* The size that was asked for at `received`. */
static uint64_t expected_size(const pm_fetch *fetch) {
    uint64_t left = fetch->size_bytes - fetch->received;
    return left < PM_CHUNK_BYTES ? left : PM_CHUNK_BYTES;
}

pm_status pm_fetch_take(pm_fetch *fetch, const Pm__Wire__Chunk *chunk, const pm_bytes *bytes,
                        bool *done) {
    if (chunk->sha256.len != PM_SHA256_BYTES ||
        memcmp(chunk->sha256.data, fetch->hash.bytes, PM_SHA256_BYTES) != 0)
        return pm_fail(PM_E_PROTOCOL, "fetch: a chunk of another blob");
    if (chunk->missing)
        return pm_fail(strncmp(chunk->missing, "changed", 7) == 0 ? PM_E_MISMATCH : PM_E_NOT_FOUND,
                       "%s", chunk->missing);
    /* Asked for twice after a restart, answered twice: the first answer counted. */
    if (chunk->offset < fetch->received) {
        *done = false;
        return PM_OK;
    }
    /* One before it was lost on the way: asked for again once nothing more comes. */
    if (bytes && chunk->offset > fetch->received && chunk->offset < fetch->asked) {
        *done = false;
        return PM_OK;
    }
    if (chunk->offset != fetch->received || chunk->offset >= fetch->asked || !bytes ||
        bytes->size != expected_size(fetch))
        return pm_fail(PM_E_PROTOCOL, "fetch: a chunk that was not asked for");
    pm_status status = store(fetch, bytes->bytes, bytes->size);
    if (status) return status;
    bool all = fetch->received == fetch->size_bytes;
    if (all) status = verify(fetch);
    if (status) return status;
    *done = all;
    return PM_OK;
}

pm_status pm_fetch_bytes(pm_fetch *fetch, uint8_t **out, size_t *size) {
    if (!fetch->memory || fetch->received != fetch->size_bytes)
        return pm_fail(PM_E_INTERNAL, "fetch: not finished, or not in memory");
    *out = fetch->memory;
    *size = (size_t)fetch->size_bytes;
    fetch->memory = NULL;
    return PM_OK;
}

pm_status pm_fetch_file(pm_fetch *fetch, int *out) {
    if (fetch->fd < 0 || fetch->partial[0] || fetch->received != fetch->size_bytes)
        return pm_fail(PM_E_INTERNAL, "fetch: not finished, or not into a nameless file");
    *out = fetch->fd;
    fetch->fd = -1;
    return PM_OK;
}
