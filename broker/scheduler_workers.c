/* Owns who is there: hello, adoption of leases, silence, crashes, farewells. Must not know how
 * tasks are chosen. Invariants: scheduler.c. */
#include <stdlib.h>
#include <string.h>

#include "broker/scheduler_state.h"
#include "lib/base/hash.h"

/* By the secret seed, so that nobody finds an instance that falls on another's place. */
static uint64_t instance_key(const pm_scheduler *s, const pm_instance *instance,
                             uint64_t identity) {
    if (PM_PLANTED(22)) identity = 0;
    uint8_t text[sizeof s->options.seed + sizeof instance->bytes + sizeof identity];
    uint64_t key;
    memcpy(text, s->options.seed, sizeof s->options.seed);
    memcpy(text + sizeof s->options.seed, instance->bytes, sizeof instance->bytes);
    memcpy(text + sizeof text - sizeof identity, &identity, sizeof identity);
    pm_sha256 hash = pm_sha256_of(text, sizeof text);
    memcpy(&key, hash.bytes, sizeof key);
    return key;
}

static bool instance_equal(const pm_instance *a, const pm_instance *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

/* An instance is no secret: another key's is another. */
static pm_sched_worker *find_instance(const pm_scheduler *s, const pm_instance *instance,
                                      uint64_t identity) {
    pm_map_node *node = pm_map_find(&s->instances, instance_key(s, instance, identity));
    pm_sched_worker *worker = node ? PM_OWNER(node, pm_sched_worker, by_instance) : NULL;
    return worker && instance_equal(&worker->instance, instance) ? worker : NULL;
}

/* Words that parents report; anything else is "crash". Static, so that tasks may keep them. */
static const char *crash_word(const char *reason) {
    static const char *const words[] = {"SIGSEGV", "SIGBUS",  "SIGILL", "SIGFPE",
                                        "SIGABRT", "SIGTRAP", "memory", "hang"};
    for (size_t i = 0; reason && i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i], reason) == 0) return words[i];
    return "crash";
}

void pm_sched_worker_free(pm_scheduler *s, pm_sched_worker *worker) {
    pm_node_unlink(&worker->word);
    pm_node_unlink(&worker->hunger);
    pm_map_remove(&s->workers, &worker->by_id);
    pm_map_remove(&s->instances, &worker->by_instance);
    s->threads -= worker->threads;
    if (s->reserved == worker) s->reserved = NULL;
    free(worker);
}

static pm_ghost *find_ghost(pm_scheduler *s, const pm_instance *instance, uint64_t identity) {
    for (size_t i = 0; i < PM_SCHEDULER_GHOSTS; i++) {
        pm_ghost *ghost = &s->ghosts[i];
        if (ghost->item_count && instance_equal(&ghost->instance, instance) &&
            (ghost->identity == identity || PM_PLANTED(23)))
            return ghost;
    }
    return NULL;
}

/* The worker's, or one in place of the oldest. */
static pm_ghost *ghost_of(pm_scheduler *s, const pm_sched_worker *worker) {
    pm_ghost *ghost = find_ghost(s, &worker->instance, worker->identity);
    if (!ghost) {
        ghost = &s->ghosts[s->ghost_next];
        s->ghost_next = (s->ghost_next + 1) % PM_SCHEDULER_GHOSTS;
        *ghost = (pm_ghost){.instance = worker->instance, .identity = worker->identity};
    }
    ghost->lost_ms = s->now_ms;
    return ghost;
}

/* The oldest lease that expired makes room; those held at the end stay. */
static void make_room(pm_ghost *ghost) {
    for (size_t i = 0; i < ghost->item_count && ghost->item_count == PM_GHOST_ITEMS; i++) {
        if (!ghost->items[i].expired) continue;
        ghost->item_count--;
        memmove(&ghost->items[i], &ghost->items[i + 1],
                (ghost->item_count - i) * sizeof *ghost->items);
    }
}

static void remember(pm_ghost *ghost, const pm_sched_lease *lease, uint64_t in_hand, bool expired) {
    make_room(ghost);
    if (ghost->item_count == PM_GHOST_ITEMS) return;
    ghost->items[ghost->item_count++] =
        (pm_ghost_item){.task = lease->task->id,
                        .first = lease->received,
                        .count = in_hand > UINT32_MAX ? UINT32_MAX : (uint32_t)in_hand,
                        .expired = expired,
                        .token = lease->token};
}

void pm_sched_remember_expired(pm_scheduler *s, const pm_sched_lease *lease) {
    remember(ghost_of(s, lease->worker), lease, 0, true);
}

/* The worker is gone: its leases end. `blame`: it crashed. `ghost`: it may turn out to have. */
static pm_status worker_end(pm_scheduler *s, pm_sched_worker *worker, const char *blame,
                            bool ghost) {
    pm_status status = pm_sched_reserve(s, 3 * worker->lease_count + 1);
    if (status != PM_OK) return status;
    pm_ghost *memory = ghost && worker->lease_count ? ghost_of(s, worker) : NULL;
    pm_link_node *node;
    worker->stopped = true;
    while ((node = pm_list_head(&worker->leases))) {
        pm_sched_lease *lease = PM_OWNER(node, pm_sched_lease, in_worker);
        if (memory) remember(memory, lease, lease->started_end - lease->received, false);
        pm_sched_lease_end(s, lease, NULL, PM_PLANTED(5) ? "silence" : blame);
    }
    pm_sched_act(s, PM_ACTION_LOST)->worker = worker->id;
    pm_sched_worker_free(s, worker);
    return PM_OK;
}

/* The items that a worker, lost before, had in hand when it crashed: those still undone are set
 * aside, out of other hands too, or a slow parent would let a poison item kill for ever. */
static pm_status blame_ghost(pm_scheduler *s, pm_ghost *ghost, const char *reason) {
    pm_status status = pm_sched_reserve(s, 3 * ghost->item_count);
    if (status != PM_OK) return status;
    for (size_t i = 0; i < ghost->item_count; i++) {
        const pm_ghost_item *item = &ghost->items[i];
        pm_sched_task *task = pm_sched_task_find(s, item->task);
        if (!task || !task->run || task->phase == PM_TASK_BLAMING || task->blame_count) continue;
        uint64_t first = task->lease ? task->lease->received : task->next + task->pending;
        uint64_t end = item->first + item->count;
        if (first < item->first || first >= end) continue;
        pm_sched_suspect(task, first, end - first, reason);
        if (task->lease) {
            pm_sched_lease_end(s, task->lease, "suspect", NULL);
        } else if (task->phase == PM_TASK_READY) {
            pm_sched_unqueue(s, task);
            pm_sched_settle(s, task);
        }
    }
    ghost->item_count = 0;
    return PM_OK;
}

/* What the parent saw in hand of its dead child counts like an item started. */
static void started_in_lease(pm_sched_worker *worker, const pm_held_lease *item) {
    for (pm_link_node *node = worker->leases.next; node != &worker->leases; node = node->next) {
        pm_sched_lease *lease = PM_OWNER(node, pm_sched_lease, in_worker);
        if (memcmp(&lease->token, &item->token, sizeof item->token) != 0) continue;
        if (item->next >= lease->started_end && item->next < lease->task->end)
            lease->started_end = item->next + 1;
    }
}

static void started_in_ghost(pm_ghost *ghost, const pm_held_lease *item) {
    for (size_t i = 0; i < ghost->item_count; i++) {
        pm_ghost_item *known = &ghost->items[i];
        if (memcmp(&known->token, &item->token, sizeof item->token) != 0) continue;
        if (item->next >= known->first + known->count && item->next - known->first < UINT32_MAX)
            known->count = (uint32_t)(item->next - known->first) + 1;
    }
}

static pm_status crashed(pm_scheduler *s, const pm_event *event) {
    const char *reason = crash_word(event->crash_reason);
    pm_sched_worker *worker = find_instance(s, &event->crashed_instance, event->identity);
    pm_ghost *ghost = find_ghost(s, &event->crashed_instance, event->identity);
    if (instance_equal(&event->instance, &event->crashed_instance)) return PM_OK;
    for (size_t i = 0; i < event->in_hand_count; i++) {
        if (worker) started_in_lease(worker, &event->in_hand[i]);
        if (ghost) started_in_ghost(ghost, &event->in_hand[i]);
    }
    pm_status status = worker ? worker_end(s, worker, reason, false) : PM_OK;
    return ghost && !status ? blame_ghost(s, ghost, reason) : status;
}

static pm_sched_worker *worker_new(pm_scheduler *s, const pm_event *event) {
    pm_sched_worker *worker = calloc(1, sizeof *worker);
    if (!worker) return NULL;
    worker->id = event->worker;
    worker->instance = event->instance;
    worker->identity = event->identity;
    worker->threads = event->threads ? event->threads : 1;
    s->threads += worker->threads;
    pm_list_init(&worker->leases);
    pm_list_init(&worker->holds);
    pm_list_init(&worker->limited);
    pm_map_insert(&s->workers, worker->id, &worker->by_id);
    pm_map_insert(&s->instances, instance_key(s, &worker->instance, worker->identity),
                  &worker->by_instance);
    return worker;
}

/* The worker of this hello: the one that is here, the same process on another connection, or a
 * new one. NULL with PM_OK: refused. */
static pm_status meet(pm_scheduler *s, const pm_event *event, pm_sched_worker **out) {
    pm_sched_worker *here = pm_sched_worker_find(s, event->worker);
    pm_sched_worker *same = find_instance(s, &event->instance, event->identity);
    pm_status status = PM_OK;
    if (here && here != same) {
        status = worker_end(s, here, NULL, true);
        if (status != PM_OK) return status;
        here = NULL;
    }
    if (same && !here) {
        pm_sched_act(s, PM_ACTION_LOST)->worker = same->id;
        pm_map_remove(&s->workers, &same->by_id);
        same->id = event->worker;
        pm_map_insert(&s->workers, same->id, &same->by_id);
    }
    if (!same && (s->workers.count >= PM_WORKERS_MAX ||
                  pm_map_find(&s->instances, instance_key(s, &event->instance, event->identity)))) {
        pm_action *action = pm_sched_act(s, PM_ACTION_REFUSE);
        action->worker = event->worker;
        action->reason = "full";
        *out = NULL;
        return PM_OK;
    }
    if (!same) same = worker_new(s, event);
    if (!same) return pm_fail(PM_E_MEMORY, "out of memory for a worker");
    *out = same;
    return PM_OK;
}

/* By its token: to know of an instance is not enough to be told the tokens of its leases. */
static bool is_own(const pm_sched_task *task, const pm_sched_worker *worker,
                   const pm_held_lease *held) {
    return task->lease && task->lease->worker == worker &&
           memcmp(&task->lease->token, &held->token, sizeof held->token) == 0;
}

static pm_sched_lease *adopt(pm_scheduler *s, pm_sched_worker *worker, const pm_held_lease *held) {
    pm_sched_task *task = pm_sched_task_find(s, held->task);
    if (!task || !task->run) return NULL;
    if (is_own(task, worker, held)) return task->lease;
    if (PM_PLANTED(14) && task->phase == PM_TASK_SETTLING)
        return pm_sched_lease_new(s, task, worker);
    if (task->phase != PM_TASK_READY || held->next > task->next) return NULL;
    /* Somebody else held it; who did not says so with what it has overheard. */
    if (task->was_leased && task->leased_by != worker->identity && !PM_PLANTED(24)) return NULL;
    /* An alone task may be hung there already, and counted: it starts anew. */
    if (task->alone || worker->alone || !pm_sched_may_hold(task->run, worker)) return NULL;
    return pm_sched_lease_new(s, task, worker);
}

static void verdicts(pm_scheduler *s, pm_sched_worker *worker, const pm_event *event) {
    pm_link_node *node, *next;
    for (node = worker->leases.next; node != &worker->leases; node = node->next)
        PM_OWNER(node, pm_sched_lease, in_worker)->listed = false;
    /* First what is its own already, so that what it no longer holds is out of the way. */
    for (size_t i = 0; i < event->lease_count; i++) {
        pm_sched_task *task = pm_sched_task_find(s, event->leases[i].task);
        if (task && is_own(task, worker, &event->leases[i])) task->lease->listed = true;
    }
    for (node = worker->leases.next; node != &worker->leases; node = next) {
        pm_sched_lease *lease = PM_OWNER(node, pm_sched_lease, in_worker);
        next = node->next;
        if (!lease->listed) pm_sched_lease_end(s, lease, NULL, NULL);
    }
    for (size_t i = 0; i < event->lease_count; i++) {
        pm_sched_lease *lease = adopt(s, worker, &event->leases[i]);
        pm_action *action = pm_sched_act(s, PM_ACTION_VERDICT);
        action->worker = worker->id;
        action->task = event->leases[i].task;
        if (!lease) continue;
        pm_sched_lease_extend(s, lease);
        lease->has_progress = false;
        action->adopted = true;
        action->token = lease->token;
    }
}

pm_status pm_sched_hello(pm_scheduler *s, const pm_event *event) {
    pm_sched_worker *worker = NULL;
    pm_sched_worker *same = find_instance(s, &event->instance, event->identity);
    size_t held = same ? same->lease_count : 0;
    pm_status status = event->crashed ? crashed(s, event) : PM_OK;
    if (status == PM_OK) status = pm_sched_reserve(s, 3 * held + 2 * event->lease_count + 5);
    if (status == PM_OK) status = meet(s, event, &worker);
    if (status != PM_OK || !worker) return status;
    /* meet() may have used what was reserved for a worker on the same connection. */
    status = pm_sched_reserve(s, 3 * held + 2 * event->lease_count + 3);
    if (status != PM_OK) return status;
    pm_ghost *ghost = find_ghost(s, &event->instance, event->identity);
    if (ghost) ghost->item_count = 0;
    worker->last_word_ms = s->now_ms;
    pm_list_push_back(&s->words, &worker->word);
    worker->credit = 0;
    if (s->reserved == worker) s->reserved = NULL;
    memset(worker->runs_sent, 0, sizeof worker->runs_sent);
    if (!same) worker->stopped = s->draining;
    verdicts(s, worker, event);
    pm_sched_act(s, PM_ACTION_WELCOME)->worker = worker->id;
    if (worker->drained) pm_sched_act(s, PM_ACTION_DRAIN)->worker = worker->id;
    pm_sched_place_worker(s, worker);
    return PM_OK;
}

pm_status pm_sched_goodbye(pm_scheduler *s, const pm_event *event) {
    pm_sched_worker *worker = pm_sched_worker_find(s, event->worker);
    return worker ? worker_end(s, worker, NULL, false) : PM_OK;
}

static void drain_one(pm_scheduler *s, pm_sched_worker *worker) {
    worker->stopped = worker->drained = true;
    pm_sched_place_worker(s, worker);
    pm_sched_act(s, PM_ACTION_DRAIN)->worker = worker->id;
}

pm_status pm_sched_drain(pm_scheduler *s, const pm_event *event) {
    pm_sched_worker *worker = pm_sched_worker_find(s, event->worker);
    pm_status status = pm_sched_reserve(s, s->workers.count);
    if (status != PM_OK) return status;
    if (event->worker) {
        if (worker) drain_one(s, worker);
        return PM_OK;
    }
    s->draining = true;
    for (pm_link_node *node = s->words.next; node != &s->words; node = node->next)
        drain_one(s, PM_OWNER(node, pm_sched_worker, word));
    return PM_OK;
}

pm_status pm_sched_expire_workers(pm_scheduler *s) {
    pm_link_node *node;
    while ((node = pm_list_head(&s->words))) {
        pm_sched_worker *worker = PM_OWNER(node, pm_sched_worker, word);
        if (s->now_ms - worker->last_word_ms <= s->options.silence_ms || PM_PLANTED(13)) break;
        pm_status status = worker_end(s, worker, NULL, true);
        if (status != PM_OK) return status;
    }
    for (size_t i = 0; i < PM_SCHEDULER_GHOSTS; i++)
        if (s->ghosts[i].item_count && s->now_ms - s->ghosts[i].lost_ms > PM_GHOST_MS)
            s->ghosts[i].item_count = 0;
    return PM_OK;
}
