/* Owns the last step of writing a database anew. */
#include "lib/store/in_place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/store/db.h"

pm_status pm_database_put_in_place(const char *from, const char *path, bool replace) {
    pm_status status = pm_file_sync(from);
    if (status) return status;
    /* link(2) is rename(2) that takes nobody's place. */
    if (replace ? rename(from, path) : link(from, path)) {
        if (errno == EEXIST) return pm_fail(PM_E_USAGE, "%s is there already", path);
        return pm_file_fail(path, errno);
    }
    if (!replace) unlink(from);
    pm_file_sync_name(path);
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
        if (errno != ENOENT) return pm_file_fail(path, errno);
    } else if (!S_ISREG(info.st_mode) || !is_left_over(path))
        return pm_fail(PM_E_MISMATCH, "%s is in the way and no database of parchmill; move it",
                       path);
    pm_database_unlink(path);
    return PM_OK;
}
