/* Owns whole-file input and output. */
#include "lib/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

pm_status pm_file_fail(const char *path, int error) {
    return pm_fail(pm_status_of_errno(error), "%s: %s", path, strerror(error));
}

pm_status pm_file_fail_missing(const char *path, int error) {
    pm_status status = pm_file_fail(path, error);
    return error == ENOENT ? PM_E_NOT_FOUND : status;
}

pm_status pm_file_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return pm_file_fail(path, errno);
    pm_status status = fsync(fd) == 0 ? PM_OK : pm_file_fail(path, errno);
    close(fd);
    return status;
}

static pm_status read_all(int fd, const char *path, uint8_t *out, size_t size, size_t *got) {
    size_t used = 0;
    while (used < size) {
        ssize_t n = read(fd, out + used, size - used);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pm_file_fail_missing(path, errno);
        if (n == 0) break;
        used += (size_t)n;
    }
    *got = used;
    return PM_OK;
}

pm_status pm_file_read(const char *path, size_t limit_bytes, uint8_t **out, size_t *out_size) {
    struct stat info;
    uint8_t *bytes = NULL;
    size_t got = 0;
    pm_status status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return pm_file_fail_missing(path, errno);
    if (fstat(fd, &info) != 0) {
        status = pm_file_fail_missing(path, errno);
        goto fail;
    }
    if (!S_ISREG(info.st_mode)) {
        status = pm_fail(PM_E_FORMAT, "%s: not a regular file", path);
        goto fail;
    }
    if ((uint64_t)info.st_size > limit_bytes) {
        status = pm_fail(PM_E_LIMIT, "%s: %lld bytes, the limit is %zu", path,
                         (long long)info.st_size, limit_bytes);
        goto fail;
    }
    size_t size = (size_t)info.st_size;
    bytes = malloc(size + 1);
    if (!bytes) {
        status = pm_fail(PM_E_MEMORY, "%s: no memory for %zu bytes", path, size);
        goto fail;
    }
    status = read_all(fd, path, bytes, size, &got);
    if (status) goto fail;
    close(fd);
    *out = bytes;
    *out_size = got;
    return PM_OK;
fail:
    free(bytes);
    close(fd);
    return status;
}

static pm_status write_all(int fd, const char *path, const uint8_t *bytes, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pm_file_fail_missing(path, errno);
        bytes += n;
        size -= (size_t)n;
    }
    return fsync(fd) == 0 ? PM_OK : pm_file_fail_missing(path, errno);
}

void pm_file_sync_name(const char *path) {
    char *folder = strdup(path);
    if (!folder) return;
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder ? 1 : 0] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

/* link(2) is rename(2) that takes nobody's place. */
static int put_in_place(const char *temporary, const char *path, bool replace) {
    if (replace) return rename(temporary, path);
    if (link(temporary, path) != 0) return -1;
    unlink(temporary);
    return 0;
}

pm_status pm_file_write_as(const char *path, const void *bytes, size_t size, mode_t mode,
                           bool replace) {
    size_t length = strlen(path) + 32;
    char *temporary = malloc(length);
    if (!temporary) return pm_fail(PM_E_MEMORY, "%s: no memory", path);
    snprintf(temporary, length, "%s.tmp-XXXXXX", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        pm_status status = pm_file_fail_missing(path, errno);
        free(temporary);
        return status;
    }
    pm_status status = write_all(fd, path, bytes, size);
    if (!status && fchmod(fd, mode) != 0) status = pm_file_fail_missing(path, errno);
    if (close(fd) != 0 && !status) status = pm_file_fail_missing(path, errno);
    if (!status && put_in_place(temporary, path, replace) != 0)
        status = errno == EEXIST && !replace ? pm_fail(PM_E_USAGE, "%s: is there already", path)
                                             : pm_file_fail_missing(path, errno);
    if (status)
        unlink(temporary);
    else
        pm_file_sync_name(path);
    free(temporary);
    return status;
}

pm_status pm_file_write(const char *path, const void *bytes, size_t size) {
    mode_t mask = umask(0);
    umask(mask);
    return pm_file_write_as(path, bytes, size, 0666 & ~mask, true);
}

pm_status pm_dir_make(const char *path) { return pm_dir_make_as(path, 0777); }

pm_status pm_dir_make_as(const char *path, mode_t mode) {
    char *copy = strdup(path);
    if (!copy) return pm_fail(PM_E_MEMORY, "%s: no memory", path);
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != '\0') continue;
        char kept = *p;
        *p = '\0';
        if (mkdir(copy, kept ? 0777 : mode) != 0 && errno != EEXIST) {
            pm_status status = pm_file_fail_missing(copy, errno);
            free(copy);
            return status;
        }
        if (!kept) break;
        *p = kept;
    }
    free(copy);
    return PM_OK;
}

static pm_status place_failure(const char *path, int error) {
    if (error == EEXIST || error == ENOTEMPTY || error == ENOTDIR)
        return pm_fail(PM_E_USAGE, "%s came into being meanwhile", path);
    return pm_file_fail_missing(path, error);
}

/* The old folder stands aside while the new one takes its name. */
static pm_status change_by_steps(const char *temporary, const char *path) {
    char *aside = NULL;
    if (asprintf(&aside, "%s.old-XXXXXX", path) < 0)
        return pm_fail(PM_E_MEMORY, "%s: no memory", path);
    pm_status status = mkdtemp(aside) ? PM_OK : pm_file_fail_missing(aside, errno);
    if (!status && rename(path, aside) != 0) {
        status = pm_file_fail_missing(path, errno);
        rmdir(aside);
    } else if (!status && rename(temporary, path) != 0) {
        status = place_failure(path, errno);
        (void)!rename(aside, path);
    } else if (!status && rename(aside, temporary) != 0)
        status = pm_file_fail_missing(aside, errno);
    free(aside);
    return status;
}

pm_status pm_dir_put_in_place(const char *temporary, const char *path, bool replace) {
    const unsigned flags = replace ? RENAME_EXCHANGE : RENAME_NOREPLACE;
    pm_status status = PM_OK;
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, flags) != 0) {
        if (errno != EINVAL && errno != ENOSYS)
            status = place_failure(path, errno);
        else if (replace)
            status = change_by_steps(temporary, path);
        else if (rename(temporary, path) != 0) /* takes the place of an empty folder at most */
            status = place_failure(path, errno);
    }
    if (!status) pm_file_sync_name(path);
    return status;
}
