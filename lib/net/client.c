/* Owns request and answer with a broker, also across its restarts. Knows no command line. */
#include "lib/net/client.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"

enum { RETRY_MS = 100, HELLO_MS = 2000, GOODBYE_MS = 100, HANG_UPS_MAX = 5 };

struct pm_client {
    char *url;
    pm_link *link;
    uint8_t instance[PM_INSTANCE_BYTES];
    uint32_t last_request;
    uint32_t schema_version; /* of the broker's database */
    bool welcome;
};

static int left_ms(int64_t deadline_ms) {
    int64_t left = deadline_ms - pm_clock_ms();
    return left < 0 ? 0 : (int)left;
}

static pm_status refusal(const Pm__Wire__Refused *refused) {
    static const struct {
        const char *reason;
        pm_status status;
    } known[] = {
        {"usage", PM_E_USAGE},   {"not-found", PM_E_NOT_FOUND}, {"full", PM_E_FULL},
        {"role", PM_E_DENIED},   {"version", PM_E_MISMATCH},    {"mismatch", PM_E_MISMATCH},
        {"limit", PM_E_LIMIT},   {"busy", PM_E_BUSY},           {"format", PM_E_FORMAT},
        {"denied", PM_E_DENIED}, {"internal", PM_E_INTERNAL}};
    pm_status status = PM_E_PROTOCOL;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(refused->reason, known[i].reason) == 0) status = known[i].status;
    char text[512]; /* for a terminal: a broker may say anything */
    pm_text_clean(refused->text[0] ? refused->text : refused->reason, text, sizeof text);
    return pm_fail(status, "%s", text);
}

static pm_status no_answer(const pm_client *client, int timeout_ms) {
    return pm_fail(PM_E_TIMEOUT,
                   "no broker answers at %s within %.3g s; is parchmill-broker running?",
                   client->url, timeout_ms / 1000.0);
}

static pm_status send_hello(pm_client *client) {
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    hello.protocol = PM_PROTOCOL_VERSION;
    hello.engine_version = (char *)"";
    hello.role = (char *)pm_role_name(PM_ROLE_CLIENT);
    hello.instance = (ProtobufCBinaryData){PM_INSTANCE_BYTES, client->instance};
    hello.has_pid = true;
    hello.pid = (uint32_t)getpid();
    hello.has_schema_version = true;
    hello.schema_version = PM_SCHEMA_VERSION;
    Pm__Wire__Message message = pm_wire_hello(&hello);
    return pm_link_send(client->link, &message, NULL, 0);
}

static pm_status check_welcome(const pm_client *client, const pm_message *message) {
    if (message->body->body_case == PM__WIRE__MESSAGE__BODY_REFUSED)
        return refusal(message->body->refused);
    if (message->body->body_case != PM__WIRE__MESSAGE__BODY_WELCOME)
        return pm_fail(PM_E_PROTOCOL, "%s: expected a welcome, got %s", client->url,
                       pm_wire_name(message->body->body_case));
    if (message->body->welcome->protocol != PM_PROTOCOL_VERSION)
        return pm_fail(PM_E_MISMATCH,
                       "%s: the broker speaks protocol %u, this program %d; use the same version "
                       "of parchmill on both sides",
                       client->url, message->body->welcome->protocol, PM_PROTOCOL_VERSION);
    return PM_OK;
}

/* One connection and one Hello; PM_E_TIMEOUT where the broker stays silent. */
static pm_status try_hello(pm_client *client, int timeout_ms) {
    pm_message message;
    pm_status status = pm_link_connect(client->link);
    if (!status) status = send_hello(client);
    if (!status) status = pm_link_receive(client->link, timeout_ms, &message);
    if (status) return status;
    status = check_welcome(client, &message);
    client->welcome = status == PM_OK;
    client->schema_version = client->welcome ? message.body->welcome->schema_version : 0;
    pm_message_fini(&message);
    return status;
}

/* A broker that hangs up may be one that is just ending; one that does so again and again is not.
 */
static pm_status say_hello(pm_client *client, int64_t deadline_ms) {
    for (int hang_ups = 0;;) {
        int left = left_ms(deadline_ms);
        pm_status status = try_hello(client, left < HELLO_MS ? left : HELLO_MS);
        if (status != PM_E_TIMEOUT) return status;
        pm_status met = pm_link_handshake(client->link);
        bool over = left_ms(deadline_ms) == 0;
        if (met && (over || met != PM_E_MISMATCH || ++hang_ups == HANG_UPS_MAX)) return met;
        if (over) return PM_E_TIMEOUT;
        if (pm_link_lost(client->link)) usleep(RETRY_MS * 1000);
    }
}

pm_status pm_client_open(const char *url, const pm_credentials *credentials, int timeout_ms,
                         pm_client **out) {
    pm_status status = PM_OK;
    pm_client *client = calloc(1, sizeof *client);
    if (client) client->url = strdup(url);
    if (!client || !client->url) {
        status = pm_fail(PM_E_MEMORY, "client: no memory");
        goto fail;
    }
    pm_random_bytes(client->instance, sizeof client->instance);
    status = pm_link_new(url, PM_ROLE_CLIENT, credentials, &client->link);
    if (status) goto fail;
    status = say_hello(client, pm_clock_ms() + timeout_ms);
    if (status == PM_E_TIMEOUT) status = no_answer(client, timeout_ms);
    if (status) goto fail;
    *out = client;
    return PM_OK;
fail:
    pm_client_free(&client);
    return status;
}

void pm_client_free(pm_client **client) {
    if (!*client) return;
    if ((*client)->welcome && !pm_link_lost((*client)->link)) {
        Pm__Wire__Goodbye goodbye = PM__WIRE__GOODBYE__INIT;
        Pm__Wire__Message message = pm_wire_goodbye(&goodbye);
        (void)pm_link_send((*client)->link, &message, NULL, 0);
    }
    pm_link_finish(&(*client)->link, GOODBYE_MS);
    free((*client)->url);
    free(*client);
    *client = NULL;
}

static pm_status set_request(Pm__Wire__Message *message, uint32_t number) {
    switch (message->body_case) {
    case PM__WIRE__MESSAGE__BODY_SUBMIT: message->submit->request = number; return PM_OK;
    case PM__WIRE__MESSAGE__BODY_STATUS_REQUEST:
        message->status_request->request = number;
        return PM_OK;
    case PM__WIRE__MESSAGE__BODY_CANCEL: message->cancel->request = number; return PM_OK;
    case PM__WIRE__MESSAGE__BODY_RETRY: message->retry->request = number; return PM_OK;
    case PM__WIRE__MESSAGE__BODY_QUERY: message->query->request = number; return PM_OK;
    case PM__WIRE__MESSAGE__BODY_QUERY_MORE: message->query_more->request = number; return PM_OK;
    case PM__WIRE__MESSAGE__BODY_PAUSE: message->pause->request = number; return PM_OK;
    case PM__WIRE__MESSAGE__BODY_PRIORITIZE: message->prioritize->request = number; return PM_OK;
    case PM__WIRE__MESSAGE__BODY_REFRESH: message->refresh->request = number; return PM_OK;
    case PM__WIRE__MESSAGE__BODY_LIMIT: message->limit->request = number; return PM_OK;
    case PM__WIRE__MESSAGE__BODY_DRAIN_WORKERS:
        message->drain_workers->request = number;
        return PM_OK;
    default: /* the generated enumeration has every message and one for the compiler */
        return pm_fail(PM_E_INTERNAL, "client: %s is not a request",
                       pm_wire_name(message->body_case));
    }
}

/* 0: an answer to no request. */
static uint32_t answered_request(const Pm__Wire__Message *message) {
    switch (message->body_case) {
    case PM__WIRE__MESSAGE__BODY_ACCEPTED: return message->accepted->request;
    case PM__WIRE__MESSAGE__BODY_STATUS: return message->status->request;
    case PM__WIRE__MESSAGE__BODY_DONE: return message->done->request;
    case PM__WIRE__MESSAGE__BODY_QUERY_COLUMNS: return message->query_columns->request;
    case PM__WIRE__MESSAGE__BODY_QUERY_ROWS: return message->query_rows->request;
    case PM__WIRE__MESSAGE__BODY_REFUSED:
        return message->refused->has_request ? message->refused->request : 0;
    default: return 0;
    }
}

static bool is_refusal(const pm_message *message) {
    return message->body->body_case == PM__WIRE__MESSAGE__BODY_REFUSED;
}

/* A broker that has restarted under a live connection asks for Hello first. */
static bool wants_hello(const pm_message *message) {
    return is_refusal(message) && strcmp(message->body->refused->reason, "hello") == 0;
}

/* Wait for the answer; PM_E_STALE: connect and ask again. */
static pm_status await(pm_client *client, uint32_t number, int64_t deadline_ms,
                       pm_message *answer) {
    for (;;) {
        pm_message message;
        pm_status status = pm_link_receive(client->link, left_ms(deadline_ms), &message);
        if (status == PM_E_TIMEOUT && pm_link_lost(client->link)) return PM_E_STALE;
        if (status) return status;
        if (wants_hello(&message)) {
            pm_message_fini(&message);
            return PM_E_STALE;
        }
        uint32_t answered = answered_request(message.body);
        if (is_refusal(&message) && (answered == number || answered == 0)) {
            status = refusal(message.body->refused);
            pm_message_fini(&message);
            return status;
        }
        if (answered == number) {
            *answer = message;
            return PM_OK;
        }
        pm_message_fini(&message); /* a heartbeat, or a late answer to an earlier request */
    }
}

pm_status pm_client_call(pm_client *client, Pm__Wire__Message *request, const pm_bytes *frames,
                         size_t frame_count, int timeout_ms, pm_message *answer) {
    int64_t deadline_ms = pm_clock_ms() + timeout_ms;
    uint32_t number = ++client->last_request;
    pm_status status = set_request(request, number);
    if (status) return status;
    for (;;) {
        if (!client->welcome || pm_link_lost(client->link)) {
            client->welcome = false;
            status = say_hello(client, deadline_ms);
        }
        if (!status) status = pm_link_send(client->link, request, frames, frame_count);
        if (!status) status = await(client, number, deadline_ms, answer);
        if (status != PM_E_STALE) break;
        client->welcome = false;
        status = PM_OK;
        usleep(RETRY_MS * 1000);
    }
    return status == PM_E_TIMEOUT ? no_answer(client, timeout_ms) : status;
}

pm_status pm_client_next(pm_client *client, int timeout_ms, pm_message *answer) {
    pm_status status = await(client, client->last_request, pm_clock_ms() + timeout_ms, answer);
    return status == PM_E_TIMEOUT ? no_answer(client, timeout_ms) : status;
}

pm_status pm_client_tell(pm_client *client, Pm__Wire__Message *message) {
    pm_status status = set_request(message, client->last_request);
    return status ? status : pm_link_send(client->link, message, NULL, 0);
}

uint32_t pm_client_schema_version(const pm_client *client) { return client->schema_version; }

static pm_status wrong_answer(const pm_client *client, pm_message *answer) {
    pm_status status = pm_fail(PM_E_PROTOCOL, "%s: the broker answered with %s", client->url,
                               pm_wire_name(answer->body->body_case));
    pm_message_fini(answer);
    return status;
}

static Pm__Wire__Blob blob(const pm_sha256 *hash, uint64_t size, const char *path) {
    Pm__Wire__Blob out = PM__WIRE__BLOB__INIT;
    out.sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, (uint8_t *)hash->bytes};
    out.size_bytes = size;
    out.path = path[0] ? (char *)path : NULL;
    return out;
}

static void free_texts(char **texts, size_t count) {
    for (size_t i = 0; texts && i < count; i++) free(texts[i]);
    free(texts);
}

static pm_status format_configurations(const pm_run_spec *spec, char ***out) {
    pm_sha256 hash;
    char **texts = calloc(spec->config_count, sizeof *texts);
    if (!texts) return pm_fail(PM_E_MEMORY, "submit: no memory");
    for (size_t i = 0; i < spec->config_count; i++) {
        pm_status status = pm_config_format(&spec->configs[i], &texts[i], &hash);
        if (status) {
            free_texts(texts, spec->config_count);
            return status;
        }
    }
    *out = texts;
    return PM_OK;
}

/* The statistics of the first configuration that has any: one file a run. */
static const pm_sha256 *statistics_of(const pm_run_spec *spec) {
    for (size_t i = 0; i < spec->config_count; i++)
        if (spec->configs[i].has_statistics) return &spec->configs[i].statistics;
    return NULL;
}

static pm_status call_submit(pm_client *client, Pm__Wire__Submit *submit, const pm_buffer *items,
                             int timeout_ms, pm_accepted *out) {
    pm_bytes frame = {items->bytes, items->size};
    pm_message answer;
    Pm__Wire__Message request = pm_wire_submit(submit);
    pm_status status = pm_client_call(client, &request, &frame, 1, timeout_ms, &answer);
    if (status) return status;
    if (answer.body->body_case != PM__WIRE__MESSAGE__BODY_ACCEPTED)
        return wrong_answer(client, &answer);
    const Pm__Wire__Accepted *accepted = answer.body->accepted;
    *out = (pm_accepted){
        accepted->run,
        accepted->existed,
        accepted->items,
        accepted->items_open,
        accepted->results_reused,
        {accepted->priority, accepted->paused != 0, accepted->max_workers},
    };
    pm_message_fini(&answer);
    return PM_OK;
}

pm_status pm_client_submit(pm_client *client, const pm_run_spec *spec, const pm_data_set *data_set,
                           const pm_run_terms *terms, bool foreground, int timeout_ms,
                           pm_accepted *out) {
    pm_buffer items = {0};
    char **configurations = NULL, **class_names = NULL;
    pm_sha256 id = pm_run_request_id(spec, data_set), data_hash = pm_data_set_hash(data_set);
    Pm__Wire__Submit submit = PM__WIRE__SUBMIT__INIT;
    Pm__Wire__Blob weights, statistics, baseline;
    const pm_sha256 *statistics_hash = statistics_of(spec);
    const pm_sha256 *baseline_hash = pm_run_spec_baseline(spec);
    char evaluation[PM_EVALUATION_BYTES];
    pm_status status;
    if (spec->config_count == 0)
        return pm_fail(PM_E_USAGE, "submit: a run needs a configuration at least");
    status = pm_wire_items_pack(data_set, &items);
    if (!status) status = format_configurations(spec, &configurations);
    if (status) goto fail;
    class_names = calloc(data_set->class_name_count + 1, sizeof *class_names);
    if (!class_names) {
        status = pm_fail(PM_E_MEMORY, "submit: no memory");
        goto fail;
    }
    for (size_t i = 0; i < data_set->class_name_count; i++)
        class_names[i] = data_set->class_names[i] ? data_set->class_names[i] : (char *)"";
    weights = blob(&spec->configs[0].weights, spec->weights_size, spec->weights_path);
    submit.request_id = (ProtobufCBinaryData){PM_REQUEST_ID_BYTES, id.bytes};
    submit.name = (char *)spec->name;
    submit.arch = spec->configs[0].arch;
    submit.classes = (uint32_t)spec->classes;
    submit.weights = &weights;
    if (statistics_hash) {
        statistics = blob(statistics_hash, spec->statistics_size, spec->statistics_path);
        submit.statistics = &statistics;
    }
    if (baseline_hash) {
        baseline = blob(baseline_hash, spec->baseline_size, spec->baseline_path);
        submit.baseline = &baseline;
    }
    submit.n_configurations = spec->config_count;
    submit.configurations = configurations;
    submit.channels = (char *)pm_channels_name(spec->channels);
    submit.heat_maps = (char *)pm_heat_maps_name(spec->heat_maps);
    pm_evaluation_format(&spec->evaluation, evaluation);
    if (spec->evaluation.on) submit.evaluation = evaluation;
    submit.data_root = data_set->root;
    submit.data_name = data_set->name;
    submit.data_hash = (ProtobufCBinaryData){PM_SHA256_BYTES, data_hash.bytes};
    submit.has_foreground = submit.foreground = foreground;
    submit.has_priority = submit.has_max_workers = terms != NULL;
    submit.priority = terms ? terms->priority : 0;
    submit.max_workers = terms ? terms->max_workers : 0;
    submit.n_class_names = data_set->class_name_count;
    submit.class_names = class_names;
    status = call_submit(client, &submit, &items, timeout_ms, out);
fail:
    pm_buffer_fini(&items);
    free_texts(configurations, spec->config_count);
    free(class_names);
    return status;
}

pm_status pm_client_status(pm_client *client, uint64_t run, int timeout_ms, pm_message *answer) {
    Pm__Wire__StatusRequest what = PM__WIRE__STATUS_REQUEST__INIT;
    what.has_run = run != 0;
    what.run = run;
    Pm__Wire__Message request = pm_wire_status_request(&what);
    pm_message got;
    pm_status status = pm_client_call(client, &request, NULL, 0, timeout_ms, &got);
    if (status) return status;
    if (got.body->body_case != PM__WIRE__MESSAGE__BODY_STATUS) return wrong_answer(client, &got);
    *answer = got;
    return PM_OK;
}

static pm_status call_counted(pm_client *client, Pm__Wire__Message *request, int timeout_ms,
                              uint64_t *count) {
    pm_message answer;
    pm_status status = pm_client_call(client, request, NULL, 0, timeout_ms, &answer);
    if (status) return status;
    if (answer.body->body_case != PM__WIRE__MESSAGE__BODY_DONE)
        return wrong_answer(client, &answer);
    *count = answer.body->done->count;
    pm_message_fini(&answer);
    return PM_OK;
}

pm_status pm_client_cancel(pm_client *client, uint64_t run, int timeout_ms, uint64_t *count) {
    Pm__Wire__Cancel what = PM__WIRE__CANCEL__INIT;
    what.run = run;
    Pm__Wire__Message request = pm_wire_cancel(&what);
    return call_counted(client, &request, timeout_ms, count);
}

pm_status pm_client_pause(pm_client *client, uint64_t run, bool paused, int timeout_ms,
                          uint64_t *count) {
    Pm__Wire__Pause what = PM__WIRE__PAUSE__INIT;
    what.run = run;
    what.paused = paused;
    Pm__Wire__Message request = pm_wire_pause(&what);
    return call_counted(client, &request, timeout_ms, count);
}

pm_status pm_client_prioritize(pm_client *client, uint64_t run, int priority, int timeout_ms,
                               uint64_t *count) {
    Pm__Wire__Prioritize what = PM__WIRE__PRIORITIZE__INIT;
    what.run = run;
    what.priority = priority;
    Pm__Wire__Message request = pm_wire_prioritize(&what);
    return call_counted(client, &request, timeout_ms, count);
}

pm_status pm_client_limit(pm_client *client, uint64_t run, uint32_t max_workers, int timeout_ms,
                          uint64_t *count) {
    Pm__Wire__Limit what = PM__WIRE__LIMIT__INIT;
    what.run = run;
    what.max_workers = max_workers;
    Pm__Wire__Message request = pm_wire_limit(&what);
    return call_counted(client, &request, timeout_ms, count);
}

pm_status pm_client_refresh(pm_client *client, uint64_t run, int timeout_ms, uint64_t *count) {
    Pm__Wire__Refresh what = PM__WIRE__REFRESH__INIT;
    what.run = run;
    Pm__Wire__Message request = pm_wire_refresh(&what);
    return call_counted(client, &request, timeout_ms, count);
}

pm_status pm_client_drain(pm_client *client, const char *who, int timeout_ms, uint64_t *count) {
    Pm__Wire__DrainWorkers what = PM__WIRE__DRAIN_WORKERS__INIT;
    what.who = (char *)who;
    Pm__Wire__Message request = pm_wire_drain_workers(&what);
    return call_counted(client, &request, timeout_ms, count);
}

pm_status pm_client_retry(pm_client *client, uint64_t run, const pm_retry_filter *filter,
                          int timeout_ms, uint64_t *count) {
    Pm__Wire__Retry what = PM__WIRE__RETRY__INIT;
    what.run = run;
    if (filter) {
        what.stage = (char *)filter->stage;
        what.reason = (char *)filter->reason;
        what.image = (char *)filter->image;
    }
    Pm__Wire__Message request = pm_wire_retry(&what);
    return call_counted(client, &request, timeout_ms, count);
}
