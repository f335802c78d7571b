/* Routers, links and client calls over real sockets, with a small broker in a thread. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/net/net.h"
#include "tests/campaign/oom_alloc.h"

enum { PATIENCE_MS = 10000 };

typedef struct fixture {
    char folder[64], url[96];
    pm_router *router;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->folder, "/tmp/parchmill-net-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->url, sizeof f->url, "ipc://%s/s", f->folder);
    assert_int_equal(pm_router_new(&f->router), PM_OK);
    assert_int_equal(pm_router_bind(f->router, f->url, NULL), PM_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    char path[128];
    pm_router_free(&f->router);
    snprintf(path, sizeof path, "%s/s", f->folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/s.w", f->folder);
    unlink(path);
    rmdir(f->folder);
    free(f);
    return 0;
}

static pm_status receive_soon(pm_router *router, pm_peer *peer, pm_message *message) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    while (pm_clock_ms() < until_ms) {
        bool any;
        pm_status status = pm_router_receive(router, peer, message);
        if (status != PM_E_TIMEOUT) return status;
        assert_int_equal(pm_router_wait(router, NULL, 0, 100, &any), PM_OK);
    }
    return PM_E_TIMEOUT;
}

static pm_link *link_to(fixture *f, pm_role role) {
    pm_link *link = NULL;
    assert_int_equal(pm_link_new(f->url, role, NULL, &link), PM_OK);
    assert_int_equal(pm_link_connect(link), PM_OK);
    return link;
}

static void say_goodbye(pm_link *link, const pm_bytes *frames, size_t count) {
    Pm__Wire__Goodbye goodbye = PM__WIRE__GOODBYE__INIT;
    Pm__Wire__Message message = pm_wire_goodbye(&goodbye);
    assert_int_equal(pm_link_send(link, &message, frames, count), PM_OK);
}

static void role_is_the_socket_it_came_by(void **state) {
    fixture *f = *state;
    for (pm_role role = 0; role < PM_ROLE_COUNT; role++) {
        pm_link *link = link_to(f, role);
        pm_peer peer;
        pm_message message;
        say_goodbye(link, NULL, 0);
        assert_int_equal(receive_soon(f->router, &peer, &message), PM_OK);
        assert_int_equal(peer.port, pm_role_port(role));
        /* Whoever may open the clients' socket file is the same user. */
        assert_int_equal(peer.role, role == PM_ROLE_WORKER ? PM_ROLE_WORKER : PM_ROLE_ADMIN);
        assert_int_equal(peer.identity, 0);
        assert_int_equal(message.body->body_case, PM__WIRE__MESSAGE__BODY_GOODBYE);
        pm_message_fini(&message);
        pm_link_free(&link);
    }
}

/* What a message that failed had put on the socket would be the head of the next. */
static void want_of_memory_leaves_no_half_message(void **state) {
    fixture *f = *state;
    pm_link *link = link_to(f, PM_ROLE_WORKER);
    const pm_bytes frames[] = {{"lost", 4}, {"lost", 4}, {"lost", 4}}, kept = {"kept", 4};
    Pm__Wire__Goodbye goodbye = PM__WIRE__GOODBYE__INIT;
    Pm__Wire__Message body = pm_wire_goodbye(&goodbye);
    size_t failed = 0;
    for (uint64_t n = 1;; n++) {
        pm_peer peer;
        pm_message message;
        oom_arm(n, false);
        pm_status status = pm_link_send(link, &body, frames, 3);
        if (!oom_disarm()) {
            assert_int_equal(status, PM_OK);
            break;
        }
        assert_int_equal(status, PM_E_MEMORY);
        failed++;
        say_goodbye(link, &kept, 1);
        assert_int_equal(receive_soon(f->router, &peer, &message), PM_OK);
        assert_int_equal(message.frame_count, 1);
        assert_memory_equal(message.frames[0].bytes, "kept", 4);
        pm_message_fini(&message);
    }
    assert_true(failed >= 4); /* a frame each at least */
    pm_link_free(&link);
}

static void bulk_frames_travel_in_order_both_ways(void **state) {
    fixture *f = *state;
    pm_link *link = link_to(f, PM_ROLE_WORKER);
    size_t big = 3 << 20;
    uint8_t *large = malloc(big);
    assert_non_null(large);
    memset(large, 0xa5, big);
    pm_bytes frames[] = {{"one", 3}, {NULL, 0}, {large, big}};
    pm_peer peer;
    pm_message message;
    say_goodbye(link, frames, 3);
    assert_int_equal(receive_soon(f->router, &peer, &message), PM_OK);
    assert_int_equal(message.frame_count, 3);
    assert_int_equal(message.frames[0].size, 3);
    assert_memory_equal(message.frames[0].bytes, "one", 3);
    assert_int_equal(message.frames[1].size, 0);
    assert_int_equal(message.frames[2].size, big);
    assert_memory_equal(message.frames[2].bytes, large, big);
    /* And back, as they came. */
    assert_int_equal(pm_router_send(f->router, &peer, message.body, message.frames, 3), PM_OK);
    pm_message_fini(&message);
    assert_int_equal(pm_link_receive(link, PATIENCE_MS, &message), PM_OK);
    assert_int_equal(message.frame_count, 3);
    assert_memory_equal(message.frames[2].bytes, large, big);
    pm_message_fini(&message);
    pm_link_free(&link);
    free(large);
}

static void unreachable_peer_is_an_error_not_a_wait(void **state) {
    fixture *f = *state;
    pm_peer nobody = {.port = PM_PORT_WORKER, .id_size = 5, .id = {0, 1, 2, 3, 4}};
    Pm__Wire__Drain drain = PM__WIRE__DRAIN__INIT;
    Pm__Wire__Message message = pm_wire_drain(&drain);
    assert_int_equal(pm_router_send(f->router, &nobody, &message, NULL, 0), PM_E_NOT_FOUND);
}

static void full_queue_is_an_error_not_a_wait(void **state) {
    fixture *f = *state;
    pm_link *link = link_to(f, PM_ROLE_WORKER);
    pm_peer peer;
    pm_message message;
    uint8_t bulk[4096] = {0};
    pm_bytes frame = {bulk, sizeof bulk};
    say_goodbye(link, NULL, 0);
    assert_int_equal(receive_soon(f->router, &peer, &message), PM_OK);
    pm_message_fini(&message);
    Pm__Wire__Drain drain = PM__WIRE__DRAIN__INIT;
    Pm__Wire__Message body = pm_wire_drain(&drain);
    pm_status status = PM_OK;
    /* The link reads nothing: queues on both sides and the socket's buffers fill up. */
    for (int i = 0; i < 100000 && !status; i++)
        status = pm_router_send(f->router, &peer, &body, &frame, 1);
    assert_int_equal(status, PM_E_BUSY);
    pm_link_free(&link);
}

static void wait_sees_descriptors_and_messages(void **state) {
    fixture *f = *state;
    int fd = eventfd(0, EFD_CLOEXEC);
    pm_wait_fd fds[] = {{.fd = fd}};
    bool any = true;
    uint64_t one = 1;
    assert_int_equal(pm_router_wait(f->router, fds, 1, 0, &any), PM_OK);
    assert_false(any);
    assert_false(fds[0].readable);
    assert_int_equal(write(fd, &one, sizeof one), sizeof one);
    assert_int_equal(pm_router_wait(f->router, fds, 1, PATIENCE_MS, &any), PM_OK);
    assert_true(fds[0].readable);
    close(fd);
    pm_link *link = link_to(f, PM_ROLE_CLIENT);
    say_goodbye(link, NULL, 0);
    assert_int_equal(pm_router_wait(f->router, NULL, 0, PATIENCE_MS, &any), PM_OK);
    assert_true(any);
    pm_link_free(&link);
}

static void second_router_at_the_same_place_is_refused(void **state) {
    fixture *f = *state;
    pm_router *second = NULL;
    assert_int_equal(pm_router_new(&second), PM_OK);
    assert_int_equal(pm_router_bind(second, f->url, NULL), PM_E_BUSY);
    pm_router_free(&second);
    /* The first is unharmed. */
    role_is_the_socket_it_came_by(state);
}

static void stale_socket_file_is_taken_over(void **state) {
    fixture *f = *state;
    pm_router_free(&f->router);
    char path[128];
    snprintf(path, sizeof path, "%s/s", f->folder);
    FILE *left = fopen(path, "w");
    if (left) fclose(left);
    assert_int_equal(pm_router_new(&f->router), PM_OK);
    assert_int_equal(pm_router_bind(f->router, f->url, NULL), PM_OK);
    role_is_the_socket_it_came_by(state);
}

static void lost_connection_is_noticed(void **state) {
    fixture *f = *state;
    pm_link *link = link_to(f, PM_ROLE_WORKER);
    pm_peer peer;
    pm_message message;
    say_goodbye(link, NULL, 0);
    assert_int_equal(receive_soon(f->router, &peer, &message), PM_OK);
    pm_message_fini(&message);
    assert_false(pm_link_lost(link));
    pm_router_free(&f->router);
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    bool any;
    while (!pm_link_lost(link) && pm_clock_ms() < until_ms)
        assert_int_equal(pm_link_wait(link, NULL, 0, 100, &any), PM_OK);
    assert_true(pm_link_lost(link));
    pm_link_free(&link);
}

/* ---- a small broker for client calls ---- */

typedef struct broker {
    fixture *f;
    pthread_t thread;
    atomic_bool stop;
    atomic_int submits, hellos;
    bool forget_first_call; /* answer the first call with "say Hello" */
    bool silent;
    uint32_t protocol;
    size_t items;
} broker;

static void reply(broker *b, const pm_peer *peer, const Pm__Wire__Message *message) {
    (void)pm_router_send(b->f->router, peer, message, NULL, 0);
}

static void refuse(broker *b, const pm_peer *peer, const char *reason, const uint32_t *request) {
    Pm__Wire__Refused refused = PM__WIRE__REFUSED__INIT;
    refused.reason = (char *)reason;
    refused.text = (char *)"because";
    refused.has_request = request != NULL;
    if (request) refused.request = *request;
    Pm__Wire__Message message = pm_wire_refused(&refused);
    reply(b, peer, &message);
}

static void answer(broker *b, const pm_peer *peer, const pm_message *got) {
    const Pm__Wire__Message *body = got->body;
    if (b->silent) return;
    if (body->body_case == PM__WIRE__MESSAGE__BODY_HELLO) {
        uint8_t epoch[PM_EPOCH_BYTES] = {1};
        Pm__Wire__Welcome welcome = PM__WIRE__WELCOME__INIT;
        b->hellos++;
        welcome.protocol = b->protocol;
        welcome.epoch = (ProtobufCBinaryData){sizeof epoch, epoch};
        welcome.heartbeat_ms = 1000;
        welcome.silence_ms = 5000;
        welcome.lease_ms = 30000;
        Pm__Wire__Message message = pm_wire_welcome(&welcome);
        reply(b, peer, &message);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_SUBMIT) {
        pm_data_set items = {0};
        if (pm_wire_items_unpack(got->frames[0].bytes, got->frames[0].size, &items) == PM_OK)
            b->items = items.count;
        pm_data_set_fini(&items);
        b->submits++;
        Pm__Wire__Accepted accepted = PM__WIRE__ACCEPTED__INIT;
        accepted.request = body->submit->request;
        accepted.run = 42;
        accepted.items = b->items;
        Pm__Wire__Message message = pm_wire_accepted(&accepted);
        reply(b, peer, &message);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_CANCEL) {
        if (b->forget_first_call) {
            b->forget_first_call = false;
            refuse(b, peer, "hello", NULL);
            return;
        }
        Pm__Wire__Done done = PM__WIRE__DONE__INIT;
        done.request = body->cancel->request - 1; /* a late answer to an earlier request */
        Pm__Wire__Message message = pm_wire_done(&done);
        reply(b, peer, &message);
        done.request = body->cancel->request;
        done.count = 3;
        reply(b, peer, &message);
    } else if (body->body_case == PM__WIRE__MESSAGE__BODY_RETRY) {
        refuse(b, peer, "not-found", &body->retry->request);
    }
}

static void *serve(void *user) {
    broker *b = user;
    while (!b->stop) {
        bool any;
        pm_peer peer;
        pm_message message;
        pm_router_wait(b->f->router, NULL, 0, 20, &any);
        while (pm_router_receive(b->f->router, &peer, &message) == PM_OK) {
            answer(b, &peer, &message);
            pm_message_fini(&message);
        }
    }
    return NULL;
}

static void start_broker(broker *b, fixture *f) {
    b->f = f;
    if (b->protocol == 0) b->protocol = PM_PROTOCOL_VERSION;
    b->stop = false;
    assert_int_equal(pthread_create(&b->thread, NULL, serve, b), 0);
}

static void stop_broker(broker *b) {
    b->stop = true;
    pthread_join(b->thread, NULL);
}

static void client_gets_answers_to_its_requests(void **state) {
    fixture *f = *state;
    broker b = {0};
    pm_client *client = NULL;
    uint64_t count = 0;
    start_broker(&b, f);
    assert_int_equal(pm_client_open(f->url, NULL, PATIENCE_MS, &client), PM_OK);
    assert_int_equal(pm_client_cancel(client, 1, PATIENCE_MS, &count), PM_OK);
    assert_int_equal(count, 3);
    assert_int_equal(pm_client_retry(client, 1, NULL, PATIENCE_MS, &count), PM_E_NOT_FOUND);
    assert_string_equal(pm_error_text(), "because");
    pm_client_free(&client);
    stop_broker(&b);
}

static void client_says_hello_again_when_asked(void **state) {
    fixture *f = *state;
    broker b = {.forget_first_call = true};
    pm_client *client = NULL;
    uint64_t count = 0;
    start_broker(&b, f);
    assert_int_equal(pm_client_open(f->url, NULL, PATIENCE_MS, &client), PM_OK);
    assert_int_equal(pm_client_cancel(client, 1, PATIENCE_MS, &count), PM_OK);
    assert_int_equal(count, 3);
    assert_int_equal(b.hellos, 2);
    pm_client_free(&client);
    stop_broker(&b);
}

static void client_call_survives_a_broker_restart(void **state) {
    fixture *f = *state;
    broker b = {0};
    pm_client *client = NULL;
    uint64_t count = 0;
    start_broker(&b, f);
    assert_int_equal(pm_client_open(f->url, NULL, PATIENCE_MS, &client), PM_OK);
    stop_broker(&b);
    pm_router_free(&f->router);
    assert_int_equal(pm_router_new(&f->router), PM_OK);
    assert_int_equal(pm_router_bind(f->router, f->url, NULL), PM_OK);
    start_broker(&b, f);
    assert_int_equal(pm_client_cancel(client, 1, PATIENCE_MS, &count), PM_OK);
    assert_int_equal(count, 3);
    pm_client_free(&client);
    stop_broker(&b);
}

static void silent_or_missing_broker_gives_one_clear_line(void **state) {
    fixture *f = *state;
    broker b = {.silent = true};
    pm_client *client = NULL;
    start_broker(&b, f);
    assert_int_equal(pm_client_open(f->url, NULL, 200, &client), PM_E_TIMEOUT);
    assert_non_null(strstr(pm_error_text(), "is parchmill-broker running?"));
    assert_int_equal(pm_client_open("ipc:///tmp/parchmill-nobody", NULL, 200, &client),
                     PM_E_TIMEOUT);
    assert_null(client);
    stop_broker(&b);
}

static void other_protocol_version_is_refused(void **state) {
    fixture *f = *state;
    broker b = {.protocol = PM_PROTOCOL_VERSION + 1};
    pm_client *client = NULL;
    start_broker(&b, f);
    assert_int_equal(pm_client_open(f->url, NULL, PATIENCE_MS, &client), PM_E_MISMATCH);
    stop_broker(&b);
}

static void submission_carries_its_items(void **state) {
    fixture *f = *state;
    broker b = {0};
    pm_client *client = NULL;
    pm_item items[2] = {{.path = (char *)"a.png", .label = -1},
                        {.path = (char *)"b.png", .label = 2}};
    pm_data_set data_set = {
        .root = (char *)"/data", .name = (char *)"data", .count = 2, .items = items};
    pm_config config = {.arch = "resnet18", .resize = 256, .crop = 224};
    config.std[0] = config.std[1] = config.std[2] = 1;
    pm_attribution_defaults(&config.attribution);
    pm_run_spec spec = {
        .weights_path = "/w.pth", .classes = 10, .config_count = 1, .configs = &config};
    pm_accepted accepted = {0};
    start_broker(&b, f);
    assert_int_equal(pm_client_open(f->url, NULL, PATIENCE_MS, &client), PM_OK);
    assert_int_equal(pm_client_submit(client, &spec, &data_set, NULL, true, PATIENCE_MS, &accepted),
                     PM_OK);
    assert_int_equal(accepted.run, 42);
    assert_int_equal(accepted.items, 2);
    pm_client_free(&client);
    stop_broker(&b);
    assert_int_equal(b.submits, 1);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH(role_is_the_socket_it_came_by),
        WITH(want_of_memory_leaves_no_half_message),
        WITH(bulk_frames_travel_in_order_both_ways),
        WITH(unreachable_peer_is_an_error_not_a_wait),
        WITH(full_queue_is_an_error_not_a_wait),
        WITH(wait_sees_descriptors_and_messages),
        WITH(second_router_at_the_same_place_is_refused),
        WITH(stale_socket_file_is_taken_over),
        WITH(lost_connection_is_noticed),
        WITH(client_gets_answers_to_its_requests),
        WITH(client_says_hello_again_when_asked),
        WITH(client_call_survives_a_broker_restart),
        WITH(silent_or_missing_broker_gives_one_clear_line),
        WITH(other_protocol_version_is_refused),
        WITH(submission_carries_its_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
