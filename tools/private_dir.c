/* Owns the private folder's name and life. */
#include "tools/private_dir.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* "parchmill-run-PID-XXXXXX" of a process that is no more. */
static void sweep(const char *base) {
    DIR *folder = opendir(base);
    if (!folder) return;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[PM_PRIVATE_DIR_BYTES + 256];
        struct stat info;
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0) continue;
        long pid = strtol(entry->d_name + sizeof prefix - 1, NULL, 10);
        if (pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH) continue;
        snprintf(path, sizeof path, "%s/%s", base, entry->d_name);
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == getuid())
            pm_private_dir_remove(path);
    }
    closedir(folder);
}

pm_status pm_private_dir_make(char out[PM_PRIVATE_DIR_BYTES]) {
    const char *base = getenv("XDG_RUNTIME_DIR");
    char path[PM_PRIVATE_DIR_BYTES];
    if (!base || base[0] != '/' || strlen(base) + 40 > sizeof path || access(base, W_OK) != 0)
        base = "/tmp";
    sweep(base);
    snprintf(path, sizeof path, "%s/%s%ld-XXXXXX", base, prefix, (long)getpid());
    if (!mkdtemp(path))
        return pm_fail(PM_E_IO, "cannot make a folder for sockets in %s: %s", base,
                       strerror(errno));
    memcpy(out, path, sizeof path);
    return PM_OK;
}
