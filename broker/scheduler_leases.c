/* Owns leases: tokens, deadlines, progress, and what workers say of the tasks they hold. Must not
 * know how tasks are chosen. Invariants: scheduler.c. */
#include <stdlib.h>
#include <string.h>

#include "broker/scheduler_state.h"
#include "lib/base/hash.h"

enum { UNNAMED_BEATS = 3 };

static void put_u64(uint8_t out[8], uint64_t value) {
    for (size_t i = 0; i < 8; i++) out[i] = (uint8_t)(value >> (8 * i));
}

/* First 16 bytes of SHA-256(seed, epoch, counter), both little-endian. */
static pm_token next_token(pm_scheduler *s) {
    uint8_t text[sizeof s->options.seed + 16];
    pm_token token;
    memcpy(text, s->options.seed, sizeof s->options.seed);
    put_u64(text + sizeof s->options.seed, PM_PLANTED(12) ? 0 : s->options.epoch);
    put_u64(text + sizeof s->options.seed + 8, s->token_counter++);
    pm_sha256 hash = pm_sha256_of(text, sizeof text);
    memcpy(token.bytes, hash.bytes, sizeof token.bytes);
    return token;
}

pm_sched_lease *pm_sched_lease_new(pm_scheduler *s, pm_sched_task *task, pm_sched_worker *worker) {
    pm_sched_lease *lease = calloc(1, sizeof *lease);
    pm_sched_hold *hold = lease ? pm_sched_hold_add(s, task->run, worker) : NULL;
    if (!hold) {
        free(lease);
        return NULL;
    }
    *lease = (pm_sched_lease){.task = task,
                              .worker = worker,
                              .hold = hold,
                              .token = next_token(s),
                              .received = task->next,
                              .last_beat = worker->beats,
                              .started_end = task->next};
    pm_sched_unqueue(s, task);
    s->leased_count++;
    if (task->alone) {
        s->alone_leased_count++;
        worker->alone = true;
    }
    task->phase = PM_TASK_LEASED;
    task->lease = lease;
    task->was_leased = true;
    task->leased_by = worker->identity;
    task->run->leased++;
    worker->lease_count++;
    pm_list_push_back(&worker->leases, &lease->in_worker);
    pm_sched_lease_extend(s, lease);
    pm_sched_place_run(s, task->run, true);
    pm_sched_place_worker(s, worker);
    return lease;
}

void pm_sched_lease_extend(pm_scheduler *s, pm_sched_lease *lease) {
    lease->deadline_ms = s->now_ms + s->options.lease_ms;
    lease->still_beats = 0;
    lease->still_ms = s->now_ms;
    pm_list_push_back(&s->deadlines, &lease->deadline);
}

void pm_sched_lease_end(pm_scheduler *s, pm_sched_lease *lease, const char *tell,
                        const char *blame) {
    pm_sched_task *task = lease->task;
    pm_sched_worker *worker = lease->worker;
    if (tell) {
        pm_action *action = pm_sched_act(s, PM_ACTION_REVOKE);
        action->worker = worker->id;
        action->task = task->id;
        action->token = lease->token;
        action->reason = tell;
    }
    if (blame && lease->started_end > lease->received)
        pm_sched_suspect(task, lease->received, lease->started_end - lease->received, blame);
    pm_sched_settle_charge(s, lease);
    pm_sched_hold_drop(s, lease->hold);
    pm_node_unlink(&lease->in_worker);
    pm_node_unlink(&lease->deadline);
    worker->lease_count--;
    s->leased_count--;
    if (task->alone) {
        s->alone_leased_count--;
        worker->alone = false;
    }
    if (task->run) task->run->leased--;
    task->lease = NULL;
    free(lease);
    pm_sched_place_worker(s, worker);
    pm_sched_settle(s, task);
}

/* The lease that the event's worker holds by the event's token, or NULL. */
static pm_sched_lease *lease_of(const pm_scheduler *s, pm_worker_id worker, uint64_t task_id,
                                const pm_token *token) {
    const pm_sched_task *task = pm_sched_task_find(s, task_id);
    if (!task || !task->lease) return NULL;
    if (PM_PLANTED(1)) return task->lease;
    if (task->lease->worker->id != worker) return NULL;
    return memcmp(&task->lease->token, token, sizeof *token) == 0 ? task->lease : NULL;
}

static void revoke_stranger(pm_scheduler *s, pm_worker_id worker, uint64_t task,
                            const pm_token *token) {
    pm_action *action = pm_sched_act(s, PM_ACTION_REVOKE);
    action->worker = worker;
    action->task = task;
    action->token = *token;
    action->reason = "stale";
}

pm_status pm_sched_item_started(pm_scheduler *s, const pm_event *event) {
    pm_status status = pm_sched_reserve(s, 1);
    if (status != PM_OK) return status;
    pm_sched_lease *lease = lease_of(s, event->worker, event->task, &event->token);
    if (!lease) {
        revoke_stranger(s, event->worker, event->task, &event->token);
        return PM_OK;
    }
    pm_sched_lease_extend(s, lease);
    pm_sched_work_begins(s, lease);
    if (event->ordinal >= lease->started_end && event->ordinal < lease->task->end)
        lease->started_end = event->ordinal + 1;
    return PM_OK;
}

static void log_refused(pm_scheduler *s, const pm_event *event, const char *reason) {
    pm_action *action = pm_sched_act(s, PM_ACTION_LOG_REFUSED);
    action->worker = event->worker;
    action->task = event->task;
    action->first = event->ordinal;
    action->reason = reason;
}

static void acknowledge(pm_scheduler *s, const pm_event *event) {
    pm_action *action = pm_sched_act(s, PM_ACTION_ACKNOWLEDGE);
    action->worker = event->worker;
    action->task = event->task;
    action->first = event->ordinal;
}

static void record(pm_scheduler *s, pm_sched_lease *lease, const pm_event *event) {
    pm_action *action = pm_sched_act(s, PM_ACTION_RECORD);
    action->worker = event->worker;
    action->run = lease->task->run->id;
    action->task = event->task;
    action->first = event->ordinal;
    action->token = event->token;
    pm_sched_work_seen(s, lease, true);
    lease->task->pending++;
    lease->received = event->ordinal + 1;
    if (lease->started_end < lease->received) lease->started_end = lease->received;
}

pm_status pm_sched_item_result(pm_scheduler *s, const pm_event *event) {
    pm_status status = pm_sched_reserve(s, 2);
    if (status != PM_OK) return status;
    pm_sched_lease *lease = lease_of(s, event->worker, event->task, &event->token);
    if (!lease) {
        log_refused(s, event, "token");
        revoke_stranger(s, event->worker, event->task, &event->token);
        return PM_OK;
    }
    pm_sched_lease_extend(s, lease);
    if (event->ordinal == lease->received && event->ordinal < lease->task->end) {
        record(s, lease, event);
        if (PM_PLANTED(3)) acknowledge(s, event);
    } else if (event->ordinal < lease->task->next) {
        acknowledge(s, event); /* sent again because the first acknowledgement got lost */
    } else if (event->ordinal < lease->received) {
        /* Sent again while the store still decides: the acknowledgement will come. */
        if (PM_PLANTED(2)) record(s, lease, event);
    } else {
        log_refused(s, event, "order"); /* one before it got lost; both will be sent again */
    }
    return PM_OK;
}

pm_status pm_sched_task_returned(pm_scheduler *s, const pm_event *event) {
    pm_status status = pm_sched_reserve(s, 3);
    if (status != PM_OK) return status;
    pm_sched_lease *lease = lease_of(s, event->worker, event->task, &event->token);
    if (lease) pm_sched_lease_end(s, lease, NULL, NULL);
    return PM_OK;
}

static void take_beat(pm_scheduler *s, pm_worker_id worker, const pm_beat *beat) {
    pm_sched_lease *lease = lease_of(s, worker, beat->task, &beat->token);
    if (!lease) {
        revoke_stranger(s, worker, beat->task, &beat->token);
        return;
    }
    lease->last_beat = lease->worker->beats;
    if (!lease->has_progress || beat->progress > lease->progress) {
        lease->has_progress = true;
        lease->progress = beat->progress;
        pm_sched_lease_extend(s, lease);
    } else if (lease->still_beats < UINT32_MAX &&
               s->now_ms - lease->still_ms >= s->options.heartbeat_ms / 2) {
        /* Those that waited while this broker stood still come all at once, and count as one. */
        lease->still_beats++;
        lease->still_ms = s->now_ms;
    }
}

/* A lease that the worker no longer speaks of is not there: its task message got lost. */
static void end_unnamed(pm_scheduler *s, pm_sched_worker *worker) {
    pm_link_node *next;
    for (pm_link_node *node = worker->leases.next; node != &worker->leases; node = next) {
        pm_sched_lease *lease = PM_OWNER(node, pm_sched_lease, in_worker);
        next = node->next;
        if (worker->beats - lease->last_beat >= UNNAMED_BEATS)
            pm_sched_lease_end(s, lease, "unnamed", NULL);
    }
}

pm_status pm_sched_heartbeat(pm_scheduler *s, const pm_event *event) {
    pm_sched_worker *worker = pm_sched_worker_find(s, event->worker);
    pm_status status = pm_sched_reserve(s, event->beat_count + 3 * worker->lease_count + 1);
    if (status != PM_OK) return status;
    worker->beats++;
    for (size_t i = 0; i < event->beat_count; i++) take_beat(s, event->worker, &event->beats[i]);
    end_unnamed(s, worker);
    pm_sched_act(s, PM_ACTION_HEARTBEAT)->worker = event->worker;
    return PM_OK;
}

/* A hang is many beats without progress, not much time: a clock that jumps (a machine that slept)
 * ends leases, but counts against nothing. */
pm_status pm_sched_expire_leases(pm_scheduler *s) {
    pm_link_node *node;
    while ((node = pm_list_head(&s->deadlines))) {
        pm_sched_lease *lease = PM_OWNER(node, pm_sched_lease, deadline);
        if (lease->deadline_ms > s->now_ms) return PM_OK;
        pm_status status = pm_sched_reserve(s, 3);
        if (status != PM_OK) return status;
        bool still = lease->still_beats >= (PM_PLANTED(16) ? 0 : s->hang_beats);
        bool hung = still && lease->started_end > lease->received;
        if (hung) {
            lease->worker->stopped = true;
            pm_sched_place_worker(s, lease->worker);
        } else {
            pm_sched_remember_expired(s, lease);
        }
        pm_sched_lease_end(s, lease, hung ? "hang" : "progress", hung ? "hang" : NULL);
    }
    return PM_OK;
}
