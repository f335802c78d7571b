/* Owns the last step of writing a database anew. */
#include "lib/store/in_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/store/db.h"

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

/* The first page is written last: until then its place is empty or a hole. */
static bool is_left_over(const char *path) {
    enum { HEADER_BYTES = 100, ID_AT = 68 }; /* https://sqlite.org/fileformat.html */
    static const unsigned char zeros[HEADER_BYTES],
        id[] = {PM_APPLICATION_ID >> 24, PM_APPLICATION_ID >> 16 & 255,
                PM_APPLICATION_ID >> 8 & 255, PM_APPLICATION_ID & 255};
    unsigned char header[HEADER_BYTES] = {0};
    FILE *file = fopen(path, "rbe");
    if (!file) return false;
    size_t size = fread(header, 1, sizeof header, file);
    bool read = !ferror(file);
    fclose(file);
    if (!read || memcmp(header, zeros, size) == 0) return read;
    return size == sizeof header && memcmp(header, "SQLite format 3", 16) == 0 &&
           memcmp(header + ID_AT, id, sizeof id) == 0;
}

pm_status pm_database_clear(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0) {
        if (errno != ENOENT) return os_failure(path, errno);
    } else if (!S_ISREG(info.st_mode) || !is_left_over(path))
        return pm_fail(PM_E_MISMATCH, "%s is in the way and no database of parchmill; move it",
                       path);
    pm_database_unlink(path);
    return PM_OK;
}
