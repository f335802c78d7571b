/* The broker as a process, with keys: what a role may do, and what somebody gains who has another's
 * instance, token, task or routing id (nothing). */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <czmq.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "tests/broker/fixture.h"
#include "tests/net/keyed.h"

enum { SILENCE_MS = 5000 }; /* the broker's */

typedef struct keyed_scene {
    scene s;
    char key_path[96], key_file[104], list[96];
    pm_credentials broker, client, admin, one, other, stranger;
} keyed_scene;

/* What is left out is NULL. */
static void put_keys(keyed_scene *k, const char *one, const char *other, const char *client) {
    const listed keys[] = {{one, "one", &k->one},
                           {other, "other", &k->other},
                           {client, "ann", &k->client},
                           {"admin", "root", &k->admin}};
    put_list(k->list, keys, 4);
}

static int set_up(void **state) {
    keyed_scene *k = calloc(1, sizeof *k);
    assert_non_null(k);
    scene *s = &k->s;
    snprintf(s->folder, sizeof s->folder, "/tmp/pm_keys_XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->db, sizeof s->db, "%s/a.db", s->folder);
    snprintf(s->log, sizeof s->log, "%s/log", s->folder);
    snprintf(s->url, sizeof s->url, "tcp://127.0.0.1:%u", free_ports());
    snprintf(k->list, sizeof k->list, "%s/allow", s->folder);
    snprintf(k->key_path, sizeof k->key_path, "%s/broker", s->folder);
    snprintf(k->key_file, sizeof k->key_file, "%s.key", k->key_path);
    assert_int_equal(pm_keys_new(&k->broker), PM_OK);
    assert_int_equal(pm_keys_write(k->key_path, "broker", &k->broker, false), PM_OK);
    k->client = peer_key(&k->broker);
    k->admin = peer_key(&k->broker);
    k->one = peer_key(&k->broker);
    k->other = peer_key(&k->broker);
    k->stranger = peer_key(&k->broker);
    put_keys(k, "worker", "worker", "client");
    const char *const more[] = {"--key", k->key_file, "--allow", k->list};
    memcpy(s->more, more, sizeof more);
    s->key = &k->client;
    s->lifeline = -1;
    *state = s;
    start_broker(s);
    return 0;
}

static keyed_scene *of(void **state) { return *state; } /* the scene is its first member */

static void await_refusal(worker *w, const char *reason) {
    pm_message message;
    worker_await(w, PM__WIRE__MESSAGE__BODY_REFUSED, &message);
    assert_string_equal(message.body->refused->reason, reason);
    pm_message_fini(&message);
}

static void await_recorded(worker *w, uint64_t ordinal) {
    pm_message message;
    worker_await(w, PM__WIRE__MESSAGE__BODY_ITEM_RECORDED, &message);
    assert_int_equal(message.body->item_recorded->ordinal, ordinal);
    pm_message_fini(&message);
}

/* Connected, with an instance of its own, and nothing said. */
static void connect_as(scene *s, worker *w, const pm_credentials *key) {
    *w = (worker){.key = key};
    pm_random_bytes(w->instance, sizeof w->instance);
    assert_int_equal(pm_link_new(s->url, PM_ROLE_WORKER, key, &w->link), PM_OK);
    assert_int_equal(pm_link_connect(w->link), PM_OK);
}

/* One run of four items, and worker one with its task, the first item started. */
static void one_at_work(keyed_scene *k, worker *one) {
    *one = (worker){.key = &k->one};
    submit(&k->s, 4, "a run");
    worker_join(&k->s, one, NULL);
    worker_credit(one, 1);
    worker_take(one);
    worker_started(one, one->first);
}

static void expect_at_work(worker *one) {
    worker_result(one, one->first, one->token);
    await_recorded(one, one->first);
}

/* ---- roles ---- */

static void every_role_does_its_part(void **state) {
    keyed_scene *k = of(state);
    worker w;
    uint64_t count = 0;
    one_at_work(k, &w);
    for (uint64_t i = 0; i < w.items; i++) {
        worker_result(&w, w.first + i, w.token);
        await_recorded(&w, w.first + i);
    }
    await_state(&k->s, w.run, "done");
    assert_int_equal(ask(&k->s, "SELECT count(*) FROM result WHERE error IS NULL"), 4);
    assert_int_equal(pm_client_drain(k->s.client, "here:0", WAIT_MS, &count), PM_E_DENIED);
    assert_int_equal(pm_client_prioritize(k->s.client, w.run, 1, WAIT_MS, &count), PM_E_DENIED);
    pm_client *admin = NULL;
    assert_int_equal(pm_client_open(k->s.url, &k->admin, WAIT_MS, &admin), PM_OK);
    assert_int_equal(pm_client_drain(admin, "here:0", WAIT_MS, &count), PM_OK);
    assert_int_equal(count, 1);
    pm_message message;
    worker_await(&w, PM__WIRE__MESSAGE__BODY_DRAIN, &message);
    pm_message_fini(&message);
    pm_client_free(&admin);
    worker_leave(&w);
}

static void only_an_admin_pushes_in_front(void **state) {
    keyed_scene *k = of(state);
    k->s.terms.priority = -5;
    submit(&k->s, 2, "stands back");
    pm_client *ann = k->s.client, *admin = NULL;
    assert_int_equal(pm_client_open(k->s.url, &k->admin, WAIT_MS, &admin), PM_OK);
    k->s.terms.priority = 5;
    k->s.client = admin;
    submit(&k->s, 2, "goes first");
    k->s.client = ann;
    pm_client_free(&admin);
    Pm__Wire__Submit what = PM__WIRE__SUBMIT__INIT;
    what.name = what.arch = what.channels = what.heat_maps = what.data_root = what.data_name =
        (char *)"x";
    Pm__Wire__Blob weights = PM__WIRE__BLOB__INIT;
    what.weights = &weights;
    what.has_priority = true;
    what.priority = 1;
    pm_message answer;
    Pm__Wire__Message request = pm_wire_submit(&what);
    assert_int_equal(pm_client_call(ann, &request, NULL, 0, WAIT_MS, &answer), PM_E_DENIED);
    assert_non_null(strstr(pm_error_text(), "admin"));
}

static void keys_are_for_one_socket(void **state) {
    keyed_scene *k = of(state);
    pm_client *client = NULL;
    assert_int_equal(pm_client_open(k->s.url, &k->one, WAIT_MS, &client), PM_E_DENIED);
    assert_non_null(strstr(pm_error_text(), "list does not have this key as one for clients"));
    worker w;
    const pm_credentials *keys[] = {&k->client, &k->admin};
    for (size_t i = 0; i < 2; i++) {
        connect_as(&k->s, &w, keys[i]);
        worker_greet(&w, NULL, NULL);
        await_refusal(&w, "role");
        worker_leave(&w);
    }
}

static void client_is_told_in_time_why_it_does_not_get_in(void **state) {
    keyed_scene *k = of(state);
    pm_client *client = NULL;
    int64_t start_ms = pm_clock_ms();
    assert_int_equal(pm_client_open(k->s.url, &k->stranger, 60000, &client), PM_E_DENIED);
    assert_non_null(strstr(pm_error_text(), "does not know this key"));
    pm_credentials wrong = k->client;
    memcpy(wrong.broker_key, k->stranger.public_key, sizeof wrong.broker_key);
    assert_int_equal(pm_client_open(k->s.url, &wrong, 60000, &client), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "--broker-key"));
    const pm_credentials insecure = {.insecure = true};
    pm_status met = pm_client_open(k->s.url, &insecure, 60000, &client);
    assert_true(met == PM_E_PROTOCOL || met == PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "asks for a key"));
    assert_true(pm_clock_ms() - start_ms < 30000);
    kill_broker(&k->s);
    assert_int_equal(pm_client_open(k->s.url, &k->client, 300, &client), PM_E_TIMEOUT);
    assert_non_null(strstr(pm_error_text(), "no broker answers"));
    start_broker(&k->s);
}

/* ---- a key that is taken back ---- */

static void removed_worker_loses_its_lease_at_once(void **state) {
    keyed_scene *k = of(state);
    worker one, other = {.key = &k->other};
    one_at_work(k, &one);
    worker_join(&k->s, &other, NULL);
    worker_credit(&other, 1);
    put_keys(k, NULL, "worker", "client");
    int64_t until_ms = pm_clock_ms() + WAIT_MS;
    while (!log_has(&k->s, "worker.dismissed")) { /* without a word of its own */
        Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
        Pm__Wire__Message m = pm_wire_heartbeat(&beat);
        assert_true(pm_clock_ms() < until_ms);
        worker_send(&other, &m);
        usleep(100000);
    }
    await_refusal(&one, "role");
    worker_take(&other);
    assert_int_equal(other.task, one.task);
    worker_result(&one, one.first, one.token);
    await_refusal(&one, "role");
    for (uint64_t i = 0; i < other.items; i++) {
        worker_result(&other, other.first + i, other.token);
        await_recorded(&other, other.first + i);
    }
    await_state(&k->s, other.run, "done");
    worker_leave(&one);
    worker_leave(&other);
}

static void demoted_client_is_refused_from_its_next_word(void **state) {
    keyed_scene *k = of(state);
    pm_message answer;
    assert_int_equal(pm_client_status(k->s.client, 0, WAIT_MS, &answer), PM_OK);
    pm_message_fini(&answer);
    put_keys(k, "worker", "worker", "worker");
    await_log(&k->s, "allow.loaded");
    assert_int_equal(pm_client_status(k->s.client, 0, WAIT_MS, &answer), PM_E_DENIED);
    put_file(k->list, "client not-a-key ann\n");
    await_log(&k->s, "allow.refused");
    pm_client *admin = NULL; /* the list from before is in force */
    assert_int_equal(pm_client_open(k->s.url, &k->admin, WAIT_MS, &admin), PM_OK);
    pm_client_free(&admin);
    pm_client_free(&k->s.client);
}

/* ---- what is stolen is worth nothing ---- */

static void others_instance_takes_over_nothing(void **state) {
    keyed_scene *k = of(state);
    worker one, thief;
    one_at_work(k, &one);
    connect_as(&k->s, &thief, &k->other);
    memcpy(thief.instance, one.instance, sizeof thief.instance);
    worker_greet(&thief, NULL, &one);
    pm_message message;
    worker_await(&thief, PM__WIRE__MESSAGE__BODY_WELCOME, &message); /* another worker, then */
    assert_int_equal(message.body->welcome->n_leases, 1);
    assert_false(message.body->welcome->leases[0]->has_token);
    pm_message_fini(&message);
    expect_at_work(&one);
    /* The same with the right key is a worker that connects anew. */
    worker again;
    connect_as(&k->s, &again, &k->one);
    memcpy(again.instance, one.instance, sizeof again.instance);
    one.first++;
    worker_greet(&again, NULL, &one);
    worker_await(&again, PM__WIRE__MESSAGE__BODY_WELCOME, &message);
    assert_int_equal(message.body->welcome->n_leases, 1);
    assert_true(message.body->welcome->leases[0]->has_token);
    pm_message_fini(&message);
    worker_leave(&one);
    worker_leave(&thief);
    worker_leave(&again);
}

static void others_crash_is_not_believed(void **state) {
    keyed_scene *k = of(state);
    worker one, thief = {.key = &k->other};
    one_at_work(k, &one);
    worker_join(&k->s, &thief, &one);
    expect_at_work(&one);
    assert_int_equal(ask(&k->s, "SELECT count(*) FROM task WHERE crashes > 0"), 0);
    worker_leave(&one);
    worker_leave(&thief);
}

static void others_token_records_nothing(void **state) {
    keyed_scene *k = of(state);
    worker one, thief = {.key = &k->other};
    pm_message message;
    one_at_work(k, &one);
    worker_join(&k->s, &thief, NULL);
    thief.task = one.task;
    thief.first = one.first;
    worker_result(&thief, one.first, one.token);
    worker_await(&thief, PM__WIRE__MESSAGE__BODY_LEASE_REVOKED, &message);
    pm_message_fini(&message);
    assert_int_equal(ask(&k->s, "SELECT count(*) FROM result"), 0);
    expect_at_work(&one);
    worker_leave(&one);
    worker_leave(&thief);
}

static void others_lease_is_not_adopted(void **state) {
    keyed_scene *k = of(state);
    worker one, thief;
    pm_message message;
    one_at_work(k, &one);
    /* It goes, and its task is there for whoever has credit. */
    Pm__Wire__Goodbye bye = PM__WIRE__GOODBYE__INIT;
    Pm__Wire__Message m = pm_wire_goodbye(&bye);
    worker_send(&one, &m);
    await_log(&k->s, "worker.lost");
    connect_as(&k->s, &thief, &k->other);
    worker_greet(&thief, NULL, &one);
    worker_await(&thief, PM__WIRE__MESSAGE__BODY_WELCOME, &message);
    assert_int_equal(message.body->welcome->n_leases, 1);
    assert_false(message.body->welcome->leases[0]->has_token);
    pm_message_fini(&message);
    worker_credit(&thief, 1);
    worker_take(&thief);
    assert_memory_not_equal(thief.token, one.token, sizeof one.token);
    worker_leave(&one);
    worker_leave(&thief);
}

/* ---- a routing id that somebody chose ---- */

static zsock_t *raw_worker(const keyed_scene *k, const pm_credentials *key, const void *id,
                           size_t id_size) {
    char url[96];
    unsigned port = (unsigned)strtoul(strrchr(k->s.url, ':') + 1, NULL, 10);
    zsock_t *raw = zsock_new(ZMQ_DEALER);
    assert_non_null(raw);
    zsock_set_linger(raw, 0);
    zsock_set_rcvtimeo(raw, WAIT_MS);
    zmq_setsockopt(zsock_resolve(raw), ZMQ_ROUTING_ID, id, id_size);
    zsock_set_curve_serverkey(raw, key->broker_key);
    zsock_set_curve_publickey(raw, key->public_key);
    zsock_set_curve_secretkey(raw, key->secret_key);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port + 1);
    assert_int_equal(zmq_connect(zsock_resolve(raw), url), 0);
    return raw;
}

static void raw_send(zsock_t *raw, const Pm__Wire__Message *message) {
    pm_buffer bytes = {0};
    assert_int_equal(pm_wire_pack(message, &bytes), PM_OK);
    assert_int_equal(zmq_send(zsock_resolve(raw), bytes.bytes, bytes.size, 0), (int)bytes.size);
    pm_buffer_fini(&bytes);
}

/* The next message of a kind. */
static Pm__Wire__Message *raw_await(zsock_t *raw, Pm__Wire__Message__BodyCase kind) {
    for (;;) {
        zframe_t *frame = zframe_recv(raw);
        Pm__Wire__Message *body = NULL;
        assert_non_null(frame);
        assert_int_equal(pm_wire_unpack(zframe_data(frame), zframe_size(frame), &body), PM_OK);
        zframe_destroy(&frame);
        if (body->body_case == kind) return body;
        pm_wire_free(&body);
    }
}

static void raw_await_refusal(zsock_t *raw, const char *reason) {
    Pm__Wire__Message *body = raw_await(raw, PM__WIRE__MESSAGE__BODY_REFUSED);
    assert_string_equal(body->refused->reason, reason);
    pm_wire_free(&body);
}

static void raw_hello(zsock_t *raw, uint8_t instance[16]) {
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    hello.protocol = PM_PROTOCOL_VERSION;
    hello.engine_version = (char *)PM_ENGINE_VERSION;
    hello.role = (char *)"worker";
    hello.instance = (ProtobufCBinaryData){16, instance};
    Pm__Wire__Message m = pm_wire_hello(&hello);
    raw_send(raw, &m);
}

static void routing_id_that_looks_chosen_is_refused(void **state) {
    keyed_scene *k = of(state);
    uint8_t instance[16] = {7};
    zsock_t *raw = raw_worker(k, &k->one, "worker-1", 8);
    raw_hello(raw, instance);
    raw_await_refusal(raw, "usage");
    zsock_destroy(&raw);
}

/* Refused with this reason; or, once the worker of that id was silent for long enough, welcome. */
static bool raw_hello_is_refused(zsock_t *raw, uint8_t instance[16], const char *reason,
                                 int64_t since_ms) {
    raw_hello(raw, instance);
    for (;;) {
        zframe_t *frame = zframe_recv(raw);
        Pm__Wire__Message *body = NULL;
        assert_non_null(frame);
        assert_int_equal(pm_wire_unpack(zframe_data(frame), zframe_size(frame), &body), PM_OK);
        zframe_destroy(&frame);
        bool refused = body->body_case == PM__WIRE__MESSAGE__BODY_REFUSED;
        bool welcome = body->body_case == PM__WIRE__MESSAGE__BODY_WELCOME;
        if (refused) assert_string_equal(body->refused->reason, reason);
        if (welcome) assert_true(pm_clock_ms() - since_ms > SILENCE_MS);
        pm_wire_free(&body);
        if (refused || welcome) return refused;
    }
}

/* A ROUTER ignores who comes with an id that is still in use. */
static zsock_t *connect_with_freed_id(keyed_scene *k, const uint8_t *id, size_t id_size,
                                      const Pm__Wire__Message *first_word) {
    int64_t until_ms = pm_clock_ms() + WAIT_MS;
    while (pm_clock_ms() < until_ms) {
        zsock_t *raw = raw_worker(k, &k->other, id, id_size);
        zmq_pollitem_t answer = {.socket = zsock_resolve(raw), .events = ZMQ_POLLIN};
        raw_send(raw, first_word);
        if (zmq_poll(&answer, 1, 500) > 0) return raw;
        zsock_destroy(&raw);
    }
    fail_msg("nobody listens to that id");
    return NULL;
}

/* One with an id as ZeroMQ makes them goes without a word; another, with its id and its token,
 * comes before the silence is noticed. */
static void others_routing_id_speaks_for_nobody(void **state) {
    static const uint8_t id[5] = {0, 0x13, 0x37, 0x13, 0x37};
    keyed_scene *k = of(state);
    uint8_t instance[16] = {1}, thief_instance[16] = {2};
    submit(&k->s, 4, "a run");
    zsock_t *one = raw_worker(k, &k->one, id, sizeof id);
    raw_hello(one, instance);
    Pm__Wire__Message *body = raw_await(one, PM__WIRE__MESSAGE__BODY_WELCOME);
    pm_wire_free(&body);
    Pm__Wire__Credit credit = PM__WIRE__CREDIT__INIT;
    credit.tasks = 1;
    Pm__Wire__Message m = pm_wire_credit(&credit);
    int64_t since_ms = pm_clock_ms();
    raw_send(one, &m);
    body = raw_await(one, PM__WIRE__MESSAGE__BODY_TASK);
    Pm__Wire__TaskReturned returned = PM__WIRE__TASK_RETURNED__INIT;
    returned.task = body->task->task;
    returned.token = body->task->token;
    zsock_destroy(&one);
    m = pm_wire_task_returned(&returned);
    zsock_t *thief = connect_with_freed_id(k, id, sizeof id, &m);
    raw_await_refusal(thief, "hello");
    /* The seat is not free yet, whatever instance is claimed. */
    if (raw_hello_is_refused(thief, thief_instance, "full", since_ms) &&
        raw_hello_is_refused(thief, instance, "full", since_ms) &&
        pm_clock_ms() - since_ms < SILENCE_MS)
        assert_false(log_has(&k->s, "worker.lost")); /* nothing of it ended the lease */
    pm_wire_free(&body);
    zsock_destroy(&thief);
}

int main(void) {
    zsys_handler_set(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_role_does_its_part, set_up, scene_tear_down),
        cmocka_unit_test_setup_teardown(only_an_admin_pushes_in_front, set_up, scene_tear_down),
        cmocka_unit_test_setup_teardown(keys_are_for_one_socket, set_up, scene_tear_down),
        cmocka_unit_test_setup_teardown(client_is_told_in_time_why_it_does_not_get_in, set_up,
                                        scene_tear_down),
        cmocka_unit_test_setup_teardown(removed_worker_loses_its_lease_at_once, set_up,
                                        scene_tear_down),
        cmocka_unit_test_setup_teardown(demoted_client_is_refused_from_its_next_word, set_up,
                                        scene_tear_down),
        cmocka_unit_test_setup_teardown(others_instance_takes_over_nothing, set_up,
                                        scene_tear_down),
        cmocka_unit_test_setup_teardown(others_crash_is_not_believed, set_up, scene_tear_down),
        cmocka_unit_test_setup_teardown(others_token_records_nothing, set_up, scene_tear_down),
        cmocka_unit_test_setup_teardown(others_lease_is_not_adopted, set_up, scene_tear_down),
        cmocka_unit_test_setup_teardown(routing_id_that_looks_chosen_is_refused, set_up,
                                        scene_tear_down),
        cmocka_unit_test_setup_teardown(others_routing_id_speaks_for_nobody, set_up,
                                        scene_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
