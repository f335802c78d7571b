/* A small table that is made here and not by a query: as a CSV file and on a terminal. */
#ifndef PM_TOOLS_SHEET_H
#define PM_TOOLS_SHEET_H

#include "tools/experiment/study.h"

enum { PM_SHEET_COLUMNS = 20 };

typedef struct pm_sheet {
    const char *const *names; /* [columns] */
    size_t columns, rows;
    pm_value *cells; /* [rows][columns]; texts are owned */
} pm_sheet;

/* Zero but for names and columns is an empty one. One row: a conversion a column, of
 * s text (NULL: no value), d int64_t, g double (not finite: no value), parted by nothing: "ssdg".
 */
pm_status pm_sheet_add(pm_sheet *sheet, const char *kinds, ...);
void pm_sheet_fini(pm_sheet *sheet);

/* DIR/NAME, RFC 4180. */
pm_status pm_sheet_write(const pm_sheet *sheet, const pm_study *study, const char *name);
/* Aligned, on stdout; reals to `digits`. Nothing with --quiet. */
pm_status pm_sheet_print(const pm_sheet *sheet, const pm_study *study, int digits);

#endif
