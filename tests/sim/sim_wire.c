/* Owns what the broker's side says and hears: the scheduler's actions as messages, and messages as
 * its events. As broker/carry.c and broker/workers.c, without specifications and blobs. */
#include <stdlib.h>
#include <string.h>

#include "broker/scheduler_state.h"
#include "tests/sim/sim.h"

enum { HEARTBEAT_MS = 1000, SILENCE_MS = 5000, LEASE_MS = 10000, HELD_MAX = 4096 };

static ProtobufCBinaryData bytes_of(const pm_token *token) {
    return (ProtobufCBinaryData){PM_TOKEN_BYTES, (uint8_t *)token->bytes};
}

static void say(sim *w, const pm_action *a, Pm__Wire__Message message) {
    sim_send(w, SIM_TO_WORKER, a->worker, &message);
}

static void welcome(sim *w, const pm_action *a) {
    Pm__Wire__Welcome out = PM__WIRE__WELCOME__INIT;
    bool memory = sim_memory_hold();
    Pm__Wire__LeaseVerdict *verdicts = calloc(w->verdict_count + 1, sizeof *verdicts);
    Pm__Wire__LeaseVerdict **pointers = calloc(w->verdict_count + 1, sizeof *pointers);
    if (!verdicts || !pointers) abort();
    for (size_t i = 0; i < w->verdict_count; i++) {
        pm__wire__lease_verdict__init(&verdicts[i]);
        verdicts[i].task = w->verdicts[i].task;
        verdicts[i].has_token = w->verdicts[i].adopted;
        verdicts[i].token = bytes_of(&w->verdicts[i].token);
        pointers[i] = &verdicts[i];
    }
    out.protocol = PM_PROTOCOL_VERSION;
    out.epoch = (ProtobufCBinaryData){PM_EPOCH_BYTES, (uint8_t *)&w->epoch};
    out.heartbeat_ms = HEARTBEAT_MS;
    out.silence_ms = SILENCE_MS;
    out.lease_ms = w->scale.lease_ms ? (uint32_t)w->scale.lease_ms : LEASE_MS;
    out.n_leases = w->verdict_count;
    out.leases = pointers;
    say(w, a, pm_wire_welcome(&out));
    free(verdicts);
    free(pointers);
    w->verdict_count = 0;
    sim_memory_go_on(memory);
}

static void run_info(sim *w, const pm_action *a) {
    static uint8_t hash[PM_SHA256_BYTES];
    Pm__Wire__RunInfo out = PM__WIRE__RUN_INFO__INIT;
    Pm__Wire__Blob weights = PM__WIRE__BLOB__INIT;
    char *configurations[256];
    const size_t count = w->scale.configurations < 256 ? w->scale.configurations : 256;
    for (size_t i = 0; i < count; i++) configurations[i] = (char *)"{\"method\":\"grad\"}";
    weights.sha256 = (ProtobufCBinaryData){sizeof hash, hash};
    out.run = a->run;
    out.arch = (char *)"resnet50";
    out.weights = &weights;
    out.n_configurations = count;
    out.configurations = configurations;
    out.data_root = (char *)"/data";
    out.channels = out.heat_maps = (char *)"none";
    say(w, a, pm_wire_run_info(&out));
}

static void task(sim *w, const pm_action *a) {
    static uint8_t hash[PM_SHA256_BYTES];
    enum { MOST = 256 };
    Pm__Wire__Item items[MOST], *pointers[MOST];
    uint32_t configurations[256];
    Pm__Wire__Task out = PM__WIRE__TASK__INIT;
    for (uint64_t i = a->first; i < a->end && out.n_items < MOST; i++) {
        Pm__Wire__Item *item = &items[out.n_items];
        pm__wire__item__init(item);
        item->ordinal = i;
        item->path = (char *)"n01440764/n01440764_10026.JPEG";
        item->sha256 = (ProtobufCBinaryData){sizeof hash, hash};
        item->size_bytes = 110000;
        item->has_label = true;
        item->label = 7;
        pointers[out.n_items++] = item;
    }
    out.n_configurations = w->scale.configurations < 256 ? w->scale.configurations : 256;
    for (size_t i = 0; i < out.n_configurations; i++) configurations[i] = (uint32_t)i;
    out.task = a->task;
    out.token = bytes_of(&a->token);
    out.run = a->run;
    out.configurations = configurations;
    out.items = pointers;
    say(w, a, pm_wire_task(&out));
    sim_snoop_task(w, a);
}

static void refuse(sim *w, const pm_action *a) {
    Pm__Wire__Refused out = PM__WIRE__REFUSED__INIT;
    out.reason = (char *)a->reason;
    out.text = (char *)"as the reason says";
    say(w, a, pm_wire_refused(&out));
}

static void revoke(sim *w, const pm_action *a) {
    Pm__Wire__LeaseRevoked out = PM__WIRE__LEASE_REVOKED__INIT;
    out.task = a->task;
    out.token = bytes_of(&a->token);
    out.reason = (char *)a->reason;
    say(w, a, pm_wire_lease_revoked(&out));
    sim_count(w, SIM_N_REVOKED);
}

static void acknowledge(sim *w, const pm_action *a) {
    Pm__Wire__ItemRecorded out = PM__WIRE__ITEM_RECORDED__INIT;
    out.task = a->task;
    out.ordinal = a->first;
    say(w, a, pm_wire_item_recorded(&out));
}

void sim_wire_action(sim *w, const pm_action *a) {
    Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
    Pm__Wire__Drain drain = PM__WIRE__DRAIN__INIT;
    switch (a->kind) {
    case PM_ACTION_VERDICT:
        sim_count(w, a->adopted ? SIM_N_ADOPTED : SIM_N_NOT_ADOPTED);
        if (w->verdict_count < sizeof w->verdicts / sizeof *w->verdicts)
            w->verdicts[w->verdict_count++] = *a;
        break;
    case PM_ACTION_WELCOME: welcome(w, a); break;
    case PM_ACTION_REFUSE: refuse(w, a); break;
    case PM_ACTION_RUN_INFO: run_info(w, a); break;
    case PM_ACTION_TASK: task(w, a); break;
    case PM_ACTION_REVOKE: revoke(w, a); break;
    case PM_ACTION_ACKNOWLEDGE: acknowledge(w, a); break;
    case PM_ACTION_HEARTBEAT: say(w, a, pm_wire_heartbeat(&beat)); break;
    case PM_ACTION_DRAIN: say(w, a, pm_wire_drain(&drain)); break;
    case PM_ACTION_LOG_REFUSED: sim_count(w, SIM_N_REFUSED_RESULTS); break;
    case PM_ACTION_RECORD:
    case PM_ACTION_BLAME:
    case PM_ACTION_RUN_DONE:
    case PM_ACTION_LOST: break;
    }
}

/* ---- what is heard ---- */

static void read_token(const ProtobufCBinaryData *bytes, pm_token *out) {
    if (bytes->len == sizeof out->bytes) memcpy(out->bytes, bytes->data, sizeof out->bytes);
}

static void hear_hello(sim *w, pm_worker_id conn, const Pm__Wire__Hello *hello) {
    const size_t count = hello->n_leases + hello->n_in_hand;
    pm_held_lease *held = calloc(count + 1, sizeof *held);
    pm_event event = {.kind = PM_EVENT_HELLO, .worker = conn, .threads = hello->threads};
    if (!held) abort();
    if (count > HELD_MAX) sim_fail(w, "invariant 13: a hello with %zu leases", count);
    if (event.threads > 1024) event.threads = 1024;
    event.identity = sim_identity(w, conn);
    memcpy(event.instance.bytes, hello->instance.data, sizeof event.instance.bytes);
    if (hello->has_crashed_instance) {
        event.crashed = true;
        event.crash_reason = hello->crash_reason;
        memcpy(event.crashed_instance.bytes, hello->crashed_instance.data, PM_INSTANCE_BYTES);
    }
    for (size_t i = 0; i < count; i++) {
        const bool lease = i < hello->n_leases;
        const Pm__Wire__HeldLease *l = lease ? hello->leases[i] : NULL;
        const Pm__Wire__InHand *item = lease ? NULL : hello->in_hand[i - hello->n_leases];
        held[i].task = l ? l->task : item->task;
        held[i].next = l ? l->next : item->ordinal;
        read_token(l ? &l->token : &item->token, &held[i].token);
    }
    event.lease_count = hello->n_leases;
    event.leases = held;
    event.in_hand_count = hello->n_in_hand;
    event.in_hand = held + hello->n_leases;
    pm_scheduler_counts counts;
    pm_scheduler_count(w->scheduler, &counts);
    if (w->seats && counts.workers >= w->seats && !pm_sched_worker_find(w->scheduler, conn)) {
        const pm_action full = {.worker = conn, .reason = "full"};
        refuse(w, &full);
        free(held);
        return;
    }
    if (sim_conn_owner(conn) < w->worker_count) sim_snoop_instance(w, &event.instance);
    sim_broker_feed(w, &event);
    free(held);
}

static void hear_beats(sim *w, pm_worker_id conn, const Pm__Wire__Heartbeat *heartbeat) {
    pm_event event = {.kind = PM_EVENT_HEARTBEAT, .worker = conn};
    pm_beat *beats = calloc(heartbeat->n_beats + 1, sizeof *beats);
    if (!beats) abort();
    for (size_t i = 0; i < heartbeat->n_beats; i++) {
        beats[i].task = heartbeat->beats[i]->task;
        beats[i].progress = heartbeat->beats[i]->progress;
        read_token(&heartbeat->beats[i]->token, &beats[i].token);
    }
    event.beat_count = heartbeat->n_beats;
    event.beats = beats;
    sim_broker_feed(w, &event);
    free(beats);
}

static void hear_item(sim *w, pm_worker_id conn, pm_event_kind kind, uint64_t task_id,
                      const ProtobufCBinaryData *token, uint64_t ordinal) {
    pm_event event = {.kind = kind, .worker = conn, .task = task_id, .ordinal = ordinal};
    read_token(token, &event.token);
    sim_broker_feed(w, &event);
}

static void hear_result(sim *w, pm_worker_id conn, const Pm__Wire__ItemResult *result) {
    if (!result->n_results) return;
    w->message_value = (uint64_t)result->results[0]->p_target;
    hear_item(w, conn, PM_EVENT_ITEM_RESULT, result->task, &result->token, result->ordinal);
}

void sim_broker_hear(sim *w, const sim_event *message) {
    const pm_worker_id conn = message->conn;
    Pm__Wire__Message *body = NULL;
    pm_event event = {.worker = conn};
    if (w->killed || !w->scheduler) return;
    if (pm_wire_unpack(message->bytes, message->size, &body) != PM_OK) abort();
    if (body->body_case == PM__WIRE__MESSAGE__BODY_HELLO) {
        hear_hello(w, conn, body->hello);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_HEARTBEAT) {
        hear_beats(w, conn, body->heartbeat);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_GOODBYE) {
        event.kind = PM_EVENT_GOODBYE;
        sim_broker_feed(w, &event);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_CREDIT) {
        event.kind = PM_EVENT_CREDIT;
        event.credit = body->credit->tasks;
        sim_check_credit(w, conn, event.credit);
        sim_broker_feed(w, &event);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_ITEM_STARTED) {
        hear_item(w, conn, PM_EVENT_ITEM_STARTED, body->item_started->task,
                  &body->item_started->token, body->item_started->ordinal);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_ITEM_RESULT) {
        hear_result(w, conn, body->item_result);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_TASK_RETURNED) {
        hear_item(w, conn, PM_EVENT_TASK_RETURNED, body->task_returned->task,
                  &body->task_returned->token, 0);
    }
    pm_wire_free(&body);
}
