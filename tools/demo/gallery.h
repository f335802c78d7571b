/* Pictures of what a demo database says: for each of the first images the photograph and its heat
 * maps side by side. */
#ifndef PM_DEMO_GALLERY_H
#define PM_DEMO_GALLERY_H

#include <stddef.h>

#include "lib/base/status.h"

/* DIR/NAME_CLASS.png for the first `count` images of the database, by their path, and
 * DIR/all.png, the same one below the other. `images` is the folder of the photographs. Panels:
 * photograph, then each configuration in the order of the run. */
pm_status pm_demo_gallery(const char *db, const char *images, const char *dir, size_t count);

#endif
