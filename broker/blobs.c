/* Owns the descriptors of files that workers fetch. What the bytes are is for the worker to check:
 * it verifies the hash. */
#include "broker/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 8192 };

void pm_blobs_init(pm_blobs *blobs) {
    *blobs = (pm_blobs){0};
    for (size_t i = 0; i < PM_BLOBS_OPEN; i++) blobs->open[i].fd = -1;
}

void pm_blobs_fini(pm_blobs *blobs) {
    for (size_t i = 0; i < PM_BLOBS_OPEN; i++)
        if (blobs->open[i].fd >= 0) close(blobs->open[i].fd);
    pm_blobs_init(blobs);
}

static pm_status open_file(const char *path, uint64_t size_bytes, int *out, const char **missing) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        if (fd >= 0) close(fd);
        *missing = "the file cannot be opened";
        return PM_E_NOT_FOUND;
    }
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != size_bytes) {
        close(fd);
        *missing = "the file has changed since it was submitted";
        return PM_E_MISMATCH;
    }
    *out = fd;
    return PM_OK;
}

static pm_status find(pm_blobs *blobs, const pm_runs *runs, const pm_sha256 *hash, size_t *out,
                      const char **missing) {
    char path[PATH_BYTES];
    size_t oldest = 0;
    uint64_t size_bytes = 0;
    int fd;
    if (pm_runs_blob(runs, hash, path, sizeof path, &size_bytes) != PM_OK) {
        *missing = "no run has such a file";
        return PM_E_NOT_FOUND;
    }
    for (size_t i = 0; i < PM_BLOBS_OPEN; i++) {
        if (blobs->open[i].fd >= 0 && pm_sha256_equal(&blobs->open[i].hash, hash)) {
            *out = i;
            return PM_OK;
        }
        if (blobs->open[i].used < blobs->open[oldest].used) oldest = i;
    }
    pm_status status = open_file(path, size_bytes, &fd, missing);
    if (status) return status;
    if (blobs->open[oldest].fd >= 0) close(blobs->open[oldest].fd);
    blobs->open[oldest].fd = fd;
    blobs->open[oldest].hash = *hash;
    blobs->open[oldest].size_bytes = size_bytes;
    *out = oldest;
    return PM_OK;
}

pm_status pm_blobs_read(pm_blobs *blobs, const pm_runs *runs, const pm_sha256 *hash,
                        uint64_t offset, size_t size, uint8_t *out, const char **missing) {
    size_t at;
    pm_status status = find(blobs, runs, hash, &at, missing);
    if (status) return status;
    blobs->open[at].used = ++blobs->clock;
    if (offset > blobs->open[at].size_bytes || size > blobs->open[at].size_bytes - offset) {
        *missing = "outside of the file";
        return PM_E_USAGE;
    }
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(blobs->open[at].fd, out + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            *missing = "the file cannot be read";
            return PM_E_IO;
        }
        done += (size_t)n;
    }
    return PM_OK;
}
