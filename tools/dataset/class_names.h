/* The table of class names: CSV with the columns index, wnid and names (wnid may be missing). */
#ifndef PM_CLASS_NAMES_H
#define PM_CLASS_NAMES_H

#include <stddef.h>

#include "lib/base/status.h"

typedef struct pm_class_names {
    size_t count;
    char **names; /* [count] by class index, NULL where not known */
    char **wnids; /* [count] likewise */
} pm_class_names;

/* PM_E_NOT_FOUND, PM_E_FORMAT with the line, PM_E_LIMIT, PM_E_MEMORY. */
pm_status pm_class_names_read(const char *path, pm_class_names *out);
void pm_class_names_fini(pm_class_names *names);

#endif
