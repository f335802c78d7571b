/* Owns the run that the report's tests are about. */
#include "tests/report/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "lib/base/file.h"
#include "tests/integration/command.h"

void pm_run_make(pm_run *run) {
    char line[2048];
    pm_program program;
    pm_fixture_make(&run->fixture, PM_RUN_IMAGES);
    pm_fixture_path(&run->fixture, "r.db", run->db);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --mask off,cls --stats %s"
             " --quantile 0.1,0.3 --layers ratio:0.4 --heatmaps f16 --evaluate --ratios 0,0.2,0.4"
             " --threads 1 --db %s",
             run->fixture.weights, run->fixture.images, run->fixture.stats, run->db);
    if (pm_program_run(&program, line) != 0) fail_msg("%s%s", program.out, program.err);
}

void pm_run_remove(pm_run *run) { pm_fixture_remove(&run->fixture); }

void pm_run_copy(const pm_run *run, const char *name, const char *sql, char out[PM_FIXTURE_PATH]) {
    uint8_t *bytes;
    size_t size;
    char file[64], *why = NULL;
    sqlite3 *db = NULL;
    snprintf(file, sizeof file, "%s.db", name);
    pm_fixture_path(&run->fixture, file, out);
    assert_int_equal(pm_file_read(run->db, (size_t)1 << 28, &bytes, &size), PM_OK);
    assert_int_equal(pm_file_write(out, bytes, size), PM_OK);
    free(bytes);
    if (!sql) return;
    assert_int_equal(sqlite3_open(out, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) fail_msg("%s", why);
    sqlite3_close(db);
}

void pm_run_report(const pm_run *run, const char *db, const char *name, const char *more,
                   char out[PM_FIXTURE_PATH]) {
    char line[1024];
    pm_program program;
    pm_fixture_path(&run->fixture, name, out);
    snprintf(line, sizeof line, "report 1 --db %s --out %s %s", db, out, more);
    if (pm_program_run(&program, line) != 0) fail_msg("%s%s", program.out, program.err);
}
