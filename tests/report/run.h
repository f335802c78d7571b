/* A small run to report on, and copies of its database that may be changed. */
#ifndef PM_TESTS_REPORT_RUN_H
#define PM_TESTS_REPORT_RUN_H

#include "tests/integration/fixture.h"

enum { PM_RUN_IMAGES = 14, PM_RUN_CONFIGURATIONS = 3 };

typedef struct pm_run {
    pm_fixture fixture;
    char db[PM_FIXTURE_PATH];
} pm_run;

/* 14 images with and without boxes, three configurations, curves and heat maps. */
void pm_run_make(pm_run *run);
void pm_run_remove(pm_run *run);
/* A copy of the database as FOLDER/NAME.db, with `sql` done to it; NULL: as it is. */
void pm_run_copy(const pm_run *run, const char *name, const char *sql, char out[PM_FIXTURE_PATH]);
/* `parchmill report --db DB --out FOLDER/NAME MORE`, which must succeed. */
void pm_run_report(const pm_run *run, const char *db, const char *name, const char *more,
                   char out[PM_FIXTURE_PATH]);

#endif
