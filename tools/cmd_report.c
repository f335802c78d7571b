/* parchmill report: one static page about a run. */
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/image/image.h"
#include "tools/command.h"
#include "tools/report/report.h"

int pm_cmd_report(const pm_options *options) {
    uint64_t run = 0;
    pm_report_order order = {0};
    pm_report_made made;
    int64_t start_us = pm_clock_us();
    pm_status status = pm_options_operands(options, "[RUN]", 0, 1);
    if (!status && pm_options_given(options, PM_OPT_BROKER))
        status = pm_fail(PM_E_USAGE, "reports are made from the database's file: use --db FILE, on "
                                     "the broker's machine also while it runs");
    if (!status) status = pm_options_run(options, 0, &run);
    if (!status) status = pm_options_size(options, PM_OPT_ITEMS, 1, 100000, &order.items_max);
    if (!status) status = pm_options_need(options, PM_OPT_REPORT_OUT);
    if (!status) status = pm_image_setup("parchmill");
    order.db = pm_options_text(options, PM_OPT_DB);
    order.dir = pm_options_text(options, PM_OPT_REPORT_OUT);
    order.run = (int64_t)run;
    if (!status) status = pm_report_write(&order, &made);
    if (status) return pm_command_failed("report", status);
    printf("report of run %lld (%zu images): %s/index.html, in %.1f s\n", (long long)made.run,
           made.items, order.dir, (double)(pm_clock_us() - start_us) / 1e6);
    return PM_EXIT_OK;
}
