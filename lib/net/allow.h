/* The allow-list: which key may do what. One file:
 *
 *     # comment
 *     ROLE KEY NAME           ROLE: client, worker or admin; a key and a name stand once
 *
 * Immutable once parsed; a new file is a new list. */
#ifndef PM_NET_ALLOW_H
#define PM_NET_ALLOW_H

#include <stddef.h>
#include <sys/stat.h>

#include "lib/net/credentials.h"
#include "lib/net/endpoint.h"

typedef struct pm_allowed {
    char key[PM_KEY_BYTES];
    char name[PM_KEY_NAME_BYTES];
    pm_role role;
    uint64_t identity; /* pm_key_identity */
} pm_allowed;

typedef struct pm_allow pm_allow;

enum { PM_ALLOW_BYTES_MAX = 1 << 22, PM_ALLOW_KEYS_MAX = 1 << 15 };

/* `text` is cut into words where it stands. `path` names it in error lines. PM_E_FORMAT,
 * PM_E_LIMIT, PM_E_MEMORY. */
pm_status pm_allow_parse(const char *path, char *text, pm_allow **out);
/* The file must be ours and nobody else's to change: PM_E_DENIED. `info` may be NULL. */
pm_status pm_allow_read(const char *path, pm_allow **out, struct stat *info);
void pm_allow_free(pm_allow **allow);

size_t pm_allow_count(const pm_allow *allow);
/* NULL: not in the list. */
const pm_allowed *pm_allow_find(const pm_allow *allow, const char *key);
const pm_allowed *pm_allow_find_identity(const pm_allow *allow, uint64_t identity);

#endif
