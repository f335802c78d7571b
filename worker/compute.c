/* Owns a compute thread: leases, the items of a task in order, some of them together. Knows no
 * socket, and nothing of attribution. */
#include "worker/compute.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/image/decoder.h"
#include "worker/ahead.h"
#include "worker/attribute.h"
#include "worker/fault.h"

/* Tasks that go back within so long because decoders are killed from outside, then the worker gives
 * up: more than a moment's want of memory, and a photograph that brings it about comes back each
 * time. */
enum { LOST_MAX = 3, LOST_WITHIN_MS = 3600000 };

struct pm_compute {
    pm_work *work;
    pm_models *models;
    const pm_supply *supply;
    size_t index;
    pthread_t thread;
    pm_contexts contexts;
    pm_lease *lease; /* in work */
    pm_ahead *ahead; /* reads its photographs */
    pm_decoder *decoder;
    int64_t lost_ms[LOST_MAX]; /* when decoders were killed until a task went back: the last ones */
    size_t lost_count;
    pm_stages stages;
};

/* A lease's run, or why it could not be made ready. */
typedef struct prepared {
    pm_run_ready *ready;
    pm_status status;
    const char *stage;
    char text[512];
} prepared;

/* An item that was started. */
typedef struct started {
    const Pm__Wire__Item *item;
    size_t index; /* in the task */
    pm_reply *reply;
    pm_status status; /* not PM_OK: there is no reply (cancelled, no memory) */
    int64_t us;       /* spent on it */
} started;

/* No further photograph is opened once so much of them is in hand. */
enum { OPEN_BYTES = 64 << 20 };

/* Items of a task that are in hand together. */
typedef struct hand {
    started items[PM_TOGETHER_MAX];
    size_t count;
    pm_in_work open[PM_TOGETHER_MAX]; /* those whose photographs are open */
    size_t open_of[PM_TOGETHER_MAX];  /* which of the items each is */
    size_t open_count;
} hand;

static void beat(void *user) {
    pm_compute *compute = user;
    if (compute->lease) pm_work_beat(compute->work, compute->lease);
}

/* What pm_error_text says is no word about the photograph: it goes back, with the rest of the task.
 */
static pm_status lose_decoder(pm_compute *compute) {
    const int64_t now_ms = pm_clock_ms();
    pm_log(PM_LOG_ERROR, "worker.decoder", "error=" PM_QUOTED, pm_error_text());
    compute->lost_ms[compute->lost_count++ % LOST_MAX] = now_ms;
    const int64_t oldest_ms = compute->lost_ms[compute->lost_count % LOST_MAX];
    if (compute->lost_count >= LOST_MAX && now_ms - oldest_ms <= LOST_WITHIN_MS)
        pm_work_give_up(compute->work, pm_error_text());
    return PM_E_CANCELLED;
}

static const char *reason_of(pm_status status, const char *stage) {
    if (strcmp(stage, "fetch") == 0 && status == PM_E_NOT_FOUND) return "missing";
    if (strcmp(stage, "fetch") == 0 && status == PM_E_MISMATCH) return "changed";
    if (strcmp(stage, "decode") == 0) {
        /* What a photograph did to its decoder (lib/image/decoder.h). */
        if (status == PM_E_INTERNAL) return "crash";
        if (status == PM_E_TIMEOUT) return "time";
        if (status == PM_E_DENIED) return "forbidden";
    }
    return pm_status_name(status);
}

static pm_status fail_open(pm_reply *reply, const char *stage, pm_status why, const char *text) {
    return pm_reply_fail_open(reply, stage, reason_of(why, stage), text);
}

/* ---- the items in hand ---- */

static pm_status open_photograph(pm_compute *compute, const started *s, pm_image *image,
                                 const char **stage) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    *stage = "fetch";
    pm_stages_enter(&compute->stages, PM_STAGE_READ);
    pm_status status = pm_ahead_take(compute->ahead, s->index, &bytes, &size);
    if (status) return status;
    *stage = "decode";
    pm_stages_enter(&compute->stages, PM_STAGE_IMAGE);
    status = pm_decoder_decode(compute->decoder, s->item->path, bytes, size, NULL, image);
    compute->stages.us[PM_STAGE_IMAGE] += pm_decoder_spent_us(compute->decoder);
    free(bytes);
    if (status == PM_E_IO) return lose_decoder(compute);
    if (!status) pm_reply_set_size(s->reply, image->width, image->height);
    return status;
}

static pm_status open_item(pm_compute *compute, hand *h, started *s, const prepared *run) {
    const Pm__Wire__Task *task = compute->lease->task;
    const char *stage;
    pm_image image = {0};
    pm_status status = pm_reply_new(task, s->item, &s->reply);
    if (status) return status;
    if (run->status) return fail_open(s->reply, run->stage, run->status, run->text);
    status = open_photograph(compute, s, &image, &stage);
    pm_stages_enter(&compute->stages, PM_STAGE_OTHER);
    beat(compute);
    if (status == PM_E_CANCELLED) return status;
    if (status) {
        char text[512];
        snprintf(text, sizeof text, "%s", pm_error_text());
        return fail_open(s->reply, stage, status, text);
    }
    h->open_of[h->open_count] = (size_t)(s - h->items);
    h->open[h->open_count++] = (pm_in_work){
        .ready = run->ready, .task = task, .item = s->item, .reply = s->reply, .image = image};
    return PM_OK;
}

/* The next item of the task. False: the rest of the task is to be left alone. */
static bool start_item(pm_compute *compute, hand *h, size_t index, const prepared *run) {
    const Pm__Wire__Item *item = compute->lease->task->items[index];
    if (!pm_work_start_item(compute->work, compute->lease, compute->index, item->ordinal))
        return false;
    const int64_t begin_us = pm_clock_us();
    started *s = &h->items[h->count++];
    pm_fault_at_item(item->path);
    *s = (started){.item = item, .index = index};
    s->status = open_item(compute, h, s, run);
    s->us = pm_clock_us() - begin_us;
    return s->status == PM_OK;
}

static void compute_items(pm_compute *compute, hand *h) {
    if (h->open_count == 0) return;
    const int64_t begin_us = pm_clock_us();
    pm_status status =
        pm_attribute_items(&compute->contexts, &compute->stages, h->open, h->open_count);
    const int64_t each_us = (pm_clock_us() - begin_us) / (int64_t)h->open_count;
    char text[512];
    snprintf(text, sizeof text, "%s", status ? pm_error_text() : "");
    for (size_t i = 0; i < h->open_count; i++) {
        started *s = &h->items[h->open_of[i]];
        if (status) s->status = fail_open(s->reply, "compute", status, text);
        s->us += each_us;
    }
}

/* Of decoded photographs in hand. */
static size_t open_bytes(const hand *h) {
    size_t bytes = 0;
    for (size_t i = 0; i < h->open_count; i++)
        bytes += 3 * h->open[i].image.width * h->open[i].image.height;
    return bytes;
}

static bool hand_in(pm_compute *compute, started *s) {
    const size_t configurations = compute->lease->task->n_configurations;
    pm_outgoing *outgoing = NULL;
    pm_status status = s->status;
    if (!status)
        status =
            pm_reply_finish(&s->reply, (double)s->us / 1000.0 / (double)configurations, &outgoing);
    pm_reply_free(&s->reply);
    if (status && status != PM_E_CANCELLED)
        pm_log(PM_LOG_ERROR, "worker.item", "path=" PM_QUOTED " error=" PM_QUOTED, s->item->path,
               pm_error_text());
    compute->stages.items += status == PM_OK;
    beat(compute);
    pm_work_finish_item(compute->work, compute->lease, compute->index, s->item->ordinal, outgoing);
    return status == PM_OK;
}

/* Some items of the task from `first` on; how many. *all_done stays true where all of them are. */
static size_t do_items(pm_compute *compute, const prepared *run, size_t first, bool *all_done) {
    const Pm__Wire__Task *task = compute->lease->task;
    hand h = {.count = 0};
    size_t together = run->status ? 1 : pm_attribute_together(run->ready, task);
    if (together > task->n_items - first) together = task->n_items - first;
    for (size_t i = 0; i < together && *all_done && open_bytes(&h) < OPEN_BYTES; i++)
        *all_done = start_item(compute, &h, first + i, run);
    compute_items(compute, &h);
    pm_decoder_forget(compute->decoder);
    bool lost = false;
    for (size_t i = 0; i < h.count; i++) {
        /* Behind an item without a result nothing counts: results come in order. */
        if (lost) h.items[i].status = PM_E_CANCELLED;
        lost = !hand_in(compute, &h.items[i]) || lost;
    }
    *all_done = *all_done && !lost;
    return h.count;
}

/* ---- the thread ---- */

static void do_lease(pm_compute *compute, pm_lease *lease) {
    prepared run = {.stage = "compute"};
    compute->lease = lease;
    pm_stages_enter(&compute->stages, PM_STAGE_LOAD);
    run.status = pm_run_prepare(compute->models, compute->work, lease, compute->supply, &run.ready,
                                &run.stage);
    pm_stages_enter(&compute->stages, PM_STAGE_OTHER);
    if (run.status == PM_E_IO && strcmp(run.stage, "decode") == 0)
        run.status = lose_decoder(compute); /* of the photograph that ig starts from */
    if (run.status) {
        snprintf(run.text, sizeof run.text, "%s", pm_error_text());
        pm_log(PM_LOG_ERROR, "worker.run.failed", "run=%llu error=" PM_QUOTED,
               (unsigned long long)lease->task->run, run.text);
    }
    bool all_done = run.status != PM_E_CANCELLED;
    if (!run.status) pm_ahead_begin(compute->ahead, lease);
    for (size_t i = 0; i < lease->task->n_items && all_done;)
        i += do_items(compute, &run, i, &all_done);
    if (!run.status) pm_ahead_end(compute->ahead);
    compute->lease = NULL;
    pm_work_end(compute->work, lease, all_done);
}

static pm_lease *next_lease(pm_compute *compute) {
    const int64_t begin_us = pm_clock_us();
    pm_lease *lease = pm_work_take(compute->work);
    if (lease && compute->stages.items) compute->stages.wait_us += pm_clock_us() - begin_us;
    return lease;
}

static void *thread_main(void *user) {
    pm_compute *compute = user;
    pm_lease *lease;
    pm_stages_start(&compute->stages);
    while ((lease = next_lease(compute))) do_lease(compute, lease);
    pm_contexts_fini(&compute->contexts);
    int64_t read_us = 0;
    pm_ahead_free(&compute->ahead, &read_us);
    compute->stages.us[PM_STAGE_READ] += read_us;
    pm_stages_log(&compute->stages, compute->index);
    return NULL;
}

pm_status pm_compute_start(pm_work *work, pm_models *models, const pm_supply *supply, size_t index,
                           pm_compute **out) {
    pm_compute *compute = calloc(1, sizeof *compute);
    if (!compute) return pm_fail(PM_E_MEMORY, "compute thread: no memory");
    compute->work = work;
    compute->models = models;
    compute->supply = supply;
    compute->index = index;
    compute->contexts.beat = beat;
    compute->contexts.beat_user = compute;
    pm_status status = pm_decoder_new(supply->decoding, &compute->decoder);
    if (!status) status = pm_ahead_new(work, supply, &compute->ahead);
    if (status) {
        pm_decoder_free(&compute->decoder);
        free(compute);
        return status;
    }
    pm_decoder_set_beat(compute->decoder, beat, compute);
    int error = pthread_create(&compute->thread, NULL, thread_main, compute);
    if (error) {
        pm_ahead_free(&compute->ahead, NULL);
        pm_decoder_free(&compute->decoder);
        free(compute);
        return pm_fail(PM_E_IO, "compute thread: %s", strerror(error));
    }
    *out = compute;
    return PM_OK;
}

pm_status pm_compute_ready(pm_compute *compute) { return pm_decoder_ready(compute->decoder); }

void pm_compute_join(pm_compute **compute) {
    if (!*compute) return;
    pthread_join((*compute)->thread, NULL);
    pm_decoder_free(&(*compute)->decoder);
    free(*compute);
    *compute = NULL;
}
