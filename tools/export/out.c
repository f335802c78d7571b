/* Owns the temporary of an export and the step that puts it in its place. */
#include "tools/export/out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"

struct pm_out {
    pm_out_kind kind;
    bool there;             /* something is to be replaced */
    char *path, *temporary; /* NULL: stdout */
};

/* ---- what is there already ---- */

static bool is_former_script(const char *path) {
    char text[sizeof PM_OUT_MARK_LINE] = "";
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    return strcmp(text, PM_OUT_MARK_LINE) == 0;
}

/* Whether an export has such a file: `list` is its tables.json. */
static bool is_listed(const char *list, const char *name) {
    static const char *const always[] = {".", "..", PM_OUT_MARK_FILE, "README.txt", "index.csv"};
    char *entry = NULL;
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (strcmp(always[i], name) == 0) return true;
    if (asprintf(&entry, "\"file\": \"%s\"", name) < 0) return false;
    bool listed = strstr(list, entry) != NULL;
    free(entry);
    return listed;
}

/* An export, and nothing that somebody put beside it. */
static bool is_former_folder(const char *path) {
    enum { LIST_LIMIT_BYTES = 64 << 20 };
    char *mark = NULL, *list = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (asprintf(&mark, "%s/" PM_OUT_MARK_FILE, path) < 0) return false;
    pm_status status = pm_file_read(mark, LIST_LIMIT_BYTES, &bytes, &size);
    free(mark);
    if (!status) list = strndup((const char *)bytes, size);
    free(bytes);
    bool former = list && strstr(list, "\"" PM_OUT_MARK_KEY "\"");
    DIR *folder = former ? opendir(path) : NULL;
    for (struct dirent *entry; folder && former && (entry = readdir(folder));)
        former = is_listed(list, entry->d_name);
    if (folder) closedir(folder);
    free(list);
    return former && folder;
}

static bool is_empty_folder(const char *path) {
    size_t entries = 0;
    DIR *folder = opendir(path);
    if (!folder) return false;
    while (readdir(folder)) entries++;
    closedir(folder);
    return entries == 2;
}

/* A database that somebody has open, or that a broker left in several files. */
static bool is_open_database(const char *path) {
    static const char *const beside[] = {"-wal", "-journal", ".lock"};
    for (size_t i = 0; i < 3; i++) {
        char *name = NULL;
        if (asprintf(&name, "%s%s", path, beside[i]) < 0) return true;
        bool there = access(name, F_OK) == 0;
        free(name);
        if (there) return true;
    }
    return false;
}

static pm_status look(pm_out *out, bool force) {
    struct stat info;
    if (lstat(out->path, &info) != 0)
        return errno == ENOENT ? PM_OK : pm_file_fail(out->path, errno);
    out->there = true;
    if (out->kind == PM_OUT_FOLDER) {
        if (!S_ISDIR(info.st_mode))
            return pm_fail(PM_E_USAGE,
                           "--out %s is a file and this format makes a folder; give "
                           "another --out",
                           out->path);
        /* All that is in it would go: a database, photographs. That is nobody's wish. */
        if (is_former_folder(out->path) || is_empty_folder(out->path)) return PM_OK;
        return pm_fail(PM_E_USAGE,
                       "--out %s is there already and holds more than an export; give another, or "
                       "remove it first",
                       out->path);
    } else {
        if (!S_ISREG(info.st_mode))
            return pm_fail(PM_E_USAGE, "--out %s is no regular file; give the name of a file",
                           out->path);
        if (is_open_database(out->path))
            return pm_fail(PM_E_USAGE, "--out %s is a database in use; give another --out",
                           out->path);
        if (force || is_former_script(out->path)) return PM_OK;
    }
    return pm_fail(PM_E_USAGE, "--out %s is there already; give another, or --force to replace it",
                   out->path);
}

/* ---- opening ---- */

static void discard(pm_out **out) {
    free((*out)->path);
    free((*out)->temporary);
    free(*out);
    *out = NULL;
}

static pm_status make_temporary(pm_out *out) {
    if (out->kind == PM_OUT_FOLDER) {
        if (!mkdtemp(out->temporary)) return pm_file_fail(out->path, errno);
        mode_t mask = umask(0);
        umask(mask);
        (void)chmod(out->temporary, 0777 & ~mask);
        return PM_OK;
    }
    /* Only the name: whoever fills it makes it anew, and finds out if somebody else did. */
    int fd = mkostemp(out->temporary, O_CLOEXEC);
    if (fd < 0) return pm_file_fail(out->path, errno);
    close(fd);
    return unlink(out->temporary) == 0 ? PM_OK : pm_file_fail(out->path, errno);
}

pm_status pm_out_open(const char *path, pm_out_kind kind, bool force, pm_out **out) {
    pm_out *made = calloc(1, sizeof *made);
    if (!made) return pm_fail(PM_E_MEMORY, "%s: no memory", path);
    made->kind = kind;
    pm_status status = PM_OK;
    if (kind == PM_OUT_FILE && strcmp(path, "-") == 0) {
        *out = made;
        return PM_OK;
    }
    made->path = strdup(path);
    size_t length = strlen(path);
    while (made->path && length > 1 && made->path[length - 1] == '/') made->path[--length] = 0;
    if (!made->path || asprintf(&made->temporary, "%s.tmp-XXXXXX", made->path) < 0) {
        made->temporary = NULL;
        status = pm_fail(PM_E_MEMORY, "%s: no memory", path);
    }
    if (!status) status = look(made, force);
    if (!status) status = make_temporary(made);
    if (status)
        discard(&made);
    else
        *out = made;
    return status;
}

const char *pm_out_temporary(const pm_out *out) { return out->temporary; }

/* ---- streams ---- */

pm_status pm_out_stream(pm_out *out, const char *name, FILE **stream) {
    if (!out->path) {
        *stream = stdout;
        return PM_OK;
    }
    char *path = NULL;
    int n = out->kind == PM_OUT_FOLDER ? asprintf(&path, "%s/%s", out->temporary, name)
                                       : asprintf(&path, "%s", out->temporary);
    if (n < 0) return pm_fail(PM_E_MEMORY, "%s: no memory", out->path);
    FILE *file = fopen(path, "wbx");
    pm_status status = file ? PM_OK : pm_file_fail(path, errno);
    free(path);
    if (!status) *stream = file;
    return status;
}

pm_status pm_out_close(pm_out *out, const char *name, FILE **stream, pm_status status) {
    char path[PATH_MAX];
    FILE *file = *stream;
    *stream = NULL;
    if (!file) return status;
    /* By the name it would have had: nobody sees the temporary. */
    const bool inside = out->kind == PM_OUT_FOLDER;
    snprintf(path, sizeof path, "%s%s%s", out->path ? out->path : "standard output",
             inside ? "/" : "", inside ? name : "");
    if (ferror(file) && (status == PM_E_IO || status == PM_E_FULL))
        status = pm_fail_in(status, "%s", path);
    errno = 0;
    if ((fflush(file) != 0 || ferror(file)) && !status)
        status = pm_fail_in(pm_fail_errno(errno), "%s", path);
    if (file == stdout) return status;
    if (!status && fsync(fileno(file)) != 0) status = pm_file_fail(path, errno);
    if (fclose(file) != 0 && !status) status = pm_file_fail(path, errno);
    return status;
}

/* ---- the end ---- */

/* A folder of ours: files, and folders of files. */
static void remove_folder(const char *path) {
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char *name = NULL;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (asprintf(&name, "%s/%s", path, entry->d_name) < 0) continue;
        if (unlink(name) != 0 && (errno == EISDIR || errno == EPERM)) remove_folder(name);
        free(name);
    }
    if (folder) closedir(folder);
    rmdir(path);
}

static void remove_any(const pm_out *out) {
    if (out->kind == PM_OUT_FOLDER)
        remove_folder(out->temporary);
    else
        unlink(out->temporary);
}

/* A file system that cannot keep from replacing does what it can. */
static pm_status put_file(pm_out *out) {
    int code = out->there
                   ? rename(out->temporary, out->path)
                   : renameat2(AT_FDCWD, out->temporary, AT_FDCWD, out->path, RENAME_NOREPLACE);
    if (code != 0 && !out->there && (errno == EINVAL || errno == ENOSYS))
        code = rename(out->temporary, out->path);
    if (code != 0 && errno == EEXIST)
        return pm_fail(PM_E_USAGE, "%s came into being meanwhile", out->path);
    if (code != 0) return pm_file_fail(out->path, errno);
    pm_file_sync_name(out->path);
    return PM_OK;
}

static pm_status put_in_place(pm_out *out) {
    if (out->kind == PM_OUT_FILE) return put_file(out);
    (void)pm_file_sync(out->temporary); /* the files are: some file systems sync no folder */
    pm_status status = pm_dir_put_in_place(out->temporary, out->path, out->there);
    if (!status && out->there) remove_any(out);
    return status;
}

pm_status pm_out_end(pm_out **out, pm_status status) {
    if (!*out) return status;
    if ((*out)->path) {
        if (!status) status = put_in_place(*out);
        if (status) remove_any(*out);
    }
    discard(out);
    return status;
}
