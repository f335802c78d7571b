/* A folder for one process's sockets, that nobody else can enter. */
#ifndef PM_TOOLS_PRIVATE_DIR_H
#define PM_TOOLS_PRIVATE_DIR_H

#include "lib/base/status.h"

enum { PM_PRIVATE_DIR_BYTES = 90 }; /* so that a socket's path stays within 107 bytes */

/* Under XDG_RUNTIME_DIR, or /tmp where that is not set or too long. Folders that killed commands of
 * this user left behind are removed on the way. *lock: a descriptor that says that it is in use, to
 * be closed behind pm_private_dir_remove; -1 where the file system has no locks. PM_E_IO. */
pm_status pm_private_dir_make(char out[PM_PRIVATE_DIR_BYTES], int *lock);
/* With the sockets in it; "" is nothing. */
void pm_private_dir_remove(const char *path);

#endif
