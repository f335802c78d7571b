/* Owns what clients ask: submit, status, cancel, retry, other terms, drain. Answers status from
 * memory; everything that changes something goes to the store and is answered after its commit
 * (commits.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/reasons.h"
#include "lib/base/log.h"
#include "lib/base/text.h"

enum { SLICE_ITEMS = 4000 }; /* of a submission, in one transaction: about a tenth of a second */

static void *copy_request(const pm_peer *peer, uint32_t number) {
    pm_request *request = malloc(sizeof *request);
    if (request) *request = (pm_request){.peer = *peer, .number = number};
    return request;
}

static pm_status copy_hash(const ProtobufCBinaryData *bytes, const char *what, pm_sha256 *out) {
    if (bytes->len != sizeof out->bytes)
        return pm_fail(PM_E_USAGE, "submit: %s is %zu bytes, not %zu", what, bytes->len,
                       sizeof out->bytes);
    memcpy(out->bytes, bytes->data, sizeof out->bytes);
    return PM_OK;
}

/* Shown to people and stored as text. */
static pm_status check_text(const char *text, const char *what) {
    return pm_text_is_plain(text)
               ? PM_OK
               : pm_fail(PM_E_USAGE, "submit: the %s is not printable UTF-8; rename it", what);
}

static pm_status copy_text(const char *from, const char *what, char *out, size_t size) {
    if (snprintf(out, size, "%s", from ? from : "") >= (int)size)
        return pm_fail(PM_E_USAGE, "submit: the %s is longer than %zu bytes", what, size - 1);
    return check_text(out, what);
}

/* What a worker opens below the data root must lie below it. */
static pm_status check_item_path(const char *path) {
    const char *at = path;
    pm_status status = check_text(path, "image path");
    if (status) return status;
    if (!*path || *path == '/') return pm_fail(PM_E_USAGE, "submit: image path '%.200s'", path);
    while (*at) {
        size_t length = strcspn(at, "/");
        if (length == 2 && at[0] == '.' && at[1] == '.')
            return pm_fail(PM_E_USAGE, "submit: image path '%.200s' leaves the data folder", path);
        at += length;
        while (*at == '/') at++;
    }
    return PM_OK;
}

static pm_status read_spec(const Pm__Wire__Submit *submit, pm_run_spec *spec) {
    pm_status status = copy_text(submit->name, "name", spec->name, sizeof spec->name);
    if (!status)
        status = copy_text(submit->weights->path, "weights path", spec->weights_path,
                           sizeof spec->weights_path);
    if (!status && submit->statistics)
        status = copy_text(submit->statistics->path, "statistics path", spec->statistics_path,
                           sizeof spec->statistics_path);
    if (!status && submit->baseline)
        status = copy_text(submit->baseline->path, "baseline path", spec->baseline_path,
                           sizeof spec->baseline_path);
    if (!status) status = pm_channels_parse(submit->channels, &spec->channels);
    if (!status) status = pm_heat_maps_parse(submit->heat_maps, &spec->heat_maps);
    if (!status && submit->evaluation)
        status = pm_evaluation_parse(submit->evaluation, &spec->evaluation);
    if (status) return status;
    if (!submit->n_configurations) return pm_fail(PM_E_USAGE, "submit: no configuration");
    spec->classes = submit->classes;
    spec->weights_size = submit->weights->size_bytes;
    spec->statistics_size = submit->statistics ? submit->statistics->size_bytes : 0;
    spec->baseline_size = submit->baseline ? submit->baseline->size_bytes : 0;
    spec->configs = calloc(submit->n_configurations, sizeof *spec->configs);
    if (!spec->configs) return pm_fail(PM_E_MEMORY, "submit: out of memory");
    spec->config_count = submit->n_configurations;
    for (size_t i = 0; !status && i < spec->config_count; i++)
        status = pm_config_parse(submit->configurations[i], &spec->configs[i]);
    return status;
}

static pm_status read_data_set(const Pm__Wire__Submit *submit, const pm_message *message,
                               pm_data_set *set) {
    if (message->frame_count != 1) return pm_fail(PM_E_USAGE, "submit: wants one bulk frame");
    pm_status status = check_text(submit->data_root, "data folder");
    if (!status) status = check_text(submit->data_name, "data set's name");
    if (!status)
        status = pm_wire_items_unpack(message->frames[0].bytes, message->frames[0].size, set);
    if (status) return status;
    set->root = strdup(submit->data_root);
    set->name = strdup(submit->data_name);
    set->class_names = calloc(submit->n_class_names + 1, sizeof *set->class_names);
    if (!set->root || !set->name || !set->class_names)
        return pm_fail(PM_E_MEMORY, "submit: out of memory");
    set->class_name_count = submit->n_class_names;
    for (size_t i = 0; i < submit->n_class_names; i++) {
        if (!submit->class_names[i][0]) continue;
        status = check_text(submit->class_names[i], "name of a class");
        if (status) return status;
        set->class_names[i] = strdup(submit->class_names[i]);
        if (!set->class_names[i]) return pm_fail(PM_E_MEMORY, "submit: out of memory");
    }
    for (size_t i = 0; !status && i < set->count; i++) status = check_item_path(set->items[i].path);
    if (!status && set->root[0] != '/')
        status = pm_fail(PM_E_USAGE, "submit: the data folder must be an absolute path");
    return status;
}

static pm_status make_submit(pm_broker *b, const pm_message *message, pm_op *op) {
    const Pm__Wire__Submit *submit = message->body->submit;
    pm_op_submit *out = &op->submit;
    out->spec = calloc(1, sizeof *out->spec);
    out->data_set = calloc(1, sizeof *out->data_set);
    if (!out->spec || !out->data_set) return pm_fail(PM_E_MEMORY, "submit: out of memory");
    pm_sha256 request_id;
    pm_status status = copy_hash(&submit->request_id, "the request id", &out->request_id);
    if (!status) status = read_spec(submit, out->spec);
    if (!status) status = read_data_set(submit, message, out->data_set);
    if (status) return status;
    request_id = pm_run_request_id(out->spec, out->data_set);
    if (!pm_sha256_equal(&request_id, &out->request_id))
        return pm_fail(PM_E_MISMATCH, "submit: the request id is not that of its content");
    snprintf(out->engine_version, sizeof out->engine_version, "%s", PM_ENGINE_VERSION);
    out->foreground = submit->foreground;
    out->terms.priority = submit->priority;
    out->terms.max_workers = submit->max_workers;
    out->task_items = b->options.task_items;
    out->slice_items = SLICE_ITEMS;
    return PM_OK;
}

static void ask_store(pm_broker *b, const pm_peer *peer, uint32_t number, pm_op *op,
                      pm_status status) {
    if (!status && !op) status = pm_fail(PM_E_MEMORY, "out of memory");
    if (!status && !(op->cookie = copy_request(peer, number)))
        status = pm_fail(PM_E_MEMORY, "out of memory");
    if (status) {
        pm_broker_refuse(b, peer, pm_reason_of(status), pm_error_text(), number);
        pm_op_free(&op);
        return;
    }
    /* What waited here would hold up everybody's results. */
    if (op->kind != PM_OP_SUBMIT) {
        pm_broker_put(b, op);
    } else if (!pm_broker_put_if_room(b, &op)) {
        pm_broker_refuse(b, peer, "busy", "other submissions are being taken in; try again",
                         number);
        pm_broker_free_op(op);
    }
}

static bool refuse_full(pm_broker *b, const pm_peer *peer, uint32_t number) {
    if (!b->paused[0]) return false;
    pm_broker_refuse(b, peer, "full", b->paused, number);
    return true;
}

static void hear_submit(pm_broker *b, const pm_peer *peer, const pm_message *message) {
    uint32_t number = message->body->submit->request;
    /* As nice(1) has it: everybody may stand back, to push in front of others is an admin's. */
    if (peer->role != PM_ROLE_ADMIN && message->body->submit->priority > 0) {
        pm_broker_refuse(b, peer, "role", "a priority above 0 needs a key with role admin", number);
        return;
    }
    if (refuse_full(b, peer, number)) return;
    pm_op *op = pm_op_new(PM_OP_SUBMIT);
    ask_store(b, peer, number, op, op ? make_submit(b, message, op) : PM_OK);
}

static void hear_cancel(pm_broker *b, const pm_peer *peer, const Pm__Wire__Cancel *cancel) {
    if (refuse_full(b, peer, cancel->request)) return;
    pm_op *op = pm_op_new(PM_OP_CANCEL);
    if (op) op->run.run_id = cancel->run;
    ask_store(b, peer, cancel->request, op, PM_OK);
}

static void hear_refresh(pm_broker *b, const pm_peer *peer, const Pm__Wire__Refresh *refresh) {
    if (refuse_full(b, peer, refresh->request)) return;
    pm_op *op = pm_op_new(PM_OP_REFRESH);
    if (op) op->run.run_id = refresh->run;
    ask_store(b, peer, refresh->request, op, PM_OK);
}

static void hear_retry(pm_broker *b, const pm_peer *peer, const Pm__Wire__Retry *retry) {
    if (refuse_full(b, peer, retry->request)) return;
    pm_op *op = pm_op_new(PM_OP_RETRY);
    pm_status status = PM_OK;
    if (op) {
        op->run.run_id = retry->run;
        if (retry->stage && !(op->run.stage = strdup(retry->stage))) status = PM_E_MEMORY;
        if (retry->reason && !(op->run.reason = strdup(retry->reason))) status = PM_E_MEMORY;
        if (retry->image && !(op->run.image = strdup(retry->image))) status = PM_E_MEMORY;
        if (status) pm_fail(status, "retry: out of memory");
    }
    ask_store(b, peer, retry->request, op, status);
}

static void hear_terms(pm_broker *b, const pm_peer *peer, uint32_t number,
                       const pm_op_terms *asked) {
    if (refuse_full(b, peer, number)) return;
    pm_op *op = pm_op_new(PM_OP_TERMS);
    if (op) op->terms = *asked;
    ask_store(b, peer, number, op, PM_OK);
}

static void hear_pause(pm_broker *b, const pm_peer *peer, const Pm__Wire__Pause *pause) {
    pm_op_terms asked = {
        .run_id = pause->run, .set_paused = true, .terms.paused = pause->paused != 0};
    hear_terms(b, peer, pause->request, &asked);
}

static void hear_prioritize(pm_broker *b, const pm_peer *peer,
                            const Pm__Wire__Prioritize *prioritize) {
    pm_op_terms asked = {
        .run_id = prioritize->run, .set_priority = true, .terms.priority = prioritize->priority};
    hear_terms(b, peer, prioritize->request, &asked);
}

static void hear_limit(pm_broker *b, const pm_peer *peer, const Pm__Wire__Limit *limit) {
    pm_op_terms asked = {
        .run_id = limit->run, .set_max_workers = true, .terms.max_workers = limit->max_workers};
    hear_terms(b, peer, limit->request, &asked);
}

/* By its name, its host, or all that are here; who comes later is welcome. */
static bool is_meant(const pm_seat *seat, const char *who) {
    const char *colon = strrchr(seat->name, ':');
    size_t host = colon ? (size_t)(colon - seat->name) : strlen(seat->name);
    if (strcmp(who, "all") == 0 || strcmp(who, seat->name) == 0) return true;
    return strlen(who) == host && strncmp(who, seat->name, host) == 0;
}

static void hear_drain(pm_broker *b, const pm_peer *peer, const Pm__Wire__DrainWorkers *drain) {
    char text[160];
    Pm__Wire__Done done = PM__WIRE__DONE__INIT;
    pm_link_node *next;
    done.request = drain->request;
    for (pm_link_node *node = b->seat_order.next; node != &b->seat_order; node = next) {
        const pm_seat *seat = PM_OWNER(node, pm_seat, in_order);
        pm_event event = {.kind = PM_EVENT_DRAIN, .worker = seat->by_id.key};
        next = node->next;
        if (!seat->here || !is_meant(seat, drain->who)) continue;
        pm_log(PM_LOG_INFO, "worker.drain", "worker=" PM_QUOTED, seat->name);
        pm_broker_feed(b, &event);
        done.count++;
    }
    if (!done.count && strcmp(drain->who, "all") != 0) {
        snprintf(text, sizeof text, "no worker '%.80s' is here; `parchmill workers` lists them",
                 drain->who);
        pm_broker_refuse(b, peer, "not-found", text, drain->request);
        return;
    }
    Pm__Wire__Message message = pm_wire_done(&done);
    pm_broker_send(b, peer, &message, NULL, 0);
}

static void put_run(const pm_broker *b, pm_run *run, Pm__Wire__RunStatus *out) {
    pm__wire__run_status__init(out);
    out->run = run->id;
    out->name = run->name;
    out->state = (char *)pm_run_state_name(run->state);
    out->items = run->items;
    out->items_done = run->items - run->items_open;
    out->items_failed = run->items_failed;
    out->configurations = run->configurations;
    out->submitted_ms = (uint64_t)run->submitted_ms;
    out->has_finished_ms = run->finished_ms != 0;
    out->finished_ms = (uint64_t)run->finished_ms;
    out->leased = pm_scheduler_run_leases(b->scheduler, run->id);
    out->model = run->model;
    out->data_set = run->data_name;
    out->has_priority = out->has_paused = out->has_max_workers = out->has_workers = true;
    out->priority = run->terms.priority;
    out->paused = run->terms.paused;
    out->max_workers = run->terms.max_workers;
    out->workers = (uint32_t)pm_scheduler_run_workers(b->scheduler, run->id);
}

static void put_worker(const pm_broker *b, pm_seat *seat, Pm__Wire__WorkerStatus *out) {
    pm_worker_look look = pm_scheduler_worker(b->scheduler, seat->by_id.key);
    pm__wire__worker_status__init(out);
    out->name = seat->name;
    out->items_done = seat->items_done;
    out->leases = (uint32_t)look.leases;
    out->threads = seat->threads;
    out->isa = seat->isa;
    out->engine_version = seat->engine_version;
    out->state = (char *)(look.stopped ? "draining" : look.leases ? "working" : "idle");
    out->has_silent_ms = out->has_rate = true;
    out->silent_ms = (uint64_t)look.silent_ms;
    out->rate = pm_broker_seat_rate(seat);
}

/* Room for every run and seat at once; pointers behind the structs they point to. */
typedef struct status_answer {
    Pm__Wire__RunStatus *runs, **run_pointers;
    Pm__Wire__WorkerStatus *workers, **worker_pointers;
} status_answer;

static void fill_status(pm_broker *b, uint64_t wanted, status_answer *room, Pm__Wire__Status *out) {
    for (pm_link_node *node = b->runs.all.next; node != &b->runs.all; node = node->next) {
        pm_run *run = PM_OWNER(node, pm_run, in_order);
        if (wanted && run->id != wanted) continue;
        put_run(b, run, &room->runs[out->n_runs]);
        room->run_pointers[out->n_runs] = &room->runs[out->n_runs];
        out->n_runs++;
    }
    for (pm_link_node *node = b->seat_order.next; node != &b->seat_order; node = node->next) {
        pm_seat *seat = PM_OWNER(node, pm_seat, in_order);
        if (!seat->here) continue;
        put_worker(b, seat, &room->workers[out->n_workers]);
        room->worker_pointers[out->n_workers] = &room->workers[out->n_workers];
        out->n_workers++;
    }
    out->runs = room->run_pointers;
    out->workers = room->worker_pointers;
}

static void hear_status(pm_broker *b, const pm_peer *peer, const Pm__Wire__StatusRequest *asked) {
    uint64_t wanted = asked->has_run ? asked->run : 0;
    size_t runs = b->runs.by_id.count + 1, seats = b->seats.count + 1;
    if (wanted && !pm_runs_find(&b->runs, wanted)) {
        char text[64];
        snprintf(text, sizeof text, "there is no run %" PRIu64, wanted);
        pm_broker_refuse(b, peer, "not-found", text, asked->request);
        return;
    }
    status_answer room = {.runs = calloc(runs, sizeof *room.runs),
                          .run_pointers = calloc(runs, sizeof *room.run_pointers),
                          .workers = calloc(seats, sizeof *room.workers),
                          .worker_pointers = calloc(seats, sizeof *room.worker_pointers)};
    if (room.runs && room.run_pointers && room.workers && room.worker_pointers) {
        Pm__Wire__Status out = PM__WIRE__STATUS__INIT;
        out.request = asked->request;
        out.paused = b->paused[0] ? b->paused : NULL;
        fill_status(b, wanted, &room, &out);
        Pm__Wire__Message message = pm_wire_status(&out);
        pm_broker_send(b, peer, &message, NULL, 0);
    } else {
        pm_broker_refuse(b, peer, "internal", "out of memory", asked->request);
    }
    free(room.runs);
    free(room.run_pointers);
    free(room.workers);
    free(room.worker_pointers);
}

static void hear_hello(pm_broker *b, const pm_peer *peer, const Pm__Wire__Hello *hello) {
    if (pm_broker_refuse_protocol(b, peer, hello)) return;
    if (strcmp(hello->role, pm_role_name(PM_ROLE_CLIENT)) != 0)
        pm_broker_refuse(b, peer, "role", "this socket is for clients", 0);
    else
        pm_broker_welcome(b, peer);
}

void pm_broker_hear_client(pm_broker *b, const pm_peer *peer, const pm_message *message) {
    const Pm__Wire__Message *body = message->body;
    if (body->body_case == PM__WIRE__MESSAGE__BODY_HELLO) {
        hear_hello(b, peer, body->hello);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_HEARTBEAT) {
        Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
        Pm__Wire__Message answer = pm_wire_heartbeat(&beat);
        pm_broker_send(b, peer, &answer, NULL, 0);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_SUBMIT) {
        hear_submit(b, peer, message);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_STATUS_REQUEST) {
        hear_status(b, peer, body->status_request);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_CANCEL) {
        hear_cancel(b, peer, body->cancel);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_REFRESH) {
        hear_refresh(b, peer, body->refresh);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_RETRY) {
        hear_retry(b, peer, body->retry);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_PAUSE) {
        hear_pause(b, peer, body->pause);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_PRIORITIZE) {
        hear_prioritize(b, peer, body->prioritize);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_LIMIT) {
        hear_limit(b, peer, body->limit);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_DRAIN_WORKERS) {
        hear_drain(b, peer, body->drain_workers);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_QUERY ||
               body->body_case == PM__WIRE__MESSAGE__BODY_QUERY_MORE) {
        pm_queries_hear(b, peer, message);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_GOODBYE) {
        pm_queries_forget(b, peer);
    }
}
