/* Owns the last step of writing a database anew. */
#include "lib/store/in_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pm_status os_failure(const char *path, int error) {
    return pm_fail(error == ENOSPC || error == EDQUOT ? PM_E_FULL : PM_E_IO, "%s: %s", path,
                   strerror(error));
}

static pm_status sync_path(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) return os_failure(path, errno);
    pm_status status = fsync(fd) == 0 ? PM_OK : os_failure(path, errno);
    close(fd);
    return status;
}

/* A file system that cannot sync folders is no failure: the file itself is safe. */
static void sync_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

pm_status pm_database_put_in_place(const char *from, const char *path, bool replace) {
    pm_status status = sync_path(from, O_RDWR);
    if (status) return status;
    /* link(2) is rename(2) that takes nobody's place. */
    if (replace ? rename(from, path) : link(from, path)) {
        if (errno == EEXIST) return pm_fail(PM_E_USAGE, "%s is there already", path);
        return os_failure(path, errno);
    }
    if (!replace) unlink(from);
    sync_folder_of(path);
    return PM_OK;
}

void pm_database_unlink(const char *path) {
    static const char *const ends[] = {"", "-journal", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char *name = NULL;
        if (asprintf(&name, "%s%s", path, ends[i]) < 0) continue;
        unlink(name);
        free(name);
    }
}
