/* Whole files: read under a limit, written all or nothing. What the system refused, as a text. */
#ifndef PM_BASE_FILE_H
#define PM_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/status.h"

/* A system call on `path` failed with `error` (of errno): "PATH: text of the error", with the
 * status of pm_status_of_errno. */
pm_status pm_file_fail(const char *path, int error);
/* The same, but PM_E_NOT_FOUND for ENOENT: where somebody named what has to be there. */
pm_status pm_file_fail_missing(const char *path, int error);

/* fsync of the file or folder `path`. PM_E_FULL, PM_E_IO. */
pm_status pm_file_sync(const char *path);
/* Make a name that was just given or taken in the folder of `path` last. Cannot fail: what the name
 * is of is safe already, and some file systems cannot sync folders. */
void pm_file_sync_name(const char *path);

/* Read a regular file of at most `limit_bytes` into memory from malloc; the caller frees *out.
 * PM_E_NOT_FOUND, PM_E_IO, PM_E_LIMIT, PM_E_MEMORY. An empty file gives a non-NULL pointer. */
pm_status pm_file_read(const char *path, size_t limit_bytes, uint8_t **out, size_t *out_size);

/* Write `path` by way of a temporary beside it: write, fsync, rename, fsync of the folder.
 * PM_E_FULL or PM_E_IO; on failure the old file, if any, is untouched. */
pm_status pm_file_write(const char *path, const void *bytes, size_t size);
/* As pm_file_write, with `mode` (0666 less the umask there). Without `replace` only where nothing
 * is: PM_E_USAGE. */
pm_status pm_file_write_as(const char *path, const void *bytes, size_t size, mode_t mode,
                           bool replace);

/* mkdir -p. */
pm_status pm_dir_make(const char *path);
/* The same with `mode`, less the umask, for the last folder where it is made. */
pm_status pm_dir_make_as(const char *path, mode_t mode);

/* Put the folder `temporary` where `path` is; both in one folder. With `replace` the folder that is
 * there is at `temporary` afterwards, for the caller to remove; without, only where nothing is:
 * PM_E_USAGE. Where the file system cannot exchange two names, `path` is absent for a moment. On
 * failure both are where they were. PM_E_IO, PM_E_FULL, PM_E_MEMORY. */
pm_status pm_dir_put_in_place(const char *temporary, const char *path, bool replace);

#endif
