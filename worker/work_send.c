/* Owns what a worker tells the broker of its leases: results, the item in hand, what it gives back,
 * what it holds, and beats. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/work_private.h"

static uint64_t first_unrecorded(const pm_lease *lease) {
    for (size_t i = 0; i < lease->task->n_items; i++)
        if (!lease->recorded[i]) return lease->task->items[i]->ordinal;
    return lease->task->items[lease->task->n_items - 1]->ordinal + 1;
}

pm_status pm_work_held(pm_work *work, Pm__Wire__HeldLease **out, size_t *count) {
    pm_status status = PM_OK;
    size_t n = 0;
    pthread_mutex_lock(&work->lock);
    size_t live = pm_work_count_live(work);
    Pm__Wire__HeldLease *held = calloc(live ? live : 1, sizeof *held);
    if (!held) status = pm_fail(PM_E_MEMORY, "hello: no memory");
    for (pm_lease *lease = work->leases; held && lease; lease = lease->next) {
        if (lease->revoked) continue;
        pm__wire__held_lease__init(&held[n]);
        held[n].task = lease->task->task;
        held[n].token = (ProtobufCBinaryData){PM_TOKEN_BYTES, lease->token};
        held[n].next = first_unrecorded(lease);
        n++;
    }
    pthread_mutex_unlock(&work->lock);
    if (status) return status;
    *out = held;
    *count = n;
    return PM_OK;
}

/* A thread that is stuck in a lease which is over already is stuck all the same. */
static void watch(pm_lease *lease) {
    unsigned long progress = atomic_load(&lease->progress);
    bool still = lease->state == PM_LEASE_RUNNING && progress == lease->seen;
    lease->still_beats = still ? lease->still_beats + 1 : 0;
    lease->seen = progress;
}

/* A lease that waits for its turn lives as long as anything here gets on; one that waits only for
 * acknowledgements cannot hang. */
static unsigned long progress_of(pm_work *work, pm_lease *lease) {
    switch (lease->state) {
    case PM_LEASE_QUEUED:
        if (!lease->give_back) return atomic_load(&work->progress);
        break;
    case PM_LEASE_RUNNING:
        if (PM_WORK_PLANTED(7)) atomic_fetch_add(&lease->progress, 1);
        return atomic_load(&lease->progress);
    case PM_LEASE_COMPUTED: break;
    }
    if (PM_WORK_PLANTED(15)) return atomic_load(&lease->progress);
    return atomic_fetch_add(&lease->progress, 1) + 1;
}

bool pm_work_is_stuck(pm_work *work, unsigned beats) {
    bool stuck = false;
    pthread_mutex_lock(&work->lock);
    for (pm_lease *lease = work->leases; lease; lease = lease->next)
        stuck = stuck || lease->still_beats >= beats;
    pthread_mutex_unlock(&work->lock);
    return stuck;
}

bool pm_work_is_unanswered(pm_work *work, int64_t for_us) {
    bool unanswered = false;
    pthread_mutex_lock(&work->lock);
    const int64_t now_us = pm_work_now_us(work);
    for (pm_lease *lease = work->leases; lease; lease = lease->next)
        unanswered = unanswered || (!lease->revoked && lease->outgoing && lease->outgoing->sent &&
                                    now_us - lease->moved_us >= for_us);
    pthread_mutex_unlock(&work->lock);
    return unanswered;
}

size_t pm_work_open_credit(pm_work *work) {
    pthread_mutex_lock(&work->lock);
    size_t open = work->credit_open;
    pthread_mutex_unlock(&work->lock);
    return open;
}

pm_status pm_work_beats(pm_work *work, Pm__Wire__Beat **out, size_t *count) {
    pm_status status = PM_OK;
    size_t n = 0;
    pthread_mutex_lock(&work->lock);
    size_t live = pm_work_count_live(work);
    Pm__Wire__Beat *beats = calloc(live ? live : 1, sizeof *beats);
    if (!beats) status = pm_fail(PM_E_MEMORY, "heartbeat: no memory");
    for (pm_lease *lease = work->leases; beats && lease; lease = lease->next) {
        watch(lease);
        if (lease->revoked || !lease->adopted) continue;
        pm__wire__beat__init(&beats[n]);
        beats[n].task = lease->task->task;
        beats[n].token = (ProtobufCBinaryData){PM_TOKEN_BYTES, lease->token};
        beats[n].progress = progress_of(work, lease);
        n++;
    }
    pthread_mutex_unlock(&work->lock);
    if (status) return status;
    *out = beats;
    *count = n;
    return PM_OK;
}

static pm_status flush_results(pm_work *work, pm_lease *lease, pm_send_fn send, void *user) {
    for (pm_outgoing *o = lease->outgoing; o; o = o->next) {
        if (o->sent) continue;
        o->result->task = lease->task->task;
        memcpy(o->result->token.data, lease->token, PM_TOKEN_BYTES);
        Pm__Wire__Message message = pm_wire_item_result(o->result);
        pm_status status = send(user, &message, o->frames, o->frame_count);
        if (status) return status;
        o->sent = true;
        if (o == lease->outgoing) lease->moved_us = pm_work_now_us(work);
    }
    return PM_OK;
}

static pm_status flush_start(pm_lease *lease, pm_send_fn send, void *user) {
    if (!lease->in_hand || lease->start_sent || PM_WORK_PLANTED(9)) return PM_OK;
    Pm__Wire__ItemStarted started = PM__WIRE__ITEM_STARTED__INIT;
    started.task = lease->task->task;
    started.token = (ProtobufCBinaryData){PM_TOKEN_BYTES, lease->token};
    started.ordinal = lease->in_hand_ordinal;
    Pm__Wire__Message message = pm_wire_item_started(&started);
    pm_status status = send(user, &message, NULL, 0);
    lease->start_sent = !status;
    return status;
}

static pm_status flush_return(pm_lease *lease, pm_send_fn send, void *user) {
    bool computing = lease->state == PM_LEASE_RUNNING && !lease->abandoned;
    if (!lease->give_back || computing || lease->outgoing) return PM_OK;
    Pm__Wire__TaskReturned returned = PM__WIRE__TASK_RETURNED__INIT;
    returned.task = lease->task->task;
    returned.token = (ProtobufCBinaryData){PM_TOKEN_BYTES, lease->token};
    Pm__Wire__Message message = pm_wire_task_returned(&returned);
    pm_status status = send(user, &message, NULL, 0);
    lease->revoked = !status;
    return status;
}

pm_status pm_work_flush(pm_work *work, pm_send_fn send, void *user) {
    uint64_t ignored;
    if (work->wake_fd >= 0) {
        ssize_t n = read(work->wake_fd, &ignored, sizeof ignored);
        (void)n;
    }
    pm_status status = PM_OK;
    pthread_mutex_lock(&work->lock);
    for (pm_lease *lease = work->leases; lease && !status; lease = lease->next) {
        if (lease->revoked || !lease->adopted) continue;
        status = flush_results(work, lease, send, user);
        if (!status) status = flush_start(lease, send, user);
        if (!status) status = flush_return(lease, send, user);
    }
    if (!status) status = pm_work_flush_fetch(work, send, user);
    pm_work_sweep(work);
    pthread_mutex_unlock(&work->lock);
    return status;
}
