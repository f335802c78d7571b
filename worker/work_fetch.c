/* Owns the blobs that threads wait for; they share the window of unanswered requests, which holds
 * for the whole worker. */
#include <stdio.h>
#include <string.h>

#include "lib/base/log.h"
#include "worker/work_private.h"

enum { STALL_MS = 10000, STALLS_MAX = 6 };

/* Of two that want the same blob the later waits: a chunk does not say whom it is for. */
static bool is_turn_of(const pm_work *work, const pm_wanted *wanted) {
    const pm_sha256 *hash = pm_fetch_hash(wanted->fetch);
    if (wanted->done) return false;
    for (const pm_wanted *w = work->wanted; w != wanted; w = w->next)
        if (!w->done && pm_sha256_equal(pm_fetch_hash(w->fetch), hash)) return false;
    return true;
}

/* One chunk of each in turn, so that a photograph does not wait for all of a network's weights. */
pm_status pm_work_flush_fetch(pm_work *work, pm_send_fn send, void *user) {
    size_t unanswered = 0;
    bool any = true;
    for (pm_wanted *w = work->wanted; w; w = w->next)
        if (!w->done) unanswered += pm_fetch_unanswered(w->fetch);
    while (any) {
        any = false;
        for (pm_wanted *w = work->wanted; w && unanswered < PM_FETCH_WINDOW; w = w->next) {
            Pm__Wire__Fetch request;
            if (!is_turn_of(work, w) || !pm_fetch_next(w->fetch, &request)) continue;
            Pm__Wire__Message message = pm_wire_fetch(&request);
            pm_status status = send(user, &message, NULL, 0);
            if (status) pm_fetch_restart(w->fetch);
            if (status) return status;
            unanswered++;
            any = true;
        }
    }
    return PM_OK;
}

static void finish(pm_work *work, pm_wanted *wanted, pm_status status) {
    wanted->done = true;
    wanted->status = status;
    if (status) snprintf(wanted->text, sizeof wanted->text, "%s", pm_error_text());
    pthread_cond_broadcast(&work->changed);
    pm_work_wake_link(work);
}

static pm_wanted *find_wanted(pm_work *work, const Pm__Wire__Chunk *chunk) {
    for (pm_wanted *w = work->wanted; w; w = w->next)
        if (!w->done && chunk->sha256.len == PM_SHA256_BYTES &&
            memcmp(pm_fetch_hash(w->fetch)->bytes, chunk->sha256.data, PM_SHA256_BYTES) == 0)
            /* An answer to somebody before, who asked twice, is no answer to this one. */
            return pm_fetch_asked(w->fetch, chunk->offset) ? w : NULL;
    return NULL;
}

void pm_work_chunk(pm_work *work, const pm_message *message) {
    const Pm__Wire__Chunk *chunk = message->body->chunk;
    bool done = false;
    pthread_mutex_lock(&work->lock);
    pm_wanted *wanted = find_wanted(work, chunk);
    if (wanted) {
        pm_status status = pm_fetch_take(wanted->fetch, chunk,
                                         message->frame_count ? &message->frames[0] : NULL, &done);
        work->chunks++;
        wanted->heard_ms = pm_work_now_us(work) / 1000;
        wanted->stalls = 0;
        if (status || done) finish(work, wanted, status);
    }
    pthread_mutex_unlock(&work->lock);
}

unsigned long pm_work_chunks(pm_work *work) {
    pthread_mutex_lock(&work->lock);
    unsigned long chunks = work->chunks;
    pthread_mutex_unlock(&work->lock);
    return chunks;
}

static void look_after(pm_work *work, pm_wanted *w, int64_t now_ms) {
    if (pm_fetch_unanswered(w->fetch) == 0) w->heard_ms = now_ms; /* it waits for its turn */
    if (now_ms - w->heard_ms < STALL_MS) return;
    w->heard_ms = now_ms;
    /* A broker's disk that stands still is no hang of ours. */
    pm_work_beat(work, w->lease);
    if (++w->stalls >= STALLS_MAX) {
        pm_log(PM_LOG_WARN, "worker.fetch.given_up", "after_ms=%d", STALL_MS * STALLS_MAX);
        (void)pm_fail(PM_E_CANCELLED, "fetch: the broker does not send what was asked for");
        finish(work, w, PM_E_CANCELLED);
    } else {
        pm_fetch_restart(w->fetch);
        pm_work_wake_link(work);
    }
}

void pm_work_fetch_tick(pm_work *work, int64_t now_ms) {
    pthread_mutex_lock(&work->lock);
    for (pm_wanted *w = work->wanted; w; w = w->next)
        if (!w->done) look_after(work, w, now_ms);
    pthread_mutex_unlock(&work->lock);
}

static void leave_queue(pm_work *work, pm_wanted *wanted) {
    pm_wanted **place = &work->wanted;
    while (*place && *place != wanted) place = &(*place)->next;
    if (*place) *place = wanted->next;
}

static pm_status wait_for(pm_work *work, pm_lease *lease, pm_wanted *wanted) {
    pm_status status = PM_OK;
    pthread_mutex_lock(&work->lock);
    unsigned long received = work->chunks;
    wanted->lease = lease;
    pm_wanted **place = &work->wanted;
    while (*place) place = &(*place)->next;
    *place = wanted;
    pm_work_wake_link(work);
    while (!wanted->done && !status) {
        pm_work_wait_changed(work);
        if (work->chunks != received) pm_work_beat(work, lease);
        received = work->chunks;
        if (lease->revoked || lease->abandoned || lease->give_back || work->draining)
            status = pm_fail(PM_E_CANCELLED, "fetch: given up");
    }
    if (wanted->done) status = wanted->status;
    leave_queue(work, wanted);
    pthread_mutex_unlock(&work->lock);
    return status == PM_OK || status == PM_E_CANCELLED ? status
                                                       : pm_fail(status, "%s", wanted->text);
}

pm_status pm_work_fetch(pm_work *work, pm_lease *lease, const char *folder, const pm_sha256 *hash,
                        uint64_t size_bytes, uint8_t **bytes, size_t *size) {
    pm_wanted wanted = {.heard_ms = pm_work_now_us(work) / 1000};
    pm_status status = pm_fetch_new(folder, hash, size_bytes, &wanted.fetch);
    if (status) return status;
    status = wait_for(work, lease, &wanted);
    if (!status)
        status = folder ? pm_fetch_commit(wanted.fetch) : pm_fetch_bytes(wanted.fetch, bytes, size);
    pm_fetch_free(&wanted.fetch);
    return status;
}

pm_status pm_work_fetch_nameless(pm_work *work, pm_lease *lease, const pm_sha256 *hash,
                                 uint64_t size_bytes, int *fd) {
    pm_wanted wanted = {.heard_ms = pm_work_now_us(work) / 1000};
    pm_status status = pm_fetch_new_nameless(hash, size_bytes, &wanted.fetch);
    if (status) return status;
    status = wait_for(work, lease, &wanted);
    if (!status) status = pm_fetch_file(wanted.fetch, fd);
    pm_fetch_free(&wanted.fetch);
    return status;
}
