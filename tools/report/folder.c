/* Owns the report's folder and what may be removed. Knows nothing of what is in the files. */
#include "tools/report/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"

static pm_status join(char out[PM_REPORT_PATH_BYTES], const char *dir, const char *name) {
    int n = snprintf(out, PM_REPORT_PATH_BYTES, "%s%s", dir, name);
    if (n >= 0 && n < PM_REPORT_PATH_BYTES) return PM_OK;
    return pm_fail(PM_E_USAGE, "--out %.200s...: the path is too long", dir);
}

static bool has_mark(const char *dir) {
    char path[PM_REPORT_PATH_BYTES], head[1024];
    if (join(path, dir, "/index.html")) return false;
    FILE *file = fopen(path, "re");
    if (!file) return false;
    size_t size = fread(head, 1, sizeof head - 1, file);
    fclose(file);
    head[size] = 0;
    return strstr(head, PM_REPORT_MARK) != NULL;
}

/* "00012.jpg", "00012.png", "00012-3.png": what tools/report/pictures.c makes. */
static bool is_picture(const char *name) {
    enum { ITEM_DIGITS = 5 };
    static const char digits[] = "0123456789";
    const size_t item = strspn(name, digits);
    if (item < ITEM_DIGITS) return false;
    name += item;
    if (strcmp(name, ".jpg") == 0 || strcmp(name, ".png") == 0) return true;
    const size_t configuration = *name == '-' ? strspn(name + 1, digits) : 0;
    return configuration && strcmp(name + 1 + configuration, ".png") == 0;
}

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

/* A report's own, not a link to a folder elsewhere. NULL: none. */
static DIR *open_pictures(const char *dir) {
    char path[PM_REPORT_PATH_BYTES];
    if (join(path, dir, "/pictures")) return NULL;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !listing) close(fd);
    return listing;
}

static bool holds_pictures_only(const char *dir) {
    DIR *listing = open_pictures(dir);
    bool only = listing != NULL;
    for (struct dirent *e; only && (e = readdir(listing));)
        only = is_dots(e->d_name) || is_picture(e->d_name);
    if (listing) closedir(listing);
    return only;
}

/* Whether all that a folder holds is what reports hold; *empty: nothing at all. */
static bool holds_a_report_only(const char *dir, bool *empty) {
    DIR *listing = opendir(dir);
    bool only = listing != NULL;
    *empty = only;
    for (struct dirent *e; only && (e = readdir(listing));) {
        if (is_dots(e->d_name)) continue;
        *empty = false;
        only = strcmp(e->d_name, "index.html") == 0 ||
               (strcmp(e->d_name, "pictures") == 0 && holds_pictures_only(dir));
    }
    if (listing) closedir(listing);
    return only;
}

static bool exists(const char *path) {
    struct stat found;
    return lstat(path, &found) == 0;
}

static pm_status check_place(const char *dir) {
    bool empty;
    if (!exists(dir)) return PM_OK;
    if (holds_a_report_only(dir, &empty) && (empty || has_mark(dir))) return PM_OK;
    return pm_fail(PM_E_USAGE,
                   "--out %s: is there and holds something else than a report; name another folder",
                   dir);
}

/* Only what reports are made of; anything else keeps its folder. */
static void remove_report(const char *dir) {
    char path[PM_REPORT_PATH_BYTES];
    if (!join(path, dir, "/index.html")) unlink(path);
    DIR *listing = open_pictures(dir);
    for (struct dirent *e; listing && (e = readdir(listing));)
        if (is_picture(e->d_name)) unlinkat(dirfd(listing), e->d_name, 0);
    if (listing) closedir(listing);
    if (!join(path, dir, "/pictures")) rmdir(path);
    rmdir(dir);
}

/* Two reports to one place would write into one folder. */
static pm_status lock_folder(const char *temporary, const char *place, int *lock) {
    int fd = open(temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return pm_file_fail(temporary, errno);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return pm_fail(PM_E_BUSY,
                       "--out %s: another report is being written there; wait for it, or "
                       "name another folder",
                       place);
    }
    *lock = fd;
    return PM_OK;
}

pm_status pm_report_folder_begin(const char *dir, pm_report_folder *out) {
    pm_report_folder folder;
    char pictures[PM_REPORT_PATH_BYTES];
    bool empty;
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/') length--;
    int n = snprintf(folder.place, sizeof folder.place, "%.*s", (int)length, dir);
    if (n < 1 || (size_t)n >= sizeof folder.place - 64)
        return pm_fail(PM_E_USAGE, "--out %.200s: the name of a folder is wanted", dir);
    pm_status status = check_place(folder.place);
    if (!status) status = join(folder.temporary, folder.place, ".tmp");
    if (!status) status = join(pictures, folder.temporary, "/pictures");
    if (status) return status;
    if (exists(folder.temporary)) { /* left by one that was killed */
        if (!holds_a_report_only(folder.temporary, &empty))
            return pm_fail(PM_E_USAGE, "%s: is in the way; move it or name another --out",
                           folder.temporary);
        status = lock_folder(folder.temporary, folder.place, &folder.lock);
        if (status) return status;
        remove_report(folder.temporary);
        close(folder.lock);
    }
    status = pm_dir_make(folder.temporary);
    if (!status) status = lock_folder(folder.temporary, folder.place, &folder.lock);
    if (status) return status;
    status = pm_dir_make(pictures);
    if (status) {
        close(folder.lock);
        return status;
    }
    *out = folder;
    return PM_OK;
}

pm_status pm_report_folder_write(const pm_report_folder *folder, const char *name,
                                 const void *bytes, size_t size) {
    char path[PM_REPORT_PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/%s", folder->temporary, name);
    if (n < 0 || (size_t)n >= sizeof path) return pm_fail(PM_E_USAGE, "%s: path too long", name);
    FILE *file = fopen(path, "we");
    if (!file) return pm_file_fail(path, errno);
    bool failed = fwrite(bytes, 1, size, file) != size;
    int why = errno;
    if (fclose(file) != 0 && !failed) {
        failed = true;
        why = errno;
    }
    return failed ? pm_file_fail(path, why) : PM_OK;
}

/* Everything written so far is on the disk. */
static pm_status sync_files(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return pm_file_fail(dir, errno);
    int failed = syncfs(fd);
    int why = errno;
    close(fd);
    return failed ? pm_file_fail(dir, why) : PM_OK;
}

pm_status pm_report_folder_put(const pm_report_folder *f) {
    pm_status status = sync_files(f->temporary);
    if (!status) status = check_place(f->place);
    if (status) return status;
    const bool there = exists(f->place);
    status = pm_dir_put_in_place(f->temporary, f->place, there);
    if (status) return status;
    if (there) remove_report(f->temporary);
    close(f->lock);
    return PM_OK;
}

void pm_report_folder_drop(const pm_report_folder *folder) {
    remove_report(folder->temporary);
    close(folder->lock);
}
