/* Owns the queue of blobs that compute threads wait for; one is fetched at a time, so that the
 * window of unanswered requests holds for the whole worker. */
#include <stdio.h>
#include <string.h>

#include "worker/work_private.h"

enum { STALL_MS = 10000, STALLS_MAX = 6 };

pm_status pm_work_flush_fetch(pm_work *work, pm_send_fn send, void *user) {
    Pm__Wire__Fetch request;
    pm_status status = PM_OK;
    pm_wanted *first = work->wanted;
    while (first && first->done) first = first->next;
    while (!status && first && pm_fetch_next(first->fetch, &request)) {
        Pm__Wire__Message message = pm_wire_fetch(&request);
        status = send(user, &message, NULL, 0);
        if (status) pm_fetch_restart(first->fetch);
    }
    return status;
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
            return w;
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

void pm_work_fetch_tick(pm_work *work, int64_t now_ms) {
    pthread_mutex_lock(&work->lock);
    pm_wanted *first = work->wanted;
    while (first && first->done) first = first->next;
    if (first && now_ms - first->heard_ms >= STALL_MS) {
        first->heard_ms = now_ms;
        if (++first->stalls >= STALLS_MAX) {
            (void)pm_fail(PM_E_TIMEOUT, "fetch: the broker does not send what was asked for");
            finish(work, first, PM_E_TIMEOUT);
        } else {
            pm_fetch_restart(first->fetch);
            pm_work_wake_link(work);
        }
    }
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
