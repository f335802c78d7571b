/* Owns what goes out: the scheduler's actions as messages and operations. Decides nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "lib/base/log.h"

void pm_broker_send(pm_broker *b, const pm_peer *peer, const Pm__Wire__Message *message,
                    const pm_bytes *frames, size_t frame_count) {
    static pm_log_budget gate;
    pm_status status = pm_router_send(b->router, peer, message, frames, frame_count);
    /* A peer that is gone is found out by its silence. */
    if (!status || status == PM_E_NOT_FOUND) return;
    pm_log_seldom(&gate, PM_LOG_WARN, "message.dropped", "what=%s reason=" PM_QUOTED,
                  pm_wire_name(message->body_case), pm_error_text());
    pm_seat *seat = status == PM_E_BUSY && peer->port == PM_PORT_WORKER
                        ? pm_broker_seat(b, pm_broker_worker_id(peer))
                        : NULL;
    if (seat) b->deaf = seat->deaf = true;
}

/* Not at once: this runs while the scheduler's actions are carried out. */
void pm_broker_drop_deaf(pm_broker *b) {
    if (!b->deaf) return;
    b->deaf = false;
    for (pm_link_node *node = b->seat_order.next, *next; node != &b->seat_order; node = next) {
        pm_seat *seat = PM_OWNER(node, pm_seat, in_order);
        pm_event gone = {.kind = PM_EVENT_GOODBYE, .worker = seat->by_id.key};
        next = node->next;
        if (!seat->deaf) continue;
        seat->deaf = false;
        pm_log(PM_LOG_WARN, "worker.deaf", "worker=" PM_QUOTED, seat->name);
        pm_broker_feed(b, &gone);
    }
}

void pm_broker_refuse(pm_broker *b, const pm_peer *peer, const char *reason, const char *text,
                      uint32_t request) {
    Pm__Wire__Refused refused = PM__WIRE__REFUSED__INIT;
    refused.reason = (char *)reason;
    refused.text = (char *)text;
    refused.has_request = request != 0;
    refused.request = request;
    Pm__Wire__Message message = pm_wire_refused(&refused);
    pm_broker_send(b, peer, &message, NULL, 0);
}

bool pm_broker_refuse_protocol(pm_broker *b, const pm_peer *peer, const Pm__Wire__Hello *hello) {
    char text[192];
    if (hello->protocol == PM_PROTOCOL_VERSION) return false;
    snprintf(text, sizeof text,
             "this broker speaks protocol %d, not %u; use the same version of parchmill on both "
             "sides",
             PM_PROTOCOL_VERSION, hello->protocol);
    pm_broker_refuse(b, peer, "version", text, 0);
    return true;
}

static void drop_verdicts(pm_broker *b) {
    for (size_t i = 0; i < b->verdict_count; i++) {
        free(b->verdicts[i]->token.data);
        free(b->verdicts[i]);
    }
    b->verdict_count = 0;
}

void pm_broker_welcome(pm_broker *b, const pm_peer *peer) {
    Pm__Wire__Welcome welcome = PM__WIRE__WELCOME__INIT;
    welcome.protocol = PM_PROTOCOL_VERSION;
    welcome.epoch = (ProtobufCBinaryData){sizeof b->epoch, b->epoch};
    welcome.heartbeat_ms = PM_HEARTBEAT_MS;
    welcome.silence_ms = PM_SILENCE_MS;
    welcome.lease_ms = (uint32_t)b->options.lease_ms;
    welcome.has_schema_version = true;
    welcome.schema_version = PM_SCHEMA_VERSION;
    welcome.n_leases = b->verdict_count;
    welcome.leases = b->verdicts;
    Pm__Wire__Message message = pm_wire_welcome(&welcome);
    pm_broker_send(b, peer, &message, NULL, 0);
    drop_verdicts(b);
}

/* What does not fit is refused by silence: the worker's next word on it is answered with a
 * revocation. */
static void add_verdict(pm_broker *b, const pm_action *action) {
    Pm__Wire__LeaseVerdict *verdict = NULL;
    if (b->verdict_count < sizeof b->verdicts / sizeof *b->verdicts)
        verdict = malloc(sizeof *verdict);
    if (!verdict) return;
    pm__wire__lease_verdict__init(verdict);
    verdict->task = action->task;
    if (action->adopted) {
        verdict->token.data = malloc(sizeof action->token);
        if (!verdict->token.data) {
            free(verdict);
            return;
        }
        memcpy(verdict->token.data, &action->token, sizeof action->token);
        verdict->token.len = sizeof action->token;
        verdict->has_token = true;
    }
    b->verdicts[b->verdict_count++] = verdict;
}

static void welcome_worker(pm_broker *b, pm_worker_id id) {
    pm_peer peer = pm_broker_worker_peer(id);
    pm_seat *seat = pm_broker_seat(b, id);
    if (seat && !seat->here) {
        seat->here = true;
        pm_log(PM_LOG_INFO, "worker.here", "worker=" PM_QUOTED " threads=%u adopted=%zu",
               seat->name, seat->threads, b->verdict_count);
    }
    pm_broker_welcome(b, &peer);
}

static void lose_worker(pm_broker *b, pm_worker_id id) {
    const pm_seat *seat = pm_broker_seat(b, id);
    if (seat)
        pm_log(PM_LOG_INFO, "worker.lost", "worker=" PM_QUOTED " items=%" PRIu64, seat->name,
               seat->items_done);
    pm_broker_drop_seat(b, id);
}

static Pm__Wire__Blob blob(const pm_sha256 *hash, uint64_t size_bytes, const char *path) {
    Pm__Wire__Blob out = PM__WIRE__BLOB__INIT;
    out.sha256 = (ProtobufCBinaryData){sizeof hash->bytes, (uint8_t *)hash->bytes};
    out.size_bytes = size_bytes;
    out.path = (char *)path;
    return out;
}

static void send_run_info(pm_broker *b, const pm_action *action) {
    const pm_run *run = pm_runs_find(&b->runs, action->run);
    pm_peer peer = pm_broker_worker_peer(action->worker);
    if (!run || !run->spec) return;
    const pm_run_spec *spec = run->spec;
    Pm__Wire__RunInfo info = PM__WIRE__RUN_INFO__INIT;
    char evaluation[PM_EVALUATION_BYTES];
    Pm__Wire__Blob statistics, baseline;
    Pm__Wire__Blob weights =
        blob(&spec->configs[0].weights, spec->weights_size, spec->weights_path);
    info.run = run->id;
    info.arch = (char *)spec->configs[0].arch;
    info.weights = &weights;
    for (size_t i = 0; i < spec->config_count && !info.statistics; i++) {
        if (!spec->configs[i].has_statistics) continue;
        statistics =
            blob(&spec->configs[i].statistics, spec->statistics_size, spec->statistics_path);
        info.statistics = &statistics;
    }
    const pm_sha256 *baseline_hash = pm_run_spec_baseline(spec);
    if (baseline_hash) {
        baseline = blob(baseline_hash, spec->baseline_size, spec->baseline_path);
        info.baseline = &baseline;
    }
    info.n_configurations = spec->config_count;
    info.configurations = run->config_texts;
    info.data_root = run->data_set->root;
    info.channels = (char *)pm_channels_name(spec->channels);
    info.heat_maps = (char *)pm_heat_maps_name(spec->heat_maps);
    pm_evaluation_format(&spec->evaluation, evaluation);
    if (spec->evaluation.on) info.evaluation = evaluation;
    Pm__Wire__Message message = pm_wire_run_info(&info);
    pm_broker_send(b, &peer, &message, NULL, 0);
}

static bool scores_all_boxes(const pm_run_spec *spec) {
    for (size_t i = 0; i < spec->config_count; i++)
        if (spec->configs[i].all_boxes) return true;
    return false;
}

/* A box is four doubles, corners first and last, wherever it stands. */
_Static_assert(sizeof(pm_spec_box) == 4 * sizeof(double), "corners of boxes lie one by one");

static void put_item(const pm_item *from, uint64_t ordinal, bool all_boxes, Pm__Wire__Item *to) {
    pm__wire__item__init(to);
    to->ordinal = ordinal;
    to->path = from->path;
    to->sha256 = (ProtobufCBinaryData){sizeof from->sha256.bytes, (uint8_t *)from->sha256.bytes};
    to->size_bytes = from->size_bytes;
    to->has_label = from->label >= 0;
    to->label = from->label;
    if (!from->box_count) return;
    to->has_xmin = to->has_ymin = to->has_xmax = to->has_ymax = true;
    to->xmin = from->boxes[0].xmin;
    to->ymin = from->boxes[0].ymin;
    to->xmax = from->boxes[0].xmax;
    to->ymax = from->boxes[0].ymax;
    if (!all_boxes || from->box_count < 2) return;
    to->n_corners = 4 * (from->box_count - 1);
    to->corners = &from->boxes[1].xmin;
}

/* Without memory nothing is sent; the lease ends when the worker's beats do not name it. */
static void send_task(pm_broker *b, const pm_action *action) {
    pm_run_task *task = pm_runs_task(&b->runs, action->task);
    pm_peer peer = pm_broker_worker_peer(action->worker);
    size_t count = (size_t)(action->end - action->first);
    if (!task || !task->run->spec || action->end > task->run->data_set->count) {
        pm_broker_die(
            b, pm_fail(PM_E_INTERNAL, "task %" PRIu64 " belongs to no live run", action->task));
        return;
    }
    Pm__Wire__Item *items = calloc(count, sizeof *items),
                   **pointers = calloc(count, sizeof *pointers);
    const bool all_boxes = scores_all_boxes(task->run->spec);
    if (items && pointers) {
        Pm__Wire__Task out = PM__WIRE__TASK__INIT;
        for (size_t i = 0; i < count; i++) {
            pointers[i] = &items[i];
            put_item(&task->run->data_set->items[action->first + i], action->first + i, all_boxes,
                     &items[i]);
        }
        out.task = action->task;
        out.token = (ProtobufCBinaryData){sizeof action->token, (uint8_t *)action->token.bytes};
        out.run = action->run;
        out.n_configurations = task->config_count;
        out.configurations = task->configs;
        out.n_items = count;
        out.items = pointers;
        Pm__Wire__Message message = pm_wire_task(&out);
        pm_broker_send(b, &peer, &message, NULL, 0);
    }
    free(items);
    free(pointers);
}

static void send_revoke(pm_broker *b, const pm_action *action) {
    pm_peer peer = pm_broker_worker_peer(action->worker);
    Pm__Wire__LeaseRevoked out = PM__WIRE__LEASE_REVOKED__INIT;
    out.task = action->task;
    out.token = (ProtobufCBinaryData){sizeof action->token, (uint8_t *)action->token.bytes};
    out.reason = (char *)action->reason;
    Pm__Wire__Message message = pm_wire_lease_revoked(&out);
    pm_log(PM_LOG_DEBUG, "lease.revoked", "task=%" PRIu64 " reason=%s", action->task,
           action->reason);
    pm_broker_send(b, &peer, &message, NULL, 0);
}

static void send_acknowledge(pm_broker *b, const pm_action *action) {
    pm_peer peer = pm_broker_worker_peer(action->worker);
    Pm__Wire__ItemRecorded out = PM__WIRE__ITEM_RECORDED__INIT;
    out.task = action->task;
    out.ordinal = action->first;
    Pm__Wire__Message message = pm_wire_item_recorded(&out);
    pm_broker_send(b, &peer, &message, NULL, 0);
}

static void put_blame(pm_broker *b, const pm_action *action) {
    static const pm_op_kind kinds[] = {PM_OP_SET_ASIDE, PM_OP_CRASHED, PM_OP_POISON};
    static const char *const names[] = {"item.set_aside", "item.crashed", "item.poison"};
    pm_op *op = pm_op_new(kinds[action->blame]);
    if (!op) {
        pm_broker_die(b, pm_fail(PM_E_MEMORY, "out of memory"));
        return;
    }
    op->crash.task_id = action->task;
    op->crash.item = action->first;
    strncpy(op->crash.reason, action->reason, sizeof op->crash.reason - 1);
    pm_log(PM_LOG_WARN, names[action->blame],
           "run=%" PRIu64 " task=%" PRIu64 " item=%" PRIu64 " crashes=%u reason=%s", action->run,
           action->task, action->first, action->crashes, action->reason);
    pm_broker_put(b, op);
}

static void put_run(pm_broker *b, pm_op_kind kind, uint64_t run) {
    pm_op *op = pm_op_new(kind);
    if (!op) {
        pm_broker_die(b, pm_fail(PM_E_MEMORY, "out of memory"));
        return;
    }
    op->run.run_id = run;
    pm_broker_put(b, op);
}

void pm_broker_summarise(pm_broker *b, uint64_t run) { put_run(b, PM_OP_SUMMARISE, run); }

static void put_record(pm_broker *b, const pm_action *action) {
    pm_op *op = b->record;
    b->record = NULL;
    if (!op) {
        pm_broker_die(b, pm_fail(PM_E_INTERNAL, "a record without a result"));
        return;
    }
    const pm_seat *seat = pm_broker_seat(b, action->worker);
    op->record.worker_id = seat ? seat->worker_id : 0;
    pm_broker_put(b, op);
}

static void send_plain(pm_broker *b, const pm_action *action) {
    pm_peer peer = pm_broker_worker_peer(action->worker);
    Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
    Pm__Wire__Drain drain = PM__WIRE__DRAIN__INIT;
    Pm__Wire__Message message =
        action->kind == PM_ACTION_DRAIN ? pm_wire_drain(&drain) : pm_wire_heartbeat(&beat);
    pm_broker_send(b, &peer, &message, NULL, 0);
}

static const char *refusal_text(const char *reason) {
    if (strcmp(reason, "hello") == 0) return "say hello first";
    return "too many workers";
}

static void log_refused(const pm_action *action) {
    static pm_log_budget gate;
    pm_log_seldom(&gate, PM_LOG_WARN, "result.refused",
                  "task=%" PRIu64 " item=%" PRIu64 " reason=%s", action->task, action->first,
                  action->reason);
}

void pm_broker_carry_out(pm_broker *b, const pm_action *action) {
    pm_peer peer = pm_broker_worker_peer(action->worker);
    switch (action->kind) {
    case PM_ACTION_VERDICT: add_verdict(b, action); break;
    case PM_ACTION_WELCOME: welcome_worker(b, action->worker); break;
    case PM_ACTION_REFUSE:
        pm_broker_refuse(b, &peer, action->reason, refusal_text(action->reason), 0);
        break;
    case PM_ACTION_RUN_INFO: send_run_info(b, action); break;
    case PM_ACTION_TASK: send_task(b, action); break;
    case PM_ACTION_REVOKE: send_revoke(b, action); break;
    case PM_ACTION_ACKNOWLEDGE: send_acknowledge(b, action); break;
    case PM_ACTION_HEARTBEAT:
    case PM_ACTION_DRAIN: send_plain(b, action); break;
    case PM_ACTION_RECORD: put_record(b, action); break;
    case PM_ACTION_BLAME: put_blame(b, action); break;
    case PM_ACTION_RUN_DONE: put_run(b, PM_OP_FINISH, action->run); break;
    case PM_ACTION_LOST: lose_worker(b, action->worker); break;
    case PM_ACTION_LOG_REFUSED: log_refused(action); break;
    }
}
