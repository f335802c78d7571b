/* Owns the wait for a run's end. Knows nothing of what the run computes. */
#include "tools/foreground.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "tools/job.h"

enum { POLL_MS = 150, CALL_MS = 1000, CALL_DOUBLED_MOST = 5, FULL_REST_MS = 1000 };

static pm_status stopped(void) { return pm_fail(PM_E_CANCELLED, "stopped"); }

pm_status pm_foreground_workers(const pm_options *options, size_t *workers, size_t *threads) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pm_status status = pm_options_size(options, PM_OPT_WORKERS, 1, 256, workers);
    if (status) return status;
    if (pm_options_given(options, PM_OPT_THREADS))
        return pm_options_size(options, PM_OPT_THREADS, 1, 256, threads);
    *threads = cores > 0 ? (size_t)cores / *workers : 1;
    if (!*threads) *threads = 1;
    return PM_OK;
}

static void pause_line(pm_foreground *f) {
    pm_progress_state state = {
        .items = f->summary.items, .items_done = f->summary.items_done, .paused = pm_error_text()};
    pm_progress_show(&f->progress, &state, pm_clock_ms());
}

/* A broker that is killed is started again only between calls, so they are kept short (20,000
 * images a second are put in); a submission that takes longer is asked for again with more patience
 * (the same id: the same run). */
static pm_status submit(pm_foreground *f) {
    pm_accepted accepted;
    pm_run_terms terms;
    int timeout_ms = CALL_MS + (int)(f->data_set->count / 20), doubled = 0;
    pm_status read = pm_job_terms(f->options, &terms);
    if (read) return read;
    for (;;) {
        if (pm_stop_asked) return stopped();
        pm_status status = pm_client_submit(f->place.client, f->spec, f->data_set, &terms, true,
                                            timeout_ms, &accepted);
        if (!status) break;
        if (status != PM_E_TIMEOUT && status != PM_E_FULL && status != PM_E_BUSY) return status;
        if (status == PM_E_FULL) pause_line(f);
        if (status == PM_E_TIMEOUT && doubled++ < CALL_DOUBLED_MOST) timeout_ms *= 2;
        status = pm_place_rest(&f->place, status == PM_E_TIMEOUT ? 0 : FULL_REST_MS);
        if (status) return status;
    }
    f->summary.run = accepted.run;
    f->summary.existed = accepted.existed;
    f->summary.items = accepted.items;
    f->summary.items_done = f->summary.items_before = accepted.items - accepted.items_open;
    f->summary.results_reused = accepted.results_reused;
    /* Nobody else can ask a private broker to let it go on. */
    if (accepted.terms.paused && f->place.supervisor)
        return pm_fail(
            PM_E_BUSY, "run %llu is paused; `parchmill resume %llu --db %s` lets it go on",
            (unsigned long long)accepted.run, (unsigned long long)accepted.run, f->summary.db);
    pm_job_tell_terms(f->options, &accepted);
    return PM_OK;
}

static void say_start(pm_foreground *f) {
    char text[256];
    if (pm_options_flag(f->options, PM_OPT_QUIET)) return;
    int used = snprintf(text, sizeof text, "run %llu: %zu images x %zu configuration%s",
                        (unsigned long long)f->summary.run, (size_t)f->summary.items,
                        f->spec->config_count, f->spec->config_count == 1 ? "" : "s");
    if (f->place.supervisor)
        snprintf(text + used, sizeof text - (size_t)used, ", %zu worker%s x %zu thread%s",
                 f->workers, f->workers == 1 ? "" : "s", f->threads, f->threads == 1 ? "" : "s");
    pm_progress_say(&f->progress, text);
    if (f->summary.items_before) {
        snprintf(text, sizeof text, "going on: %llu of %llu images are done already",
                 (unsigned long long)f->summary.items_before, (unsigned long long)f->summary.items);
        pm_progress_say(&f->progress, text);
    }
}

/* *done once the run has ended. No answer is no failure: the broker may just be starting again. */
static pm_status look(pm_foreground *f, bool *done) {
    pm_message answer;
    pm_status status = pm_client_status(f->place.client, f->summary.run, CALL_MS, &answer);
    if (status == PM_E_TIMEOUT) return PM_OK;
    if (status) return status;
    const Pm__Wire__Status *all = answer.body->status;
    if (all->n_runs == 1) {
        const Pm__Wire__RunStatus *run = all->runs[0];
        pm_progress_state state = {.items = run->items,
                                   .items_done = run->items_done,
                                   .items_failed = run->items_failed,
                                   .workers = all->n_workers,
                                   .priority = run->priority,
                                   .held = run->paused,
                                   .paused = all->paused};
        f->summary.items_done = run->items_done;
        f->summary.items_failed = run->items_failed;
        f->summary.cancelled = strcmp(run->state, "cancelled") == 0;
        *done = f->summary.cancelled || strcmp(run->state, "done") == 0;
        pm_progress_show(&f->progress, &state, pm_clock_ms());
    }
    pm_message_fini(&answer);
    return PM_OK;
}

static pm_status wait_for_end(pm_foreground *f) {
    bool done = false;
    for (;;) {
        pm_status status = look(f, &done);
        if (status || done) return status;
        status = pm_place_rest(&f->place, POLL_MS);
        if (status) return status;
        if (pm_stop_asked) return stopped();
    }
}

pm_status pm_foreground_work(pm_foreground *f) {
    int64_t start_ms = pm_clock_ms();
    f->summary.configurations = f->spec->config_count;
    f->summary.items = f->data_set->count;
    f->summary.db = pm_options_text(f->options, PM_OPT_DB);
    pm_progress_init(&f->progress, stderr, pm_options_flag(f->options, PM_OPT_QUIET));
    pm_status status = pm_place_open(f->options, f->workers, f->threads, &pm_stop_asked, &f->place);
    if (!status) status = submit(f);
    if (!status) say_start(f);
    if (!status) status = wait_for_end(f);
    f->summary.seconds = (double)(pm_clock_ms() - start_ms) / 1e3;
    return status;
}

void pm_foreground_close(pm_foreground *f, pm_status status) {
    pm_progress_end(&f->progress);
    if (status == PM_E_CANCELLED && !pm_options_flag(f->options, PM_OPT_QUIET))
        pm_progress_say(&f->progress, "stopping: photographs in hand are finished first (Ctrl-C "
                                      "again: at once)");
    if (f->place.supervisor) f->summary.restarts = pm_supervisor_restarts(f->place.supervisor);
    pm_place_close(&f->place, &pm_stop_hurry);
}
