/* Owns the order in which a submission is checked: cheap things first. */
#include "tools/job.h"

#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "tools/dataset/data_set.h"

enum { SHOW_AFTER_MS = 1000, SHOW_EVERY_MS = 100 };

typedef struct reading {
    int64_t start_ms, shown_ms;
    bool terminal;
} reading;

/* Hashing tens of thousands of photographs takes a while: say so, on a terminal. */
static void show_reading(void *context, size_t done, size_t total) {
    reading *r = context;
    int64_t now_ms = pm_clock_ms();
    if (!r->terminal || now_ms - r->start_ms < SHOW_AFTER_MS) return;
    if (now_ms - r->shown_ms < SHOW_EVERY_MS && done < total) return;
    r->shown_ms = now_ms;
    fprintf(stderr, "\rreading photographs: %zu of %zu%s", done, total,
            done == total ? "\r\033[K" : "\033[K");
    fflush(stderr);
}

static void show_notice(void *context, const char *line) {
    (void)context;
    fprintf(stderr, "note: %s\n", line);
}

static bool has_labels(const pm_data_set *data_set) {
    for (size_t i = 0; i < data_set->count; i++)
        if (data_set->items[i].label >= 0) return true;
    return false;
}

static pm_status open_data_set(const pm_options *options, size_t limit, size_t class_count,
                               pm_data_set *out) {
    bool quiet = pm_options_flag(options, PM_OPT_QUIET);
    reading r = {.start_ms = pm_clock_ms(), .terminal = !quiet && isatty(STDERR_FILENO)};
    pm_data_set_options how = {
        .images = pm_options_text(options, PM_OPT_IMAGES),
        .classes = pm_options_text(options, PM_OPT_CLASSES),
        .boxes = pm_boxes_folder(options),
        .glob = pm_options_text(options, PM_OPT_IMAGE),
        .limit = limit,
        .class_count = class_count,
        .progress = show_reading,
        .notice = quiet ? NULL : show_notice,
        .context = &r,
    };
    return pm_data_set_open(&how, out);
}

static pm_status open_all(const pm_options *options, bool gather, pm_data_set *data_set,
                          pm_order *order) {
    size_t limit = 0;
    *data_set = (pm_data_set){0};
    *order = (pm_order){0};
    pm_status status = pm_options_need(options, PM_OPT_MODEL);
    if (!status) status = pm_options_need(options, PM_OPT_WEIGHTS);
    if (!status) status = pm_options_need(options, PM_OPT_IMAGES);
    if (!status && pm_options_given(options, PM_OPT_LIMIT))
        status = pm_options_size(options, PM_OPT_LIMIT, 1, (size_t)1 << 31, &limit);
    if (!status) status = pm_order_check(options);
    if (!status) status = pm_order_open(options, pm_options_flag(options, PM_OPT_DRY_RUN), order);
    if (!status) status = open_data_set(options, limit, order->spec.classes, data_set);
    if (status) return status;
    return gather ? pm_order_gather(order)
                  : pm_order_grid(options, data_set->class_names, data_set->class_name_count,
                                  has_labels(data_set), order);
}

pm_status pm_job_open(const pm_options *options, pm_data_set *data_set, pm_order *order) {
    return open_all(options, false, data_set, order);
}

pm_status pm_job_open_gather(const pm_options *options, pm_data_set *data_set, pm_order *order) {
    return open_all(options, true, data_set, order);
}

pm_status pm_job_terms(const pm_options *options, pm_run_terms *out) {
    pm_run_terms terms = {0};
    size_t workers = 0;
    pm_status status = PM_OK;
    if (pm_options_given(options, PM_OPT_PRIORITY))
        status = pm_options_int(options, PM_OPT_PRIORITY, -PM_PRIORITY_MOST, PM_PRIORITY_MOST,
                                &terms.priority);
    if (!status && pm_options_given(options, PM_OPT_MAX_WORKERS))
        status = pm_options_size(options, PM_OPT_MAX_WORKERS, 0, UINT32_MAX, &workers);
    if (status) return status;
    terms.max_workers = (uint32_t)workers;
    *out = terms;
    return PM_OK;
}

void pm_job_tell_terms(const pm_options *options, const pm_accepted *a) {
    pm_run_terms asked = {0};
    if (!a->existed || pm_job_terms(options, &asked)) return;
    if (pm_options_given(options, PM_OPT_PRIORITY) && asked.priority != a->terms.priority)
        fprintf(stderr, "note: it keeps its priority %d; `parchmill priority %llu %d` changes it\n",
                a->terms.priority, (unsigned long long)a->run, asked.priority);
    if (pm_options_given(options, PM_OPT_MAX_WORKERS) && asked.max_workers != a->terms.max_workers)
        fprintf(stderr,
                "note: it keeps max-workers %u; `parchmill max-workers %llu %u` changes it\n",
                a->terms.max_workers, (unsigned long long)a->run, asked.max_workers);
    if (a->terms.paused)
        fprintf(stderr, "note: it is paused; `parchmill resume %llu` lets it go on\n",
                (unsigned long long)a->run);
}
