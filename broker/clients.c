/* Owns what clients ask: submit, status, cancel, retry. Answers status from memory; everything
 * that changes something goes to the store and is answered after its commit (commits.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/reasons.h"
#include "lib/base/log.h"

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

static pm_status copy_text(const char *from, const char *what, char *out, size_t size) {
    if (snprintf(out, size, "%s", from ? from : "") >= (int)size)
        return pm_fail(PM_E_USAGE, "submit: the %s is longer than %zu bytes", what, size - 1);
    return PM_OK;
}

/* What a worker opens below the data root must lie below it. */
static pm_status check_item_path(const char *path) {
    const char *at = path;
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
    pm_status status = pm_wire_items_unpack(message->frames[0].bytes, message->frames[0].size, set);
    if (status) return status;
    set->root = strdup(submit->data_root);
    set->name = strdup(submit->data_name);
    set->class_names = calloc(submit->n_class_names + 1, sizeof *set->class_names);
    if (!set->root || !set->name || !set->class_names)
        return pm_fail(PM_E_MEMORY, "submit: out of memory");
    set->class_name_count = submit->n_class_names;
    for (size_t i = 0; i < submit->n_class_names; i++) {
        if (!submit->class_names[i][0]) continue;
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
    out->task_items = b->options.task_items;
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
    pm_broker_put(b, op);
}

static bool refuse_full(pm_broker *b, const pm_peer *peer, uint32_t number) {
    if (!b->paused[0]) return false;
    pm_broker_refuse(b, peer, "full", b->paused, number);
    return true;
}

static void hear_submit(pm_broker *b, const pm_peer *peer, const pm_message *message) {
    uint32_t number = message->body->submit->request;
    if (refuse_full(b, peer, number)) return;
    pm_op *op = pm_op_new(PM_OP_SUBMIT);
    ask_store(b, peer, number, op, op ? make_submit(b, message, op) : PM_OK);
}

static void hear_run_verb(pm_broker *b, const pm_peer *peer, pm_op_kind kind, uint32_t number,
                          uint64_t run) {
    if (refuse_full(b, peer, number)) return;
    pm_op *op = pm_op_new(kind);
    if (op) op->run.run_id = run;
    ask_store(b, peer, number, op, PM_OK);
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
        Pm__Wire__WorkerStatus *worker = &room->workers[out->n_workers];
        pm__wire__worker_status__init(worker);
        worker->name = seat->name;
        worker->items_done = seat->items_done;
        worker->leases = (uint32_t)pm_scheduler_worker(b->scheduler, seat->by_id.key).leases;
        worker->threads = seat->threads;
        room->worker_pointers[out->n_workers++] = worker;
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
    char text[192];
    snprintf(text, sizeof text,
             "this broker speaks protocol %d, not %u; use the same version of parchmill on both "
             "sides",
             PM_PROTOCOL_VERSION, hello->protocol);
    if (hello->protocol != PM_PROTOCOL_VERSION)
        pm_broker_refuse(b, peer, "version", text, 0);
    else if (strcmp(hello->role, pm_role_name(PM_ROLE_CLIENT)) != 0)
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
        hear_run_verb(b, peer, PM_OP_CANCEL, body->cancel->request, body->cancel->run);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_RETRY) {
        hear_run_verb(b, peer, PM_OP_RETRY, body->retry->request, body->retry->run);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_QUERY ||
               body->body_case == PM__WIRE__MESSAGE__BODY_QUERY_MORE) {
        pm_queries_hear(b, peer, message);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_GOODBYE) {
        pm_queries_forget(b, peer);
    }
}
