/* Owns SHA-256. */
#include "lib/base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"

_Static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(pm_sha256_stream), "stream too small");

static crypto_hash_sha256_state *state_of(pm_sha256_stream *stream) {
    return (crypto_hash_sha256_state *)(void *)stream->opaque;
}

void pm_sha256_begin(pm_sha256_stream *stream) { crypto_hash_sha256_init(state_of(stream)); }

void pm_sha256_update(pm_sha256_stream *stream, const void *bytes, size_t size) {
    crypto_hash_sha256_update(state_of(stream), bytes, size);
}

pm_sha256 pm_sha256_end(pm_sha256_stream *stream) {
    pm_sha256 out;
    crypto_hash_sha256_final(state_of(stream), out.bytes);
    return out;
}

pm_sha256 pm_sha256_of(const void *bytes, size_t size) {
    pm_sha256 out;
    crypto_hash_sha256(out.bytes, bytes, size);
    return out;
}

pm_status pm_sha256_fd(int fd, const char *name, uint64_t limit_bytes, pm_sha256 *out,
                       uint64_t *size_bytes) {
    enum { CHUNK_BYTES = 1 << 16 };
    uint8_t chunk[CHUNK_BYTES];
    pm_sha256_stream stream;
    uint64_t done = 0;
    pm_sha256_begin(&stream);
    while (done < limit_bytes) {
        const uint64_t left = limit_bytes - done;
        ssize_t n = pread(fd, chunk, left < sizeof chunk ? left : sizeof chunk, (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pm_file_fail(name, errno);
        if (n == 0) break;
        pm_sha256_update(&stream, chunk, (size_t)n);
        done += (uint64_t)n;
    }
    *out = pm_sha256_end(&stream);
    if (size_bytes) *size_bytes = done;
    return PM_OK;
}

pm_status pm_sha256_file(const char *path, pm_sha256 *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return pm_file_fail_missing(path, errno);
    pm_status status = pm_sha256_fd(fd, path, UINT64_MAX, out, NULL);
    close(fd);
    return status;
}

bool pm_sha256_equal(const pm_sha256 *a, const pm_sha256 *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void pm_sha256_hex(const pm_sha256 *hash, char out[PM_SHA256_HEX_BYTES]) {
    sodium_bin2hex(out, PM_SHA256_HEX_BYTES, hash->bytes, sizeof hash->bytes);
}

pm_status pm_sha256_parse(const char *hex, pm_sha256 *out) {
    pm_sha256 parsed;
    size_t size = 0;
    if (strlen(hex) != PM_SHA256_HEX_BYTES - 1 ||
        sodium_hex2bin(parsed.bytes, sizeof parsed.bytes, hex, PM_SHA256_HEX_BYTES - 1, NULL, &size,
                       NULL) != 0 ||
        size != sizeof parsed.bytes)
        return pm_fail(PM_E_FORMAT, "'%.80s' is not a SHA-256 of 64 hex digits", hex);
    *out = parsed;
    return PM_OK;
}
