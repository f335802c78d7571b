/* parchmill stats: a gather run, then statistics of what it left, kept by name. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/image/image.h"
#include "tools/cmd_run.h"
#include "tools/command.h"
#include "tools/foreground.h"
#include "tools/job.h"
#include "tools/statistics/named.h"
#include "tools/stats_kept.h"

enum { SHOW_AFTER_MS = 1000, SHOW_EVERY_MS = 100, SAY_EVERY_MS = 5000 };

typedef struct session {
    const pm_options *options;
    pm_data_set data_set;
    pm_order order;
    pm_foreground foreground;
} session;

/* ---- before any work ---- */

/* The name may stand for statistics of these very images by this very model: they come out the
 * same. Anything else is said now and not after hours. */
static pm_status check_name(const session *s) {
    const pm_config *config = &s->order.spec.configs[0];
    pm_stats_named named;
    pm_sha256 hash, data_set;
    char *text = NULL;
    const char *name = pm_options_text(s->options, PM_OPT_NAME);
    const char *db = pm_options_text(s->options, PM_OPT_DB);
    if (pm_options_flag(s->options, PM_OPT_FORCE)) return PM_OK;
    pm_status status = pm_stats_named_find(db, name, &named);
    if (status == PM_E_NOT_FOUND) return PM_OK;
    if (!status) status = pm_config_format(config, &text, &hash);
    free(text);
    if (status) return status;
    data_set = pm_data_set_hash(&s->data_set);
    if (named.gathered && pm_sha256_equal(&named.configuration, &hash) &&
        pm_sha256_equal(&named.data_set, &data_set))
        return PM_OK;
    return pm_fail(PM_E_USAGE,
                   "--name %s: %.200s has statistics by that name already, of other images or "
                   "another model; take another name, or --force to replace them",
                   name, db);
}

static pm_status prepare(session *s) {
    const bool broker = pm_options_given(s->options, PM_OPT_BROKER);
    const char *name;
    pm_status status = PM_OK;
    if (broker && pm_options_given(s->options, PM_OPT_NAME))
        return pm_fail(PM_E_USAGE, "--name and --broker: the broker has the database, so gather "
                                   "first and name the statistics when it is stopped");
    if (!broker) status = pm_stats_name(s->options, &name);
    if (!status)
        status = pm_foreground_workers(s->options, &s->foreground.workers, &s->foreground.threads);
    if (!status) status = pm_image_setup("parchmill");
    if (!status) status = pm_job_open_gather(s->options, &s->data_set, &s->order);
    if (!status && !broker) status = check_name(s);
    return status;
}

/* ---- statistics ---- */

typedef struct showing {
    int64_t start_ms, shown_ms;
    bool quiet, terminal, drawn;
} showing;

static void show_channels(void *user, size_t done, size_t total) {
    showing *w = user;
    int64_t now_ms = pm_clock_ms();
    if (w->quiet || now_ms - w->start_ms < SHOW_AFTER_MS) return;
    if (now_ms - w->shown_ms < (w->terminal ? SHOW_EVERY_MS : SAY_EVERY_MS) && done < total) return;
    w->shown_ms = now_ms;
    w->drawn = w->terminal;
    fprintf(stderr,
            w->terminal ? "\rstatistics: %zu of %zu channels\033[K"
                        : "statistics: %zu of %zu channels\n",
            done, total);
    fflush(stderr);
}

static void note_of(const session *s, const pm_stats_made *made, char *out, size_t size) {
    enum { FITTED = 5000 }; /* values that p of Shapiro-Wilk was fitted for: lib/stats/shapiro.h */
    snprintf(out, size, "%" PRIu64 " images of %.200s%s", made->shape.images, s->data_set.name,
             made->shape.images > FITTED ? "; p of Shapiro-Wilk is approximate above 5,000 images"
                                         : "");
}

/* The private broker is gone: the database is ours to write. */
static pm_status make_statistics(session *s) {
    const char *db = pm_options_text(s->options, PM_OPT_DB);
    showing w = {.start_ms = pm_clock_ms(),
                 .quiet = pm_options_flag(s->options, PM_OPT_QUIET),
                 .terminal = isatty(STDERR_FILENO) != 0};
    const pm_stats_how how = {.threads = s->foreground.workers * s->foreground.threads,
                              .stop = &pm_stop_asked,
                              .progress = show_channels,
                              .user = &w};
    pm_stats_shape shape = {0};
    pm_stats_made *made = NULL;
    char note[512], *folder = pm_stats_folder(db);
    pm_status status = folder ? pm_stats_shape_of_model(s->order.model, &shape)
                              : pm_fail(PM_E_MEMORY, "no memory");
    if (!status)
        status = pm_stats_compute(db, s->foreground.summary.run, &shape, folder, &how, &made);
    if (w.drawn) fputs("\r\033[K", stderr);
    if (!status) {
        note_of(s, made, note, sizeof note);
        status = pm_stats_finish(s->options, made, &s->order.spec, s->foreground.summary.run, note);
    }
    pm_stats_made_free(&made);
    pm_stats_shape_fini(&shape);
    free(folder);
    return status;
}

/* ---- the whole ---- */

static void say_what_is_left(const session *s) {
    if (pm_options_flag(s->options, PM_OPT_JSON)) {
        printf("{\"run\": %" PRIu64 ", \"images\": %" PRIu64 ", \"images_failed\": %" PRIu64 "}\n",
               s->foreground.summary.run, s->foreground.summary.items_done,
               s->foreground.summary.items_failed);
        return;
    }
    if (pm_options_flag(s->options, PM_OPT_QUIET)) return;
    printf("run %" PRIu64 " is done at the broker. Its statistics are made where the database is, "
           "once the broker is stopped: the same command with --db FILE --name TEXT in place of "
           "--broker computes no image again\n",
           s->foreground.summary.run);
}

static pm_status work(session *s) {
    pm_foreground *f = &s->foreground;
    const bool broker = pm_options_given(s->options, PM_OPT_BROKER);
    char reason[1024];
    pm_status status = pm_foreground_work(f);
    snprintf(reason, sizeof reason, "%s", status ? pm_error_text() : "");
    pm_foreground_close(f, status);
    if (status) return pm_fail(status, "%s", reason);
    if (f->summary.cancelled)
        return pm_fail(PM_E_STALE,
                       "run %" PRIu64 " was cancelled; the same command goes on with it",
                       f->summary.run);
    if (!broker) return make_statistics(s);
    say_what_is_left(s);
    return PM_OK;
}

pm_status pm_stats_whole(const pm_options *options) {
    session s = {.options = options};
    s.foreground.options = options;
    s.foreground.spec = &s.order.spec;
    s.foreground.data_set = &s.data_set;
    pm_status status = prepare(&s);
    if (!status) {
        pm_stop_catch();
        status = work(&s);
    }
    pm_order_fini(&s.order);
    pm_data_set_fini(&s.data_set);
    return status;
}

static int stopped(const pm_options *options) {
    if (!pm_options_flag(options, PM_OPT_QUIET))
        fputs("parchmill stats: stopped; the same command goes on from there\n", stderr);
    return PM_EXIT_INTERRUPTED;
}

static int make(const pm_options *options) {
    pm_status status = pm_stats_whole(options);
    return status == PM_E_CANCELLED ? stopped(options)
           : status                 ? pm_command_failed("stats", status)
                                    : PM_EXIT_OK;
}

int pm_cmd_stats(const pm_options *options) {
    const char *word = pm_options_operand(options, 0);
    pm_status status;
    if (!word) return make(options);
    if (strcmp(word, "list") == 0)
        status = pm_stats_list(options);
    else if (strcmp(word, "export") == 0)
        status = pm_stats_export(options);
    else if (strcmp(word, "import") == 0)
        status = pm_stats_import_folder(options);
    else
        status = pm_fail(PM_E_USAGE,
                         "'%.80s': behind stats there is list, export NAME, import DIR, or only "
                         "options",
                         word);
    return status ? pm_command_failed("stats", status) : PM_EXIT_OK;
}
