/* parchmill run: a private broker, its workers, one submission, and the wait for its end. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/image/image.h"
#include "tools/command.h"
#include "tools/dry_run.h"
#include "tools/job.h"
#include "tools/order.h"
#include "tools/place.h"
#include "tools/progress.h"
#include "tools/run_summary.h"

enum { POLL_MS = 150, CALL_MS = 1000, CALL_MOST_MS = 32000, FULL_REST_MS = 1000 };

typedef struct session {
    const pm_options *options;
    pm_data_set data_set;
    pm_order order;
    size_t workers, threads;
    pm_place place;
    pm_progress progress;
    pm_run_summary summary;
} session;

static pm_status stopped(void) { return pm_fail(PM_E_CANCELLED, "stopped"); }

/* ---- before any work ---- */

static pm_status set_workers(session *s) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pm_status status = pm_options_size(s->options, PM_OPT_WORKERS, 1, 256, &s->workers);
    if (status) return status;
    if (pm_options_given(s->options, PM_OPT_THREADS))
        return pm_options_size(s->options, PM_OPT_THREADS, 1, 256, &s->threads);
    s->threads = cores > 0 ? (size_t)cores / s->workers : 1;
    if (!s->threads) s->threads = 1;
    return PM_OK;
}

static pm_status prepare(session *s) {
    pm_status status = pm_options_operands(s->options, "", 0, 0);
    if (!status) status = set_workers(s);
    if (!status) status = pm_image_setup("parchmill");
    if (!status) status = pm_job_open(s->options, &s->data_set, &s->order);
    return status;
}

/* ---- the run ---- */

static void pause_line(session *s) {
    pm_progress_state state = {
        .items = s->summary.items, .items_done = s->summary.items_done, .paused = pm_error_text()};
    pm_progress_show(&s->progress, &state, pm_clock_ms());
}

/* A broker that is killed is started again only between calls, so they are kept short; a large
 * submission that takes longer is asked for again with more patience (the same id: the same run).
 */
static pm_status submit(session *s) {
    pm_accepted accepted;
    int timeout_ms = CALL_MS;
    for (;;) {
        if (pm_stop_asked) return stopped();
        pm_status status = pm_client_submit(s->place.client, &s->order.spec, &s->data_set, true,
                                            timeout_ms, &accepted);
        if (!status) break;
        if (status != PM_E_TIMEOUT && status != PM_E_FULL) return status;
        if (status == PM_E_FULL) pause_line(s);
        if (status == PM_E_TIMEOUT && timeout_ms < CALL_MOST_MS) timeout_ms *= 2;
        status = pm_place_rest(&s->place, status == PM_E_FULL ? FULL_REST_MS : 0);
        if (status) return status;
    }
    s->summary.run = accepted.run;
    s->summary.existed = accepted.existed;
    s->summary.items = accepted.items;
    s->summary.items_done = s->summary.items_before = accepted.items - accepted.items_open;
    s->summary.results_reused = accepted.results_reused;
    return PM_OK;
}

static void say_start(session *s) {
    char text[256];
    if (pm_options_flag(s->options, PM_OPT_QUIET)) return;
    snprintf(text, sizeof text,
             "run %llu: %zu images x %zu configuration%s, %zu worker%s x %zu "
             "thread%s",
             (unsigned long long)s->summary.run, (size_t)s->summary.items,
             s->order.spec.config_count, s->order.spec.config_count == 1 ? "" : "s", s->workers,
             s->workers == 1 ? "" : "s", s->threads, s->threads == 1 ? "" : "s");
    pm_progress_say(&s->progress, text);
    if (s->summary.items_before) {
        snprintf(text, sizeof text, "going on: %llu of %llu images are done already",
                 (unsigned long long)s->summary.items_before, (unsigned long long)s->summary.items);
        pm_progress_say(&s->progress, text);
    }
}

/* *done once the run has ended. No answer is no failure: the broker may just be starting again. */
static pm_status look(session *s, bool *done) {
    pm_message answer;
    pm_status status = pm_client_status(s->place.client, s->summary.run, CALL_MS, &answer);
    if (status == PM_E_TIMEOUT) return PM_OK;
    if (status) return status;
    const Pm__Wire__Status *all = answer.body->status;
    if (all->n_runs == 1) {
        const Pm__Wire__RunStatus *run = all->runs[0];
        pm_progress_state state = {.items = run->items,
                                   .items_done = run->items_done,
                                   .items_failed = run->items_failed,
                                   .workers = all->n_workers,
                                   .paused = all->paused};
        s->summary.items_done = run->items_done;
        s->summary.items_failed = run->items_failed;
        s->summary.cancelled = strcmp(run->state, "cancelled") == 0;
        *done = s->summary.cancelled || strcmp(run->state, "done") == 0;
        pm_progress_show(&s->progress, &state, pm_clock_ms());
    }
    pm_message_fini(&answer);
    return PM_OK;
}

static pm_status wait_for_end(session *s) {
    bool done = false;
    for (;;) {
        pm_status status = look(s, &done);
        if (status || done) return status;
        status = pm_place_rest(&s->place, POLL_MS);
        if (status) return status;
        if (pm_stop_asked) return stopped();
    }
}

static pm_status work(session *s) {
    int64_t start_ms = pm_clock_ms();
    pm_status status = pm_place_open(s->options, s->workers, s->threads, &pm_stop_asked, &s->place);
    if (!status) status = submit(s);
    if (!status) say_start(s);
    if (!status) status = wait_for_end(s);
    s->summary.seconds = (double)(pm_clock_ms() - start_ms) / 1e3;
    return status;
}

/* ---- the end ---- */

static void close_place(session *s, pm_status status) {
    pm_progress_end(&s->progress);
    if (status == PM_E_CANCELLED && !pm_options_flag(s->options, PM_OPT_QUIET))
        pm_progress_say(&s->progress, "stopping: photographs in hand are finished first (Ctrl-C "
                                      "again: at once)");
    if (s->place.supervisor) s->summary.restarts = pm_supervisor_restarts(s->place.supervisor);
    pm_place_close(&s->place, &pm_stop_hurry);
}

static int finish(session *s, pm_status status) {
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", status ? pm_error_text() : "");
    close_place(s, status);
    if (status == PM_E_CANCELLED) {
        pm_run_summary_stopped(&s->summary, s->options);
        return PM_EXIT_INTERRUPTED;
    }
    if (status) {
        pm_fail(status, "%s", reason);
        return pm_command_failed("run", status);
    }
    status = pm_run_summary_print(&s->summary, s->options);
    if (status) return pm_command_failed("run", status);
    return s->summary.cancelled ? PM_EXIT_FAILED : PM_EXIT_OK;
}

int pm_cmd_run(const pm_options *options) {
    session s = {.options = options};
    int code;
    pm_status status = prepare(&s);
    if (status) {
        code = pm_command_failed("run", status);
    } else if (pm_options_flag(options, PM_OPT_DRY_RUN)) {
        status = pm_dry_run(options, &s.order, &s.data_set, s.workers * s.threads);
        code = status ? pm_command_failed("run", status) : PM_EXIT_OK;
    } else {
        s.summary.configurations = s.order.spec.config_count;
        s.summary.items = s.data_set.count;
        s.summary.db = pm_options_text(options, PM_OPT_DB);
        pm_progress_init(&s.progress, stderr, pm_options_flag(options, PM_OPT_QUIET));
        pm_stop_catch();
        code = finish(&s, work(&s));
    }
    pm_order_fini(&s.order);
    pm_data_set_fini(&s.data_set);
    return code;
}
