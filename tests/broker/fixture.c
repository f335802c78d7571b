#include "tests/broker/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/store/query.h"

/* ---- the broker ---- */

void spawn_broker(scene *s) {
    char program[512], lifeline[16];
    const char *folder = getenv("PARCHMILL_BIN_DIR");
    int ends[2];
    snprintf(program, sizeof program, "%s/parchmill-broker", folder ? folder : "build/dev/bin");
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[1], F_SETFD, FD_CLOEXEC), 0);
    snprintf(lifeline, sizeof lifeline, "%d", ends[0]);
    s->broker = fork();
    assert_true(s->broker >= 0);
    if (s->broker == 0) {
        int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (log >= 0) dup2(log, STDERR_FILENO);
        const char *argv[20] = {program, "--db",        s->db,    "--listen",
                                s->url,  "--lifeline",  lifeline, "--task-items",
                                "4",     "--log-level", "debug"};
        for (size_t i = 0; i < 6 && s->more[i]; i++) argv[11 + i] = s->more[i];
        execv(program, (char *const *)argv);
        _exit(127);
    }
    close(ends[0]);
    s->lifeline = ends[1];
}

void start_broker(scene *s) {
    pm_client *client = NULL;
    spawn_broker(s);
    assert_int_equal(pm_client_open(s->url, s->key, WAIT_MS, &client), PM_OK);
    if (s->client)
        pm_client_free(&client);
    else
        s->client = client;
}

int await_broker(scene *s) {
    int state = 0;
    assert_int_equal(waitpid(s->broker, &state, 0), s->broker);
    s->broker = 0;
    if (s->lifeline >= 0) close(s->lifeline);
    s->lifeline = -1;
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

void kill_broker(scene *s) {
    kill(s->broker, SIGKILL);
    assert_int_equal(await_broker(s), -1);
}

int scene_set_up(void **state) {
    scene *s = calloc(1, sizeof *s);
    if (!s) return -1;
    const char *parent = getenv("TMPDIR");
    if (!parent || strlen(parent) > 32) parent = "/tmp";
    snprintf(s->folder, sizeof s->folder, "%s/pm_broker_XXXXXX", parent);
    if (!mkdtemp(s->folder)) return -1;
    snprintf(s->db, sizeof s->db, "%s/a.db", s->folder);
    snprintf(s->url, sizeof s->url, "ipc://%s/s", s->folder);
    snprintf(s->log, sizeof s->log, "%s/log", s->folder);
    s->lifeline = -1;
    *state = s;
    start_broker(s);
    return 0;
}

int scene_tear_down(void **state) {
    char command[128];
    scene *s = *state;
    pm_client_free(&s->client);
    if (s->broker > 0) {
        kill(s->broker, SIGTERM);
        assert_int_equal(await_broker(s), 0);
    }
    snprintf(command, sizeof command, "rm -rf %s", s->folder);
    int gone = system(command);
    free(s);
    return gone;
}

int64_t ask(const scene *s, const char *sql);

static pm_status take_integer(void *user, size_t count, const pm_value *values) {
    (void)count;
    *(int64_t *)user = values[0].integer;
    return PM_OK;
}

int64_t ask(const scene *s, const char *sql) {
    int64_t value = -1;
    pm_query *query = NULL;
    pm_query_sink sink = {.user = &value, .row = take_integer};
    assert_int_equal(pm_query_open(s->db, &pm_query_default_limits, &query), PM_OK);
    assert_int_equal(pm_query_run(query, sql, NULL, 0, &sink, NULL), PM_OK);
    pm_query_close(&query);
    return value;
}

bool log_has(const scene *s, const char *text) {
    uint8_t *bytes = NULL;
    size_t size;
    assert_int_equal(pm_file_read(s->log, 1 << 22, &bytes, &size), PM_OK);
    bool found = memmem(bytes, size, text, strlen(text)) != NULL;
    free(bytes);
    return found;
}

void await_log(const scene *s, const char *text) {
    int64_t until_ms = pm_clock_ms() + WAIT_MS;
    while (!log_has(s, text)) {
        if (pm_clock_ms() > until_ms) fail_msg("the log has no %s", text);
        poll(NULL, 0, 5);
    }
}

/* ---- the client ---- */

void make_submission(scene *s, size_t items, const char *name, submission *out) {
    *out = (submission){
        .config = {.arch = "resnet18", .resize = 256, .crop = 224},
        .spec = {.classes = 1000, .config_count = 1, .configs = &out->config},
        .set = {.root = s->folder, .name = (char *)"set", .count = items, .items = out->items}};
    pm_config *config = &out->config;
    pm_run_spec *spec = &out->spec;
    snprintf(spec->name, sizeof spec->name, "%s", name);
    snprintf(spec->weights_path, sizeof spec->weights_path, "%s/weights", s->folder);
    spec->weights_size = 10;
    if (s->evaluation)
        assert_int_equal(pm_evaluation_parse(s->evaluation, &spec->evaluation), PM_OK);
    config->weights = pm_sha256_of("0123456789", 10);
    config->std[0] = config->std[1] = config->std[2] = 1;
    config->target_rule = PM_TARGET_RULE_TOP;
    pm_attribution_defaults(&config->attribution);
    if (s->baseline) {
        config->attribution.method = PM_METHOD_IG;
        config->attribution.baseline = PM_BASELINE_IMAGE;
        spec->baseline_size = strlen(s->baseline);
        config->baseline_image = pm_sha256_of(s->baseline, spec->baseline_size);
        snprintf(spec->baseline_path, sizeof spec->baseline_path, "%s/baseline", s->folder);
        assert_int_equal(pm_file_write(spec->baseline_path, s->baseline, spec->baseline_size),
                         PM_OK);
    }
    for (size_t i = 0; i < items; i++) {
        char *path = out->paths[i];
        snprintf(path, sizeof out->paths[i], "%zu.png", s->first_image + i);
        out->items[i] = (pm_item){.path = path, .size_bytes = 5, .label = -1};
        out->items[i].sha256 = pm_sha256_of(path, strlen(path));
    }
}

pm_accepted submit(scene *s, size_t items, const char *name) {
    submission what;
    pm_accepted accepted;
    make_submission(s, items, name, &what);
    pm_status status =
        pm_client_submit(s->client, &what.spec, &what.set, &s->terms, false, WAIT_MS, &accepted);
    if (status) print_error("%s\n", pm_error_text());
    assert_int_equal(status, PM_OK);
    return accepted;
}

void progress(scene *s, uint64_t run, uint64_t *done, uint64_t *failed) {
    pm_message answer;
    assert_int_equal(pm_client_status(s->client, run, WAIT_MS, &answer), PM_OK);
    assert_int_equal(answer.body->status->n_runs, 1);
    *done = answer.body->status->runs[0]->items_done;
    *failed = answer.body->status->runs[0]->items_failed;
    pm_message_fini(&answer);
}

void await_state(scene *s, uint64_t run, const char *state) {
    int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    for (bool there = false; !there;) {
        pm_message answer;
        assert_true(pm_clock_ms() < deadline_ms);
        assert_int_equal(pm_client_status(s->client, run, WAIT_MS, &answer), PM_OK);
        there = strcmp(answer.body->status->runs[0]->state, state) == 0;
        pm_message_fini(&answer);
    }
}

/* ---- the worker ---- */

void worker_send(worker *w, const Pm__Wire__Message *message) {
    assert_int_equal(pm_link_send(w->link, message, NULL, 0), PM_OK);
}

void worker_fetch(worker *w, const pm_sha256 *hash, uint64_t offset, uint32_t size) {
    Pm__Wire__Fetch want = PM__WIRE__FETCH__INIT;
    want.sha256 = (ProtobufCBinaryData){sizeof hash->bytes, (uint8_t *)hash->bytes};
    want.offset = offset;
    want.size_bytes = size;
    Pm__Wire__Message message = pm_wire_fetch(&want);
    worker_send(w, &message);
}

void worker_await(worker *w, Pm__Wire__Message__BodyCase kind, pm_message *out) {
    for (;;) {
        assert_int_equal(pm_link_receive(w->link, WAIT_MS, out), PM_OK);
        if (out->body->body_case == PM__WIRE__MESSAGE__BODY_RUN_INFO) {
            const char *evaluation = out->body->run_info->evaluation;
            snprintf(w->evaluation, sizeof w->evaluation, "%s", evaluation ? evaluation : "");
            const Pm__Wire__Blob *baseline = out->body->run_info->baseline;
            if (baseline) memcpy(w->baseline.bytes, baseline->sha256.data, PM_SHA256_BYTES);
            w->baseline_size = baseline ? baseline->size_bytes : 0;
            w->knows_run = true;
        }
        if (out->body->body_case == kind) return;
        pm_message_fini(out);
    }
}

void worker_greet(worker *w, const worker *crashed, const worker *held) {
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    Pm__Wire__HeldLease lease = PM__WIRE__HELD_LEASE__INIT, *leases[] = {&lease};
    hello.protocol = PM_PROTOCOL_VERSION;
    hello.engine_version = (char *)PM_ENGINE_VERSION;
    hello.role = (char *)"worker";
    hello.host = (char *)"here";
    hello.instance = (ProtobufCBinaryData){16, w->instance};
    if (crashed) {
        hello.has_crashed_instance = true;
        hello.crashed_instance = (ProtobufCBinaryData){16, (uint8_t *)crashed->instance};
        hello.crash_reason = (char *)"SIGSEGV";
    }
    if (held) {
        lease.task = held->task;
        lease.token = (ProtobufCBinaryData){16, (uint8_t *)held->token};
        lease.next = held->first;
        hello.n_leases = 1;
        hello.leases = leases;
    }
    Pm__Wire__Message m = pm_wire_hello(&hello);
    worker_send(w, &m);
}

void worker_join(scene *s, worker *w, const worker *crashed) {
    pm_message message;
    if (!w->link) {
        *w = (worker){.key = w->key};
        pm_random_bytes(w->instance, sizeof w->instance);
        assert_int_equal(pm_link_new(s->url, PM_ROLE_WORKER, w->key, &w->link), PM_OK);
        assert_int_equal(pm_link_connect(w->link), PM_OK);
    }
    worker_greet(w, crashed, NULL);
    worker_await(w, PM__WIRE__MESSAGE__BODY_WELCOME, &message);
    assert_int_equal(message.body->welcome->protocol, PM_PROTOCOL_VERSION);
    pm_message_fini(&message);
}

void worker_leave(worker *w) { pm_link_free(&w->link); }

void worker_credit(worker *w, uint32_t tasks) {
    Pm__Wire__Credit credit = PM__WIRE__CREDIT__INIT;
    credit.tasks = tasks;
    Pm__Wire__Message m = pm_wire_credit(&credit);
    worker_send(w, &m);
}

void worker_take(worker *w) {
    pm_message message;
    worker_await(w, PM__WIRE__MESSAGE__BODY_TASK, &message);
    assert_true(w->knows_run);
    const Pm__Wire__Task *task = message.body->task;
    w->task = task->task;
    w->run = task->run;
    w->items = task->n_items;
    w->first = task->items[0]->ordinal;
    memcpy(w->token, task->token.data, sizeof w->token);
    pm_message_fini(&message);
}

void worker_started(worker *w, uint64_t ordinal) {
    Pm__Wire__ItemStarted started = PM__WIRE__ITEM_STARTED__INIT;
    started.task = w->task;
    started.token = (ProtobufCBinaryData){16, w->token};
    started.ordinal = ordinal;
    Pm__Wire__Message m = pm_wire_item_started(&started);
    worker_send(w, &m);
}

/* The rows that the run asks for; the target is in every second ratio gone without a trace. */
static void fill_curves(const worker *w, Pm__Wire__Result *result, Pm__Wire__Perturbation *rows,
                        Pm__Wire__Perturbation **pointers) {
    pm_evaluation e;
    assert_int_equal(pm_evaluation_parse(w->evaluation, &e), PM_OK);
    for (size_t i = 0; e.on && i < 2 * e.ratio_count; i++) {
        pm__wire__perturbation__init(&rows[i]);
        rows[i].curve = (char *)(i < e.ratio_count ? "morf" : "lerf");
        rows[i].ratio = e.ratios[i % e.ratio_count];
        rows[i].p_target = 0.25;
        rows[i].aopc = 0.125 * (double)i;
        rows[i].has_lodds = i % 2 == 0;
        rows[i].lodds = -0.5;
        rows[i].fracdiff = 0.75;
        rows[i].correct = i == 1;
        pointers[i] = &rows[i];
        result->n_perturbations = i + 1;
    }
    result->perturbations = pointers;
    result->has_deletion_auc = result->has_insertion_auc = e.on;
    result->deletion_auc = 0.5;
    result->insertion_auc = 0.625;
}

void worker_result(worker *w, uint64_t ordinal, const uint8_t token[16]) {
    Pm__Wire__Result result = PM__WIRE__RESULT__INIT, *results[] = {&result};
    Pm__Wire__ItemResult out = PM__WIRE__ITEM_RESULT__INIT;
    Pm__Wire__LayerGradient layer = PM__WIRE__LAYER_GRADIENT__INIT, *layers[] = {&layer, &layer};
    Pm__Wire__Perturbation rows[16], *pointers[16];
    layer.conv = 3;
    layer.name = (char *)"layer4.0.conv1";
    layer.channels = layer.selected = 2;
    result.has_target = result.has_predicted = true;
    result.has_p_target = result.has_p_predicted = true;
    result.p_target = result.p_predicted = 0.5;
    result.target = result.predicted = (int32_t)ordinal;
    result.n_layers = w->gives_bad_rows ? 2 : 1; /* the same twice is no row */
    result.layers = layers;
    result.has_pointing = result.pointing = true;
    result.has_completeness_gap = true;
    result.completeness_gap = -0.0625;
    fill_curves(w, &result, rows, pointers);
    out.task = w->task;
    out.token = (ProtobufCBinaryData){16, (uint8_t *)token};
    out.ordinal = ordinal;
    out.n_results = 1;
    out.results = results;
    Pm__Wire__Message m = pm_wire_item_result(&out);
    worker_send(w, &m);
}
