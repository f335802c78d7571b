/* Owns the private folder's name and life. */
#include "tools/private_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char prefix[] = "parchmill-run-";

void pm_private_dir_remove(const char *path) {
    DIR *folder = path[0] ? opendir(path) : NULL;
    if (!folder) return;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    rmdir(path);
}

/* Its owner holds the lock as long as it lives, and locks, unlike processes, are seen from
 * everywhere: in another container with the same /tmp the owner's number is nobody's. */
static void remove_if_left(const char *path) {
    struct stat info;
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
    if (fstat(fd, &info) == 0 && info.st_uid == getuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
        pm_private_dir_remove(path);
    close(fd);
}

/* "parchmill-run-PID-XXXXXX" of a process that is no more. */
static void sweep(const char *base) {
    DIR *folder = opendir(base);
    if (!folder) return;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[PM_PRIVATE_DIR_BYTES + 256];
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0) continue;
        long pid = strtol(entry->d_name + sizeof prefix - 1, NULL, 10);
        if (pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH) continue;
        snprintf(path, sizeof path, "%s/%s", base, entry->d_name);
        remove_if_left(path);
    }
    closedir(folder);
}

static bool same_file(int fd, const char *path) {
    struct stat open_one, named;
    return fstat(fd, &open_one) == 0 && lstat(path, &named) == 0 &&
           open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

/* False: somebody took it for left over before it was locked. Where there are no locks, or no
 * descriptors, its number has to do. */
static bool claim(const char *path, int *lock) {
    int locked;
    *lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0) return errno != ENOENT;
    while ((locked = flock(*lock, LOCK_EX)) != 0 && errno == EINTR) continue;
    const bool mine = locked != 0 || same_file(*lock, path);
    if (locked == 0 && mine) return true;
    close(*lock);
    *lock = -1;
    return mine;
}

pm_status pm_private_dir_make(char out[PM_PRIVATE_DIR_BYTES], int *lock) {
    const char *base = getenv("XDG_RUNTIME_DIR");
    char path[PM_PRIVATE_DIR_BYTES];
    if (!base || base[0] != '/' || strlen(base) + 40 > sizeof path || access(base, W_OK) != 0)
        base = "/tmp";
    sweep(base);
    *lock = -1;
    do {
        snprintf(path, sizeof path, "%s/%s%ld-XXXXXX", base, prefix, (long)getpid());
        if (!mkdtemp(path))
            return pm_fail(PM_E_IO, "cannot make a folder for sockets in %s: %s", base,
                           strerror(errno));
    } while (!claim(path, lock));
    memcpy(out, path, sizeof path);
    return PM_OK;
}
