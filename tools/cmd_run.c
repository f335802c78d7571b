/* parchmill run: a private broker, its workers, one submission, and the wait for its end. */
#include <stdio.h>

#include "lib/image/image.h"
#include "tools/cmd_run.h"
#include "tools/command.h"
#include "tools/dry_run.h"
#include "tools/foreground.h"
#include "tools/job.h"
#include "tools/summarise.h"

typedef struct session {
    pm_data_set data_set;
    pm_order order;
    pm_foreground foreground;
} session;

static pm_status prepare(const pm_options *options, session *s) {
    pm_run_terms terms;
    pm_status status = pm_options_operands(options, "", 0, 0);
    if (!status) status = pm_job_terms(options, &terms);
    if (!status)
        status = pm_foreground_workers(options, &s->foreground.workers, &s->foreground.threads);
    if (!status) status = pm_image_setup("parchmill");
    if (!status) status = pm_job_open(options, &s->data_set, &s->order);
    return status;
}

/* The summary is of the run as far as it came. */
static pm_status work(session *s) {
    char reason[1024];
    pm_stop_catch();
    pm_status status = pm_foreground_work(&s->foreground);
    snprintf(reason, sizeof reason, "%s", status ? pm_error_text() : "");
    pm_foreground_close(&s->foreground, status);
    if (status) return pm_fail(status, "%s", reason);
    if (pm_options_given(s->foreground.options, PM_OPT_BROKER)) return PM_OK;
    return pm_summarise_rest(s->foreground.summary.db, s->foreground.summary.run);
}

static void begin(session *s, const pm_options *options) {
    *s = (session){
        .foreground = {.options = options, .spec = &s->order.spec, .data_set = &s->data_set}};
}

static void end(session *s) {
    pm_order_fini(&s->order);
    pm_data_set_fini(&s->data_set);
}

pm_status pm_run_whole(const pm_options *options, pm_run_summary *summary) {
    session s;
    begin(&s, options);
    pm_status status = prepare(options, &s);
    if (!status) status = work(&s);
    *summary = s.foreground.summary;
    end(&s);
    return status;
}

static int finish(const session *s, pm_status status) {
    const pm_foreground *f = &s->foreground;
    if (status == PM_E_CANCELLED) {
        pm_run_summary_stopped(&f->summary, f->options);
        return PM_EXIT_INTERRUPTED;
    }
    if (!status) status = pm_run_summary_print(&f->summary, f->options);
    if (status) return pm_command_failed("run", status);
    return f->summary.cancelled ? PM_EXIT_FAILED : PM_EXIT_OK;
}

int pm_cmd_run(const pm_options *options) {
    session s;
    int code;
    begin(&s, options);
    const pm_foreground *f = &s.foreground;
    pm_status status = prepare(options, &s);
    if (status) {
        code = pm_command_failed("run", status);
    } else if (pm_options_flag(options, PM_OPT_DRY_RUN)) {
        status = pm_dry_run(options, &s.order, &s.data_set, f->workers * f->threads);
        code = status ? pm_command_failed("run", status) : PM_EXIT_OK;
    } else {
        code = finish(&s, work(&s));
    }
    end(&s);
    return code;
}
