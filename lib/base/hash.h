/* SHA-256 (FIPS 180-4, by libsodium): the name of every model, image, statistics and
 * configuration. */
#ifndef PM_BASE_HASH_H
#define PM_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

enum { PM_SHA256_BYTES = 32, PM_SHA256_HEX_BYTES = 65 };

typedef struct pm_sha256 {
    uint8_t bytes[PM_SHA256_BYTES];
} pm_sha256;

typedef struct pm_sha256_stream {
    _Alignas(8) uint8_t opaque[128];
} pm_sha256_stream;

void pm_sha256_begin(pm_sha256_stream *stream);
void pm_sha256_update(pm_sha256_stream *stream, const void *bytes, size_t size);
pm_sha256 pm_sha256_end(pm_sha256_stream *stream);

pm_sha256 pm_sha256_of(const void *bytes, size_t size);

/* Of a whole file; PM_E_NOT_FOUND or PM_E_IO with the path in the text. */
pm_status pm_sha256_file(const char *path, pm_sha256 *out);
/* Of an open file, from its beginning, at most `limit_bytes` of it; its offset stays. `name` is for
 * the text; *size_bytes (may be NULL): how many they were. PM_E_IO. */
pm_status pm_sha256_fd(int fd, const char *name, uint64_t limit_bytes, pm_sha256 *out,
                       uint64_t *size_bytes);

bool pm_sha256_equal(const pm_sha256 *a, const pm_sha256 *b);

/* 64 lower-case digits and a NUL. */
void pm_sha256_hex(const pm_sha256 *hash, char out[PM_SHA256_HEX_BYTES]);

/* Parse exactly 64 hex digits; PM_E_FORMAT otherwise. */
pm_status pm_sha256_parse(const char *hex, pm_sha256 *out);

#endif
