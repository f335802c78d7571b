/* Owns leases and results between the two kinds of threads. See work.h.
 *
 * A lease is QUEUED (taken by nobody), RUNNING (a compute thread holds it) or COMPUTED (its last
 * result is on its way). It leaves the list when it is revoked and not RUNNING, or COMPUTED with
 * every result recorded. Credit is given for as many as the window has room for. */
#include "worker/work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "worker/run.h"
#include "worker/work_private.h"

enum { WAIT_MS = 250 };

static int64_t real_us(void *user) {
    (void)user;
    return pm_clock_us();
}

void pm_work_init_plain(pm_work *work, pm_slots *slots, const pm_work_clock *clock) {
    pthread_condattr_t attributes;
    memset(work, 0, sizeof *work);
    work->slots = slots;
    work->clock = *clock;
    work->wake_fd = -1;
    pthread_mutex_init(&work->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&work->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

pm_status pm_work_init(pm_work *work, pm_slots *slots) {
    const pm_work_clock clock = {.now_us = real_us};
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_fd < 0) return pm_fail(PM_E_IO, "eventfd: %s", strerror(errno));
    pm_work_init_plain(work, slots, &clock);
    work->wake_fd = wake_fd;
    return PM_OK;
}

int64_t pm_work_now_us(const pm_work *work) { return work->clock.now_us(work->clock.user); }

void pm_outgoing_free(pm_outgoing **outgoing) {
    if (!*outgoing) return;
    pm__wire__item_result__free_unpacked((*outgoing)->result, NULL);
    for (size_t i = 0; i < (*outgoing)->frame_count; i++)
        free((void *)(*outgoing)->frames[i].bytes);
    free((*outgoing)->frames);
    free(*outgoing);
    *outgoing = NULL;
}

void pm_work_wake_link(pm_work *work) {
    uint64_t one = 1;
    if (work->wake_fd < 0) return;
    ssize_t n = write(work->wake_fd, &one, sizeof one);
    (void)n; /* full means that it is awake already */
}

/* Wait for a change, not longer than WAIT_MS, so that waiting threads can beat. */
void pm_work_wait_changed(pm_work *work) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WAIT_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&work->changed, &work->lock, &until);
}

static void run_free(pm_run *run) {
    pm_run_ready_free(&run->ready);
    pthread_mutex_destroy(&run->load_lock);
    pm_message_fini(&run->message);
    free(run);
}

static void drop_outgoing(pm_work *work, pm_outgoing **place) {
    pm_outgoing *outgoing = *place;
    *place = outgoing->next;
    work->unrecorded_items--;
    work->unrecorded_bytes -= outgoing->size_bytes;
    pm_outgoing_free(&outgoing);
}

static void lease_free(pm_work *work, pm_lease *lease) {
    while (lease->outgoing) drop_outgoing(work, &lease->outgoing);
    if (lease->run) lease->run->users--;
    pm_message_fini(&lease->message);
    free(lease->recorded);
    free(lease);
}

/* Take what is over out of the list. */
void pm_work_sweep(pm_work *work) {
    for (pm_lease **place = &work->leases; *place;) {
        pm_lease *lease = *place;
        bool over = lease->state != PM_LEASE_RUNNING &&
                    (lease->revoked || (lease->state == PM_LEASE_COMPUTED && !lease->outgoing &&
                                        lease->recorded_count == lease->task->n_items));
        if (!over) {
            place = &lease->next;
            continue;
        }
        *place = lease->next;
        lease_free(work, lease);
    }
    pthread_cond_broadcast(&work->changed);
}

/* Forget the runs that were used longest ago. */
static void sweep_runs(pm_work *work) {
    for (;;) {
        size_t idle = 0, loaded = 0;
        pm_run **oldest = NULL, *coldest = NULL;
        for (pm_run **place = &work->runs; *place; place = &(*place)->next) {
            if ((*place)->users > 0) continue;
            idle++;
            if (!oldest || (*place)->used < (*oldest)->used) oldest = place;
            if (!(*place)->ready) continue;
            loaded++;
            if (!coldest || (*place)->used < coldest->used) coldest = *place;
        }
        if (loaded > PM_RUNS_KEPT) {
            pm_run_ready_free(&coldest->ready);
            continue;
        }
        if (idle <= PM_RUNS_KNOWN) return;
        pm_run *gone = *oldest;
        *oldest = gone->next;
        run_free(gone);
    }
}

void pm_work_fini(pm_work *work) {
    while (work->leases) {
        pm_lease *lease = work->leases;
        work->leases = lease->next;
        lease_free(work, lease);
    }
    while (work->runs) {
        pm_run *run = work->runs;
        work->runs = run->next;
        run_free(run);
    }
    if (work->wake_fd >= 0) close(work->wake_fd);
    pthread_cond_destroy(&work->changed);
    pthread_mutex_destroy(&work->lock);
}

void pm_work_expect(pm_work *work, size_t threads) {
    pthread_mutex_lock(&work->lock);
    work->threads = threads;
    work->window = threads + 1;
    pthread_mutex_unlock(&work->lock);
}

static pm_run *find_run(pm_work *work, uint64_t id) {
    for (pm_run *run = work->runs; run; run = run->next)
        if (run->info->run == id) return run;
    return NULL;
}

static bool same_text(const char *a, const char *b) { return strcmp(a, b) == 0; }

static bool same_blob(const Pm__Wire__Blob *a, const Pm__Wire__Blob *b) {
    if (!a || !b) return a == b;
    return a->sha256.len == b->sha256.len &&
           memcmp(a->sha256.data, b->sha256.data, a->sha256.len) == 0 &&
           same_text(a->path ? a->path : "", b->path ? b->path : "");
}

static bool same_run(const Pm__Wire__RunInfo *a, const Pm__Wire__RunInfo *b) {
    bool same = same_text(a->arch, b->arch) && same_blob(a->weights, b->weights) &&
                same_blob(a->statistics, b->statistics) && same_text(a->data_root, b->data_root) &&
                same_text(a->channels, b->channels) && same_text(a->heat_maps, b->heat_maps) &&
                same_text(a->evaluation ? a->evaluation : "", b->evaluation ? b->evaluation : "") &&
                a->n_configurations == b->n_configurations;
    for (size_t i = 0; same && i < a->n_configurations; i++)
        same = same_text(a->configurations[i], b->configurations[i]);
    return same;
}

static pm_status check_blob(const Pm__Wire__Blob *blob) {
    if (blob && blob->sha256.len != PM_SHA256_BYTES)
        return pm_fail(PM_E_PROTOCOL, "run info: a hash of %zu bytes", blob->sha256.len);
    return PM_OK;
}

pm_status pm_work_add_run(pm_work *work, pm_message *message) {
    const Pm__Wire__RunInfo *info = message->body->run_info;
    pm_status status = check_blob(info->weights);
    if (!status) status = check_blob(info->statistics);
    if (!status) status = check_blob(info->baseline);
    if (status) return status;
    pthread_mutex_lock(&work->lock);
    pm_run *run = find_run(work, info->run);
    if (run && same_run(run->info, info)) {
        pthread_mutex_unlock(&work->lock);
        pm_message_fini(message);
        return PM_OK;
    }
    run = calloc(1, sizeof *run);
    if (!run) {
        status = pm_fail(PM_E_MEMORY, "run info: no memory");
        goto done;
    }
    pthread_mutex_init(&run->load_lock, NULL);
    run->message = *message;
    run->info = info;
    run->used = ++work->run_clock;
    /* In front, so that it is found before an older description under the same number. */
    run->next = work->runs;
    work->runs = run;
    sweep_runs(work);
done:
    pthread_mutex_unlock(&work->lock);
    return status;
}

static pm_status check_task(const Pm__Wire__Task *task, const pm_run *run) {
    if (task->token.len != PM_TOKEN_BYTES || task->n_items == 0 || task->n_configurations == 0)
        return pm_fail(PM_E_PROTOCOL, "task %llu: malformed", (unsigned long long)task->task);
    for (size_t i = 0; i < task->n_configurations; i++)
        if (task->configurations[i] >= run->info->n_configurations)
            return pm_fail(PM_E_PROTOCOL, "task %llu: no configuration %u in its run",
                           (unsigned long long)task->task, task->configurations[i]);
    for (size_t i = 0; i < task->n_items; i++)
        if (task->items[i]->sha256.len != PM_SHA256_BYTES)
            return pm_fail(PM_E_PROTOCOL, "task %llu: a hash of %zu bytes",
                           (unsigned long long)task->task, task->items[i]->sha256.len);
    return PM_OK;
}

static void append_lease(pm_work *work, pm_lease *lease) {
    pm_lease **place = &work->leases;
    while (*place) place = &(*place)->next;
    *place = lease;
}

static pm_lease *find_lease(pm_work *work, uint64_t task) {
    for (pm_lease *lease = work->leases; lease; lease = lease->next)
        if (lease->task->task == task && !lease->revoked) return lease;
    return NULL;
}

size_t pm_work_count_live(const pm_work *work) {
    size_t count = 0;
    for (pm_lease *lease = work->leases; lease; lease = lease->next) count += !lease->revoked;
    return count;
}

pm_status pm_work_add_task(pm_work *work, pm_message *message) {
    const Pm__Wire__Task *task = message->body->task;
    pm_status status = PM_OK;
    pm_lease *lease = NULL;
    pthread_mutex_lock(&work->lock);
    pm_run *run = find_run(work, task->run);
    if (!run) {
        status = pm_fail(PM_E_STALE, "task %llu: its run was not announced",
                         (unsigned long long)task->task);
        goto done;
    }
    status = check_task(task, run);
    pm_lease *older = find_lease(work, task->task);
    if (!status && older && memcmp(older->token, task->token.data, PM_TOKEN_BYTES) == 0) {
        /* Said twice. */
        pthread_mutex_unlock(&work->lock);
        pm_message_fini(message);
        return PM_OK;
    }
    if (!status && pm_work_count_live(work) >= PM_LEASES_MAX)
        status = pm_fail(PM_E_LIMIT, "task: %d leases are held already", PM_LEASES_MAX);
    if (status) goto done;
    lease = calloc(1, sizeof *lease);
    if (lease) lease->recorded = calloc(task->n_items, sizeof *lease->recorded);
    if (!lease || !lease->recorded) {
        status = pm_fail(PM_E_MEMORY, "task: no memory");
        free(lease);
        goto done;
    }
    /* Leased anew while an older lease of it is still here: the older one is over. */
    if (older) older->revoked = true;
    lease->message = *message;
    lease->task = task;
    memcpy(lease->token, task->token.data, PM_TOKEN_BYTES);
    lease->run = run;
    lease->adopted = true;
    run->users++;
    run->used = ++work->run_clock;
    append_lease(work, lease);
    if (work->credit_open) work->credit_open--;
    pm_work_sweep(work);
done:
    pthread_mutex_unlock(&work->lock);
    return status;
}

void pm_work_revoke(pm_work *work, uint64_t task, const uint8_t *token) {
    pthread_mutex_lock(&work->lock);
    for (pm_lease *lease = work->leases; lease; lease = lease->next)
        if (lease->task->task == task && memcmp(lease->token, token, PM_TOKEN_BYTES) == 0)
            lease->revoked = true;
    pm_work_sweep(work);
    pthread_mutex_unlock(&work->lock);
}

void pm_work_recorded(pm_work *work, uint64_t task, uint64_t ordinal) {
    pthread_mutex_lock(&work->lock);
    pm_lease *lease = find_lease(work, task);
    if (lease) {
        for (size_t i = 0; i < lease->task->n_items; i++) {
            if (lease->task->items[i]->ordinal > ordinal || lease->recorded[i]) continue;
            lease->recorded[i] = true;
            lease->recorded_count++;
        }
        for (pm_outgoing **place = &lease->outgoing; *place;)
            if ((*place)->result->ordinal <= ordinal && (*place)->sent)
                drop_outgoing(work, place);
            else
                place = &(*place)->next;
        lease->moved_us = pm_work_now_us(work);
        pm_work_sweep(work);
    }
    pthread_mutex_unlock(&work->lock);
}

size_t pm_work_lease_count(pm_work *work) {
    size_t count = 0;
    pthread_mutex_lock(&work->lock);
    for (pm_lease *lease = work->leases; lease; lease = lease->next) count++;
    pthread_mutex_unlock(&work->lock);
    return count;
}

static const Pm__Wire__LeaseVerdict *verdict_on(const Pm__Wire__Welcome *welcome, uint64_t task) {
    for (size_t i = 0; i < welcome->n_leases; i++)
        if (welcome->leases[i]->task == task) return welcome->leases[i];
    return NULL;
}

void pm_work_settle(pm_work *work, const Pm__Wire__Welcome *welcome) {
    pthread_mutex_lock(&work->lock);
    for (pm_lease *lease = work->leases; lease; lease = lease->next) {
        const Pm__Wire__LeaseVerdict *verdict = verdict_on(welcome, lease->task->task);
        if (lease->revoked) continue;
        if (!verdict || !verdict->has_token || verdict->token.len != PM_TOKEN_BYTES) {
            lease->revoked = !PM_WORK_PLANTED(4);
            lease->adopted = PM_WORK_PLANTED(4);
            pm_log(PM_LOG_INFO, "worker.lease.refused", "task=%llu",
                   (unsigned long long)lease->task->task);
            continue;
        }
        if (!PM_WORK_PLANTED(8)) memcpy(lease->token, verdict->token.data, PM_TOKEN_BYTES);
        lease->adopted = true;
        lease->start_sent = false;
        for (pm_outgoing *o = lease->outgoing; o; o = o->next) o->sent = false;
    }
    pm_work_sweep(work);
    /* Credit starts anew with each connection. */
    if (!PM_WORK_PLANTED(10)) work->credit_open = 0;
    pthread_mutex_unlock(&work->lock);
}

void pm_work_unsettle(pm_work *work) {
    pthread_mutex_lock(&work->lock);
    for (pm_lease *lease = work->leases; lease; lease = lease->next) {
        lease->adopted = false;
        while (PM_WORK_PLANTED(5) && lease->outgoing) drop_outgoing(work, &lease->outgoing);
    }
    for (pm_wanted *wanted = work->wanted; wanted; wanted = wanted->next)
        if (!wanted->done) pm_fetch_restart(wanted->fetch);
    pthread_mutex_unlock(&work->lock);
}

size_t pm_work_take_credit(pm_work *work) {
    pthread_mutex_lock(&work->lock);
    size_t taken = work->credit_open, credit = 0;
    for (pm_lease *lease = work->leases; lease; lease = lease->next) taken++;
    if (PM_WORK_PLANTED(12)) taken -= work->credit_open;
    if (!work->draining && work->window > taken) credit = work->window - taken;
    work->credit_open += credit;
    pthread_mutex_unlock(&work->lock);
    return credit;
}

void pm_work_drain(pm_work *work) {
    pthread_mutex_lock(&work->lock);
    work->draining = true;
    pthread_cond_broadcast(&work->changed);
    pthread_mutex_unlock(&work->lock);
}

bool pm_work_is_computing(pm_work *work) {
    bool computing = false;
    pthread_mutex_lock(&work->lock);
    for (pm_lease *lease = work->leases; lease; lease = lease->next)
        computing = computing || lease->state == PM_LEASE_RUNNING;
    pthread_mutex_unlock(&work->lock);
    return computing;
}

void pm_work_stop(pm_work *work) {
    pthread_mutex_lock(&work->lock);
    work->draining = work->stopping = true;
    pthread_cond_broadcast(&work->changed);
    pthread_mutex_unlock(&work->lock);
}

void pm_work_give_up(pm_work *work, const char *why) {
    pthread_mutex_lock(&work->lock);
    if (!work->gave_up) snprintf(work->gave_up_text, sizeof work->gave_up_text, "%s", why);
    work->gave_up = true;
    pm_work_wake_link(work);
    pthread_mutex_unlock(&work->lock);
}

pm_status pm_work_verdict(pm_work *work) {
    pthread_mutex_lock(&work->lock);
    pm_status status =
        work->gave_up
            ? pm_fail(PM_E_IO,
                      "%s: this worker gives up, no image is to blame; give it more memory (a "
                      "decoder may take 2.5 GB), or find out who kills parchmill-decod",
                      work->gave_up_text)
            : PM_OK;
    pthread_mutex_unlock(&work->lock);
    return status;
}

void pm_work_return(pm_work *work, bool force) {
    pthread_mutex_lock(&work->lock);
    for (pm_lease *lease = work->leases; lease; lease = lease->next) {
        lease->give_back = true;
        while (force && lease->outgoing) drop_outgoing(work, &lease->outgoing);
        if (force && lease->state == PM_LEASE_RUNNING) lease->abandoned = true;
    }
    pm_work_wake_link(work);
    pthread_mutex_unlock(&work->lock);
}

/* Under the mutex. */
static pm_lease *take_queued(pm_work *work) {
    for (pm_lease *lease = work->leases; lease; lease = lease->next) {
        if (lease->state != PM_LEASE_QUEUED || lease->revoked || lease->give_back) continue;
        lease->state = PM_LEASE_RUNNING;
        lease->taken_us = pm_work_now_us(work);
        /* What its beats say never goes back. */
        lease->seen = atomic_load(&work->progress);
        if (!PM_WORK_PLANTED(14)) atomic_store(&lease->progress, lease->seen);
        return lease;
    }
    return NULL;
}

pm_lease *pm_work_take(pm_work *work) {
    pm_lease *taken = NULL;
    pthread_mutex_lock(&work->lock);
    while (!work->draining && !(taken = take_queued(work)))
        pthread_cond_wait(&work->changed, &work->lock);
    pthread_mutex_unlock(&work->lock);
    return taken;
}

pm_lease *pm_work_try_take(pm_work *work) {
    pthread_mutex_lock(&work->lock);
    pm_lease *taken = work->draining ? NULL : take_queued(work);
    pthread_mutex_unlock(&work->lock);
    return taken;
}

bool pm_work_start_item(pm_work *work, pm_lease *lease, size_t thread, uint64_t ordinal) {
    pthread_mutex_lock(&work->lock);
    bool go = !lease->revoked && !lease->give_back && !work->draining;
    if (go) {
        /* How long a task takes leaves out the loading of its model. */
        if (!lease->begun) lease->taken_us = pm_work_now_us(work);
        lease->begun = true;
        lease->in_hand = true;
        lease->start_sent = false;
        lease->in_hand_ordinal = ordinal;
        pm_slot_set(&work->slots->slots[thread], lease->task->task, lease->token, ordinal);
        pm_work_wake_link(work);
    }
    pthread_mutex_unlock(&work->lock);
    return go;
}

static bool is_over_bound(const pm_work *work) {
    return work->unrecorded_items >= PM_UNRECORDED_ITEMS_MAX ||
           work->unrecorded_bytes >= PM_UNRECORDED_BYTES_MAX;
}

void pm_work_hand_in(pm_work *work, pm_lease *lease, size_t thread, uint64_t ordinal,
                     pm_outgoing *outgoing) {
    pthread_mutex_lock(&work->lock);
    if (ordinal == lease->in_hand_ordinal) { /* else more are in hand */
        pm_slot_clear(&work->slots->slots[thread]);
        lease->in_hand = false;
    }
    if (!outgoing) lease->give_back = true;
    if (lease->revoked || lease->abandoned || !outgoing) {
        pm_outgoing_free(&outgoing);
    } else {
        pm_outgoing **place = &lease->outgoing;
        while (*place && !PM_WORK_PLANTED(6)) place = &(*place)->next;
        outgoing->next = *place;
        *place = outgoing;
        work->unrecorded_items++;
        work->unrecorded_bytes += outgoing->size_bytes;
        pm_work_wake_link(work);
    }
    pthread_mutex_unlock(&work->lock);
}

/* Under the mutex. */
static bool has_room(const pm_work *work, const pm_lease *lease) {
    return !is_over_bound(work) || lease->revoked || work->draining;
}

bool pm_work_has_room(pm_work *work, const pm_lease *lease) {
    pthread_mutex_lock(&work->lock);
    bool room = has_room(work, lease);
    pthread_mutex_unlock(&work->lock);
    return room;
}

void pm_work_finish_item(pm_work *work, pm_lease *lease, size_t thread, uint64_t ordinal,
                         pm_outgoing *outgoing) {
    pm_work_hand_in(work, lease, thread, ordinal, outgoing);
    pthread_mutex_lock(&work->lock);
    /* Waiting for the broker is no hang. */
    while (!has_room(work, lease)) {
        pm_work_beat(work, lease);
        pm_work_wait_changed(work);
    }
    pthread_mutex_unlock(&work->lock);
}

/* Short tasks need more of them in reserve, so that no thread ever waits for the broker. */
static void set_window(pm_work *work, const pm_lease *lease) {
    int64_t us = pm_work_now_us(work) - lease->taken_us + 1;
    if (us < 1) us = 1;
    work->lease_us = work->lease_us ? (3 * work->lease_us + us) / 4 : us;
    size_t ahead = (size_t)(1000 * PM_AHEAD_MS / work->lease_us) * work->threads + 1;
    work->window = work->threads + (ahead < PM_AHEAD_MAX ? ahead : PM_AHEAD_MAX);
}

void pm_work_end(pm_work *work, pm_lease *lease, bool all_done) {
    pthread_mutex_lock(&work->lock);
    if (all_done) set_window(work, lease);
    lease->state = all_done ? PM_LEASE_COMPUTED : PM_LEASE_QUEUED;
    lease->give_back = lease->give_back || !all_done;
    pm_work_sweep(work);
    pm_work_wake_link(work);
    pthread_mutex_unlock(&work->lock);
}

void pm_work_beat(pm_work *work, pm_lease *lease) {
    atomic_fetch_add(&lease->progress, 1);
    atomic_fetch_add(&work->progress, 1);
}
