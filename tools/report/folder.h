/* A report's folder: written beside its place, put there whole, replaced only if it is a report.
 *
 * Use: pm_report_folder_begin -> write into folder.temporary -> pm_report_folder_put (or
 * pm_report_folder_drop), which end it. PM_E_USAGE where something that is no report stands in the
 * way, PM_E_BUSY where another report is being written there, PM_E_IO, PM_E_FULL. */
#ifndef PM_TOOLS_REPORT_FOLDER_H
#define PM_TOOLS_REPORT_FOLDER_H

#include <stddef.h>

#include "lib/base/status.h"

/* By this a later report knows that a page may be replaced. */
#define PM_REPORT_MARK "<meta name=\"generator\" content=\"parchmill report\"/>"

enum { PM_REPORT_PATH_BYTES = 4096 };

typedef struct pm_report_folder {
    char place[PM_REPORT_PATH_BYTES], temporary[PM_REPORT_PATH_BYTES];
    int lock; /* on the temporary folder, for as long as it is written */
} pm_report_folder;

pm_status pm_report_folder_begin(const char *dir, pm_report_folder *out);
/* `name`: "pictures/x.png". No fsync: pm_report_folder_put does that for all of them. */
pm_status pm_report_folder_write(const pm_report_folder *folder, const char *name,
                                 const void *bytes, size_t size);
pm_status pm_report_folder_put(const pm_report_folder *folder);
void pm_report_folder_drop(const pm_report_folder *folder);

#endif
