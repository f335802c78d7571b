/* One static page about a run: DIR/index.html with its pictures in DIR/pictures/.
 *
 * The page needs nothing but its own folder: styles and script stand in it, and its
 * Content-Security-Policy lets it connect nowhere. The errors of pm_query, pm_report_load and
 * pm_report_folder. */
#ifndef PM_TOOLS_REPORT_REPORT_H
#define PM_TOOLS_REPORT_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

typedef struct pm_report_order {
    const char *db, *dir;
    int64_t run; /* 0: the newest */
    size_t items_max;
} pm_report_order;

typedef struct pm_report_made {
    int64_t run;
    size_t items, cards; /* of the run; in the gallery at most */
    size_t page_bytes;
} pm_report_made;

pm_status pm_report_write(const pm_report_order *order, pm_report_made *out);

#endif
