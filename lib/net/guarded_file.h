/* Files and folders whose owner and permissions matter: lib/net's own, and the worker's cache. */
#ifndef PM_NET_GUARDED_FILE_H
#define PM_NET_GUARDED_FILE_H

#include <stddef.h>
#include <sys/stat.h>

#include "lib/base/status.h"

/* What others must not be able to do: read and write (a secret), or only write (a list). */
typedef enum pm_guarded { PM_GUARDED_SECRET, PM_GUARDED_LIST, PM_GUARDED_OPEN } pm_guarded;

/* Read a small regular file as text, which is NUL-terminated and has no other NUL; free *out. The
 * checks are of the file that was opened, so that it cannot be exchanged in between. `info` may be
 * NULL. PM_E_NOT_FOUND, PM_E_DENIED, PM_E_FORMAT, PM_E_LIMIT, PM_E_IO, PM_E_MEMORY. */
pm_status pm_guarded_read(const char *path, pm_guarded how, size_t limit_bytes, char **out,
                          struct stat *info);

/* A folder that nobody else can put anything into, nor lead elsewhere by a symbolic link of theirs.
 * PM_E_DENIED, PM_E_FORMAT, PM_E_IO, each with what to do. */
pm_status pm_guarded_folder(const char *path);

/* The check alone, of what pm_guarded_read found. */
pm_status pm_guarded_check(const char *path, pm_guarded how, const struct stat *info);

#endif
