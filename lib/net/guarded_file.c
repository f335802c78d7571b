/* Owns the rule of who may touch a file or folder that we trust. Knows nothing of what is in it. */
#include "lib/net/guarded_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"

/* systemd hands a service its secrets in a folder of its own by an access list, which shows as a
 * group that may read: $CREDENTIALS_DIRECTORY/NAME, root's, mode 0440. */
static bool is_service_credential(const char *path, const struct stat *info) {
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    const size_t length = folder ? strlen(folder) : 0;
    return length && strncmp(path, folder, length) == 0 && path[length] == '/' &&
           !strchr(path + length + 1, '/') && info->st_uid == 0 &&
           !(info->st_mode & (S_IRWXO | S_IWGRP | S_IXGRP));
}

/* Root may read and write everything anyway. */
static pm_status check_owner(const char *path, const struct stat *info, const char *what_to_do) {
    if (info->st_uid == geteuid() || info->st_uid == 0) return PM_OK;
    return pm_fail(PM_E_DENIED, "%s: belongs to another user (uid %u); it must be yours: %s", path,
                   (unsigned)info->st_uid, what_to_do);
}

static pm_status check_writers(const char *path, mode_t mode) {
    if (!(mode & (S_IWGRP | S_IWOTH))) return PM_OK;
    return pm_fail(PM_E_DENIED, "%s: mode %04o lets others change it; run: chmod go-w '%s'", path,
                   (unsigned)(mode & 07777), path);
}

pm_status pm_guarded_check(const char *path, pm_guarded how, const struct stat *info) {
    mode_t mode = info->st_mode;
    if (!S_ISREG(mode)) return pm_fail(PM_E_FORMAT, "%s: not a regular file", path);
    if (how == PM_GUARDED_OPEN) return PM_OK;
    pm_status status = check_owner(path, info, "copy it, and remove the other");
    if (status) return status;
    if (how == PM_GUARDED_SECRET && mode & (S_IRWXG | S_IRWXO) &&
        !is_service_credential(path, info))
        return pm_fail(PM_E_DENIED,
                       "%s: mode %04o lets others at the secret key; run: chmod 600 '%s'", path,
                       (unsigned)(mode & 07777), path);
    return check_writers(path, mode);
}

/* What a link leads to is judged as what was opened; the link itself, as what may be turned. */
pm_status pm_guarded_folder(const char *path) {
    static const char other[] = "name a folder of your own";
    struct stat info;
    char *plain = strdup(path);
    if (!plain) return pm_fail(PM_E_MEMORY, "%s: no memory", path);
    /* A slash at the end would follow the link. */
    for (size_t end = strlen(plain); end > 1 && plain[end - 1] == '/'; end--) plain[end - 1] = 0;
    bool link = lstat(plain, &info) == 0 && S_ISLNK(info.st_mode);
    free(plain);
    pm_status status = link ? check_owner(path, &info, other) : PM_OK;
    if (status) return status;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return pm_fail(errno == ENOTDIR ? PM_E_FORMAT : PM_E_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0) status = pm_file_fail(path, errno);
    if (!status) status = check_owner(path, &info, other);
    if (!status) status = check_writers(path, info.st_mode);
    close(fd);
    return status;
}

static pm_status read_text(int fd, const char *path, size_t limit_bytes, char **out) {
    char *text = malloc(limit_bytes + 2);
    size_t size = 0;
    ssize_t n = 1;
    if (!text) return pm_fail(PM_E_MEMORY, "%s: no memory", path);
    /* One byte more than is allowed, to see whether there is one. */
    while (n && size <= limit_bytes) {
        n = read(fd, text + size, limit_bytes + 1 - size);
        if (n < 0 && errno != EINTR) {
            int error = errno;
            free(text);
            return pm_file_fail(path, error);
        }
        if (n > 0) size += (size_t)n;
    }
    text[size] = '\0';
    if (size > limit_bytes || strlen(text) != size) {
        free(text);
        return size > limit_bytes
                   ? pm_fail(PM_E_LIMIT, "%s: more than %zu bytes", path, limit_bytes)
                   : pm_fail(PM_E_FORMAT, "%s: not text", path);
    }
    *out = text;
    return PM_OK;
}

pm_status pm_guarded_read(const char *path, pm_guarded how, size_t limit_bytes, char **out,
                          struct stat *info) {
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return pm_file_fail_missing(path, errno);
    pm_status status =
        fstat(fd, &found) == 0 ? pm_guarded_check(path, how, &found) : pm_file_fail(path, errno);
    if (!status) status = read_text(fd, path, limit_bytes, out);
    close(fd);
    if (!status && info) *info = found;
    return status;
}
